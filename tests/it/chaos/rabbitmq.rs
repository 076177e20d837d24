//! RabbitMQ fails under a running daemon: it comes back by itself, consumes every queue again, and says
//! why meanwhile; what was answered is recorded all the same.
//!
//! Most of it is played by a proxy before the RabbitMQ that tests share. A crash of the broker and its
//! memory alarm need a node of one's own.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options};
use dispatcher::store::Store;
use dispatcher::store::operate::{Operator, RetryChoice, RetryOrder, Via};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use tokio::process::Command;

use super::books::{all_settled, balance, jobs};
use super::node::Node;
use crate::support::broker::{Message, TestBroker};
use crate::support::metrics::{Scrape, get};
use crate::support::proxy::{self, Proxy};
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, dispatcher as command, eventually};

const PRIORITIES: [&str; 3] = ["high", "normal", "bulk"];

/// A daemon with a RabbitMQ that can fail.
struct Failing {
    stage: Stage,
    rabbitmq: Proxy,
    published: Vec<Value>,
}

impl Failing {
    async fn new(broker: TestBroker) -> Failing {
        let latency = Latency::Fixed(Duration::from_millis(20));
        let mut stage = Stage::on(broker, Options { latency, ..lenient() }).await;
        stage.set("accounts.main.rate", "150/s");
        stage.set("accounts.main.burst", "1");
        let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
        // A silent broker is noticed after two heartbeats.
        stage.set("rabbitmq.url", &format!("{url}?heartbeat=1"));
        stage.tempo.lost = Duration::from_secs(2);
        stage.start().await;
        Failing { stage, rabbitmq, published: Vec::new() }
    }

    /// Jobs are on their way, and some of them wait in Postgres to be released.
    async fn under_load(broker: TestBroker) -> Failing {
        let mut failing = Failing::new(broker).await;
        failing.publish("normal", 300).await;
        failing.stage.submissions(30).await;
        failing
    }

    async fn publish(&mut self, priority: &str, count: usize) {
        let more = jobs("hold", self.published.len(), count);
        self.stage.publish(priority, &more).await;
        self.published.extend(more);
    }

    async fn unready(&self, words: &str) {
        eventually("unready", async || match self.stage.ready().await {
            Some((503, reasons)) if reasons.contains("rabbitmq: ") && reasons.contains(words) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    async fn ready(&self) {
        becomes("ready", Some(200), async || self.stage.ready().await.map(|(status, _)| status)).await;
    }

    /// Every queue is consumed again, and everything ends.
    async fn ends_rightly(mut self) {
        self.ready().await;
        for priority in PRIORITIES {
            self.publish(priority, 1).await;
        }
        all_settled(&self.stage, self.published.len()).await;
        balance(&self.stage, &self.published, 6).await;
        assert_eq!(self.stage.db.count("jobs where state <> 'accepted'").await, 0, "{}", self.stage.db.states().await);
        assert_eq!(self.stage.gateway.submissions().len(), self.published.len(), "each once");
        for priority in PRIORITIES {
            self.stage.flush(priority).await;
        }
        self.stage.metric("duplicates_total", &[], 0.0).await;
        self.stage.finish().await;
    }
}

#[tokio::test]
async fn a_lost_connection_loses_and_doubles_nothing() {
    let failing = Failing::under_load(TestBroker::connect().await).await;
    for more in [60, 120, 180] {
        failing.stage.submissions(more).await;
        failing.rabbitmq.cut();
    }
    failing.ends_rightly().await;
}

#[tokio::test]
async fn while_rabbitmq_refuses_what_is_on_the_wire_is_recorded() {
    let failing = Failing::under_load(TestBroker::connect().await).await;
    failing.rabbitmq.refuse();
    failing.unready("").await;
    becomes("nothing is left open", 0, async || failing.stage.db.count("attempts where outcome is null").await).await;
    failing.rabbitmq.resume();
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up() {
    let failing = Failing::under_load(TestBroker::connect().await).await;
    failing.rabbitmq.strand();
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_broker_that_is_silent_to_everybody_is_an_outage() {
    let failing = Failing::under_load(TestBroker::connect().await).await;
    failing.rabbitmq.stall();
    becomes("unready", Some(503), async || failing.stage.ready().await.map(|(status, _)| status)).await;
    becomes("nothing is left open", 0, async || failing.stage.db.count("attempts where outcome is null").await).await;
    failing.rabbitmq.resume();
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_is_declared_and_consumed_again() {
    let failing = Failing::new(TestBroker::connect().await).await;
    let channel = failing.stage.broker.channel().await;
    for priority in PRIORITIES {
        let made = failing.rabbitmq.made();
        let queue = failing.stage.broker.queue(priority);
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        eventually("a new session", async || {
            if failing.rabbitmq.made() > made { Ok(()) } else { Err(failing.stage.ready().await) }
        })
        .await;
        failing.ready().await;
    }
    failing.ends_rightly().await;
}

#[tokio::test]
async fn released_jobs_whose_messages_the_broker_loses_come_back() {
    let failing = Failing::under_load(TestBroker::connect().await).await;
    becomes("Postgres knows all", 300, async || failing.stage.db.count("jobs").await).await;
    let channel = failing.stage.broker.channel().await;
    for priority in PRIORITIES {
        let queue = failing.stage.broker.queue(priority);
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    all_settled(&failing.stage, 300).await;
    failing.ends_rightly().await;
}

/// Connections that were lost and made again: `CHAOS_RECONNECTS`, for a longer run.
fn reconnects() -> usize {
    std::env::var("CHAOS_RECONNECTS").map_or(30, |count| count.parse().unwrap())
}

/// Consumers of a queue, as the broker counts them.
async fn consumers(stage: &Stage, priority: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let channel = stage.broker.channel().await;
    let declared = channel.queue_declare(stage.broker.queue(priority).into(), passive, FieldTable::default()).await;
    declared.unwrap().consumer_count()
}

/// What the daemon holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    tasks: usize,
    descriptors: usize,
    /// Resident memory, in bytes.
    memory: u64,
}

impl Held {
    fn by(stage: &Stage) -> Held {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        Held { tasks: stage.tasks(), descriptors, memory: resident_memory() }
    }

    /// A few tasks and connections of the pool come and go. Memory may grow by what an allocator does not
    /// give back at once; a thousand reconnects may not hide 10 KiB each.
    fn is_no_more_than(self, early: Held) -> bool {
        self.tasks <= early.tasks + 3
            && self.descriptors <= early.descriptors + 4
            && self.memory <= early.memory + (8 << 20)
    }
}

/// Of this process, in which nothing runs but the daemon and what its test needs.
fn resident_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

const RECONNECTS_ALONE: &str = "CHAOS_RECONNECTS_ALONE";

/// In a process of its own: other tests take memory and open connections, too.
#[tokio::test]
async fn reconnects_leak_nothing() {
    if std::env::var_os(RECONNECTS_ALONE).is_some() {
        return reconnect_again_and_again().await;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "chaos::rabbitmq::reconnects_leak_nothing", "--nocapture"]).env(RECONNECTS_ALONE, "1");
    // What is free goes back to the system at once: else ten megabytes come and go with the allocator's moods.
    let allocator =
        [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "65536")];
    alone.envs(allocator);
    let ended = alone.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    said.lines().filter(|line| line.contains("reconnects: ")).for_each(|line| println!("{line}"));
}

async fn reconnect_again_and_again() {
    let mut stage = Stage::new().await;
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    stage.tempo.reconnect = Duration::from_millis(1);
    // Only the session and the publisher connect again and again.
    stage.tempo.gauges = Duration::from_secs(3_600);
    stage.start().await;
    let consuming = async |made: usize| {
        // The session's, and the one that is to tell of alarms.
        eventually("consuming again", async || match (rabbitmq.made(), stage.ready().await) {
            (now, Some((200, _))) if now >= made + 2 => Ok(()),
            other => Err(other),
        })
        .await;
    };
    consuming(0).await;
    let rounds = reconnects();
    let mut early = Held::by(&stage);
    for round in 0..rounds {
        if round == rounds / 3 {
            early = Held::by(&stage);
        }
        let made = rabbitmq.made();
        rabbitmq.cut();
        consuming(made).await;
    }
    becomes("two connections", 2, async || rabbitmq.live()).await;
    let last = eventually("nothing is left over", async || match Held::by(&stage) {
        now if now.is_no_more_than(early) => Ok(now),
        now => Err((now, early)),
    })
    .await;
    println!("{rounds} reconnects: {early:?} after a third, {last:?} at the end");
    for priority in PRIORITIES {
        becomes("one consumer", 1, async || consumers(&stage, priority).await).await;
        stage.flush(priority).await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_broker_that_blocks_publishers_or_crashes_comes_back() {
    let node = Node::start().await;
    let mut failing = Failing::new(TestBroker::at(&node.url).await).await;
    let mut scheduled = jobs("later", 1_000, 50);
    scheduled.iter_mut().for_each(|job| job["not_before"] = "2099-01-01T00:00:00Z".into());
    failing.stage.publish("normal", &scheduled).await;
    failing.published.extend(scheduled);
    failing.stage.states("waiting/scheduled 50").await;
    let node = node.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    failing.stage.db.execute("update jobs set not_before = now(), due_at = now()").await;
    failing.unready("blocked by an alarm").await;
    failing.stage.states("queued 50").await;
    // What an alarm holds up must not hold up the end, nor a new start.
    tokio::time::timeout(Duration::from_secs(30), failing.stage.stop()).await.expect("it stops");
    // A moment of readiness, before the alarm is noticed, may be too short to be seen.
    failing.stage.launch().await;
    failing.unready("blocked by an alarm").await;
    let node = node.control(&["set_vm_memory_high_watermark", "0.6"]).await;
    failing.stage.states("accepted 50").await;
    failing.ready().await;

    failing.publish("bulk", 300).await;
    failing.stage.submissions(80).await;
    let node = node.crash().await;
    failing.stage.broker.reconnect().await;
    failing.ends_rightly().await;
    drop(node);
}

/// What `dispatcher check` says of RabbitMQ.
async fn check(url: &str) -> String {
    let check = command(&["check"])
        .amqp(url)
        .env("DISPATCHER__RABBITMQ__PREFIX", "walk")
        .env("DISPATCHER__GATEWAY__SUBMIT_URL", "http://127.0.0.1:1/?method=Submit")
        .env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
        .env("DISPATCHER__ACCOUNTS__MAIN__API_KEY", "key-of-main");
    let ended = tokio::task::spawn_blocking(|| check.run()).await.unwrap();
    let line = ended.stdout.lines().find(|line| line.contains("  rabbitmq "));
    line.unwrap_or_else(|| panic!("{ended:?}")).to_owned()
}

#[tokio::test]
async fn an_alarm_is_said_though_the_daemon_has_nothing_to_publish() {
    let node = Node::start().await;
    let stage = Stage::on(TestBroker::at(&node.url).await, lenient()).await;
    stage.migrate().await;
    let daemon = stage.process();
    daemon.ready().await;
    let blocked = async || Scrape::of(daemon.admin).await.sum("rabbitmq_blocked", &[]);
    assert_eq!(blocked().await, 0.0);
    let node = node.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    eventually("unready", async || match get(daemon.admin, "/readyz").await {
        Some((503, reasons)) if reasons.contains("rabbitmq: publishers are blocked by an alarm") => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(blocked().await, 1.0);
    let line = check(&node.url).await;
    assert!(line.starts_with("FAIL  rabbitmq         takes no messages"), "{line}");
    let node = node.control(&["set_vm_memory_high_watermark", "0.6"]).await;
    daemon.ready().await;
    assert_eq!(blocked().await, 0.0);
    let (_, log) = daemon.terminate().await;
    assert_eq!(log.matches("RabbitMQ takes no messages").count(), 1, "{log}");
    assert_eq!(log.matches("RabbitMQ takes messages again").count(), 1, "{log}");
    stage.finish().await;
    drop(node);
}

#[tokio::test]
async fn check_says_that_a_user_may_not_read_or_not_write() {
    let node = Node::start().await;
    let node = node.control(&["add_user", "walk", "secret"]).await;
    let (_, host) = node.url.split_once('@').unwrap();
    let url = format!("amqp://walk:secret@{host}");
    let node = node.control(&["set_permissions", "walk", r"^walk\.", r"^(walk\.|amq\.default$)", "^$"]).await;
    let line = check(&url).await;
    assert!(line.starts_with("FAIL") && line.contains("access to queue 'walk.check."), "{line}");
    let node = node.control(&["set_permissions", "walk", r"^walk\.", r"^amq\.default$", r"^walk\."]).await;
    let line = check(&url).await;
    assert!(line.starts_with("FAIL") && line.contains("access to queue 'walk.check."), "{line}");
    // What the README gives it.
    let node = node.control(&["set_permissions", "walk", r"^walk\.", r"^(walk\.|amq\.default$)", r"^walk\."]).await;
    let line = check(&url).await;
    assert!(line.starts_with("ok"), "{line}");
    drop(node);
}

#[tokio::test]
async fn a_refused_message_that_a_broker_does_not_take_back_holds_up_no_other() {
    let node = Node::start().await;
    let mut stage = Stage::on(TestBroker::at(&node.url).await, lenient()).await;
    stage.start().await;
    let messages = [" ".repeat(200_000), "no json".into()].map(|body| Message::raw("normal.x", body));
    stage.broker.publish(&messages).await;
    becomes("the rejections", 2, async || stage.db.count("rejections").await).await;
    let node = node.control(&["eval", "application:set_env(rabbit, max_message_size, 100000)."]).await;
    // A channel keeps the limit that it was opened under.
    stage.stop().await;
    stage.start().await;
    let store = Store::new(&stage.db.url.clone().into(), 1, Duration::from_secs(1)).unwrap();
    let by = Operator { actor: "test".into(), via: Via::Cli, reason: None };
    let choice = RetryChoice { ids: vec![1, 2], ..RetryChoice::default() };
    let order = RetryOrder { choice: choice.clone(), rate: 1000.0, canary: 0 };
    let (id, _) = store.begin_retry(&by, &order).await.unwrap().unwrap();
    eventually("the replay ends", async || {
        let info = store.find_replay(id).await.unwrap().unwrap();
        if info.state == "done" { Ok(()) } else { Err(info) }
    })
    .await;
    let results = store.find_replay(id).await.unwrap().unwrap().results;
    assert_eq!(results, [("failed".into(), 1), ("refused".into(), 1)].into());
    assert!(stage.db.count("rejections").await <= 4, "no copies without end");
    let found = store.preview_retry(&choice).await.unwrap();
    assert_eq!((found.matched, found.already), (1, 1), "the large one was not published");
    stage.finish().await;
    drop(node);
}
