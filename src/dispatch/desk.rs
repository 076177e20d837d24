//! What all jobs share: the ports with their batches, the accounts' places on the wire, counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::batch::Batcher;
use super::health::Health;
use super::metrics::Metrics;
use super::ports::*;
use super::probes::Probes;
use super::recent::Recent;
use super::settings::Settings;
use super::trace::Tracer;
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
    /// Where spans go; none where traces are off.
    pub tracer: Option<Arc<dyn Tracer>>,
}

/// What an answer said about an account.
#[derive(Debug)]
pub(super) enum Notice {
    /// It cannot send, or everything is refused: it is paused.
    Faulty { account: usize, reason: String, refusals: bool },
    /// Its probe was taken: it resumes.
    Cured { account: usize },
}

impl Notice {
    fn account(&self) -> usize {
        match self {
            Notice::Faulty { account, .. } | Notice::Cured { account } => *account,
        }
    }
}

/// Notices in order. They outlive the session whose duty heeds them: one that is being committed when
/// Postgres takes that session along is committed by the next.
pub(super) struct Notices {
    sent: mpsc::UnboundedReceiver<Notice>,
    under_way: Option<Notice>,
}

impl Notices {
    /// The next one, until it is [`Notices::done`]. May be cancelled.
    pub async fn next(&mut self) -> Option<&Notice> {
        if self.under_way.is_none() {
            self.under_way = self.sent.recv().await;
        }
        self.under_way.as_ref()
    }

    /// It is committed.
    pub fn done(&mut self, desk: &Desk) {
        if let Some(notice) = self.under_way.take() {
            desk.unheeded[notice.account()].fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_none() && self.sent.is_empty()
    }
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
    pub(super) probes: Probes,
    /// A hint that there may be events to publish.
    pub(super) announced: Arc<Notify>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Jobs under way, so that a drain can wait for them.
    pub(super) tasks: TaskTracker,
    draining: AtomicBool,
    in_session: AtomicBool,
    /// Notices that are sent and not yet committed, an account each.
    unheeded: Vec<AtomicUsize>,
    /// Which accounts Postgres had as paused at the last look.
    paused: Vec<AtomicBool>,
    last_seq: AtomicI64,
    next_claim: AtomicI64,
}

impl Desk {
    /// Starts the batches. Returns with the desk what its accounts duty must heed.
    pub(super) fn new(settings: Settings, ports: Ports, metrics: Metrics, health: Arc<Health>) -> (Arc<Desk>, Notices) {
        let (notices, sent) = mpsc::unbounded_channel();
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
            probes: Probes::default(),
            recent: Recent::new(settings.retention, Instant::now()),
            announced,
            notices,
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            in_session: AtomicBool::new(false),
            unheeded: settings.accounts.iter().map(|_| AtomicUsize::new(0)).collect(),
            paused: settings.accounts.iter().map(|_| AtomicBool::new(false)).collect(),
            last_seq: AtomicI64::new(0),
            next_claim: AtomicI64::new(ports.chance.number()),
            settings,
            ports,
            metrics,
            health,
        };
        (Arc::new(desk), Notices { sent, under_way: None })
    }

    /// The tasks that run the batches.
    pub(super) fn batches(&self) -> [AbortHandle; 4] {
        [self.admissions.task(), self.readmissions.task(), self.records.task(), self.refusals.task()]
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

    /// Nobody who comes from now on stands before that place, also where this machine's clock is behind the
    /// one that gave it.
    pub(super) fn go_on_after(&self, seq: i64) {
        self.last_seq.fetch_max(seq, Ordering::Relaxed);
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

    /// Postgres has the account as paused, or does not.
    pub(super) fn saw_paused(&self, account: usize, paused: bool) {
        self.paused[account].store(paused, Ordering::Relaxed);
    }

    /// What was seen last.
    pub(super) fn is_seen_paused(&self, account: usize) -> bool {
        self.paused[account].load(Ordering::Relaxed)
    }

    /// Hands a notice to the accounts duty, which commits it.
    pub(super) fn notify(&self, notice: Notice) {
        // The receiver lives as long as the supervisor.
        let _ = self.notices.send(notice);
    }

    /// A notice will follow, for what has just changed in the pacer.
    pub(super) fn expect_notice(&self, account: usize) {
        self.unheeded[account].fetch_add(1, Ordering::SeqCst);
    }

    /// Until then, Postgres does not know of a pause of the account, or of its end, that is in force already.
    pub(super) fn notices_are_heeded(&self, account: usize) -> bool {
        self.unheeded[account].load(Ordering::SeqCst) == 0
    }

    pub(super) fn account_name(&self, account: usize) -> &str {
        &self.settings.accounts[account].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_notice_stays_until_it_is_committed() {
        let (send, sent) = mpsc::unbounded_channel();
        let mut notices = Notices { sent, under_way: None };
        send.send(Notice::Cured { account: 3 }).unwrap();
        // The session of the first look ends while Postgres is away.
        for _ in 0..2 {
            assert!(matches!(notices.next().await, Some(Notice::Cured { account: 3 })));
            assert!(!notices.is_empty());
        }
    }
}
