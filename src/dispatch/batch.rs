//! Group commit: what gathered while the last batch was under way goes next. An idle system answers
//! at once, and a busy one pays one commit for many jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

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

/// One kind of statement, one batch at a time.
pub struct Batcher<I, O> {
    rows: mpsc::UnboundedSender<(I, Waiter<O>)>,
}

/// Runs a batch: one answer a row, in order.
pub trait Run<I, O>: Fn(Arc<Vec<I>>) -> Boxed<'static, Result<Vec<O>, LedgerError>> + Send + Sync + 'static {}

impl<I, O, F> Run<I, O> for F where
    F: Fn(Arc<Vec<I>>) -> Boxed<'static, Result<Vec<O>, LedgerError>> + Send + Sync + 'static
{
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the task that runs the batches; it ends when the batcher is dropped and all is done.
    pub fn start(statement: &'static str, metrics: Metrics, run: impl Run<I, O>) -> Self {
        let (rows, receiver) = mpsc::unbounded_channel();
        tokio::spawn(work(Worker { statement, metrics, run }, receiver));
        Batcher { rows }
    }

    /// Commits `row` with whatever else is there; waits as long as Postgres is away. The number of
    /// rows that wait is bounded by the messages in memory.
    pub async fn commit(&self, row: I) -> Result<O, Refused> {
        let (answer, answered) = oneshot::channel();
        let gone = || Refused("the batch task has ended".into());
        self.rows.send((row, answer)).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

struct Worker<R> {
    statement: &'static str,
    metrics: Metrics,
    run: R,
}

async fn work<I, O, R>(worker: Worker<R>, mut receiver: mpsc::UnboundedReceiver<(I, Waiter<O>)>)
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    R: Run<I, O>,
{
    let mut gathered = Vec::with_capacity(MAX_ROWS);
    while receiver.recv_many(&mut gathered, MAX_ROWS).await > 0 {
        let (rows, waiters): (Vec<I>, Vec<Waiter<O>>) = gathered.drain(..).unzip();
        worker.metrics.batch_rows.with_label_values(&[worker.statement]).observe(rows.len() as f64);
        worker.settle(rows, waiters).await;
    }
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
            let begun = tokio::time::Instant::now();
            let outcome = (self.run)(rows.clone()).await;
            self.metrics.batch_seconds.with_label_values(&[self.statement]).observe(begun.elapsed().as_secs_f64());
            match outcome {
                Ok(answers) => {
                    if pause > FIRST_PAUSE {
                        info!(statement = self.statement, rows = rows.len(), "Postgres is back");
                    }
                    return Ok(answers);
                }
                Err(LedgerError::Refused(why)) => return Err(Refused(why)),
                Err(LedgerError::Unavailable(why)) => {
                    if pause == FIRST_PAUSE {
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
        let batcher = Arc::new(Batcher::start("test", Metrics::new(), move |rows: Arc<Vec<u32>>| {
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

    #[tokio::test(start_paused = true)]
    async fn it_tries_until_postgres_is_back() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let batcher = Batcher::start("test", Metrics::new(), move |rows: Arc<Vec<u32>>| {
            let away = counted.fetch_add(1, Ordering::SeqCst) < 5;
            let answer = if away { Err(LedgerError::Unavailable("away".into())) } else { Ok(rows.to_vec()) };
            Box::pin(std::future::ready(answer)) as Boxed<'static, _>
        });
        assert_eq!(batcher.commit(7_u32).await.unwrap(), 7_u32);
        assert_eq!(tries.load(Ordering::SeqCst), 6);
    }

    #[tokio::test]
    async fn one_bad_row_does_not_hold_up_the_others() {
        let batcher = Batcher::start("test", Metrics::new(), |rows: Arc<Vec<u32>>| {
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
