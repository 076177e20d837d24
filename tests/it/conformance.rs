//! The real store passes the same cases as the in-memory one of the simulation.

use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::ports::Boxed;
use dispatcher::domain::job::{Outcome, Timestamp};
use dispatcher::store::Store;
use secrecy::SecretString;

use crate::suite::{Look, Pg, every_case};
use crate::support::TestDb;

/// The database goes with it.
struct Inside {
    store: Arc<Store>,
    _database: TestDb,
}

impl Look for Inside {
    /// The server is on this machine.
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }

    fn outcome<'a>(&'a self, id: &'a str, attempt: u32) -> Boxed<'a, Option<Outcome>> {
        Box::pin(async move {
            let attempts = self.store.list_attempts(id).await.unwrap();
            let row = attempts.into_iter().find(|row| row.attempt == attempt as i32).unwrap();
            row.outcome.and_then(|word| Outcome::parse(&word))
        })
    }
}

async fn on_postgres(lease: Duration) -> Pg {
    let database = TestDb::create();
    let store = Arc::new(Store::new(&SecretString::from(database.url()), 2, lease).unwrap());
    store.migrate().await.unwrap();
    Pg::new(store.clone(), Inside { store, _database: database })
}

every_case!(crate::conformance::on_postgres);
