//! What ihuyi pushes: receipts and replies, at once or late, twice, contradicting each other, or never. From
//! a chance of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dispatcher::dispatch::inbox::Inbox;
use dispatcher::domain::fields::Fields;
use dispatcher::domain::job::Timestamp;
use dispatcher::domain::mobile::Mobile;

use crate::world::World;

/// Before each try of a push. ihuyi's own waits are longer, and so would be each story.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(20)];
/// The code of a message that was not delivered.
const LOST: &str = "7";
/// What a person writes who wants no more.
pub const OPT_OUT: &str = "TD";

/// Probabilities for each message that was taken.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Nothing is ever pushed.
    silent: f64,
    undelivered: f64,
    /// The receipt comes again, to the letter.
    repeated: f64,
    /// Another part of the message has another fate.
    contradicted: f64,
    /// The receipt takes seconds; else it may be there before the answer.
    slow: f64,
    /// The person wants no more.
    opts_out: f64,
}

impl Plan {
    /// Each has its day: a rate is zero in half of the worlds.
    fn draw(rng: &mut fastrand::Rng) -> Plan {
        let mut rate = |most: f64| if rng.bool() { most * rng.f64() } else { 0.0 };
        Plan {
            silent: rate(1.0),
            undelivered: rate(0.5),
            repeated: rate(0.5),
            contradicted: rate(0.5),
            slow: rate(1.0),
            opts_out: rate(0.1),
        }
    }
}

/// The postman.
pub struct Post {
    plan: Plan,
    rng: Mutex<fastrand::Rng>,
    /// Where pushes go: a listener in each process.
    inboxes: Mutex<BTreeMap<u32, Arc<Inbox>>>,
    under_way: AtomicUsize,
    /// What ihuyi was told `success` for, and when.
    answered: Mutex<Vec<(Push, Timestamp)>>,
}

/// What is pushed.
#[derive(Clone, Debug)]
pub enum Push {
    Receipt(Fields),
    Reply(Fields),
}

impl Post {
    /// The postman of a seed.
    pub fn new(seed: u64) -> Post {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7265_6365);
        let plan = Plan::draw(&mut rng);
        let (rng, inboxes) = (Mutex::new(rng), Mutex::default());
        Post { plan, rng, inboxes, under_way: AtomicUsize::new(0), answered: Mutex::default() }
    }

    /// A process listens.
    pub fn open(&self, process: u32, inbox: Inbox) {
        self.inboxes.lock().unwrap().insert(process, Arc::new(inbox));
    }

    /// It listens no more.
    pub fn close(&self, process: u32) {
        self.inboxes.lock().unwrap().remove(&process);
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    /// What ihuyi pushes never again.
    pub fn answered(&self) -> Vec<(Push, Timestamp)> {
        self.answered.lock().unwrap().clone()
    }

    fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.rng.lock().unwrap().f64() < probability
    }

    /// Short more often than long.
    fn delay(&self, longest: Duration) -> Duration {
        let share = self.rng.lock().unwrap().f64();
        Duration::from_millis(longest.mul_f64(share * share).as_millis() as u64)
    }

    fn any_inbox(&self) -> Option<Arc<Inbox>> {
        let inboxes = self.inboxes.lock().unwrap();
        let which = if inboxes.len() > 1 { self.rng.lock().unwrap().usize(..inboxes.len()) } else { 0 };
        inboxes.values().nth(which).cloned()
    }
}

impl World {
    /// The gateway took a message just now: what follows from it.
    pub fn post_about(self: &Arc<Self>, smsid: &str, mobile: Mobile) {
        let post = &self.post;
        if post.chance(post.plan.opts_out) {
            let delay = post.delay(Duration::from_secs(10));
            let form = fields(&[("mobilephone", &mobile.digits()), ("content", OPT_OUT), ("smsid", smsid)]);
            self.push(delay, Push::Reply(form));
        }
        if post.chance(post.plan.silent) {
            return;
        }
        let longest = Duration::from_millis(if post.chance(post.plan.slow) { 20_000 } else { 90 });
        let delay = post.delay(longest);
        let codes = if post.chance(post.plan.undelivered) { [LOST, "2"] } else { ["2", LOST] };
        let form = receipt(codes[0], smsid, mobile, self.now() + delay);
        if post.chance(post.plan.repeated) {
            let later = delay + post.delay(Duration::from_secs(15));
            self.push(later, Push::Receipt(form.clone()));
        }
        if post.chance(post.plan.contradicted) {
            let later = delay + post.delay(Duration::from_secs(5));
            self.push(later, Push::Receipt(receipt(codes[1], smsid, mobile, self.now() + later)));
        }
        self.push(delay, Push::Receipt(form));
    }

    /// Pushes after `delay`, until it is taken, three times at most.
    fn push(self: &Arc<Self>, delay: Duration, push: Push) {
        self.post.under_way.fetch_add(1, Ordering::SeqCst);
        let world = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            for wait in TRIES {
                tokio::time::sleep(wait).await;
                let Some(inbox) = world.post.any_inbox() else { continue };
                let kept = match &push {
                    Push::Receipt(fields) => inbox.receipt(fields).await,
                    Push::Reply(fields) => inbox.reply(fields, world.now()).await,
                };
                world.note(|| format!("pushed {push:?}: {kept:?}"));
                if kept.is_ok() {
                    world.post.answered.lock().unwrap().push((push, world.now()));
                    break;
                }
            }
            world.post.under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn receipt(code: &str, smsid: &str, mobile: Mobile, at: Timestamp) -> Fields {
    let shanghai = at + chrono::Duration::hours(8);
    let at = shanghai.format("%Y-%m-%d %H:%M:%S").to_string();
    fields(&[("code", code), ("smsid", smsid), ("mobilephone", &mobile.digits()), ("report_time", &at)])
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    Fields::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}
