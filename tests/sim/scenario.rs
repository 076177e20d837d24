//! The story of one seed: publishers publish, processes run and die, services fail; then all is well
//! again, everything comes to rest, and the promises are checked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use dispatcher::dispatch::health::Health;
use dispatcher::dispatch::inbox::Inbox;
use dispatcher::dispatch::metrics::Metrics;
use dispatcher::dispatch::ports::Feedback;
use dispatcher::dispatch::settings::{AccountSettings, Settings, Tempo};
use dispatcher::dispatch::{CLAIM_MARGIN, Ports, Shard};
use dispatcher::domain::codes::CodeTable;
use dispatcher::domain::job::{OnUnknown, State};
use dispatcher::domain::limits::{NumberLimits, Sliding};
use dispatcher::domain::message::Rules;
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::pace::account::AccountPace;
use dispatcher::domain::pace::bucket::Bucket;
use dispatcher::domain::quiet::{Quiet, QuietHours};
use dispatcher::domain::retry::RetryPolicy;
use dispatcher::domain::uplink::OptOut;
use dispatcher::store::operate::{Control, ReplayOrder};
use dispatcher::store::query::JobFilter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::{EventPublisher, JobPublisher, JobSource};
use crate::ihuyi::{Call, Client, TIMEOUT};
use crate::invariants;
use crate::jobs::{Letter, letters};
use crate::lease::ShardLease;
use crate::mutants::Mutant;
use crate::plan::{Fault, Weather};
use crate::post::{OPT_OUT, Post};
use crate::postgres::{Postgres, Tables};
use crate::process::{Dice, Link, Process};
use crate::world::World;

/// Faults happen within this time.
const TROUBLE: Duration = Duration::from_secs(30);
/// Everything must have come to rest this long after; an hour later for each time that the clock was set
/// back.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two tokens of an account that is slow.
const SLOW: Duration = Duration::from_secs(60);

/// What a seed decides before anything happens.
pub struct Story {
    pub seed: u64,
    pub letters: Vec<Letter>,
    pub settings: Settings,
    pub max_attempts: u32,
    /// What one number may get over long windows.
    pub limits: NumberLimits,
    /// It wants no bulk messages.
    pub spared: Option<Mobile>,
    /// Nothing happens that could change an order.
    pub mild: bool,
    pub faults: Vec<(Duration, Fault)>,
    weather: Weather,
    /// What an operator does with replays.
    deeds: Vec<(Duration, Deed)>,
    kill_at: Vec<u64>,
    slots: usize,
    prefetch: usize,
    rng: fastrand::Rng,
}

impl Story {
    /// The story of `seed`.
    pub fn new(seed: u64) -> Story {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mild = rng.u8(..8) == 0;
        let slots = if mild { 1 } else { rng.usize(1..=2) };
        let times = if mild { 0 } else { rng.usize(..6) };
        let mut faults: Vec<(Duration, Fault)> = (0..times)
            .map(|_| (Duration::from_millis(rng.u64(..TROUBLE.as_millis() as u64)), Fault::any(&mut rng, slots, 2)))
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        let kills = if mild { 0 } else { rng.usize(..4) };
        let max_attempts = rng.u32(2..5);
        let policy = Policy::draw(seed);
        let mut story = Story {
            seed,
            letters: letters(&mut rng, crate::world::epoch(), TROUBLE.mul_f64(0.7)),
            settings: Settings {
                quiet: policy.quiet,
                number_limited: !policy.limits.is_empty(),
                ..settings(&mut rng, max_attempts)
            },
            max_attempts,
            limits: policy.limits,
            spared: policy.spared,
            mild,
            faults,
            weather: if mild { Weather::mild(&mut rng) } else { Weather::foul(&mut rng) },
            deeds: if mild { Vec::new() } else { deeds(seed) },
            kill_at: (0..kills).map(|_| rng.u64(..300)).collect(),
            slots,
            prefetch: rng.usize(2..20),
            rng,
        };
        story.settings.prefetch = story.prefetch;
        if let Some(bucket) = policy.slow {
            story.settings.accounts[0].pace.bucket = bucket;
        }
        story
    }

    /// One of its accounts has a backlog for as long as the story lasts.
    pub fn has_a_slow_account(&self) -> bool {
        self.settings.accounts.iter().any(|account| account.pace.bucket.period == SLOW)
    }
}

/// What is kept from numbers, and when. From a chance of its own.
struct Policy {
    quiet: QuietHours,
    limits: NumberLimits,
    spared: Option<Mobile>,
    /// The first account sends one in longer than a claim protects its attempt.
    slow: Option<Bucket>,
}

impl Policy {
    fn draw(seed: u64) -> Policy {
        let mut rng = fastrand::Rng::with_seed(!seed);
        let quiet = |rng: &mut fastrand::Rng| (rng.u8(..5) == 0).then(|| Quiet::parse("10:00-10:01").unwrap());
        // Hours are too long for a story.
        let window = Duration::from_secs(rng.u64(5..25));
        let sliding = (rng.u8(..4) == 0).then(|| Sliding { most: rng.u32(1..4), window });
        Policy {
            quiet: QuietHours::new(None, quiet(&mut rng), quiet(&mut rng)),
            limits: NumberLimits { sliding, daily: (rng.u8(..8) == 0).then(|| rng.u32(1..5)) },
            spared: (rng.u8(..4) == 0).then(|| Mobile::parse("13800000000").unwrap()),
            slow: (rng.u8(..16) == 0).then(|| Bucket { period: SLOW, burst: rng.u32(1..8) }),
        }
    }
}

/// What an operator does with replays.
#[derive(Clone, Debug)]
enum Deed {
    Begin(ReplayOrder),
    /// One of those that were begun, counted round.
    Steer(usize, Control),
}

/// From a chance of its own: most stories have no operator.
fn deeds(seed: u64) -> Vec<(Duration, Deed)> {
    let mut rng = fastrand::Rng::with_seed(seed.rotate_left(32));
    let times = if rng.u8(..3) > 0 { 0 } else { rng.usize(1..6) };
    let deed = |rng: &mut fastrand::Rng| match rng.u8(..8) {
        0 => Deed::Steer(rng.usize(..4), Control::Pause),
        1 | 2 => Deed::Steer(rng.usize(..4), Control::Resume),
        3 if rng.bool() => Deed::Steer(rng.usize(..4), Control::Cancel),
        _ => Deed::Begin(replay_order(rng)),
    };
    // Also after the trouble: then there is most to be sent again.
    let end = TROUBLE.mul_f64(1.3);
    let latest = end.as_millis() as u64;
    let mut deeds: Vec<_> =
        (0..times).map(|_| (Duration::from_millis(rng.u64(5_000..latest)), deed(&mut rng))).collect();
    // What is still paused goes on.
    deeds.extend((times > 0).then_some(0..4).into_iter().flatten().map(|n| (end, Deed::Steer(n, Control::Resume))));
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

fn replay_order(rng: &mut fastrand::Rng) -> ReplayOrder {
    let mut states = vec![State::Failed];
    states.extend((rng.u8(..3) == 0).then_some(State::InDoubt));
    states.extend((rng.u8(..3) == 0).then_some(State::Expired));
    let expires_in = states.contains(&State::Expired).then(|| Duration::from_secs(rng.u64(5..300)));
    let filter = JobFilter { states, ..JobFilter::default() };
    ReplayOrder { filter, rate: [0.5, 5.0, 100.0][rng.usize(..3)], canary: rng.u32(..4), expires_in }
}

impl Story {
    /// How far the dispatchers' clock is put on, at most.
    pub fn put_on(&self) -> chrono::Duration {
        let seconds = self.faults.iter().map(|(_, fault)| if let Fault::ClockSet(by) = fault { *by } else { 0 });
        chrono::Duration::seconds(seconds.filter(|by| *by > 0).sum())
    }
}

fn settings(rng: &mut fastrand::Rng, max_attempts: u32) -> Settings {
    let fallback = rng.bool();
    let mut account = |name: &str, fallback: Option<usize>| {
        let bucket = Bucket { period: Duration::from_secs(1) / rng.u32(10..100), burst: rng.u32(1..10) };
        let pace = AccountPace { bucket, max_in_flight: rng.u32(1..20), refusals: rng.u32(0..30) };
        AccountSettings { name: name.into(), pace, balance_low: 0, signature: 6, fallback }
    };
    let accounts = vec![account("main", fallback.then_some(1)), account("backup", None)];
    Settings {
        rules: Rules {
            content_max: 300,
            default_account: "main".into(),
            accounts: ["main".to_owned(), "backup".to_owned()].into(),
            on_unknown: OnUnknown::Hold,
            checks: Default::default(),
            templates: Default::default(),
        },
        accounts,
        prefetch: 1,
        mobile: Bucket { period: Duration::from_secs(1), burst: 1 },
        number_limited: false,
        quiet: QuietHours::default(),
        retry: RetryPolicy::new(max_attempts, Duration::from_millis(500), Duration::from_secs(4)),
        codes: CodeTable::default(),
        retention: Duration::from_secs(90 * 86_400),
        keep_records: Duration::from_secs(90 * 86_400),
        balance_every: None,
        drain_timeout: Duration::from_secs(15),
        events: true,
        tempo: Tempo {
            release: Duration::from_millis(400),
            lost: Duration::from_secs(rng.u64(8..60)),
            probe: Duration::from_secs(5),
            reclaim: Duration::from_secs(4),
            expire: Duration::from_secs(3),
            gauges: Duration::from_secs(20),
            events: Duration::from_secs(3),
            ..Tempo::default()
        },
    }
}

/// One place where a process runs; when it ends another is started.
#[derive(Default)]
struct Slot {
    current: Mutex<Option<Arc<Process>>>,
    stop: Notify,
}

impl Slot {
    fn is_waiting(&self) -> bool {
        self.current.lock().unwrap().as_ref().is_some_and(|process| !process.is_dead() && process.is_waiting())
    }
}

struct Cast {
    story: Arc<Story>,
    mutant: Option<Mutant>,
    world: Arc<World>,
    slots: Vec<Slot>,
    incarnations: AtomicU32,
}

/// How a story ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// The promises that were broken.
    pub broken: Vec<String>,
    /// The states of jobs, the outcomes of attempts, and other things that came about.
    pub seen: BTreeSet<&'static str>,
    /// Everything that the gateway heard, to the millisecond.
    pub calls: Vec<Call>,
}

/// Lives through the story of a seed.
pub fn run(seed: u64, mutant: Option<Mutant>, noisy: bool) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live(Story::new(seed), mutant, noisy))
}

async fn live(mut story: Story, mutant: Option<Mutant>, noisy: bool) -> Ending {
    let tables = Tables {
        lease: TIMEOUT + CLAIM_MARGIN,
        limits: story.limits,
        suppressions: story.spared.into_iter().map(|mobile| (mobile, crate::world::epoch())).collect(),
        ..Tables::default()
    };
    let world = World::new(story.rng.fork(), story.prefetch, tables, Post::new(story.seed), noisy);
    *world.weather() = story.weather.clone();
    world.kill_at(story.kill_at.clone());
    let slots = (0..story.slots).map(|_| Slot::default()).collect();
    let story = Arc::new(story);
    let cast = Arc::new(Cast { story, mutant, world: world.clone(), slots, incarnations: AtomicU32::new(0) });
    for slot in 0..cast.slots.len() {
        tokio::spawn(keep_running(cast.clone(), slot));
    }
    let until_well = async {
        tokio::join!(publish(&cast), trouble(&cast));
        world.kill_at(Vec::new());
        let ack_lingers = world.weather().ack_lingers;
        *world.weather() = Weather { ack_lingers, ..Weather::fair() };
        world.note(|| "all is well again".into());
    };
    tokio::join!(until_well, operate(&cast));
    come_to_rest(&cast).await;
    invariants::check(&world, &cast.story);
    Ending { broken: world.violations(), seen: seen(&world), calls: world.ihuyi.calls() }
}

fn seen(world: &World) -> BTreeSet<&'static str> {
    let tables = world.tables();
    let states = tables.jobs.values().map(|row| row.state.as_str());
    let outcomes = tables.attempts.values().filter_map(|attempt| Some(attempt.outcome?.as_str()));
    let rejections = tables.rejections.iter().map(|rejection| rejection.reason);
    let mut seen: BTreeSet<&'static str> = states.chain(outcomes).chain(rejections).collect();
    seen.extend(&tables.seen);
    let calls = world.ihuyi.calls();
    let twice = |call: &Call| calls.iter().filter(|other| other.job == call.job && other.taken.is_some()).count() > 1;
    if calls.iter().any(twice) {
        seen.insert("resent");
    }
    if calls.iter().any(|call| call.taken.is_some() && call.heard.is_none()) {
        seen.insert("killed on the wire");
    }
    seen
}

/// Publishers publish each letter until it is confirmed.
async fn publish(cast: &Cast) {
    for letter in &cast.story.letters {
        tokio::time::sleep(letter.at.saturating_sub(cast.world.age())).await;
        while cast.world.broker_is_down() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        cast.world.note(|| format!("published: {:?}", letter.content));
        for _ in 0..=u8::from(letter.twice) {
            cast.world.broker.publish(letter.message());
        }
    }
}

async fn trouble(cast: &Cast) {
    for (at, fault) in &cast.story.faults {
        tokio::time::sleep(at.saturating_sub(cast.world.age())).await;
        strike(cast, *fault);
    }
    tokio::time::sleep(TROUBLE.saturating_sub(cast.world.age())).await;
}

/// Somebody replays jobs, and steers what was begun.
async fn operate(cast: &Cast) {
    for (at, deed) in &cast.story.deeds {
        tokio::time::sleep(at.saturating_sub(cast.world.age())).await;
        let (now, mut tables) = (cast.world.now(), cast.world.tables());
        let begun = tables.replays.len();
        match deed {
            Deed::Begin(order) => drop(tables.begin_replay(order, now)),
            Deed::Steer(n, control) if begun > 0 => tables.control_replay(n % begun, *control, now),
            Deed::Steer(..) => continue,
        }
        cast.world.note(|| format!("{deed:?}: {:?}", tables.replays));
    }
}

fn strike(cast: &Cast, fault: Fault) {
    let world = &cast.world;
    world.note(|| format!("{fault:?}"));
    let until = |time: Duration| Some(Instant::now() + time);
    match fault {
        Fault::Kill(slot) => {
            let process = cast.slots[slot].current.lock().unwrap().clone();
            process.iter().for_each(|process| world.kill(process));
        }
        Fault::Stop(slot) => cast.slots[slot].stop.notify_one(),
        Fault::BrokerDown(time) => {
            world.weather().broker_down = until(time);
            world.broker.close_all(world, None, "the broker restarts");
        }
        Fault::BrokerCut => world.broker.close_all(world, None, "the connection was reset"),
        Fault::BrokerForgets => world.broker.forget_released(),
        Fault::LeaseLost => world.shelf().break_off(),
        Fault::PostgresDown(time) => {
            world.weather().postgres_down = until(time);
            world.shelf().break_off();
        }
        Fault::GatewayDown(time) => world.weather().gateway_down = until(time),
        Fault::ClockSet(by) => world.set_clock(by),
        Fault::AccountDown(account, time) => {
            world.weather().account_down = until(time).map(|until| (account, until));
        }
    }
}

/// As systemd does: starts a process, and another when it has ended.
async fn keep_running(cast: Arc<Cast>, slot: usize) {
    let world = &cast.world;
    loop {
        let process = Process::new(cast.incarnations.fetch_add(1, Ordering::Relaxed));
        *cast.slots[slot].current.lock().unwrap() = Some(process.clone());
        let shard = start(&cast, &process);
        let told = tokio::select! {
            biased;
            () = process.died() => false,
            () = cast.slots[slot].stop.notified() => true,
        };
        if told {
            world.note(|| format!("process {} is told to stop", process.index()));
            tokio::select! {
                biased;
                () = process.died() => {}
                left = shard.stop() => exit(world, &process, left),
            }
        }
        tokio::time::sleep(world.delay(Duration::from_secs(5))).await;
    }
}

/// The process has come to its own end; what it left open is closed by its system.
fn exit(world: &Arc<World>, process: &Arc<Process>, left: usize) {
    world.note(|| format!("process {} exits, {left} unfinished", process.index()));
    world.end(process);
    world.broker.close_all(world, Some(process), "its process has exited");
    world.shelf().give_back_all(process.index());
}

fn start(cast: &Cast, process: &Arc<Process>) -> Shard {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    cast.world.note(|| format!("process {} starts", process.index()));
    let link = Link { world: cast.world.clone(), process: process.clone() };
    let seed = cast.story.seed ^ (u64::from(process.index()) + 1) << 32;
    let postgres = Arc::new(Postgres(link.clone()));
    let feedback: Arc<dyn Feedback> = postgres.clone();
    let ports = Ports {
        ledger: postgres.clone(),
        upkeep: postgres.clone(),
        outbox: postgres,
        announcer: Arc::new(EventPublisher(link.clone())),
        publisher: Arc::new(JobPublisher(link.clone())),
        source: Arc::new(JobSource(link.clone())),
        lease: Arc::new(ShardLease(link.clone())),
        gateway: Arc::new(Client(link.clone())),
        chance: Arc::new(Dice { world: cast.world.clone(), rng: Mutex::new(fastrand::Rng::with_seed(seed)) }),
        tracer: None,
    };
    let ports = match cast.mutant {
        Some(mutant) => mutant.wrap(ports, &cast.world),
        None => ports,
    };
    let feedback = match cast.mutant {
        Some(mutant) => mutant.wrap_feedback(feedback, &cast.world),
        None => feedback,
    };
    let metrics = METRICS.get_or_init(Metrics::new).clone();
    let words = OptOut::new(vec![OPT_OUT.into()]);
    let inbox = Inbox::start(feedback, metrics.clone(), Arc::new(Health::starting()), words);
    cast.world.post.open(process.index(), inbox);
    Shard::start(cast.story.settings.clone(), ports, metrics, Arc::new(Health::starting()))
}

/// Waits until nothing is left to do.
async fn come_to_rest(cast: &Cast) {
    let begun = Instant::now();
    let mut quiet = 0;
    // For a while longer than one look: what is at rest must stay so.
    while quiet < 3 {
        // Back: what waits is due later. On: so is what waits behind others for a window that Postgres counts.
        let set_back = (cast.story.faults.iter())
            .filter(|(_, fault)| matches!(fault, Fault::ClockSet(by) if *by < 0 || cast.story.settings.number_limited));
        let slow = if cast.story.has_a_slow_account() { 6 } else { 1 };
        if begun.elapsed() > PATIENCE * slow + Duration::from_secs(3_600) * set_back.count() as u32 {
            return cast.world.violation("it does not come to rest".into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rests = invariants::at_rest(&cast.world, &cast.story) && !cast.slots.iter().any(Slot::is_waiting);
        quiet = if rests { quiet + 1 } else { 0 };
    }
}
