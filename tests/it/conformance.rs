//! The real store passes the same cases as the in-memory one of the simulation.

mod broker;

use std::collections::BTreeMap;
use std::sync::Arc;

use dispatcher::dispatch::ports::Boxed;
use dispatcher::domain::job::{Outcome, Timestamp};
use dispatcher::domain::mobile::Mobile;
use dispatcher::store::Store;
use dispatcher::store::operate::{Control, Operator, ReplayOrder, Via};
use secrecy::SecretString;

use crate::suite::{Look, Pg, Terms, every_case};
use crate::support::TestDb;

/// The database goes with it.
struct Inside {
    store: Arc<Store>,
    database: TestDb,
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

    fn backdate<'a>(&'a self, id: &'a str, attempt: u32, by: chrono::Duration) -> Boxed<'a, ()> {
        let seconds = by.num_seconds();
        self.database.execute(&format!(
            "update attempts set started_at = started_at - interval '{seconds} s' where job_id = '{id}' and attempt = {attempt}"
        ));
        Box::pin(async {})
    }

    fn hasten<'a>(&'a self, id: &'a str, by: chrono::Duration) -> Boxed<'a, ()> {
        let seconds = by.num_seconds();
        self.database.execute(&format!("update jobs set due_at = due_at - interval '{seconds} s' where id = '{id}'"));
        Box::pin(async {})
    }

    fn suppress(&self, mobile: Mobile) -> Boxed<'_, ()> {
        let digits = mobile.digits();
        self.database.execute(&format!(
            "insert into suppressions (mobile, reason, added_by) values ('{digits}', 'TD', 'reply')"
        ));
        Box::pin(async {})
    }

    fn begin_replay(&self, order: ReplayOrder) -> Boxed<'_, Option<i64>> {
        Box::pin(async move { self.store.begin_replay(&operator(), &order).await.unwrap().map(|(id, _)| id) })
    }

    fn control_replay(&self, id: i64, control: Control) -> Boxed<'_, ()> {
        Box::pin(async move { drop(self.store.control_replay(&operator(), id, control).await.unwrap()) })
    }

    fn replay(&self, id: i64) -> Boxed<'_, (String, String, BTreeMap<String, i64>)> {
        Box::pin(async move {
            let info = self.store.find_replay(id).await.unwrap().unwrap();
            (info.state, info.canary_state, info.results)
        })
    }
}

fn operator() -> Operator {
    Operator { actor: "test".into(), via: Via::Cli, reason: None }
}

async fn on_postgres(terms: Terms) -> Pg {
    let database = TestDb::create();
    let store = Store::new(&SecretString::from(database.url()), 2, terms.lease).unwrap();
    let store = Arc::new(store.with_limits(terms.limits));
    store.migrate().await.unwrap();
    Pg::new(store.clone(), Inside { store, database })
}

every_case!(crate::conformance::on_postgres);
