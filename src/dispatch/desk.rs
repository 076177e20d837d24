//! What all jobs share: the ports with their batches, the accounts' places on the wire, counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::batch::Batcher;
use super::health::Health;
use super::metrics::Metrics;
use super::ports::*;
use super::recent::Recent;
use super::settings::Settings;
use crate::domain::job::Timestamp;

/// The outside.
#[derive(Clone)]
pub struct Ports {
    /// Postgres, for the path of a job.
    pub ledger: Arc<dyn Ledger>,
    /// Postgres, for the duties.
    pub upkeep: Arc<dyn Upkeep>,
    /// RabbitMQ, for released jobs.
    pub publisher: Arc<dyn Publisher>,
    /// Postgres, for events that are not published yet.
    pub outbox: Arc<dyn Outbox>,
    /// RabbitMQ, for events.
    pub announcer: Arc<dyn Announcer>,
    /// RabbitMQ, for what arrives.
    pub source: Arc<dyn Source>,
    /// The right to serve a shard.
    pub lease: Arc<dyn Lease>,
    /// ihuyi.
    pub gateway: Arc<dyn Gateway>,
    /// The wall clock, and chance.
    pub chance: Arc<dyn Chance>,
}

/// What an answer said about an account.
#[derive(Debug)]
pub(super) enum Notice {
    /// It cannot send, or everything is refused: it is paused.
    Faulty { account: usize, reason: String, refusals: bool },
    /// Its probe was taken: it resumes.
    Cured { account: usize },
}

/// Outlives sessions: what is on the wire when a session ends is still recorded.
pub struct Desk {
    pub(super) settings: Settings,
    pub(super) ports: Ports,
    pub(super) metrics: Metrics,
    pub(super) health: Arc<Health>,
    pub(super) admissions: Batcher<Admission, Admitted>,
    pub(super) readmissions: Batcher<Readmission, Readmitted>,
    pub(super) records: Batcher<Record, bool>,
    pub(super) refusals: Batcher<Refusal, ()>,
    /// Requests on the wire, an account each; shared by all sessions.
    pub(super) wires: Vec<Semaphore>,
    /// Who departs next, an account each: the mutex is fair, while sleepers that all wake for one token
    /// take it at random, and some wait for long.
    pub(super) departures: Vec<Mutex<()>>,
    /// Message parts that were accepted since the start, an account each.
    pub(super) parts: Vec<AtomicU64>,
    pub(super) recent: Recent,
    /// A hint that there may be events to publish.
    pub(super) announced: Arc<Notify>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Jobs under way, so that a drain can wait for them.
    pub(super) tasks: TaskTracker,
    draining: AtomicBool,
    in_session: AtomicBool,
    /// Notices that are sent and not yet committed.
    unheeded: AtomicUsize,
    last_seq: AtomicI64,
    next_claim: AtomicI64,
}

impl Desk {
    /// Starts the batches. Returns with the desk what its accounts duty must heed.
    pub(super) fn new(
        settings: Settings,
        ports: Ports,
        metrics: Metrics,
        health: Arc<Health>,
    ) -> (Arc<Desk>, mpsc::UnboundedReceiver<Notice>) {
        let (notices, heeded) = mpsc::unbounded_channel();
        let ledger = || ports.ledger.clone();
        let (admit, readmit, record, refuse) = (ledger(), ledger(), ledger(), ledger());
        let announced = Arc::new(Notify::new());
        let recorded = announced.clone();
        let desk = Desk {
            admissions: Batcher::start("admit", metrics.clone(), health.clone(), move |rows: Arc<Vec<Admission>>| {
                let ledger = admit.clone();
                Box::pin(async move { ledger.admit(&rows).await }) as Boxed<'static, _>
            }),
            readmissions: Batcher::start(
                "readmit",
                metrics.clone(),
                health.clone(),
                move |rows: Arc<Vec<Readmission>>| {
                    let ledger = readmit.clone();
                    Box::pin(async move { ledger.readmit(&rows).await }) as Boxed<'static, _>
                },
            ),
            records: Batcher::start("record", metrics.clone(), health.clone(), move |rows: Arc<Vec<Record>>| {
                let (ledger, recorded) = (record.clone(), recorded.clone());
                Box::pin(async move { ledger.record(&rows).await.inspect(|_| recorded.notify_one()) })
                    as Boxed<'static, _>
            }),
            refusals: Batcher::start("refuse", metrics.clone(), health.clone(), move |rows: Arc<Vec<Refusal>>| {
                let ledger = refuse.clone();
                Box::pin(async move { ledger.refuse(&rows).await }) as Boxed<'static, _>
            }),
            wires: settings.accounts.iter().map(|a| Semaphore::new(a.pace.max_in_flight as usize)).collect(),
            departures: settings.accounts.iter().map(|_| Mutex::new(())).collect(),
            parts: settings.accounts.iter().map(|_| AtomicU64::new(0)).collect(),
            recent: Recent::default(),
            announced,
            notices,
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            in_session: AtomicBool::new(false),
            unheeded: AtomicUsize::new(0),
            last_seq: AtomicI64::new(0),
            next_claim: AtomicI64::new(ports.chance.number()),
            settings,
            ports,
            metrics,
            health,
        };
        (Arc::new(desk), heeded)
    }

    /// The wall clock.
    pub(super) fn now(&self) -> Timestamp {
        self.ports.chance.now()
    }

    /// 0.0 to 1.0.
    pub(super) fn jitter(&self) -> f64 {
        // 53 random bits fill the fraction of an `f64`.
        (self.ports.chance.number() as u64 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next place in the order of arrival: microseconds of the wall clock, never twice the same
    /// and never backwards.
    pub(super) fn next_seq(&self) -> i64 {
        let now = self.now().timestamp_micros();
        let next = |last: i64| Some(now.max(last + 1));
        match self.last_seq.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(last) | Err(last) => now.max(last + 1),
        }
    }

    /// Unique among all processes that could meet in Postgres.
    pub(super) fn next_claim(&self) -> i64 {
        self.next_claim.fetch_add(1, Ordering::Relaxed)
    }

    /// No new attempt begins from now on.
    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether a consuming session is open.
    pub(super) fn in_session(&self) -> bool {
        self.in_session.load(Ordering::SeqCst)
    }

    pub(super) fn enter_session(&self, open: bool) {
        self.in_session.store(open, Ordering::SeqCst);
    }

    /// Hands a notice to the accounts duty, which commits it.
    pub(super) fn notify(&self, notice: Notice) {
        // The receiver lives as long as the supervisor.
        let _ = self.notices.send(notice);
    }

    /// A notice will follow, for what has just changed in the pacer.
    pub(super) fn expect_notice(&self) {
        self.unheeded.fetch_add(1, Ordering::SeqCst);
    }

    /// A notice is committed.
    pub(super) fn heeded(&self) {
        self.unheeded.fetch_sub(1, Ordering::SeqCst);
    }

    /// Until then, Postgres does not know of a pause that is in force already.
    pub(super) fn notices_are_heeded(&self) -> bool {
        self.unheeded.load(Ordering::SeqCst) == 0
    }

    pub(super) fn account_name(&self, account: usize) -> &str {
        &self.settings.accounts[account].name
    }
}
