//! A publisher as the README asks for: persistent, confirmed, and what is not confirmed is published
//! again under the same id.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

/// Publishes that wait for their confirm at a time.
const WINDOW: usize = 500;
/// A broker that is gone for longer than this does not come back.
const PATIENCE: Duration = Duration::from_secs(120);
/// A confirm that takes longer will not come.
const CONFIRM: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What is published.
#[derive(Clone, Debug)]
pub struct Message {
    key: String,
    body: Vec<u8>,
}

impl Message {
    /// Any body, under the key that the contract asks for.
    pub fn new(priority: &str, mobile: &str, body: impl Into<Vec<u8>>) -> Self {
        Message { key: format!("{priority}.{mobile}"), body: body.into() }
    }
}

/// Publishes to one exchange.
pub struct Publisher {
    url: String,
    exchange: String,
    open: Option<(Connection, Channel)>,
    sent_again: usize,
}

impl Publisher {
    /// One that connects when it is first used.
    pub fn new(url: &str, exchange: String) -> Self {
        Publisher { url: url.to_owned(), exchange, open: None, sent_again: 0 }
    }

    /// Publishes in order, and returns when the broker has confirmed all of them.
    ///
    /// # Errors
    /// When the broker stays away.
    pub async fn publish(&mut self, messages: &[&Message]) -> anyhow::Result<()> {
        for window in messages.chunks(WINDOW) {
            let mut left = window.to_vec();
            let begun = Instant::now();
            while !left.is_empty() {
                let tried = self.try_window(&left).await;
                match tried {
                    Ok(refused) => left = refused,
                    Err(error) if begun.elapsed() > PATIENCE => return Err(error.context("publishing")),
                    Err(_) => {
                        // Without a connection nothing was sent.
                        self.sent_again += if self.open.take().is_some() { left.len() } else { 0 };
                    }
                }
                if !left.is_empty() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// How many messages may have come twice because their confirm was lost.
    pub fn sent_again(&self) -> usize {
        self.sent_again
    }

    /// Returns those that the broker did not take.
    async fn try_window<'a>(&mut self, window: &[&'a Message]) -> anyhow::Result<Vec<&'a Message>> {
        if self.open.is_none() {
            self.open = Some(self.connect().await?);
        }
        let (_, channel) = self.open.as_ref().context("not connected")?;
        let mut confirms = Vec::with_capacity(window.len());
        for message in window {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties =
                BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
            let (exchange, key) = (self.exchange.as_str().into(), message.key.as_str().into());
            confirms.push(channel.basic_publish(exchange, key, options, &message.body, properties).await?);
        }
        let mut refused = Vec::new();
        for (message, confirm) in window.iter().zip(confirms) {
            match tokio::time::timeout(CONFIRM, confirm).await.context("no confirm")?? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => bail!("a message has no queue"),
                _ => refused.push(*message),
            }
        }
        Ok(refused)
    }

    async fn connect(&self) -> anyhow::Result<(Connection, Channel)> {
        dispatcher::tls::install();
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((connection, channel))
    }
}
