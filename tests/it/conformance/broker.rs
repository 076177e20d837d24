//! The real queues pass the cases of the in-memory ones.

use std::sync::Arc;

use dispatcher::broker::{JobPublisher, JobSource};
use secrecy::SecretString;

use crate::suite::broker::{Cut, PREFETCH, Rabbit, every_broker_case};
use crate::support::broker::TestBroker;
use crate::support::proxy::{self, Proxy};

/// The topology goes with it.
struct Network {
    proxy: Proxy,
    _broker: TestBroker,
}

impl Cut for Network {
    fn cut(&self) {
        self.proxy.cut();
    }
}

async fn on_rabbitmq() -> Rabbit {
    let broker = TestBroker::connect().await;
    let (proxy, through) = proxy::before(&broker.url).await;
    let (direct, through) = (SecretString::from(broker.url.clone()), SecretString::from(through));
    let publisher = JobPublisher::connect(&direct, &broker.prefix).await.unwrap();
    Rabbit {
        source: Arc::new(JobSource::new(&through, &broker.prefix, PREFETCH)),
        other: Arc::new(JobSource::new(&direct, &broker.prefix, PREFETCH)),
        publisher: Arc::new(publisher),
        cut: Box::new(Network { proxy, _broker: broker }),
    }
}

every_broker_case!(crate::conformance::broker::on_rabbitmq);
