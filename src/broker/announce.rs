//! Events on their way to whoever listens.

use lapin::BasicProperties;
use secrecy::SecretString;

use super::BrokerError;
use super::outlet::{Outgoing, Outlet, PERSISTENT, Verdict, WINDOW};
use super::topology::Topology;
use crate::dispatch::ports::{Announcer, Boxed, PublishError};
use crate::domain::event::{CONTENT_TYPE, Event, source};

/// A publisher of events, with a connection of its own that is made anew when it breaks.
pub struct EventPublisher {
    outlet: Outlet,
    exchange: String,
    source: String,
}

/// An event as it goes out. Without a body it cannot.
struct Ready<'a> {
    event: &'a Event,
    body: Option<Vec<u8>>,
}

/// The longest routing key of AMQP, in bytes.
const LONGEST_KEY: usize = 255;

impl EventPublisher {
    /// A publisher that connects when it is first used.
    pub fn new(url: &SecretString, prefix: &str) -> Self {
        let exchange = Topology::new(prefix).events();
        EventPublisher { outlet: Outlet::new(url, prefix, "events"), exchange, source: source(prefix) }
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.outlet.close().await;
    }

    /// Publishes in order. A queue that refuses an event says nothing about the others.
    async fn publish(&self, events: &[Event]) -> Result<Vec<bool>, BrokerError> {
        if let Some(reason) = self.outlet.blocked() {
            return Err(BrokerError(reason));
        }
        let mut turn = self.outlet.turn().await?;
        let mut taken = Vec::with_capacity(events.len());
        for window in events.chunks(WINDOW) {
            let window: Vec<Ready<'_>> = window.iter().map(|event| self.ready(event)).collect();
            let sent = turn.window(window.iter().filter_map(|ready| ready.outgoing(&self.exchange))).await;
            let mut verdicts = match sent {
                Ok(verdicts) => verdicts.into_iter(),
                Err(error) => {
                    turn.abandon().await;
                    return Err(error);
                }
            };
            let mut is_taken = |ready: &Ready| ready.body.is_some() && verdicts.next() == Some(Verdict::Taken);
            taken.extend(window.iter().map(&mut is_taken));
        }
        turn.end();
        Ok(taken)
    }

    fn ready<'a>(&self, event: &'a Event) -> Ready<'a> {
        let fits = (1..=LONGEST_KEY).contains(&event.kind.len());
        Ready { event, body: if fits { event.envelope(&self.source) } else { None } }
    }
}

impl Ready<'_> {
    fn outgoing<'a>(&'a self, exchange: &'a str) -> Option<Outgoing<'a>> {
        let properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(self.event.id().into());
        let body = self.body.as_deref()?;
        // Nobody need listen.
        Some(Outgoing { exchange, routing_key: &self.event.kind, mandatory: false, body, properties })
    }
}

impl Announcer for EventPublisher {
    fn announce<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<Vec<bool>, PublishError>> {
        Box::pin(async move { self.publish(events).await.map_err(|error| PublishError(error.0)) })
    }

    fn trouble(&self) -> Option<String> {
        self.outlet.blocked()
    }
}
