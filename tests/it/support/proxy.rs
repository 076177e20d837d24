//! A TCP proxy whose connections can be cut, like a network that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes on what comes, until it is cut.
pub struct Proxy {
    pub address: SocketAddr,
    cuts: watch::Sender<u32>,
    shut: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy to `target` on the current runtime; it ends with the runtime.
    pub async fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, cut) = watch::channel(0);
        let shut = Arc::new(AtomicBool::new(false));
        let is_shut = shut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut cut) = (target.clone(), cut.clone());
                cut.mark_unchanged();
                if is_shut.load(Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Proxy { address, cuts, shut }
    }

    /// Ends every connection; new ones are passed on again.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection, also each that comes, until [`Proxy::open`].
    pub fn close(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Passes on again.
    pub fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
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
