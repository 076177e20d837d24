//! Group commit: what gathered while the last batch was under way goes next. An idle system answers
//! at once, and a busy one pays one commit for many jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::health::{Health, Part};
use super::metrics::Metrics;
use super::ports::{Boxed, LedgerError};

/// Rows in one statement at most.
const MAX_ROWS: usize = 1_000;
/// First pause after a failure; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Postgres refuses this one row, whatever is tried.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

type Waiter<O> = oneshot::Sender<Result<O, Refused>>;

/// One kind of statement, in batches.
pub struct Batcher<I, O> {
    rows: mpsc::UnboundedSender<(I, Waiter<O>)>,
    task: AbortHandle,
}

/// Runs a batch: one answer a row, in order.
pub trait Run<I, O>: Fn(Arc<Vec<I>>) -> Boxed<'static, Result<Vec<O>, LedgerError>> + Send + Sync + 'static {}

impl<I, O, F> Run<I, O> for F where
    F: Fn(Arc<Vec<I>>) -> Boxed<'static, Result<Vec<O>, LedgerError>> + Send + Sync + 'static
{
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the task that runs the batches; it ends when the batcher is dropped and all is done.
    pub fn start(statement: &'static str, metrics: Metrics, health: Arc<Health>, run: impl Run<I, O>) -> Self {
        let (rows, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(work(Worker { statement, metrics, health, run }, receiver)).abort_handle();
        Batcher { rows, task }
    }

    /// The task that runs the batches. When it ends while somebody could still commit, it has panicked, and the process
    /// must end.
    pub fn task(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Commits `row` with whatever else is there; waits as long as Postgres is away. The number of
    /// rows that wait is bounded by the messages in memory. Once [`Batcher::task`] has ended there is no answer any
    /// more: nobody refused the row, and its message must be left as it is.
    pub async fn commit(&self, row: I) -> Result<O, Refused> {
        let (answer, answered) = oneshot::channel();
        // What cannot be sent is dropped, and with it the promise of an answer.
        let _ = self.rows.send((row, answer));
        match answered.await {
            Ok(outcome) => outcome,
            Err(_) => std::future::pending().await,
        }
    }
}

struct Worker<R> {
    statement: &'static str,
    metrics: Metrics,
    health: Arc<Health>,
    run: R,
}

/// When batches begin.
///
/// The first row of an idle system goes at once. While a batch is under way a second one may begin,
/// so that one commit computes while the other flushes: with enough rows, or with one that would
/// wait too long. Under load a batch begins no sooner than [`GATHER`] after the one before it: more
/// rows share a commit, and nobody waits who would not wait in a queue anyway.
#[derive(Debug, Default)]
struct Rhythm {
    running: usize,
    /// When the last batch began, and with how many rows.
    last: Option<(Instant, usize)>,
}

/// Batches of one kind under way at a time.
const AT_ONCE: usize = 2;
/// So many rows in the last batch are load.
const LOAD: usize = 8;
const GATHER: Duration = Duration::from_millis(10);
/// So many rows may go beside a batch that is under way.
const ENOUGH: usize = 32;
/// Or one that has waited so long.
const LONG: Duration = Duration::from_millis(3);

impl Rhythm {
    /// When a batch of `rows` may begin, of which the oldest came at `since`. `None`: after one of
    /// those under way.
    fn begin_at(&self, rows: usize, since: Instant) -> Option<Instant> {
        if rows == 0 || self.running >= AT_ONCE {
            return None;
        }
        let gathered = match self.last {
            Some((began, rows)) if rows >= LOAD => began + GATHER,
            _ => since,
        };
        let waited = if self.running == 0 || rows >= ENOUGH { since } else { since + LONG };
        Some(gathered.max(waited))
    }
}

async fn work<I, O, R>(worker: Worker<R>, mut receiver: mpsc::UnboundedReceiver<(I, Waiter<O>)>)
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    R: Run<I, O>,
{
    let worker = Arc::new(worker);
    let mut rhythm = Rhythm::default();
    let mut running = JoinSet::new();
    let mut gathered = Vec::new();
    let mut since = Instant::now();
    let mut open = true;
    while open || !gathered.is_empty() || !running.is_empty() {
        let begin_at = rhythm.begin_at(gathered.len(), since);
        let begin = sleep_until(begin_at.unwrap_or(since));
        let (was_empty, space) = (gathered.is_empty(), MAX_ROWS - gathered.len());
        tokio::select! {
            biased;
            Some(ended) = running.join_next(), if !running.is_empty() => {
                rhythm.running -= 1;
                // Nobody can tell which row it was: the process ends, and the broker counts who was there each time.
                if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                    std::panic::resume_unwind(panic);
                }
            }
            // All that is there already joins the batch before it begins.
            rows = receiver.recv_many(&mut gathered, space), if open && space > 0 => {
                open = rows > 0;
                if was_empty {
                    since = Instant::now();
                }
            }
            () = begin, if begin_at.is_some() => {
                rhythm.last = Some((Instant::now(), gathered.len()));
                rhythm.running += 1;
                running.spawn(settle(worker.clone(), std::mem::take(&mut gathered)));
            }
        }
    }
}

async fn settle<I, O, R>(worker: Arc<Worker<R>>, batch: Vec<(I, Waiter<O>)>)
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    R: Run<I, O>,
{
    let (rows, waiters): (Vec<I>, Vec<Waiter<O>>) = batch.into_iter().unzip();
    worker.metrics.batch_rows.with_label_values(&[worker.statement]).observe(rows.len() as f64);
    worker.settle(rows, waiters).await;
}

impl<R> Worker<R> {
    /// Runs a batch to its end. If Postgres refuses it, halves are tried, until the row at fault
    /// stands alone: one bad row never holds up the others.
    async fn settle<I, O>(&self, rows: Vec<I>, waiters: Vec<Waiter<O>>)
    where
        I: Clone + Send + Sync + 'static,
        O: Send + 'static,
        R: Run<I, O>,
    {
        let mut work = vec![(rows, waiters)];
        while let Some((rows, mut waiters)) = work.pop() {
            let rows = Arc::new(rows);
            match self.persist(&rows).await {
                Ok(answers) => {
                    // Nobody listens where a session ended meanwhile.
                    waiters.into_iter().zip(answers).for_each(|(waiter, answer)| drop(waiter.send(Ok(answer))));
                }
                Err(refused) if rows.len() == 1 => {
                    error!(statement = self.statement, %refused, "Postgres refuses a row");
                    waiters.into_iter().for_each(|waiter| drop(waiter.send(Err(refused.clone()))));
                }
                Err(_) => {
                    let half = rows.len() / 2;
                    let later = waiters.split_off(half);
                    work.push((rows[half..].to_vec(), later));
                    work.push((rows[..half].to_vec(), waiters));
                }
            }
        }
    }

    /// Tries until Postgres has answered.
    async fn persist<I, O>(&self, rows: &Arc<Vec<I>>) -> Result<Vec<O>, Refused>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
        R: Run<I, O>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let outcome = (self.run)(rows.clone()).await;
            self.metrics.batch_seconds.with_label_values(&[self.statement]).observe(begun.elapsed().as_secs_f64());
            match outcome {
                Ok(answers) => {
                    if self.health.up(Part::Statement(self.statement)) {
                        info!(statement = self.statement, rows = rows.len(), "Postgres is back");
                    }
                    return Ok(answers);
                }
                Err(LedgerError::Refused(why)) => {
                    self.health.up(Part::Statement(self.statement));
                    return Err(Refused(why));
                }
                Err(LedgerError::Unavailable(why)) => {
                    let reason = format!("statement {} waits: {why}", self.statement);
                    if self.health.down(Part::Statement(self.statement), reason) {
                        warn!(statement = self.statement, rows = rows.len(), why, "a batch waits for Postgres");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_gathers_goes_together() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let noted = sizes.clone();
        let batcher = Arc::new(Batcher::start("test", Metrics::new(), Arc::default(), move |rows: Arc<Vec<u32>>| {
            noted.lock().unwrap().push(rows.len());
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(rows.iter().map(|row| row * 2).collect::<Vec<_>>())
            }) as Boxed<'static, _>
        }));
        let answers = futures_util::future::join_all((0..1_500).map(|row| batcher.commit(row))).await;
        assert!(answers.into_iter().enumerate().all(|(row, answer)| answer.unwrap() == row as u32 * 2));
        assert_eq!(*sizes.lock().unwrap(), [1_000, 500]);
    }

    #[test]
    fn an_idle_system_answers_at_once_and_a_busy_one_gathers() {
        let now = Instant::now();
        let ms = |ms| now + Duration::from_millis(ms);
        let rhythm = |running, last| Rhythm { running, last };
        assert_eq!(rhythm(0, None).begin_at(0, now), None);
        assert_eq!(rhythm(0, None).begin_at(1, now), Some(now));
        assert_eq!(rhythm(0, Some((now, 2))).begin_at(1, ms(1)), Some(ms(1)), "a few rows are no load");
        assert_eq!(rhythm(0, Some((now, 50))).begin_at(1, ms(1)), Some(ms(10)));
        assert_eq!(rhythm(1, Some((now, 2))).begin_at(1, ms(1)), Some(ms(4)), "beside another only after a while");
        assert_eq!(rhythm(1, Some((now, 2))).begin_at(40, ms(1)), Some(ms(1)), "or with enough rows");
        assert_eq!(rhythm(2, Some((now, 50))).begin_at(500, ms(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_until_postgres_is_back() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let batcher = Batcher::start("test", Metrics::new(), Arc::default(), move |rows: Arc<Vec<u32>>| {
            let away = counted.fetch_add(1, Ordering::SeqCst) < 5;
            let answer = if away { Err(LedgerError::Unavailable("away".into())) } else { Ok(rows.to_vec()) };
            Box::pin(std::future::ready(answer)) as Boxed<'static, _>
        });
        assert_eq!(batcher.commit(7_u32).await.unwrap(), 7_u32);
        assert_eq!(tries.load(Ordering::SeqCst), 6);
    }

    #[tokio::test]
    async fn a_batch_that_panics_ends_its_task_and_answers_nobody() {
        let batcher = Batcher::start("test", Metrics::new(), Arc::default(), |rows: Arc<Vec<u32>>| {
            Box::pin(async move { if rows.contains(&13) { panic!("as a bug would") } else { Ok(rows.to_vec()) } })
                as Boxed<'static, _>
        });
        assert_eq!(batcher.commit(7).await.unwrap(), 7_u32);
        for row in [13, 7] {
            let ended = async {
                while !batcher.task().is_finished() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                answer = batcher.commit(row) => panic!("{answer:?}"),
                () = ended => {}
            }
        }
    }

    #[tokio::test]
    async fn one_bad_row_does_not_hold_up_the_others() {
        let batcher = Batcher::start("test", Metrics::new(), Arc::default(), |rows: Arc<Vec<u32>>| {
            let bad = rows.contains(&13);
            let answer = if bad { Err(LedgerError::Refused("13".into())) } else { Ok(rows.to_vec()) };
            Box::pin(std::future::ready(answer)) as Boxed<'static, _>
        });
        let answers = futures_util::future::join_all((0..100).map(|row| batcher.commit(row))).await;
        for (row, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.is_err(), row == 13);
        }
    }
}
