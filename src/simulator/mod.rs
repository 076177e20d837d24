//! A simulator of the ihuyi (互亿无线) SMS gateway, to the byte: behind `dispatcher simulate`, and
//! a library for tests.
//!
//! It uses nothing else of this crate, so that it can disprove the rest. Where ihuyi publishes
//! nothing, the choice taken is a field of [`Options`] or is said at the place that takes it.
//!
//! A request goes `connection` (bytes) → `http` and `params` (decoding) → `engine` and `state`
//! (script, chance, log) → `gateway` (the order of checks; with `content` and `limits`) → `reply`
//! (bytes again). `push` sends receipts, replies and reviews, `admin` answers under `/_sim/`.
//!
//! Faults are of two kinds. After `hang`, `reset` and `cut` the message **was taken**: it is billed,
//! counted and its receipt comes, only the client cannot know. After `reset_before`, HTTP 500, HTML
//! and garbage it was not.

mod admin;
mod codes;
mod connection;
mod content;
mod engine;
mod gateway;
mod http;
mod limits;
mod log;
mod options;
mod params;
mod push;
mod reply;
mod script;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::codes::message;
pub use self::log::{Stats, Submission};
pub use self::options::{Account, Answers, Faults, Latency, Options, Receipts, Reviews, Rules, Template, Wire};
pub use self::script::Scripted;

use self::engine::{Engine, Pushers};
use self::push::{Pusher, Target};

/// A running simulator. Dropping it stops it without waiting; [`Simulator::stop`] waits.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Binds and serves on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, an option is out of its range, or a push URL is not `http://`.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        check(&options)?;
        let listener =
            TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr()?;
        let pushing = Pushing { stop: CancellationToken::new(), tasks: TaskTracker::new(), engine: Arc::default() };
        let receipt_url = options.receipts.as_ref().map(|receipts| receipts.url.as_str());
        let receipts = pushing.start(receipt_url, &options.push_retries)?;
        let replies = pushing.start(options.reply_url.as_deref(), &options.push_retries)?;
        let reviews = pushing.start(options.reviews.url.as_deref(), &options.push_retries)?;
        let engine = Arc::new(Engine::new(options, Pushers { receipts, replies, reviews }));
        let Pushing { stop, tasks, engine: for_pushes } = pushing;
        let _ = for_pushes.set(Arc::clone(&engine));
        let accepting = accept(listener, Arc::clone(&engine), stop.clone(), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, engine, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to submit to, with its `?method=Submit`.
    pub fn submit_url(&self) -> String {
        format!("http://{}/webservice/sms.php?method=Submit", self.address)
    }

    /// The URL of the balance query, with its `?method=GetNum`.
    pub fn balance_url(&self) -> String {
        format!("http://{}/webservice/sms.php?method=GetNum", self.address)
    }

    /// Queues answers for the next submits to `mobile`, used before any other logic, the first first.
    pub fn script(&self, mobile: &str, answers: Vec<Scripted>) {
        self.engine.state().scripts.entry(mobile.into()).or_default().extend(answers);
    }

    /// The submits read so far, oldest first, as far as the log keeps them.
    pub fn submissions(&self) -> Vec<Submission> {
        self.engine.state().log.after(0)
    }

    /// Waits until `count` submits were read since the start, and returns those logged. It has no timeout of
    /// its own.
    pub async fn wait_for(&self, count: usize) -> Vec<Submission> {
        self.wait_until(|stats| stats.submissions >= count as u64).await;
        self.submissions()
    }

    /// Waits until the totals satisfy `ready`, looking at them after each change. It has no timeout of its own.
    pub async fn wait_until(&self, ready: impl Fn(&Stats) -> bool) {
        self.engine.wait_until(ready).await;
    }

    /// Totals since the start.
    pub fn stats(&self) -> Stats {
        self.engine.state().stats.clone()
    }

    /// Changes an account while running; `false` where there is none of this id.
    pub fn set_account(&self, id: &str, change: impl FnOnce(&mut Account)) -> bool {
        self.engine.state().gateway.account_mut(id).map(change).is_some()
    }

    /// Lifts the blacklisting of a number by 408.
    pub fn lift(&self, mobile: &str) {
        self.engine.state().gateway.lift(mobile);
    }

    /// Pushes a person's reply to [`Options::reply_url`]; `false` without one.
    pub fn reply(&self, mobile: &str, content: &str, smsid: &str) -> bool {
        self.engine.push_reply(mobile, content, smsid)
    }

    /// Closes the listener and every connection, hanging ones too, and waits until they are gone. The same
    /// port can then be bound again.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whether a simulator can be started with these options, wherever it listens.
///
/// # Errors
///
/// When an option is out of its range, or a push URL is not `http://`.
pub fn check(options: &Options) -> anyhow::Result<()> {
    ensure!(!options.accounts.is_empty(), "a simulator needs an account");
    let faults = &options.faults;
    let codes = faults.codes.iter().map(|(_, share)| *share);
    let others =
        [faults.hang, faults.reset, faults.cut, faults.reset_before, faults.http_500, faults.html, faults.garbage];
    ensure!(codes.chain(others).all(|share| (0.0..=1.0).contains(&share)), "a share of faults must be from 0 to 1");
    ensure!(faults.total() <= 1.0 + 1e-9, "the shares of faults add up to more than 1");
    let receipts =
        options.receipts.iter().flat_map(|receipts| [receipts.undelivered, receipts.lost, receipts.repeated]);
    let others = [options.answers.share, options.reviews.refused];
    ensure!(receipts.chain(others).all(|share| (0.0..=1.0).contains(&share)), "a share of pushes must be from 0 to 1");
    ensure!(!options.answers.words.is_empty(), "people who reply need words");
    let receipt_delay = options.receipts.as_ref().map(|receipts| receipts.delay);
    for latency in [Some(options.latency), Some(options.answers.delay), Some(options.reviews.delay), receipt_delay]
        .into_iter()
        .flatten()
    {
        if let Latency::LogNormal { p50, p99 } = latency {
            ensure!(!p50.is_zero() && p50 <= p99, "the 99th percentile must not be below a median above 0");
        }
    }
    let receipt_url = options.receipts.as_ref().map(|receipts| &receipts.url);
    let urls = [receipt_url, options.reply_url.as_ref(), options.reviews.url.as_ref()];
    urls.into_iter().flatten().try_for_each(|url| Target::parse(url).map(drop))
}

async fn accept(listener: TcpListener, engine: Arc<Engine>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = engine.count_connection();
                // Small answers must not wait for the client's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let serving = connection::serve(stream, number, Arc::clone(&engine));
                tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
            }
            // Out of file descriptors, as a rule: others must close first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Starts pushers before there is an engine that they report to.
struct Pushing {
    stop: CancellationToken,
    tasks: TaskTracker,
    engine: Arc<OnceLock<Arc<Engine>>>,
}

impl Pushing {
    fn start(&self, url: Option<&str>, retries: &[Duration]) -> anyhow::Result<Option<Pusher>> {
        let Some(url) = url else { return Ok(None) };
        let target = Target::parse(url)?;
        let (pusher, queue) = push::channel();
        let engine = Arc::clone(&self.engine);
        let report = move |tried| {
            if let Some(engine) = engine.get() {
                engine.count_push(tried);
            }
        };
        let running = push::run(target, queue, retries.to_vec(), report);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(running));
        Ok(Some(pusher))
    }
}
