//! A TCP proxy that behaves like a network that fails: it cuts, refuses, falls silent, or is slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does.
#[derive(Clone, Debug, Default)]
struct Weather {
    refuses: bool,
    /// Nothing passes to the server, or from it. New connections are accepted all the same.
    stalls_up: bool,
    stalls_down: bool,
    /// Of connections from this one on, counted from 0, nothing passes to the server.
    muted_from: Option<usize>,
    /// Each chunk takes so much longer.
    delay: Duration,
    /// Connections from before the last cut, or stranding, have ended.
    cuts: u32,
    strandings: u32,
}

/// Passes on what comes, as the weather allows.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    live: Arc<AtomicUsize>,
    /// Connections since the start.
    made: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy to `target` on the current runtime; it ends with the runtime.
    pub async fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::default());
        let (live, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        tokio::spawn(accept(listener, target, seen, Counts { live: live.clone(), made: made.clone() }));
        Proxy { address, weather, live, made }
    }

    /// Ends every connection; new ones are passed on.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.muted_from = None;
            weather.cuts += 1;
        });
    }

    /// What clients say does not come through; what the server says does.
    pub fn mute(&self) {
        self.weather.send_modify(|weather| weather.muted_from = Some(0));
    }

    /// The same for the youngest connection.
    pub fn mute_last(&self) {
        let last = self.made.load(Ordering::SeqCst) - 1;
        self.weather.send_modify(|weather| weather.muted_from = Some(last));
    }

    /// Ends every connection and refuses new ones, as a server that is down.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| {
            weather.refuses = true;
            weather.cuts += 1;
        });
    }

    /// Falls silent: connections stay open and are accepted, and nothing passes.
    pub fn stall(&self) {
        self.weather.send_modify(|weather| (weather.stalls_up, weather.stalls_down) = (true, true));
    }

    /// What the server says does not come through; what it is told does.
    pub fn stall_answers(&self) {
        self.weather.send_modify(|weather| weather.stalls_down = true);
    }

    /// The server's machine is gone without a word: its side of each connection has ended, and the client
    /// is never told. New connections are passed on.
    pub fn strand(&self) {
        self.weather.send_modify(|weather| weather.strandings += 1);
    }

    /// Each chunk, either way, takes so much longer.
    pub fn slow(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// All is well again: what was held up passes, what refused accepts.
    pub fn resume(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather { cuts: weather.cuts, strandings: weather.strandings, ..Weather::default() };
        });
    }

    /// Connections that are open.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Connections that were made since the start.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Counts {
    live: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

/// Counts a connection while it lives.
struct Counted {
    live: Arc<AtomicUsize>,
    number: usize,
}

impl Counts {
    fn one(&self) -> Counted {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        self.live.fetch_add(1, Ordering::SeqCst);
        Counted { live: self.live.clone(), number }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(mut listener: TcpListener, target: String, weather: watch::Receiver<Weather>, counts: Counts) {
    let address = listener.local_addr().unwrap();
    let mut seen = weather.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.ok(),
            _ = seen.wait_for(|weather| weather.refuses) => None,
        };
        if let Some((client, _)) = accepted {
            tokio::spawn(connection(client, target.clone(), weather.clone(), counts.one()));
            continue;
        }
        drop(listener);
        if seen.wait_for(|weather| !weather.refuses).await.is_err() {
            return;
        }
        listener = TcpListener::bind(address).await.expect("the proxy's port is still free");
    }
}

async fn connection(mut client: TcpStream, target: String, weather: watch::Receiver<Weather>, counted: Counted) {
    let Weather { cuts, strandings, .. } = *weather.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut cut, mut stranded) = (weather.clone(), weather.clone());
    {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let is_muted = |weather: &Weather| weather.muted_from.is_some_and(|first| counted.number >= first);
        let up = pass(client_reads, server_writes, weather.clone(), |weather| weather.stalls_up || is_muted(weather));
        let down = pass(server_reads, client_writes, weather, |weather| weather.stalls_down);
        tokio::select! {
            // First: a cut ends a silence too, and what was held back must not come through.
            biased;
            _ = cut.wait_for(|weather| weather.cuts != cuts) => return,
            _ = async { tokio::join!(up, down) } => return,
            _ = stranded.wait_for(|weather| weather.strandings != strandings) => {}
        }
    }
    drop(server);
    let mut into_the_void = [0; 16 * 1024];
    while client.read(&mut into_the_void).await.is_ok_and(|read| read > 0) {}
}

/// One way of a connection, until its end.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    stalls: impl Fn(&Weather) -> bool,
) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        // Also the end: a network that is silent tells nobody that the other side has closed.
        let Ok(delay) = weather.wait_for(|weather| !stalls(weather)).await.map(|weather| weather.delay) else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// Puts a proxy between a service's URL and its server: the proxy, and the URL that leads through it.
pub async fn before(url: &str) -> (Proxy, String) {
    let mut url = url::Url::parse(url).unwrap();
    let default = match url.scheme() {
        "amqp" => 5672,
        "http" => 80,
        _ => 5432,
    };
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(default));
    let proxy = Proxy::start(target).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address.port())).unwrap();
    (proxy, url.into())
}
