//! What the dispatcher relies on in `Source` and `Publisher`, whoever implements them.

use std::sync::{Arc, Mutex};

use dispatcher::dispatch::ports::*;
use dispatcher::domain::job::{Job, Priority};
use dispatcher::domain::message::{self, Rules};

use super::job;

/// Messages that a session may hold of each queue.
pub const PREFETCH: u16 = 4;

/// Empty queues, and two programs' ways to them.
pub struct Rabbit {
    pub source: Arc<dyn Source>,
    pub other: Arc<dyn Source>,
    pub publisher: Arc<dyn Publisher>,
    pub cut: Box<dyn Cut>,
}

/// A network that fails. Lives as long as the case, and cleans up after it.
pub trait Cut: Send + Sync {
    /// Every connection of `Rabbit::source` ends.
    fn cut(&self);
}

/// A letter box for what arrives.
#[derive(Default)]
struct Inbox {
    arrived: Mutex<Vec<Arrival>>,
    bell: tokio::sync::Notify,
}

impl Intake for Inbox {
    fn arrive(&self, arrival: Arrival) {
        self.arrived.lock().unwrap().push(arrival);
        self.bell.notify_one();
    }
}

impl Inbox {
    /// The next `count` to arrive.
    async fn take(&self, count: usize) -> Vec<Arrival> {
        let enough = async {
            loop {
                let ready = { self.arrived.lock().unwrap().len() >= count };
                if ready {
                    return self.arrived.lock().unwrap().drain(..count).collect();
                }
                self.bell.notified().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), enough).await.expect("they arrive")
    }

    /// The next to arrive is the job of that id, and nothing has come before it.
    async fn next_is(&self, id: &str) -> Arrival {
        let arrival = self.take(1).await.remove(0);
        assert_eq!(id_of(&arrival), id);
        arrival
    }
}

fn id_of(arrival: &Arrival) -> String {
    decoded(arrival).id
}

fn decoded(arrival: &Arrival) -> Job {
    let rules = Rules {
        content_max: 300,
        default_account: "main".into(),
        accounts: ["main".to_owned()].into(),
        on_unknown: dispatcher::domain::job::OnUnknown::Hold,
        checks: Default::default(),
        templates: Default::default(),
    };
    message::decode(&arrival.body, &arrival.properties, &rules).expect("what was released is a job")
}

impl Rabbit {
    async fn open(&self) -> (Arc<Inbox>, Box<dyn Consuming>) {
        opened(&*self.source).await
    }

    /// Releases jobs of these ids; the place of each in the order of arrival is its index.
    async fn release(&self, ids: &[&str]) {
        let released = ids.iter().enumerate().map(|(seq, id)| Released { job: job(id), seq: seq as i64, bound: false });
        self.publisher.release(&released.collect::<Vec<_>>()).await.unwrap();
    }
}

async fn opened(source: &dyn Source) -> (Arc<Inbox>, Box<dyn Consuming>) {
    let inbox = Arc::<Inbox>::default();
    let session = source.open(inbox.clone()).await.expect("a session");
    (inbox, session)
}

fn ack(arrivals: &[Arrival]) {
    arrivals.iter().for_each(|arrival| arrival.delivery.ack());
}

fn ids(arrivals: &[Arrival]) -> Vec<String> {
    arrivals.iter().map(id_of).collect()
}

pub async fn a_released_job_arrives_whole_and_in_order(rabbit: Rabbit) {
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["a", "b", "c"]).await;
    let arrived = inbox.take(3).await;
    assert_eq!(ids(&arrived), ["a", "b", "c"]);
    assert_eq!(arrived.iter().map(|arrival| arrival.released).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let (sent, received) = (job("b"), decoded(&arrived[1]));
    assert_eq!((received.mobile, &received.payload, received.priority), (sent.mobile, &sent.payload, sent.priority));
    assert_eq!((received.account, received.metadata), (sent.account, sent.metadata));
    assert!(arrived.iter().all(|arrival| !arrival.redelivered && arrival.priority == Priority::Normal));
    assert!(arrived.iter().all(|arrival| arrival.delivery.describe().starts_with('{')));
    ack(&arrived);
    session.close().await;
}

pub async fn what_is_acknowledged_does_not_come_back(rabbit: Rabbit) {
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["a", "b", "c"]).await;
    let mut arrived = inbox.take(3).await;
    // The last first: the broker must not take that for all three.
    let last = arrived.pop().unwrap();
    last.delivery.ack();
    arrived.remove(0).delivery.ack();
    drop((arrived, last));
    session.close().await;
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["marker"]).await;
    ack(&[inbox.next_is("b").await, inbox.next_is("marker").await]);
    session.close().await;
}

pub async fn what_is_not_acknowledged_comes_back_marked_and_in_order(rabbit: Rabbit) {
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["a", "b", "c"]).await;
    drop(inbox.take(3).await);
    session.close().await;
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["new"]).await;
    let arrived = inbox.take(4).await;
    assert_eq!(ids(&arrived), ["a", "b", "c", "new"]);
    assert_eq!(arrived.iter().map(|arrival| arrival.redelivered).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(arrived[0].released, Some(0));
    ack(&arrived);
    session.close().await;
}

pub async fn what_is_given_back_comes_again(rabbit: Rabbit) {
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["a"]).await;
    inbox.next_is("a").await.delivery.nack();
    let again = inbox.next_is("a").await;
    assert!(again.redelivered);
    ack(&[again]);
    session.close().await;
}

pub async fn a_session_holds_so_many_at_most(rabbit: Rabbit) {
    let (inbox, session) = rabbit.open().await;
    rabbit.release(&["a", "b", "c", "d", "e", "f"]).await;
    let mut held = inbox.take(PREFETCH.into()).await;
    assert_eq!(ids(&held), ["a", "b", "c", "d"]);
    // Each that is settled, whichever it is, makes room for one.
    held.pop().unwrap().delivery.ack();
    held.push(inbox.next_is("e").await);
    held.remove(0).delivery.ack();
    held.push(inbox.next_is("f").await);
    ack(&held);
    session.close().await;
}

pub async fn a_second_session_waits_for_the_end_of_the_first(rabbit: Rabbit) {
    let (first, session) = rabbit.open().await;
    let (second, standby) = opened(&*rabbit.other).await;
    rabbit.release(&["a", "b"]).await;
    let arrived = first.take(2).await;
    assert_eq!(ids(&arrived), ["a", "b"]);
    arrived[0].delivery.ack();
    drop(arrived);
    session.close().await;
    let again = second.next_is("b").await;
    assert!(again.redelivered);
    ack(&[again]);
    standby.close().await;
}

pub async fn a_lost_connection_ends_the_session_and_says_why(rabbit: Rabbit) {
    let (inbox, mut session) = rabbit.open().await;
    rabbit.release(&["a"]).await;
    let held = inbox.next_is("a").await;
    rabbit.cut.cut();
    assert!(!session.ended().await.is_empty());
    // Too late, and no harm: the broker has taken it back.
    held.delivery.ack();
    drop(held);
    session.close().await;
    let (inbox, session) = rabbit.open().await;
    let again = inbox.next_is("a").await;
    assert!(again.redelivered);
    ack(&[again]);
    session.close().await;
}

/// Every case, as a test of its own, on `$fixture`, a function `async fn() -> Rabbit`.
macro_rules! every_broker_case {
    ($fixture:path) => {
        crate::suite::broker::every_broker_case! { $fixture:
            a_released_job_arrives_whole_and_in_order,
            what_is_acknowledged_does_not_come_back,
            what_is_not_acknowledged_comes_back_marked_and_in_order,
            what_is_given_back_comes_again,
            a_session_holds_so_many_at_most,
            a_second_session_waits_for_the_end_of_the_first,
            a_lost_connection_ends_the_session_and_says_why,
        }
    };
    ($fixture:path: $($case:ident,)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::suite::broker::$case($fixture().await).await;
            }
        )+
    };
}

pub(crate) use every_broker_case;
