//! Refused messages are published again: for the API and for the command.

use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;

use crate::broker::{JobPublisher, Message};
use crate::store::Store;
use crate::store::operate::{Operator, RetryChoice};

/// For the broker to confirm. The messages are held meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes the next messages of `choice` behind `after`, up to `last`, at most `limit`. How many, and the last of
/// them; `None` where there are none left.
///
/// # Errors
/// When RabbitMQ does not confirm or Postgres does not answer. Any of the messages may have been published: nothing
/// is marked then, and they are chosen again the next time.
pub(crate) async fn publish_again(
    store: &Store,
    publisher: &JobPublisher,
    by: &Operator,
    choice: &RetryChoice,
    (after, last): (i64, i64),
    limit: u32,
) -> anyhow::Result<Option<(usize, i64)>> {
    let batch = store.hold_rejections(choice, after, last, limit).await?;
    let Some(end) = batch.rejections.last().map(|rejection| rejection.summary.id) else { return Ok(None) };
    let message = |one: &crate::store::query::RejectionInfo| Message::again(one.body.clone(), one.properties.get());
    let messages: Vec<Message> = batch.rejections.iter().map(message).collect();
    timeout(PATIENCE, publisher.publish(&messages))
        .await
        .with_context(|| format!("RabbitMQ has not confirmed within {} s: try again", PATIENCE.as_secs()))??;
    batch.mark(by).await?;
    Ok(Some((messages.len(), end)))
}
