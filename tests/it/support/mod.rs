//! What the tests on real services share: a database and a queue prefix for each test, the daemon
//! (in this process, or as the built binary), and waiting for conditions instead of for time.

mod binary;
pub mod broker;
pub mod clock;
mod database;
pub mod db;
pub mod lateness;
pub mod metrics;
pub mod process;
pub mod proxy;
pub mod stage;

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use binary::{Ended, Run, dispatcher};
pub use database::TestDb;

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The value of an environment variable that names a service.
pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: `make test` sets it, or: make up && eval \"$(deploy/local/services.sh env)\"")
    })
}

/// The RabbitMQ that tests share.
pub fn amqp_url() -> String {
    service("AMQP_URL")
}

/// A name that no other test has, nor a run at the same time: `it_…`.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("it_{}_{number}_{:08x}", std::process::id(), fastrand::u32(..))
}

/// Looks again and again until `look` finds what it looks for, and returns that. In the end it fails with
/// what was seen last.
pub async fn eventually<T, E: Debug>(what: &str, look: impl AsyncFn() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > PATIENCE => panic!("{what}: not within {PATIENCE:?}; last seen: {seen:?}"),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Waits until what `look` finds is `wanted`.
pub async fn becomes<T: PartialEq + Debug>(what: &str, wanted: T, look: impl AsyncFn() -> T) {
    eventually(what, async || {
        let seen = look().await;
        if seen == wanted { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// The `n`-th of the numbers that tests send to.
pub fn number(n: usize) -> String {
    format!("139{n:08}")
}

/// The least message: a job of that id for that number.
pub fn job(id: &str, mobile: &str) -> Value {
    json!({ "id": id, "mobile": mobile, "content": format!("您的订单 {id} 已发货。") })
}

/// Does blocking or asynchronous work from a `Drop`, on a thread and a runtime of its own, so that it
/// is also done when the test's runtime is gone or busy. Failures are printed: a test that fails
/// already must not abort.
fn at_the_end(what: &str, work: impl Future<Output = Result<(), String>> + Send + 'static) {
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err("took too long".into()))
        })
    });
    match worker.join() {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => eprintln!("{what} could not be removed: {problem}"),
        Err(_) => eprintln!("{what} could not be removed"),
    }
}
