//! The in-memory Postgres passes the cases of the real one.

mod broker;

use std::collections::BTreeMap;
use std::sync::Arc;

use dispatcher::dispatch::ports::Boxed;
use dispatcher::domain::job::{Outcome, Timestamp};
use dispatcher::domain::mobile::Mobile;
use dispatcher::store::operate::{Control, ReplayOrder};

use crate::post::Post;
use crate::postgres::{Postgres, Tables};
use crate::process::{Link, Process};
use crate::suite::{Look, Pg, Terms, every_case};
use crate::world::{World, epoch};

struct Inside(Arc<World>);

impl Look for Inside {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn outcome<'a>(&'a self, id: &'a str, attempt: u32) -> Boxed<'a, Option<Outcome>> {
        Box::pin(async move { self.0.tables().attempts[&(id.to_owned(), attempt)].outcome })
    }

    fn backdate<'a>(&'a self, id: &'a str, attempt: u32, by: chrono::Duration) -> Boxed<'a, ()> {
        Box::pin(async move {
            let mut tables = self.0.tables();
            tables.attempts.get_mut(&(id.to_owned(), attempt)).unwrap().started_at -= by;
        })
    }

    fn hasten<'a>(&'a self, id: &'a str, by: chrono::Duration) -> Boxed<'a, ()> {
        Box::pin(async move {
            let mut tables = self.0.tables();
            let due = &mut tables.jobs.get_mut(id).unwrap().due_at;
            *due = due.map(|due| due - by);
        })
    }

    fn suppress(&self, mobile: Mobile) -> Boxed<'_, ()> {
        Box::pin(async move { self.0.tables().suppressions.extend([(mobile, epoch())]) })
    }

    fn begin_replay(&self, order: ReplayOrder) -> Boxed<'_, Option<i64>> {
        Box::pin(async move { self.0.tables().begin_replay(&order, self.0.now()).map(|id| id as i64) })
    }

    fn control_replay(&self, id: i64, control: Control) -> Boxed<'_, ()> {
        Box::pin(async move { self.0.tables().control_replay(id as usize, control, self.0.now()) })
    }

    fn replay(&self, id: i64) -> Boxed<'_, (String, String, BTreeMap<String, i64>)> {
        Box::pin(async move {
            let tables = self.0.tables();
            let replay = &tables.replays[id as usize];
            (replay.state.to_owned(), replay.canary_state.to_owned(), replay.results())
        })
    }
}

async fn in_memory(terms: Terms) -> Pg {
    tokio::time::pause();
    let world = World::new(
        fastrand::Rng::with_seed(1),
        1,
        Tables { lease: terms.lease, limits: terms.limits, ..Tables::default() },
        Post::new(1),
        false,
    );
    let link = Link { world: world.clone(), process: Process::new(0) };
    Pg::new(Arc::new(Postgres(link)), Inside(world))
}

every_case!(crate::conformance::in_memory);
