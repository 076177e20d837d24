//! What ihuyi pushes afterwards: receipts, replies and reviews of templates, committed in groups. Open in every process from
//! its start to the end of its drain, a standby included.
//!
//! A push is answered only once it is committed. When Postgres is away it is refused in time, so that
//! ihuyi pushes again; the row may still be committed later, and then the next push is its repeat.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::batch::{Batcher, Refused};
use super::health::Health;
use super::metrics::Metrics;
use super::ports::{Boxed, Feedback, LedgerError};
use crate::domain::fields::{BadField, Fields};
use crate::domain::job::Timestamp;
use crate::domain::receipt::Receipt;
use crate::domain::review::Review;
use crate::domain::uplink::{OptOut, Uplink};

/// Pushes in memory; more are refused at once. One has 16 KiB at most, and far less in practice.
const ROOM: usize = 2_000;
/// How long a push may wait for its commit. What ihuyi's own limit is, nobody publishes.
const PATIENCE: Duration = Duration::from_secs(3);
/// Statements at a time, of all kinds together: a flood leaves the other connections to sending.
const AT_ONCE: usize = 2;

/// Why a push is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// A field is missing or bad: pushing again does not help.
    #[error(transparent)]
    Bad(#[from] BadField),
    /// Postgres is away or too slow: push again later.
    #[error("the database is away: push again later")]
    Later,
    /// Postgres refuses it, whatever is tried.
    #[error("the database refuses it")]
    Refused,
}

/// A row that counts among those in memory as long as it is there.
struct Row<T> {
    value: Arc<T>,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Row { value: self.value.clone(), _place: self._place.clone() }
    }
}

/// Takes what ihuyi pushes.
pub struct Inbox {
    receipts: Batcher<Row<Receipt>, ()>,
    replies: Batcher<Row<Uplink>, ()>,
    reviews: Batcher<Row<Review>, ()>,
    room: Arc<Semaphore>,
    opt_out: OptOut,
}

impl Inbox {
    /// Starts the batches. `opt_out`: the words by which a number is suppressed.
    pub fn start(feedback: Arc<dyn Feedback>, metrics: Metrics, health: Arc<Health>, opt_out: OptOut) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let store = Arc::new(Committer { feedback, metrics: metrics.clone(), turns });
        let (receipts, replies, reviews) = (store.clone(), store.clone(), store);
        Inbox {
            receipts: Batcher::start(
                "receive",
                metrics.clone(),
                health.clone(),
                move |rows: Arc<Vec<Row<Receipt>>>| {
                    let store = receipts.clone();
                    Box::pin(async move { store.receive(&values(&rows)).await }) as Boxed<'static, _>
                },
            ),
            replies: Batcher::start("hear", metrics.clone(), health.clone(), move |rows: Arc<Vec<Row<Uplink>>>| {
                let store = replies.clone();
                Box::pin(async move { store.hear(&values(&rows)).await }) as Boxed<'static, _>
            }),
            reviews: Batcher::start("review", metrics, health, move |rows: Arc<Vec<Row<Review>>>| {
                let store = reviews.clone();
                Box::pin(async move { store.review(&values(&rows)).await }) as Boxed<'static, _>
            }),
            room: Arc::new(Semaphore::new(ROOM)),
            opt_out,
        }
    }

    /// The tasks without which it takes nothing.
    pub fn vital(&self) -> [AbortHandle; 3] {
        [self.receipts.task(), self.replies.task(), self.reviews.task()]
    }

    /// Commits a receipt, or finds that it is known.
    ///
    /// # Errors
    /// When it cannot be read, or not be committed within 3 s.
    pub async fn receipt(&self, fields: &Fields) -> Result<(), NotKept> {
        self.commit(&self.receipts, Receipt::read(fields)?).await
    }

    /// Commits a reply that came at `now`, or finds that it is known.
    ///
    /// # Errors
    /// When it cannot be read, or not be committed within 3 s.
    pub async fn reply(&self, fields: &Fields, now: Timestamp) -> Result<(), NotKept> {
        self.commit(&self.replies, Uplink::read(fields, &self.opt_out, now)?).await
    }

    /// Commits the review of a template.
    ///
    /// # Errors
    /// When it cannot be read, or not be committed within 3 s.
    pub async fn review(&self, fields: &Fields) -> Result<(), NotKept> {
        self.commit(&self.reviews, Review::read(fields)?).await
    }

    async fn commit<T: Send + Sync + 'static>(&self, rows: &Batcher<Row<T>, ()>, value: T) -> Result<(), NotKept> {
        let place = self.room.clone().try_acquire_owned().map_err(|_| NotKept::Later)?;
        let row = Row { value: Arc::new(value), _place: Arc::new(place) };
        match timeout(PATIENCE, rows.commit(row)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refused(_))) => Err(NotKept::Refused),
            Err(_) => Err(NotKept::Later),
        }
    }
}

fn values<T>(rows: &[Row<T>]) -> Vec<Arc<T>> {
    rows.iter().map(|row| row.value.clone()).collect()
}

/// Runs the statements, and counts what is new.
struct Committer {
    feedback: Arc<dyn Feedback>,
    metrics: Metrics,
    turns: Arc<Semaphore>,
}

impl Committer {
    async fn receive(&self, rows: &[Arc<Receipt>]) -> Result<Vec<()>, LedgerError> {
        // Never closed, so there is always a turn.
        let _turn = self.turns.acquire().await;
        let received = self.feedback.receive(rows).await?;
        for (row, _) in rows.iter().zip(received.new).filter(|(_, new)| *new) {
            self.metrics.receipt(row.code);
        }
        received.ended.iter().for_each(|job| self.metrics.finished(&job.account, job.state, job.code, 1));
        Ok(vec![(); rows.len()])
    }

    async fn hear(&self, rows: &[Arc<Uplink>]) -> Result<Vec<()>, LedgerError> {
        let _turn = self.turns.acquire().await;
        let new = self.feedback.hear(rows).await?;
        self.metrics.replies.inc_by(new.iter().filter(|new| **new).count() as u64);
        Ok(vec![(); rows.len()])
    }

    async fn review(&self, rows: &[Arc<Review>]) -> Result<Vec<()>, LedgerError> {
        let _turn = self.turns.acquire().await;
        let changed = self.feedback.review(rows).await?;
        for (row, _) in rows.iter().zip(changed).filter(|(_, changed)| *changed) {
            let (template, message) = (&row.id, row.message.as_deref().unwrap_or_default());
            match row.is_approved() {
                true => info!(template, "ihuyi has approved a template"),
                false => warn!(template, message, code = row.code, "ihuyi has refused a template"),
            }
        }
        Ok(vec![(); rows.len()])
    }
}
