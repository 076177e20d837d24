//! What a service manager is told: ready, reloading, stopping, alive, and a line on how it goes
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>). Without `NOTIFY_SOCKET`
//! nobody is told; what is vital is watched all the same.
//!
//! The watchdog speaks of this process alone: with RabbitMQ, Postgres or ihuyi away a restart mends
//! nothing, and would take what is on the wire with it.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tracing::{debug, error};

/// Between two lines of status where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Started: configured, and its admin listener is bound. Or a reload has ended. Telling it twice changes nothing.
pub fn ready() {
    tell("READY=1");
}

/// Another configuration is being taken up. [`ready`] must follow, whatever came of it.
pub fn reloading() {
    // With `Type=notify-reload` systemd waits for one that is not older than its signal.
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
}

/// Told to stop: the drain begins.
pub fn stopping() {
    tell("STOPPING=1");
}

/// The tasks without which the process does nothing useful.
#[derive(Clone, Default)]
pub struct Vital(Arc<Mutex<Vec<AbortHandle>>>);

impl Vital {
    /// From now on this task must run.
    pub fn add(&self, task: AbortHandle) {
        self.tasks().push(task);
    }

    /// This one may end: another takes its place.
    pub fn remove(&self, task: &AbortHandle) {
        self.tasks().retain(|other| other.id() != task.id());
    }

    /// They may end: the process stops.
    pub fn clear(&self) {
        self.tasks().clear();
    }

    fn stops(&self) -> bool {
        self.tasks().is_empty()
    }

    fn all_run(&self) -> bool {
        !self.tasks().iter().any(AbortHandle::is_finished)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Tells the status, and that the process is well, until it is aborted. It is well as long as all that
/// is vital runs; this runs as a task itself, so a runtime that is stuck tells nothing either. Ends when
/// something vital has ended: then the process is of no use.
pub fn beat(vital: Vital, status: impl Fn() -> String + Send + 'static) -> JoinHandle<()> {
    let watchdog = watchdog();
    // Three chances before time is up.
    let every = watchdog.map_or(STATUS_EVERY, |limit| (limit / 3).min(STATUS_EVERY));
    tokio::spawn(async move {
        loop {
            let status = if vital.stops() { "draining".to_owned() } else { status().replace('\n', "; ") };
            if vital.all_run() {
                tell(&format!("WATCHDOG=1\nSTATUS={status}"));
            } else {
                error!("a part of the daemon has ended");
                tell(&format!("STATUS=a part of the daemon has ended; {status}"));
                return;
            }
            tokio::time::sleep(every).await;
        }
    })
}

/// How long the service manager waits for a sign of life, if it watches this process.
fn watchdog() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let limit = variable("WATCHDOG_USEC")?.parse().ok().filter(|micros| *micros > 0)?;
    meant.then_some(Duration::from_micros(limit))
}

/// The clock that systemd compares by, which [`std::time::Instant`] keeps to itself; 0 if it cannot be read.
fn monotonic_micros() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call may write to.
    match unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } {
        0 => now.tv_sec * 1_000_000 + now.tv_nsec / 1_000,
        _ => 0,
    }
}

fn tell(state: &str) {
    let Some(address) = address() else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        // The service manager reads; if it does not, jobs go on all the same.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        debug!(%error, "the service manager could not be told");
    }
}

fn address() -> Option<SocketAddr> {
    address_of(&std::env::var_os("NOTIFY_SOCKET")?)
}

/// A path, or `@` and the name of an abstract socket.
fn address_of(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_abstract() {
        let path = address_of(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/systemd/notify")));
        assert_eq!(address_of(OsStr::new("@a")).unwrap().as_abstract_name(), Some(&b"a"[..]));
        assert!(address_of(OsStr::new("vsock:2:1")).is_none() && address_of(OsStr::new("")).is_none());
    }

    #[tokio::test]
    async fn an_ended_part_is_noticed_unless_the_process_stops() {
        let vital = Vital::default();
        let lives = tokio::spawn(std::future::pending::<()>());
        let ended = tokio::spawn(async {});
        vital.add(lives.abort_handle());
        assert!(vital.all_run());
        vital.add(ended.abort_handle());
        ended.await.unwrap();
        assert!(!vital.all_run());
        vital.clear();
        assert!(vital.all_run());
    }
}
