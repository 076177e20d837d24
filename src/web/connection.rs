//! Connections of a listener: how many at a time, how long and how large, so that a slow or hostile
//! client cannot tie up the process.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Connections at a time of those who may not connect, and are told so.
const STRANGERS: usize = 16;
/// A connection ends after this; a client with more to ask opens another.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What is being answered when a connection is to end may take so long.
const GRACE: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes (hyper's minimum is 8 KiB).
const MAX_HEAD: usize = 16 * 1024;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whom a connection comes from: an extension of each of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// Who may connect, and how patient the listener is.
#[derive(Clone, Copy)]
pub(super) struct Manners<F> {
    /// Others share [`STRANGERS`] places, so that they take nobody else's.
    pub welcome: F,
    /// For the head of a request to come in, and for how long a connection may stay idle.
    pub idle: Duration,
}

/// Answers with `router` on each connection until `shutdown` is ready, then lets requests finish for
/// five seconds at most.
pub(super) async fn serve<F: Fn(IpAddr) -> bool>(
    listener: TcpListener,
    router: Router,
    manners: Manners<F>,
    shutdown: impl Future,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            _ = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, peer, permit) = accepted;
        let permit = if (manners.welcome)(peer.ip()) { Ok(permit) } else { strangers.clone().try_acquire_owned() };
        // A stranger too many is hung up on.
        let Ok(permit) = permit else { continue };
        let router = router.clone().layer(Extension(Peer(peer.ip())));
        connections.spawn(answer(stream, router, manners.idle, stopped.clone(), permit));
        while connections.try_join_next().is_some() {}
    }
    drop((listener, stop));
    connections.join_all().await;
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let permit = permits.clone().acquire_owned();
        let Ok(permit) = permit.await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end, its age limit or the stop. `_permit` counts it while it lives.
async fn answer(
    stream: TcpStream,
    router: Router,
    idle: Duration,
    mut stopped: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // Errors are the client's: it left, was too slow, or spoke no HTTP.
        _ = connection.as_mut() => return,
        _ = stopped.changed() => {}
        () = tokio::time::sleep(MAX_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
