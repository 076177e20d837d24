//! The in-memory queues pass the cases of the real ones.

use std::sync::Arc;

use crate::broker::{JobPublisher, JobSource};
use crate::post::Post;
use crate::postgres::Tables;
use crate::process::{Link, Process};
use crate::suite::broker::{Cut, PREFETCH, Rabbit, every_broker_case};
use crate::world::World;

struct Network(Link);

impl Cut for Network {
    fn cut(&self) {
        self.0.world.broker.close_all(&self.0.world, Some(&self.0.process), "it was cut");
    }
}

async fn in_memory() -> Rabbit {
    tokio::time::pause();
    let world = World::new(fastrand::Rng::with_seed(1), PREFETCH.into(), Tables::default(), Post::new(1), false);
    let link = |index| Link { world: world.clone(), process: Process::new(index) };
    let own = link(0);
    Rabbit {
        source: Arc::new(JobSource(own.clone())),
        other: Arc::new(JobSource(link(1))),
        publisher: Arc::new(JobPublisher(own.clone())),
        cut: Box::new(Network(own)),
    }
}

every_broker_case!(crate::conformance::broker::in_memory);
