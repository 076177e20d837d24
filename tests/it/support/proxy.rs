//! A TCP proxy whose connections can be cut, like a network that fails.

use std::net::SocketAddr;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes on what comes, until it is cut.
pub struct Proxy {
    pub address: SocketAddr,
    cuts: watch::Sender<u32>,
    /// Connections from this one on are mute, counted from 0.
    mute: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy to `target` on the current runtime; it ends with the runtime.
    pub async fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, cut) = watch::channel(0);
        let (mute, muted) = watch::channel(usize::MAX);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (target, mut cut, muted) = (target.clone(), cut.clone(), muted.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        () = pass(client, server, number, muted) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Proxy { address, cuts, mute, connections }
    }

    /// Passes on nothing any more of what the clients of the present connections say; they stay open, and
    /// hear what the server says.
    pub fn mute(&self) {
        self.mute.send_replace(0);
    }

    /// The same for the youngest connection.
    pub fn mute_last(&self) {
        self.mute.send_replace(self.connections.load(Ordering::SeqCst) - 1);
    }

    /// Ends every connection; new ones are passed on again.
    pub fn cut(&self) {
        self.mute.send_replace(usize::MAX);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// One connection, until either side closes it.
async fn pass(mut client: TcpStream, mut server: TcpStream, number: usize, mut muted: watch::Receiver<usize>) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mute = async {
        let _ = muted.wait_for(|first| number >= *first).await;
    };
    let said = async {
        tokio::select! {
            biased;
            () = mute => std::future::pending().await,
            _ = copy(&mut from_client, &mut to_server) => {}
        }
    };
    tokio::select! {
        () = said => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// Puts a proxy between a service's URL and its server: the proxy, and the URL that leads through it.
pub async fn before(url: &str) -> (Proxy, String) {
    let mut url = url::Url::parse(url).unwrap();
    let default = if url.scheme() == "amqp" { 5672 } else { 5432 };
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(default));
    let proxy = Proxy::start(target).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address.port())).unwrap();
    (proxy, url.into())
}
