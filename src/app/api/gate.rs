//! Few calls to a service at a time, each for so long as a client may be kept waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::dispatch::ports::Boxed;
use crate::web::api::port::Trouble;

/// For a place, and for the answer where few rows are touched. What takes longer is a 503.
const PATIENCE: Duration = Duration::from_secs(15);
/// For the answer where there may be many rows: two statements of up to a minute each, what is looked up before, and the
/// connections for all of them.
const PATIENCE_FOR_MANY: Duration = Duration::from_secs(180);

/// Lets few calls through to a service at a time. One that hangs keeps others of its own kind waiting, and
/// nobody else's.
pub(super) struct Gate {
    service: &'static str,
    places: Arc<Semaphore>,
}

/// What is done: how long it is waited for, and what a client is told who waits in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something is looked up, or may be repeated without harm.
    Look,
    /// Many rows are counted.
    LookAtMany,
    /// Something is changed.
    Act,
    /// Many rows are.
    ActOnMany,
}

impl Gate {
    pub fn new(service: &'static str, places: usize) -> Self {
        Gate { service, places: Arc::new(Semaphore::new(places)) }
    }

    /// Does `work` in a task of its own, once there is a place. It goes on when nobody waits for it any more.
    pub fn apart<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Boxed<'static, Result<T, Trouble>> {
        let (service, places) = (self.service, self.places.clone());
        Box::pin(async move {
            let place = timeout(PATIENCE, places.acquire_owned()).await;
            let Ok(Ok(place)) = place else { return Err(kind.not_begun(service)) };
            let task = tokio::spawn(keeping(place, work));
            match timeout(kind.patience(), task).await {
                Ok(Ok(done)) => done.map_err(|trouble| kind.failed(trouble)),
                // It panicked: nothing of it goes on.
                Ok(Err(_)) => Err(kind.broke_off()),
                Err(_) => Err(kind.under_way(service)),
            }
        })
    }
}

/// The place is free again when the work is done.
async fn keeping<T>(place: OwnedSemaphorePermit, work: impl Future<Output = T>) -> T {
    let done = work.await;
    drop(place);
    done
}

impl Kind {
    /// Of what may touch many rows: only looked at, or changed.
    pub fn of_many(dry_run: bool) -> Kind {
        if dry_run { Kind::LookAtMany } else { Kind::ActOnMany }
    }

    fn patience(self) -> Duration {
        match self {
            Kind::Look | Kind::Act => PATIENCE,
            Kind::LookAtMany | Kind::ActOnMany => PATIENCE_FOR_MANY,
        }
    }

    fn is_act(self) -> bool {
        matches!(self, Kind::Act | Kind::ActOnMany)
    }

    fn not_begun(self, service: &str) -> Trouble {
        Trouble::Unavailable(match self.is_act() {
            true => format!("{service} gives no answer: nothing was begun, try again later"),
            false => format!("{service} gives no answer: try again later"),
        })
    }

    fn under_way(self, service: &str) -> Trouble {
        Trouble::Unavailable(match self.is_act() {
            true => format!("{service} gives no answer yet, and what you asked for goes on: look before you repeat it"),
            false => format!("{service} gives no answer: try again later"),
        })
    }

    fn broke_off(self) -> Trouble {
        Trouble::Unavailable(match self.is_act() {
            true => "it broke off by a fault of the daemon's and may have been done in part: look before you repeat it"
                .into(),
            false => "it broke off by a fault of the daemon's: its log tells which".into(),
        })
    }

    /// A connection that is lost in an act leaves open whether it was done.
    fn failed(self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Unavailable(words) if self.is_act() => {
                Trouble::Unavailable(format!("{words}: it may have been done, look before you repeat it"))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn words<T>(done: Result<T, Trouble>) -> String {
        match done {
            Err(Trouble::Unavailable(words)) => words,
            _ => panic!("it was done"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_place_is_not_begun() {
        let gate = Gate::new("Postgres", 0);
        let begun = async { panic!("it was begun") };
        assert!(words::<()>(gate.apart(Kind::ActOnMany, begun).await).contains("nothing was begun"));
        assert!(words(gate.apart(Kind::Look, async { Ok(()) }).await).ends_with("try again later"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_goes_on_and_says_so() {
        let gate = Gate::new("Postgres", 1);
        let (go, held) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let work = async move {
            held.await.unwrap();
            tell.send(()).unwrap();
            Ok(())
        };
        let words = words(gate.apart(Kind::ActOnMany, work).await);
        assert!(words.contains("goes on: look before you repeat it") && !words.contains("try again"), "{words}");
        go.send(()).unwrap();
        told.await.unwrap();
        gate.apart(Kind::Look, async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn what_panics_does_not_go_on_and_may_be_done_in_part() {
        let gate = Gate::new("Postgres", 1);
        let breaks = async || -> Result<(), Trouble> { panic!("a fault") };
        let words = words(gate.apart(Kind::ActOnMany, breaks()).await);
        assert!(words.contains("broke off") && words.contains("in part") && !words.contains("goes on"), "{words}");
        gate.apart(Kind::Look, async { Ok(()) }).await.expect("its place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_act_on_many_is_waited_for_as_long_as_its_statements_may_take() {
        let slow = async {
            tokio::time::sleep(Duration::from_secs(120)).await;
            Ok(())
        };
        assert!(Gate::new("Postgres", 1).apart(Kind::ActOnMany, slow).await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_is_lost_in_an_act_leaves_open_what_was_done() {
        let lost = || async { Err::<(), _>(Trouble::Unavailable("connection reset".into())) };
        let gate = Gate::new("Postgres", 1);
        assert!(words(gate.apart(Kind::Act, lost()).await).contains("it may have been done"));
        assert_eq!(words(gate.apart(Kind::Look, lost()).await), "connection reset");
    }
}
