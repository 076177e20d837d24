//! ihuyi's gateway.

use tokio::time::Instant;

use super::Boxed;
use crate::domain::job::{Payload, Timestamp};
use crate::domain::mobile::Mobile;
use crate::domain::verdict::Reply;

/// The gateway.
pub trait Gateway: Send + Sync + 'static {
    /// Submits one message of an account (by its index), signed for `now`.
    fn submit<'a>(
        &'a self,
        account: usize,
        mobile: Mobile,
        payload: &'a Payload,
        now: Timestamp,
    ) -> Boxed<'a, Submitted>;
    /// Asks for the account's balance.
    fn balance(&self, account: usize, now: Timestamp) -> Boxed<'_, Balance>;
}

/// A request, and what came back.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// What came back.
    pub reply: Reply,
    /// When the request's first byte was on its way, where that is known: connecting comes before.
    pub left_at: Option<Instant>,
}

/// The answer to a balance query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Messages left.
    Left(i64),
    /// The gateway refuses, with this code.
    Refused(i64),
    /// No answer that can be read.
    Unreachable(String),
}
