//! Jobs on their way into the queues.

use std::borrow::Borrow;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use secrecy::SecretString;

use super::BrokerError;
use super::outlet::{Outgoing, Outlet, PERSISTENT, Verdict, WINDOW};
use super::properties::{self, BOUND, PUBLISHED_MS, REJECTION, RELEASED, TRACEPARENT};
use crate::dispatch::ports::{Boxed, PublishError, Publisher, Released, Retry};
use crate::domain::job::Job;
use crate::domain::message::{self, Properties};

/// A job message, ready to be published.
#[derive(Clone, Debug)]
pub struct Message {
    body: Vec<u8>,
    properties: Properties,
    /// The place in the order of arrival of a job that is released.
    seq: Option<i64>,
    /// Of a released job: no other account may send it.
    bound: bool,
    /// Of a message that was refused before: its rejection.
    rejection: Option<i64>,
}

impl Message {
    /// The message of a valid job.
    pub fn of(job: &Job) -> Self {
        // The id stands beside the body too, for whoever looks at the queue.
        let properties = Properties { message_id: Some(job.id.clone()), ..message::properties(job) };
        Message::plain(message::encode(job), properties)
    }

    /// Anything, as it is: the daemon will judge it. `routing_key` has at most 255 bytes.
    pub fn unchecked(body: Vec<u8>, routing_key: &str, published_ms: i64) -> Self {
        let properties = Properties {
            routing_key: routing_key.to_owned(),
            timestamp_ms: Some(published_ms),
            ..Properties::default()
        };
        Message::plain(body, properties)
    }

    fn plain(body: Vec<u8>, properties: Properties) -> Self {
        Message { body, properties, seq: None, bound: false, rejection: None }
    }

    /// What was refused, as it came; but what stands for a NUL in Postgres is longer, and no short string may grow.
    /// Nothing that long is an id, or a trace.
    fn again(retry: &Retry) -> Self {
        let mut properties = properties::of_description(&retry.properties);
        shorten(&mut properties.routing_key);
        properties.message_id.iter_mut().for_each(shorten);
        properties.traceparent.take_if(|trace| trace.len() > LONGEST);
        Message { rejection: Some(retry.rejection), ..Message::plain(retry.body.clone(), properties) }
    }

    fn outgoing<'a>(&'a self, exchange: &'a str) -> Outgoing<'a> {
        let Properties { message_id, routing_key, timestamp_ms, traceparent } = &self.properties;
        let mut headers = FieldTable::default();
        if let Some(ms) = timestamp_ms {
            headers.insert(PUBLISHED_MS.into(), AMQPValue::LongLongInt(*ms));
        }
        if let Some(traceparent) = traceparent {
            headers.insert(TRACEPARENT.into(), AMQPValue::LongString(traceparent.as_str().into()));
        }
        if let Some(seq) = self.seq {
            headers.insert(RELEASED.into(), AMQPValue::LongLongInt(seq));
        }
        if self.bound {
            headers.insert(BOUND.into(), AMQPValue::LongLongInt(1));
        }
        if let Some(rejection) = self.rejection {
            headers.insert(REJECTION.into(), AMQPValue::LongLongInt(rejection));
        }
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers);
        if let Some(id) = message_id {
            properties = properties.with_message_id(id.as_str().into());
        }
        Outgoing { exchange, routing_key, mandatory: true, body: &self.body, properties }
    }
}

/// The longest short string of AMQP, in bytes.
const LONGEST: usize = 255;

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(LONGEST));
}

/// A publisher of jobs, with a connection of its own that is made anew when it breaks.
pub struct JobPublisher {
    outlet: Outlet,
    exchange: String,
}

impl JobPublisher {
    /// A publisher that connects when it is first used.
    pub fn new(url: &SecretString, prefix: &str) -> Self {
        let outlet = Outlet::new(url, prefix, "publisher");
        let exchange = outlet.topology().jobs();
        JobPublisher { outlet, exchange }
    }

    /// A publisher that is connected.
    pub async fn connect(url: &SecretString, prefix: &str) -> Result<Self, PublishError> {
        let publisher = Self::new(url, prefix);
        publisher.outlet.turn().await.map_err(publish_error)?.end();
        Ok(publisher)
    }

    /// Publishes messages in order; returns when the broker has confirmed all. After an error any of
    /// them may or may not have arrived: publishing them again is safe, as their ids make them
    /// repeats. While RabbitMQ blocks publishers that is an error at once; a release waits.
    pub async fn publish(&self, messages: &[Message]) -> Result<(), PublishError> {
        match self.outlet.blocked() {
            Some(reason) => Err(PublishError(reason)),
            None => self.publish_all(messages.iter()).await,
        }
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.outlet.close().await;
    }

    /// One that a queue refuses says nothing about the others.
    async fn publish_again(&self, messages: &[Retry]) -> Result<Vec<bool>, PublishError> {
        if let Some(reason) = self.outlet.blocked() {
            return Err(PublishError(reason));
        }
        let mut turn = self.outlet.turn().await.map_err(publish_error)?;
        let mut taken = Vec::with_capacity(messages.len());
        for window in messages.chunks(WINDOW) {
            let window: Vec<Message> = window.iter().map(Message::again).collect();
            match turn.window(window.iter().map(|message| message.outgoing(&self.exchange))).await {
                Ok(verdicts) => taken.extend(verdicts.into_iter().map(|verdict| verdict == Verdict::Taken)),
                Err(error) => {
                    turn.abandon().await;
                    return Err(publish_error(error));
                }
            }
        }
        turn.end();
        Ok(taken)
    }

    /// Here as well: one queue that is full must not keep what goes to the others.
    async fn publish_all<M: Borrow<Message>>(&self, messages: impl Iterator<Item = M>) -> Result<(), PublishError> {
        let mut turn = self.outlet.turn().await.map_err(publish_error)?;
        let mut messages = messages.peekable();
        let mut verdicts = Vec::new();
        while messages.peek().is_some() {
            let window: Vec<M> = messages.by_ref().take(WINDOW).collect();
            let outgoing = window.iter().map(|message| message.borrow().outgoing(&self.exchange));
            match turn.window(outgoing).await {
                Ok(of_window) => verdicts.extend(of_window),
                Err(error) => {
                    turn.abandon().await;
                    return Err(publish_error(error));
                }
            }
        }
        turn.end();
        all_taken(&verdicts)
    }
}

fn all_taken(verdicts: &[Verdict]) -> Result<(), PublishError> {
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let (unroutable, refused, all) = (count(Verdict::Unroutable), count(Verdict::Refused), verdicts.len());
    match (unroutable, refused) {
        (0, 0) => Ok(()),
        (0, _) => Err(PublishError(format!("{refused} of {all} were refused: a queue is full or has no leader"))),
        (_, _) => Err(PublishError(format!("no queue takes {unroutable} of {all}"))),
    }
}

impl Publisher for JobPublisher {
    fn release<'a>(&'a self, jobs: &'a [Released]) -> Boxed<'a, Result<(), PublishError>> {
        let message =
            |Released { job, seq, bound }: &Released| Message { seq: Some(*seq), bound: *bound, ..Message::of(job) };
        let messages = jobs.iter().map(message);
        Box::pin(self.publish_all(messages))
    }

    fn again<'a>(&'a self, messages: &'a [Retry]) -> Boxed<'a, Result<Vec<bool>, PublishError>> {
        Box::pin(self.publish_again(messages))
    }

    fn described(&self, properties: &str) -> Properties {
        properties::of_description(properties)
    }

    fn look(&self) -> Boxed<'_, Result<(), PublishError>> {
        Box::pin(async { self.outlet.look().await.map_err(publish_error) })
    }

    fn trouble(&self) -> Option<String> {
        self.outlet.blocked()
    }
}

fn publish_error(error: BrokerError) -> PublishError {
    PublishError(error.0)
}
