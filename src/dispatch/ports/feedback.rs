//! Postgres, for what ihuyi says afterwards.

use std::sync::Arc;

use super::{Boxed, LedgerError};
use crate::domain::job::State;
use crate::domain::receipt::Receipt;
use crate::domain::review::Review;
use crate::domain::uplink::Uplink;

/// A job that a receipt has brought to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its account.
    pub account: String,
    /// Delivered or undelivered.
    pub state: State,
    /// The receipt's code.
    pub code: Option<i64>,
}

/// What became of a batch of receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// For each receipt in order: it was new. Of two alike in one batch both may be.
    pub new: Vec<bool>,
    /// The jobs that they have brought to their end.
    pub ended: Vec<Ended>,
}

/// Postgres, for what ihuyi says afterwards, in batches like those of [`Ledger`](super::Ledger).
pub trait Feedback: Send + Sync + 'static {
    /// Keeps receipts, and with each the job that has its smsid. The first receipt of an accepted job
    /// is final; later ones are kept and change nothing.
    fn receive<'a>(&'a self, rows: &'a [Arc<Receipt>]) -> Boxed<'a, Result<Received, LedgerError>>;
    /// Keeps replies, and with each the last job that went to its number; a number whose person wants
    /// no more is suppressed. False where it was known.
    fn hear<'a>(&'a self, rows: &'a [Arc<Uplink>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>>;
    /// Keeps reviews of templates, of several of one template the last. False where nothing changed by it.
    fn review<'a>(&'a self, rows: &'a [Arc<Review>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>>;
}
