//! Another configuration for a running daemon, by SIGHUP or by the API.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, info};

use super::App;
use crate::config::{Config, Problems};
use crate::systemd;

/// For what a reload does besides waiting for the wire.
const MARGIN: Duration = Duration::from_secs(15);

/// What came of a reload: the keys that changed, or why nothing did, a line each.
pub(super) type Reloaded = Result<Vec<String>, Vec<String>>;

/// Somebody asks for a reload, and waits here.
pub(super) struct Request(oneshot::Sender<Reloaded>);

/// Why there is no answer.
pub(super) enum Silent {
    /// Another one is under way.
    Busy,
    /// It goes on: the log will say how it ended.
    Slow,
}

/// Where to ask for a reload.
pub(super) struct Asking(mpsc::Sender<Request>);

/// Where a reload was asked for.
pub(super) struct Asked(mpsc::Receiver<Request>);

/// Both ends.
pub(super) fn channel() -> (Asking, Asked) {
    let (asking, asked) = mpsc::channel(1);
    (Asking(asking), Asked(asked))
}

impl Asking {
    /// Asks, and waits for what is on the wire, which takes `drain` at most, and for the change.
    pub async fn ask(&self, drain: Duration) -> Result<Reloaded, Silent> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Request(answer)).map_err(|_| Silent::Busy)?;
        match timeout(drain + MARGIN, answered).await {
            Ok(Ok(reloaded)) => Ok(reloaded),
            Ok(Err(_)) | Err(_) => Err(Silent::Slow),
        }
    }
}

impl Asked {
    /// The next one. Never ends where nobody can ask.
    pub async fn next(&mut self) -> Request {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl Request {
    /// Whoever asked may have gone.
    pub fn answer(self, reloaded: Reloaded) {
        let _ = self.0.send(reloaded);
    }
}

/// A bad configuration changes nothing and says so. The service manager hears when it begins and ends.
pub(super) async fn take_up(app: &mut App, load: impl Fn() -> Result<Config, Problems>) -> Reloaded {
    systemd::reloading();
    let reloaded = try_to(app, load()).await;
    systemd::ready();
    reloaded
}

async fn try_to(app: &mut App, loaded: Result<Config, Problems>) -> Reloaded {
    let config = loaded.map_err(|problems| {
        problems.iter().for_each(|problem| error!(%problem, "the new configuration is wrong: nothing was changed"));
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    })?;
    match app.reload(config).await {
        Ok(changed) if changed.is_empty() => {
            info!("the configuration is as it was: nothing was changed");
            Ok(changed)
        }
        Ok(changed) => {
            info!(changed = changed.join(", "), "the new configuration is in force");
            Ok(changed)
        }
        Err(error) => {
            let problem = format!("{error:#}");
            error!(error = problem, "the new configuration is not taken up: nothing was changed");
            Err(vec![problem])
        }
    }
}
