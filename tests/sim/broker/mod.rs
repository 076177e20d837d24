//! RabbitMQ in memory: three queues, single active consumers, and what they have not acknowledged.

mod session;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dispatcher::dispatch::ports::{Announcer, Boxed, PublishError, Publisher, Released, Retry};
use dispatcher::domain::event::Event;
use dispatcher::domain::job::Priority;
use dispatcher::domain::message::{self, Properties};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::process::{Link, Process};
use crate::world::World;

pub use session::{Audit, JobSource};

/// The queues' delivery limit.
const DELIVERY_LIMIT: u32 = 20;
/// `FRESH` of the dispatcher, and a little more.
const CLAIMS_LEAVE_WITHIN: Duration = Duration::from_secs(16);

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    pub body: Vec<u8>,
    pub properties: Properties,
    /// The place in the order of arrival of a job that was released.
    pub released: Option<i64>,
    pub bound: bool,
    pub redelivered: bool,
    pub returns: u32,
}

impl Message {
    /// A publisher's message.
    pub fn new(body: Vec<u8>, properties: Properties) -> Message {
        Message { body, properties, released: None, bound: false, redelivered: false, returns: 0 }
    }

    /// As `JobPublisher` makes it.
    fn released(Released { job, seq, bound }: &Released) -> Message {
        let properties = Properties { message_id: Some(job.id.clone()), ..message::properties(job) };
        Message { released: Some(*seq), bound: *bound, ..Message::new(message::encode(job), properties) }
    }

    fn priority(&self) -> Priority {
        Priority::of_routing_key(&self.properties.routing_key)
    }
}

/// A consuming session, as the broker sees it.
struct Session {
    process: Arc<Process>,
    opened: Instant,
    unacked: BTreeMap<u64, Message>,
    next_tag: u64,
    /// There is something to deliver.
    stir: Arc<Notify>,
    /// It has ended, and why.
    end: Option<String>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct Queues {
    ready: [VecDeque<Message>; 3],
    dead: Vec<Message>,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
}

/// The broker. What it holds survives its restart.
pub struct Broker {
    queues: Mutex<Queues>,
    prefetch: usize,
    /// What came to the exchange of events, in order.
    announced: Mutex<Vec<Event>>,
}

impl Broker {
    /// Empty queues, with a prefetch for each.
    pub fn new(prefetch: usize) -> Broker {
        Broker { queues: Mutex::default(), prefetch, announced: Mutex::default() }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap()
    }

    /// Takes a message.
    pub fn publish(&self, message: Message) {
        let mut queues = self.queues();
        queues.ready[message.priority().index()].push_back(message);
        queues.stir();
    }

    /// What came to the exchange of events, in order.
    pub fn announced(&self) -> Vec<Event> {
        self.announced.lock().unwrap().clone()
    }

    /// Ends the sessions of one process, or all.
    pub fn close_all(&self, world: &World, process: Option<&Arc<Process>>, why: &str) {
        let mut queues = self.queues();
        let concerned = |session: &Session| process.is_none_or(|process| Arc::ptr_eq(process, &session.process));
        let ids: Vec<u64> = queues.sessions.iter().filter(|(_, s)| concerned(s)).map(|(id, _)| *id).collect();
        for id in ids {
            world.note(|| format!("session {id} is closed: {why}"));
            queues.close(id, why);
        }
    }

    /// Loses the messages of released jobs, as a broker does that comes back without its disk.
    pub fn forget_released(&self) {
        let mut queues = self.queues();
        queues.ready.iter_mut().for_each(|queue| queue.retain(|message| message.released.is_none()));
    }

    /// The session of a process that paces all its requests: `None` where a claim of the session before
    /// may still leave.
    pub fn era(&self, process: &Process) -> Option<u64> {
        let queues = self.queues();
        let mut own = queues.sessions.iter().rev().filter(|(_, session)| session.process.index() == process.index());
        let (id, last) = own.next()?;
        (own.next().is_none() || last.opened.elapsed() > CLAIMS_LEAVE_WITHIN).then_some(*id)
    }

    /// What it holds: messages that are ready, unacknowledged, and dead.
    pub fn held(&self) -> (usize, usize, usize) {
        let queues = self.queues();
        let unacked = queues.sessions.values().map(|session| session.unacked.len()).sum();
        (queues.ready.iter().map(VecDeque::len).sum(), unacked, queues.dead.len())
    }
}

impl Queues {
    fn stir(&self) {
        self.sessions.values().for_each(|session| session.stir.notify_one());
    }

    fn open(&mut self, process: Arc<Process>) -> u64 {
        let id = self.next_session;
        self.next_session += 1;
        let (stir, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let unacked = BTreeMap::new();
        let session = Session { process, opened: Instant::now(), unacked, next_tag: 1, stir, end: None, ended };
        self.sessions.insert(id, session);
        id
    }

    /// The next message for a session, if it is the active one and may have more.
    fn next(&mut self, id: u64, prefetch: usize) -> Option<(u64, Message)> {
        if self.active() != Some(id) {
            return None;
        }
        let session = self.sessions.get_mut(&id)?;
        let room = |priority: usize| {
            session.unacked.values().filter(|message| message.priority().index() == priority).count() < prefetch
        };
        let priority = (0..3).find(|priority| !self.ready[*priority].is_empty() && room(*priority))?;
        let message = self.ready[priority].pop_front()?;
        let tag = session.next_tag;
        session.next_tag += 1;
        session.unacked.insert(tag, message.clone());
        Some((tag, message))
    }

    fn active(&self) -> Option<u64> {
        self.sessions.iter().find(|(_, session)| session.end.is_none()).map(|(id, _)| *id)
    }

    fn is_open(&self, id: u64) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.end.is_none())
    }

    /// Ends a session: what it has not acknowledged goes back to where it was.
    fn close(&mut self, id: u64, why: &str) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.end.is_none()) else { return };
        session.end = Some(why.to_owned());
        session.ended.notify_one();
        let unacked = std::mem::take(&mut session.unacked);
        unacked.into_values().rev().for_each(|message| self.give_back(message));
        self.stir();
    }

    fn give_back(&mut self, mut message: Message) {
        message.redelivered = true;
        message.returns += 1;
        if message.returns > DELIVERY_LIMIT {
            return self.dead.push(message);
        }
        self.ready[message.priority().index()].push_front(message);
    }

    fn ack(&mut self, id: u64, tag: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.unacked.remove(&tag);
            session.stir.notify_one();
        }
    }

    fn nack(&mut self, id: u64, tag: u64) {
        let message = self.sessions.get_mut(&id).and_then(|session| session.unacked.remove(&tag));
        if let Some(message) = message {
            self.give_back(message);
            self.stir();
        }
    }
}

impl World {
    /// RabbitMQ cannot be reached at present.
    pub fn broker_is_down(&self) -> bool {
        self.weather().broker_down.is_some_and(|until| Instant::now() < until)
    }
}

/// Publishes released jobs, for one process.
pub struct JobPublisher(pub Link);

impl JobPublisher {
    async fn publish(&self, jobs: &[Released]) -> Result<(), PublishError> {
        let (link, world) = (&self.0, &self.0.world);
        link.step().await;
        let failure = world.weather().publish_fails;
        let (fails, confirms_lost) = (world.chance(failure), world.chance(failure));
        let arrive = if fails { world.rng().usize(..=jobs.len()) } else { jobs.len() };
        for released in &jobs[..arrive] {
            if world.broker_is_down() {
                return Err(PublishError("the connection was refused".into()));
            }
            world.broker.publish(Message::released(released));
            // Each message may be the last of a process.
            link.step().await;
        }
        link.travel(world.delay(Duration::from_millis(10))).await;
        link.step().await;
        if fails || confirms_lost {
            return Err(PublishError("the connection was reset".into()));
        }
        Ok(())
    }
}

impl Publisher for JobPublisher {
    fn release<'a>(&'a self, jobs: &'a [Released]) -> Boxed<'a, Result<(), PublishError>> {
        Box::pin(self.publish(jobs))
    }

    /// Nobody retries what was refused.
    fn again<'a>(&'a self, _: &'a [Retry]) -> Boxed<'a, Result<Vec<bool>, PublishError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn described(&self, _: &str) -> Properties {
        Properties::default()
    }
}

/// Publishes events, for one process.
pub struct EventPublisher(pub Link);

impl EventPublisher {
    async fn publish(&self, events: &[Event]) -> Result<Vec<bool>, PublishError> {
        let (link, world) = (&self.0, &self.0.world);
        link.step().await;
        let failure = world.weather().publish_fails;
        let (fails, confirms_lost) = (world.chance(failure), world.chance(failure));
        let arrive = if fails { world.rng().usize(..=events.len()) } else { events.len() };
        let mut taken = Vec::new();
        for event in &events[..arrive] {
            if world.broker_is_down() {
                return Err(PublishError("the connection was refused".into()));
            }
            let refusal = world.weather().event_refused;
            let refused = world.chance(refusal);
            // A queue that refuses says nothing about the others.
            if !refused || world.chance(0.5) {
                world.note(|| format!("process {} announces {event:?}", link.process.index()));
                world.broker.announced.lock().unwrap().push(event.clone());
            }
            taken.push(!refused);
            // Each event may be the last of a process.
            link.step().await;
        }
        link.travel(world.delay(Duration::from_millis(10))).await;
        link.step().await;
        if fails || confirms_lost {
            return Err(PublishError("the connection was reset".into()));
        }
        Ok(taken)
    }
}

impl Announcer for EventPublisher {
    fn announce<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<Vec<bool>, PublishError>> {
        Box::pin(self.publish(events))
    }
}
