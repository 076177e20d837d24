//! Spans leave for an OpenTelemetry collector, as OTLP over HTTP. They never disturb what they tell of: the
//! queue is bounded, what does not fit is lost, and so is what the collector does not take.

mod otlp;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::dispatch::trace::{Tracer, Way};

/// Jobs whose spans wait, at most.
const QUEUE: usize = 4_096;
/// Jobs in one request, at most.
const BATCH: usize = 512;
/// Spans wait no longer for others.
const LINGER: Duration = Duration::from_secs(1);
/// For the last of them, at the end.
const GOODBYE: Duration = Duration::from_secs(3);

/// Posts an encoded `ExportTraceServiceRequest`; an error in words.
pub type Post = Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The way to a collector.
pub struct Exporter {
    /// None once it is closed.
    queue: Mutex<Option<mpsc::Sender<Way>>>,
    lost: AtomicU64,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Spans leave by `post` from now on.
    pub fn start(post: Post) -> Exporter {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(export(receiver, post));
        Exporter { queue: Mutex::new(Some(sender)), lost: AtomicU64::new(0), task: Mutex::new(Some(task)) }
    }

    /// Sends what waits, for a few seconds at most.
    pub async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if timeout(GOODBYE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Tracer for Exporter {
    fn take(&self, way: Way) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if queue.try_send(way).is_err() && self.lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(10_000) {
            warn!("the collector of traces is too slow: spans are lost; jobs are not touched by it");
        }
    }
}

async fn export(mut queue: mpsc::Receiver<Way>, post: Post) {
    let mut failing = false;
    loop {
        let mut ways = Vec::new();
        if queue.recv_many(&mut ways, BATCH).await == 0 {
            return;
        }
        // The end of the queue ends the wait, too.
        let _ = timeout(LINGER, fill(&mut queue, &mut ways)).await;
        match (post(otlp::request(&ways)).await, failing) {
            (Err(problem), false) => {
                warn!(problem, "traces are not taken by telemetry.otlp_endpoint: they are lost, jobs go on");
                failing = true;
            }
            (Ok(()), true) => {
                info!("traces are taken again");
                failing = false;
            }
            (Err(_), true) | (Ok(()), false) => {}
        }
    }
}

async fn fill(queue: &mut mpsc::Receiver<Way>, ways: &mut Vec<Way>) {
    while ways.len() < BATCH {
        match queue.recv().await {
            Some(way) => ways.push(way),
            None => return,
        }
    }
}
