//! A consuming session: deliveries in the order of their queues, acknowledgements, and its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dispatcher::dispatch::ports::{Arrival, Boxed, Consuming, Intake, Settle, Source, SourceError};
use dispatcher::domain::job::State;

use super::Message;
use crate::jobs::id_of;
use crate::process::Link;

/// What was delivered of each job: judges acknowledgements when they are given.
#[derive(Default)]
pub struct Audit(Mutex<HashMap<String, u32>>);

impl Audit {
    fn delivered(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    /// How often a message of that job was delivered.
    pub fn deliveries(&self, id: &str) -> u32 {
        self.0.lock().unwrap().get(id).copied().unwrap_or(0)
    }
}

/// RabbitMQ's queues, for one process.
pub struct JobSource(pub Link);

impl Source for JobSource {
    fn open<'a>(&'a self, intake: Arc<dyn Intake>) -> Boxed<'a, Result<Box<dyn Consuming>, SourceError>> {
        Box::pin(async move {
            let (link, world) = (&self.0, &self.0.world);
            link.step().await;
            link.travel(world.delay(Duration::from_millis(50))).await;
            if world.broker_is_down() {
                return Err(SourceError("the connection was refused".into()));
            }
            link.alive().await;
            let id = world.broker.queues().open(link.process.clone());
            world.note(|| format!("process {} opens session {id}", link.process.index()));
            tokio::spawn(deliver(link.clone(), id, intake));
            let session = Session { link: link.clone(), id };
            link.step().await;
            Ok(Box::new(session) as Box<dyn Consuming>)
        })
    }
}

/// Delivers to one session until it ends.
async fn deliver(link: Link, id: u64, intake: Arc<dyn Intake>) {
    let broker = &link.world.broker;
    let Some(stir) = broker.queues().sessions.get(&id).map(|session| session.stir.clone()) else { return };
    while broker.queues().is_open(id) && !link.process.is_dead() {
        // A statement of its own: the lock must be free when the intake acknowledges at once.
        let next = broker.queues().next(id, broker.prefetch);
        let Some((tag, message)) = next else {
            stir.notified().await;
            continue;
        };
        if link.world.chance(0.2) {
            link.travel(link.world.delay(Duration::from_millis(5))).await;
        }
        if broker.queues().is_open(id) && !link.process.is_dead() {
            intake.arrive(arrival(&link, id, tag, message));
        }
    }
}

fn arrival(link: &Link, session: u64, tag: u64, message: Message) -> Arrival {
    let id = id_of(&message.body);
    if let Some(id) = &id {
        link.world.audit.delivered(id);
    }
    let revision = id.as_ref().and_then(|id| link.world.tables().jobs.get(id).map(|row| row.revision));
    link.world.note(|| {
        let (released, again) = (message.released.is_some(), message.redelivered);
        format!("process {} gets {id:?}, released {released}, again {again}", link.process.index())
    });
    Arrival {
        properties: message.properties.clone(),
        released: message.released,
        bound: message.bound,
        redelivered: message.redelivered,
        returns: message.returns,
        priority: message.priority(),
        body: message.body.clone(),
        delivery: Box::new(Handle { link: link.clone(), session, tag, id, revision, message }),
    }
}

struct Handle {
    link: Link,
    session: u64,
    tag: u64,
    id: Option<String>,
    /// The row's when it was delivered.
    revision: Option<u64>,
    message: Message,
}

impl Handle {
    /// "A message is acknowledged only after what became of it is committed." Of several copies of a
    /// message, one is answered for the others.
    fn check(&self) -> Result<(), String> {
        let tables = self.link.world.tables();
        let rejected = || tables.rejections.iter().any(|rejection| rejection.body == self.message.body);
        let Some(id) = &self.id else {
            return if rejected() { Ok(()) } else { Err("a message that was not kept".into()) };
        };
        let Some(row) = tables.jobs.get(id) else { return Err(format!("{id}, which Postgres does not have")) };
        if self.link.world.audit.deliveries(id) > 1 || rejected() {
            return Ok(());
        }
        if self.revision == Some(row.revision) {
            return Err(format!("{id}, of which nothing was committed"));
        }
        match row.state {
            State::Submitting => Err(format!("{id}, whose attempt is open")),
            _ => Ok(()),
        }
    }
}

impl Settle for Handle {
    fn ack(&self) {
        if self.link.process.is_dead() {
            return;
        }
        if let Err(what) = self.check() {
            self.link.world.violation(format!("acknowledged {what}"));
        }
        let (world, session, tag) = (self.link.world.clone(), self.session, self.tag);
        let lingers = world.weather().ack_lingers;
        if !world.chance(lingers) {
            return world.broker.queues().ack(session, tag);
        }
        let (delay, process) = (world.delay(Duration::from_millis(30)), self.link.process.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if !process.is_dead() {
                world.broker.queues().ack(session, tag);
            }
        });
    }

    fn nack(&self) {
        if !self.link.process.is_dead() {
            self.link.world.broker.queues().nack(self.session, self.tag);
        }
    }

    fn describe(&self) -> String {
        "{}".into()
    }
}

struct Session {
    link: Link,
    id: u64,
}

impl Consuming for Session {
    fn ended(&mut self) -> Boxed<'_, String> {
        Box::pin(async move {
            let broker = &self.link.world.broker;
            loop {
                let (end, ended) = {
                    let queues = broker.queues();
                    let session = &queues.sessions[&self.id];
                    (session.end.clone(), session.ended.clone())
                };
                match end {
                    Some(why) => {
                        self.link.step().await;
                        return why;
                    }
                    None => ended.notified().await,
                }
            }
        })
    }

    fn close(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move {
            self.link.step().await;
            self.link.travel(self.link.world.delay(Duration::from_millis(100))).await;
            self.link.alive().await;
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Of a dead process, the broker finds out by itself.
        if !self.link.process.is_dead() {
            self.link.world.broker.queues().close(self.id, "it was closed");
        }
    }
}
