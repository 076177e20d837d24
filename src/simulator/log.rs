//! What the simulator remembers of its traffic.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// One submit request, right or wrong, in the order they were read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Submission {
    /// 1 for the first.
    pub seq: u64,
    /// When it was read, in Unix seconds.
    pub at: f64,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// `xml` or `json`: what the reply is written in.
    pub format: &'static str,
    /// The parameters as decoded; what is no UTF-8 is replaced by U+FFFD.
    pub account: String,
    /// The number as sent.
    pub mobile: String,
    /// The text as sent.
    pub content: String,
    /// The template as sent; empty without one.
    pub templateid: String,
    /// The time as sent; empty without one.
    pub time: String,
    /// The code that was judged, whether or not the client got to see it; `None` where a fault or a script
    /// came before any judgement.
    pub code: Option<i64>,
    /// The serial number of an accepted message, else `0`.
    pub smsid: String,
    /// What the client got instead of the reply: `hang`, `reset`, `close`, `cut`, `raw` or `garbage`.
    pub fault: Option<&'static str>,
    /// Which connection it came by; 1 for the first.
    pub connection: u64,
}

/// Totals since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Submits read.
    pub submissions: u64,
    /// Submits by the code judged.
    pub codes: BTreeMap<i64, u64>,
    /// Submits by the fault that struck them.
    pub faults: BTreeMap<&'static str, u64>,
    /// Balance queries read.
    pub balance_queries: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections closed before their next request was read.
    pub reset_before: u64,
    /// Parts billed.
    pub parts: u64,
    /// Tries to push a receipt or a reply.
    pub pushes: u64,
    /// Pushes answered `success`.
    pub pushes_taken: u64,
    /// Pushes given up after the last try.
    pub pushes_given_up: u64,
}

/// The newest submissions, up to a capacity.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Submission>,
    capacity: usize,
}

impl Log {
    /// A log that keeps `capacity` entries; none for 0.
    pub fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity }
    }

    /// Whether anything is kept at all, so that an entry need not be built for nothing.
    pub fn is_on(&self) -> bool {
        self.capacity > 0
    }

    /// Keeps one more and drops the oldest where the log is full.
    pub fn push(&mut self, entry: Submission) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Copies the entries after `seq`.
    pub fn after(&self, seq: u64) -> Vec<Submission> {
        self.entries.iter().filter(|entry| entry.seq > seq).cloned().collect()
    }
}
