//! The pacer in a small world: a clock, a Postgres that holds what is parked, a gateway that
//! answers after a while.

use std::collections::BTreeMap;

use super::*;
use crate::domain::job::{Outcome, Timestamp, WaitReason};

const MAIN: usize = 0;
const OTHER: usize = 1;

struct World {
    pacer: Pacer,
    now: Tick,
    jobs: HashMap<Ticket, Request>,
    /// Parked jobs: (ticket, park).
    parked: Vec<(Ticket, Park)>,
    parks: HashMap<Ticket, u32>,
    sent: Vec<(Tick, Request)>,
    /// When each was told to go.
    granted: HashMap<Ticket, Tick>,
    replies: BTreeMap<(Tick, Ticket), Tick>,
    reply_after: Duration,
    /// Claimed, about to depart; each claim takes a while.
    line: VecDeque<Ticket>,
    claims: VecDeque<(Tick, Ticket)>,
    claim_takes: Duration,
    told: Vec<(Ticket, Turn)>,
    next: i64,
}

impl World {
    fn new(rate: u32, max_in_flight: u32) -> World {
        World::paced(Bucket { period: Duration::from_secs(1) / rate, burst: rate.div_ceil(10) }, max_in_flight)
    }

    fn paced(bucket: Bucket, max_in_flight: u32) -> World {
        let pace = AccountPace { bucket, max_in_flight, refusals: 0 };
        let mobile = Bucket { period: Duration::from_secs(1), burst: 1 };
        World {
            pacer: Pacer::new(mobile, &[pace.clone(), pace], Tick::ZERO),
            now: Tick::from_secs(2),
            jobs: HashMap::new(),
            parked: Vec::new(),
            parks: HashMap::new(),
            sent: Vec::new(),
            granted: HashMap::new(),
            replies: BTreeMap::new(),
            reply_after: Duration::from_millis(20),
            line: VecDeque::new(),
            claims: VecDeque::new(),
            claim_takes: Duration::ZERO,
            told: Vec::new(),
            next: 1,
        }
    }

    /// A job of `MAIN` that has not entered yet.
    fn next_request(&mut self, mobile: u64) -> Request {
        let mobile = Mobile::parse(&format!("138{mobile:08}")).unwrap();
        let (seq, ticket) = (self.next, self.next as Ticket);
        self.next += 1;
        let (priority, standing) = (Priority::Normal, Standing::New);
        Request { ticket, mobile, account: MAIN, priority, seq, standing, expires: None, quiet: None, keep: false }
    }

    fn publish(&mut self, mobile: u64, account: usize, priority: Priority) -> Ticket {
        let mobile = Mobile::parse(&format!("138{mobile:08}")).unwrap();
        let seq = self.next;
        self.next += 1;
        let ticket = seq as Ticket;
        let request = Request {
            ticket,
            mobile,
            account,
            priority,
            seq,
            standing: Standing::New,
            expires: None,
            quiet: None,
            keep: false,
        };
        self.jobs.insert(ticket, request);
        self.pacer.enter(request, self.now);
        self.settle();
        ticket
    }

    /// A job of `MAIN` that is of no use after that time.
    fn publish_for(&mut self, time: Duration, mobile: u64) {
        let request = Request { expires: Some(self.now + time), ..self.next_request(mobile) };
        self.jobs.insert(request.ticket, request);
        self.pacer.enter(request, self.now);
        self.settle();
    }

    /// Carries out what the pacer says at this instant.
    fn settle(&mut self) {
        loop {
            self.pacer.poll(self.now, &mut self.told);
            let departed = self.depart();
            if self.told.is_empty() && !departed {
                return;
            }
            for (ticket, turn) in std::mem::take(&mut self.told) {
                match turn {
                    Turn::Go(_) => {
                        self.granted.insert(ticket, self.now);
                        self.claims.push_back((self.now + self.claim_takes, ticket));
                    }
                    Turn::Park(park) => {
                        *self.parks.entry(ticket).or_default() += 1;
                        self.parked.push((ticket, park));
                        let Request { mobile, priority, seq, .. } = self.jobs[&ticket];
                        self.pacer.parked_for_good(mobile, priority, seq);
                    }
                    Turn::Expired => {}
                }
            }
        }
    }

    /// Lets go what may: the gate keeps the order.
    fn depart(&mut self) -> bool {
        let before = self.sent.len();
        while let Some((_, ticket)) = self.claims.pop_front_if(|(at, _)| *at <= self.now) {
            self.pacer.claimed(ticket, self.now);
            self.line.push_back(ticket);
        }
        while let Some(ticket) = self.line.front().copied() {
            let request = self.jobs[&ticket];
            if request.expires.is_some_and(|at| at <= self.now) {
                self.line.pop_front();
                self.pacer.abandoned(ticket, self.now);
                continue;
            }
            if self.pacer.due(ticket) > self.now || self.pacer.depart(request.account, Some(ticket), self.now).is_err()
            {
                break;
            }
            self.line.pop_front();
            self.sent.push((self.now, request));
            self.replies.insert((self.now + self.reply_after, ticket), self.now);
        }
        self.sent.len() > before
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(1);
            while let Some((&(at, ticket), &departed)) =
                self.replies.first_key_value().filter(|((at, _), _)| *at <= self.now)
            {
                self.replies.remove(&(at, ticket));
                self.pacer.replied(ticket, departed, self.now);
            }
            if self.now.as_millis().is_multiple_of(200) {
                self.release();
            }
            if self.now.as_millis().is_multiple_of(1_000) {
                self.pacer.tend(self.now);
            }
            self.settle();
        }
    }

    /// What the release duty does: rooms in order of arrival, slots when they are near.
    fn release(&mut self) {
        let mut released = Vec::new();
        let (jobs, now) = (&self.jobs, self.now);
        self.parked.retain(|(ticket, _)| jobs[ticket].expires.is_none_or(|at| now < at));
        for room in self.pacer.rooms(self.now) {
            if self.pacer.circuit.is_open() && !released.is_empty() {
                self.pacer.left_over(room);
                continue;
            }
            let mut fit: Vec<_> = (self.parked.iter())
                .filter(|(t, park)| {
                    let job = &self.jobs[t];
                    park.on_room && (job.account, job.priority) == (room.account, room.priority)
                })
                .map(|(ticket, _)| *ticket)
                .collect();
            fit.sort_unstable();
            fit.truncate(room.jobs);
            self.pacer.released(room, fit.len(), self.now);
            released.extend(fit);
        }
        let mut due: Vec<_> = (self.parked.iter())
            .filter(|(_, park)| !park.on_room && park.due.unwrap() <= self.now + Duration::from_millis(500))
            .map(|(ticket, park)| (park.due, *ticket))
            .collect();
        due.sort_unstable();
        released.extend(due.into_iter().map(|(_, ticket)| ticket));
        self.parked.retain(|(ticket, _)| !released.contains(ticket));
        for ticket in released {
            self.pacer.enter(Request { standing: Standing::Released, ..self.jobs[&ticket] }, self.now);
        }
    }

    fn most_in_a_second(&self, matches: impl Fn(&Request) -> bool) -> usize {
        let at: Vec<Tick> = self.sent.iter().filter(|(_, r)| matches(r)).map(|(at, _)| *at).collect();
        let within =
            |(i, from): (usize, &Tick)| at[i..].iter().take_while(|t| **t < *from + Duration::from_secs(1)).count();
        at.iter().enumerate().map(within).max().unwrap_or(0)
    }

    fn order(&self, matches: impl Fn(&Request) -> bool) -> Vec<i64> {
        self.sent.iter().filter(|(_, r)| matches(r)).map(|(_, r)| r.seq).collect()
    }
}

fn is_sorted(seqs: &[i64]) -> bool {
    seqs.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn a_thousand_jobs_for_one_number_go_one_a_second_in_order_and_hold_nobody_up() {
    let mut world = World::new(100, 100);
    (0..1_000).for_each(|_| {
        world.publish(1, MAIN, Priority::Normal);
    });
    let before = world.sent.len();
    for other in 2..52 {
        world.publish(other, MAIN, Priority::Normal);
    }
    world.run(Duration::from_millis(1_100));
    assert_eq!(world.sent.len() - before, 51, "fifty others and one of the hot number");
    world.run(Duration::from_secs(1_030));
    let hot = world.order(|r| r.mobile.as_u64() == 13_800_000_001);
    assert_eq!(hot.len(), 1_000);
    assert!(is_sorted(&hot));
    assert_eq!(world.most_in_a_second(|r| r.mobile.as_u64() == 13_800_000_001), 1);
    assert!(world.parks.values().all(|parks| *parks == 1), "each is parked once at most");
    assert!(world.pacer.is_empty() && world.parked.is_empty());
}

#[test]
fn a_backlog_of_one_account_holds_up_neither_high_jobs_nor_another_account() {
    let mut world = World::new(100, 100);
    (0..5_000).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    world.run(Duration::from_secs(3));
    let high = world.publish(90_001, MAIN, Priority::High);
    let other = world.publish(90_002, OTHER, Priority::Bulk);
    world.run(Duration::from_millis(200));
    for ticket in [high, other] {
        assert!(world.sent.iter().any(|(_, request)| request.ticket == ticket));
    }
    world.run(Duration::from_secs(49));
    let bulk = world.order(|r| r.account == MAIN && r.priority == Priority::Bulk);
    assert_eq!(bulk.len(), 5_000, "every token is used");
    assert!(is_sorted(&bulk));
    assert!(world.most_in_a_second(|r| r.account == MAIN) <= 110);
    assert!(world.parks.values().all(|parks| *parks <= 2));
}

#[test]
fn a_backlog_that_its_numbers_hold_back_after_a_takeover_does_not_fill_the_memory() {
    let mut world = World::new(100, 100);
    world.now = Tick::ZERO;
    (0..5_000).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    assert!(world.pacer.len() <= 210, "{}", world.pacer.len());
    world.run(Duration::from_secs(60));
    assert_eq!(world.sent.len(), 5_000, "every token is used");
}

#[test]
fn a_backlog_of_a_fast_account_leaves_room_in_memory() {
    let mut world = World::new(1_000, 1_000);
    world.pacer.share_memory(1_000);
    world.publish(6_000, MAIN, Priority::Bulk);
    world.run(Duration::from_millis(100));
    (0..6_000).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    for second in 0..6 {
        assert!(world.pacer.len() <= 700, "{}", world.pacer.len());
        let other = world.publish(90_000 + second, OTHER, Priority::Bulk);
        world.run(Duration::from_millis(100));
        assert!(world.sent.iter().any(|(_, request)| request.ticket == other));
        world.run(Duration::from_millis(900));
    }
    world.run(Duration::from_secs(1));
    let bulk = world.order(|r| r.account == MAIN);
    assert_eq!(bulk.len(), 6_001, "every token is used");
    assert!(is_sorted(&bulk));
    assert!(world.parks.values().all(|parks| *parks <= 2));
}

#[test]
fn what_an_account_that_was_never_answered_could_do_soon_waits_in_memory() {
    let mut world = World::new(1_000, 1_000);
    world.pacer.share_memory(1_000);
    (0..1_500).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    assert_eq!(world.pacer.len(), 1_500, "its first answer may pause it, and then they wait for that");
}

#[test]
fn slow_accounts_with_backlogs_go_on_however_little_memory_they_share() {
    let mut world = World::new(1, 10);
    world.pacer.share_memory(1);
    (0..10).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
        world.publish(100 + n, OTHER, Priority::Bulk);
    });
    world.run(Duration::from_secs(40));
    assert_eq!(world.sent.len(), 20);
}

#[test]
fn a_backlog_of_few_numbers_holds_up_nobody_behind_it() {
    let mut world = World::new(3, 10);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    for _ in 0..60 {
        for hot in 0..2 {
            world.publish(hot, MAIN, Priority::Normal);
        }
    }
    for other in 10..70 {
        world.publish(other, MAIN, Priority::Normal);
    }
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    world.run(Duration::from_secs(65));
    let others = world.order(|r| r.mobile.as_u64() >= 13_800_000_010).len();
    assert_eq!(others, 60, "of {} that were sent", world.sent.len());
    let hot = world.order(|r| r.mobile.as_u64() == 13_800_000_001);
    assert!(is_sorted(&hot));
    world.run(Duration::from_secs(30));
    assert_eq!(world.sent.len(), 180);
    assert!(world.parks.values().all(|parks| *parks <= 6), "{:?}", world.parks.values().max());
}

#[test]
fn what_numbers_hold_back_is_counted_on_every_way_in_and_out() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut world = World::new(20, 5);
    world.pacer.share_memory(60);
    for round in 0..4_000 {
        let priority = Priority::ALL[rng.usize(..3)];
        let account = rng.usize(..2);
        match rng.u32(..40) {
            0 => world.pacer.set_mode(account, Mode::Paused, world.now),
            1 => world.pacer.set_mode(account, Mode::Probing { out: false }, world.now),
            2..=4 => world.pacer.set_mode(account, Mode::Active, world.now),
            5 => (0..5).for_each(|_| {
                world.pacer.circuit.failed(world.now);
            }),
            6..=8 => world.pacer.circuit.reached(),
            9 => {
                let granted = world.claims.pop_back().map(|(_, ticket)| ticket);
                let due = Some(world.now + Duration::from_secs(rng.u64(1..5)));
                let park = Park { reason: WaitReason::NumberLimit, due, on_room: false };
                granted.into_iter().for_each(|ticket| world.pacer.held(ticket, park, world.now));
            }
            10 => {
                let granted = world.claims.pop_back().map(|(_, ticket)| ticket);
                granted.into_iter().for_each(|ticket| world.pacer.abandoned(ticket, world.now));
            }
            11 => {
                let expires = Some(world.now + Duration::from_millis(rng.u64(1..3_000)));
                let request = Request { priority, account, expires, ..world.next_request(rng.u64(..15)) };
                world.jobs.insert(request.ticket, request);
                world.pacer.enter(request, world.now);
            }
            _ => drop(world.publish(rng.u64(..15), account, priority)),
        }
        world.claim_takes = Duration::from_millis(rng.u64(..20));
        world.settle();
        world.run(Duration::from_millis(rng.u64(..40)));
        for account in [MAIN, OTHER] {
            for priority in Priority::ALL {
                let held = |entry: &&Entry| {
                    entry.stage == Stage::Mobile
                        && (entry.request.account, entry.request.priority) == (account, *priority)
                };
                let held = world.pacer.entries.values().filter(held).count();
                let counted = world.pacer.accounts[account].in_lanes[priority.index()];
                assert_eq!(counted, held, "round {round}: {account} {priority:?}");
            }
        }
    }
    assert!(world.sent.len() > 500, "{}", world.sent.len());
}

#[test]
fn high_jobs_at_full_rate_leave_one_token_in_ten() {
    let mut world = World::new(100, 100);
    (0..2_000).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    world.run(Duration::from_secs(2));
    let (from, mut high) = (world.sent.len(), 0);
    for n in 0..2_000 {
        world.publish(100_000 + n, MAIN, Priority::High);
        high += 1;
        world.run(Duration::from_millis(10));
    }
    let bulk = world.sent[from..].iter().filter(|(_, r)| r.priority == Priority::Bulk).count();
    assert!((180..=260).contains(&bulk), "{bulk} bulk jobs in 20 s beside {high} high ones");
    assert!(world.parks.values().all(|parks| *parks <= 3), "{:?}", world.parks.values().max());
}

#[test]
fn a_high_job_overtakes_the_bulk_jobs_of_its_own_number() {
    let mut world = World::new(1, 10);
    world.run(Duration::from_secs(1));
    world.publish(7, MAIN, Priority::Bulk);
    world.publish(8, MAIN, Priority::Bulk);
    let high = world.publish(8, MAIN, Priority::High);
    world.run(Duration::from_secs(2));
    assert_eq!(world.sent[1].1.ticket, high);
}

#[test]
fn a_probe_that_makes_no_request_leaves_the_next_to_another_account() {
    let mut world = World::new(100, 100);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    let (main, other) = (world.publish(1, MAIN, Priority::Normal), world.publish(2, OTHER, Priority::Normal));
    let mut told = Vec::new();
    world.now += Duration::from_secs(2);
    world.pacer.poll(world.now, &mut told);
    assert!(matches!(told[..], [(ticket, Turn::Go(_))] if ticket == main), "one probe: {told:?}");
    world.pacer.abandoned(main, world.now);
    told.clear();
    world.pacer.poll(world.now, &mut told);
    assert!(matches!(told[..], [(ticket, Turn::Go(_))] if ticket == other), "{told:?}");
}

#[test]
fn who_is_held_gives_its_place_back_and_parks_those_behind_it() {
    let mut world = World::new(100, 100);
    let held = Park { reason: WaitReason::NumberLimit, due: Some(Tick::from_secs(3_602)), on_room: false };
    let [first, second, third] = [(); 3].map(|()| world.next_request(5));
    let mut told = Vec::new();
    for request in [first, second] {
        world.pacer.enter(request, world.now);
    }
    world.pacer.poll(world.now, &mut told);
    assert!(matches!(told[..], [(1, Turn::Go(_))]), "{told:?}");
    world.pacer.held(first.ticket, held, world.now);
    world.pacer.enter(third, world.now);
    told.clear();
    world.pacer.poll(world.now, &mut told);
    let parks: Vec<(Ticket, Park)> = told
        .iter()
        .filter_map(|(ticket, turn)| if let Turn::Park(park) = turn { Some((*ticket, *park)) } else { None })
        .collect();
    assert_eq!(parks.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [2, 3]);
    assert!(parks.iter().all(|(_, park)| park.reason == WaitReason::NumberLimit && !park.on_room));
    assert!(held.due < parks[0].1.due && parks[0].1.due < parks[1].1.due, "in order: {parks:?}");
    assert!(world.pacer.is_empty());
}

#[test]
fn a_number_waits_for_outcomes_where_they_count() {
    let mut world = World::new(100, 100);
    world.pacer.wait_for_outcomes();
    let [first, second] = [(); 2].map(|()| world.next_request(5));
    let mut told = Vec::new();
    world.pacer.enter(first, world.now);
    world.pacer.enter(second, world.now);
    world.pacer.poll(world.now, &mut told);
    world.pacer.depart(MAIN, Some(first.ticket), world.now).unwrap();
    world.pacer.replied(first.ticket, world.now, world.now);
    world.now += Duration::from_secs(2);
    told.clear();
    world.pacer.poll(world.now, &mut told);
    assert_eq!(told, [], "it is answered, and its outcome not committed");
    world.pacer.settled(first.ticket, first.mobile, world.now);
    world.pacer.poll(world.now, &mut told);
    assert!(matches!(told[..], [(2, Turn::Go(_))]), "{told:?}");
}

#[test]
fn quiet_hours_park_and_wake_into_the_accounts_line() {
    let mut world = World::new(100, 100);
    let quiet = Request { quiet: Some(Tick::from_secs(100)), ..world.next_request(5) };
    let mut told = Vec::new();
    world.pacer.enter(quiet, world.now);
    world.pacer.poll(world.now, &mut told);
    let park = Park { reason: WaitReason::QuietHours, due: quiet.quiet, on_room: false };
    assert_eq!(told, [(1, Turn::Park(park))]);
    // The morning has come, the job is in the line: one that is published now goes behind it.
    world.now = Tick::from_secs(101);
    let late = world.next_request(5);
    world.pacer.enter(late, world.now);
    told.clear();
    world.pacer.poll(world.now, &mut told);
    assert!(
        matches!(told[..], [(2, Turn::Park(Park { reason: WaitReason::RateLimited, on_room: true, .. }))]),
        "{told:?}"
    );
}

#[test]
fn pausing_parks_and_resuming_sends_the_oldest_first() {
    let mut world = World::new(10, 10);
    (0..15).for_each(|n| {
        world.publish(n, MAIN, Priority::Normal);
    });
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    (15..40).for_each(|n| {
        world.publish(n, MAIN, Priority::Normal);
    });
    world.run(Duration::from_secs(5));
    assert!(world.parked.iter().all(|(_, park)| park.reason == WaitReason::AccountPaused && park.due.is_none()));
    let before = world.sent.len();
    world.pacer.set_mode(MAIN, Mode::Probing { out: false }, world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.sent.len(), before + 1, "one probe");
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    world.run(Duration::from_secs(6));
    assert_eq!(world.sent.len(), 40);
    assert!(is_sorted(&world.order(|_| true)));
}

/// A job that was released comes to a paused account and is parked; another one of its number is for an account
/// that may send.
#[test]
fn a_paused_accounts_job_holds_up_no_other_account() {
    let mut world = World::new(100, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    let due = world.next_request(1);
    world.jobs.insert(due.ticket, due);
    world.pacer.enter(Request { standing: Standing::Released, ..due }, world.now);
    world.settle();
    world.publish(1, OTHER, Priority::Normal);
    world.run(Duration::from_secs(3));
    assert_eq!(world.order(|_| true), [2]);
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    world.run(Duration::from_secs(3));
    assert_eq!(world.order(|_| true), [2, 1]);
}

/// What a pause parked a second time may have expired meanwhile.
#[test]
fn after_a_pause_nobody_is_waited_for_that_is_gone() {
    let mut world = World::new(100, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    for request in [world.next_request(1), world.next_request(2)] {
        world.jobs.insert(request.ticket, request);
        let standing = if request.seq == 1 { Standing::Released } else { Standing::New };
        world.pacer.enter(Request { standing, ..request }, world.now);
    }
    world.settle();
    world.run(Duration::from_secs(600));
    world.parked.clear();
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    world.run(Duration::from_secs(70));
    for mobile in [1, 2] {
        let ticket = world.publish(mobile, MAIN, Priority::Normal);
        assert!(world.granted.contains_key(&ticket), "{mobile} waits for nobody");
    }
}

#[test]
fn a_pause_leaves_no_day_in_the_line_of_a_number() {
    let mut world = World::new(100, 100);
    let (claimed, behind) = (world.publish(1, MAIN, Priority::Normal), world.publish(1, MAIN, Priority::Normal));
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    world.settle();
    assert_eq!(world.parks[&behind], 1);
    // What was claimed before the pause is told to wait for its number's window.
    let until = world.now + Duration::from_secs(3_600);
    world.pacer.held(claimed, Park { reason: WaitReason::NumberLimit, due: Some(until), on_room: false }, world.now);
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    let next = world.publish(1, MAIN, Priority::Normal);
    let (_, park) = world.parked.iter().find(|(ticket, _)| *ticket == next).unwrap();
    assert!(park.due.unwrap() < until + Duration::from_secs(60), "{park:?}");
}

/// With a prefetch of one.
#[test]
fn the_only_job_in_memory_probes_after_a_long_outage() {
    let mut world = World::new(100, 100);
    world.pacer.share_memory(1);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    world.run(Duration::from_secs(6));
    let ticket = world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(1));
    assert!(world.granted.contains_key(&ticket), "{:?}", world.parks);
}

/// Its one token in a quarter of an hour would be the only probe.
#[test]
fn in_an_outage_a_slow_account_does_not_fill_the_memory() {
    let mut world = World::new(100, 100);
    let slow = Bucket { period: Duration::from_secs(864), burst: 1 };
    let mobile = Bucket { period: Duration::from_secs(1), burst: 1 };
    let pace = |bucket| AccountPace { bucket, max_in_flight: 100, refusals: 0 };
    let fast = Bucket { period: Duration::from_millis(10), burst: 1 };
    world.pacer = Pacer::new(mobile, &[pace(slow), pace(fast)], Tick::ZERO);
    world.pacer.share_memory(20);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    (0..20).for_each(|mobile| {
        world.publish(mobile, MAIN, Priority::Normal);
    });
    world.run(Duration::from_secs(6));
    let ticket = world.publish(100, OTHER, Priority::Normal);
    world.run(Duration::from_secs(31));
    assert!(world.granted.contains_key(&ticket));
}

#[test]
fn an_open_circuit_holds_jobs_and_probes_with_one() {
    let mut world = World::new(100, 100);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    (0..50).for_each(|n| {
        world.publish(n, MAIN, Priority::Normal);
    });
    world.run(Duration::from_millis(900));
    assert!(world.sent.is_empty() && world.parked.is_empty());
    world.reply_after = Duration::from_secs(3);
    world.run(Duration::from_secs(2));
    assert_eq!(world.sent.len(), 1, "one probe");
    world.pacer.circuit.reached();
    world.run(Duration::from_secs(4));
    assert_eq!(world.sent.len(), 50);
}

#[test]
fn with_nobody_in_memory_one_of_the_backlog_probes() {
    let mut world = World::new(100, 100);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    world.pacer.add_backlog(OTHER, Priority::Bulk, 10);
    assert!(world.pacer.rooms(world.now).is_empty(), "not yet");
    world.now += Duration::from_secs(1);
    let room = Room { account: OTHER, priority: Priority::Bulk, jobs: 1 };
    assert_eq!(world.pacer.rooms(world.now), [room]);
    let newcomer = world.next_request(1);
    world.pacer.enter(newcomer, world.now);
    assert!(world.pacer.rooms(world.now).is_empty(), "another probes");
}

#[test]
fn the_end_of_one_accounts_probe_wakes_the_other_accounts() {
    for answered in [false, true] {
        let mut world = World::new(100, 100);
        (0..5).for_each(|_| {
            world.pacer.circuit.failed(world.now);
        });
        let probe = world.publish(1, MAIN, Priority::Normal);
        world.reply_after = Duration::from_secs(60);
        world.run(Duration::from_secs(2));
        let other = world.publish(2, OTHER, Priority::Normal);
        world.run(Duration::from_secs(2));
        assert_eq!(world.sent.len(), 1, "one probe");
        if answered {
            world.pacer.circuit.reached();
            world.pacer.replied(probe, world.now, world.now);
        } else {
            world.pacer.abandoned(probe, world.now);
        }
        world.run(Duration::from_secs(2));
        assert_eq!(world.sent.last().map(|(_, request)| request.ticket), Some(other), "answered: {answered}");
    }
}

#[test]
fn what_expires_while_it_waits_is_told_so() {
    let mut world = World::new(100, 100);
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    let mobile = Mobile::parse("13800138000").unwrap();
    let expires = Some(world.now + Duration::from_millis(500));
    let request = Request {
        ticket: 1,
        mobile,
        account: MAIN,
        priority: Priority::Bulk,
        seq: 1,
        standing: Standing::New,
        expires,
        quiet: None,
        keep: false,
    };
    world.pacer.enter(request, world.now);
    let mut told = Vec::new();
    let later = world.now + Duration::from_secs(1);
    world.pacer.tend(later);
    world.pacer.poll(later, &mut told);
    assert_eq!(told, [(1, Turn::Expired)]);
    assert!(world.pacer.is_empty());
}

#[test]
fn what_will_expire_in_line_takes_nobodys_slot() {
    let mut world = World::new(100, 100);
    for _ in 0..240 {
        world.publish_for(Duration::from_secs(10), 1);
        world.run(Duration::from_millis(500));
    }
    assert!(world.sent.len() >= 110, "{} of the 120 that the number may have", world.sent.len());
    assert!(is_sorted(&world.order(|_| true)));
    assert_eq!(world.most_in_a_second(|_| true), 1);
    let again = world.parks.values().filter(|parks| **parks > 1).count();
    assert!(again <= 10, "{again} of 240 were parked more than once");
}

#[test]
fn a_job_that_made_no_request_gives_its_tokens_back() {
    let mut world = World::new(1, 10);
    let mobile = Mobile::parse("13800138000").unwrap();
    let mut told = Vec::new();
    for ticket in 0..20 {
        let seq = ticket as i64;
        let request = Request {
            ticket,
            mobile,
            account: MAIN,
            priority: Priority::Bulk,
            seq,
            standing: Standing::New,
            expires: None,
            quiet: None,
            keep: false,
        };
        world.pacer.enter(request, world.now);
        world.pacer.poll(world.now, &mut told);
        assert!(matches!(told.pop(), Some((_, Turn::Go(_)))), "{ticket}");
        world.pacer.abandoned(ticket, world.now);
    }
}

#[test]
fn newcomers_go_behind_what_a_former_owner_parked() {
    let mut world = World::new(100, 100);
    let mobile = Mobile::parse("13800000001").unwrap();
    let due = world.now + Duration::from_secs(100);
    let published = Some("2026-11-23T08:00:00Z".parse().unwrap());
    let former = Former {
        account: Some(MAIN),
        due: Some(due),
        on_room: false,
        reason: WaitReason::RateLimited,
        first_seq: 5_000_000,
        last_seq: 6_000_000,
        published,
    };
    world.pacer.restore_parked(mobile, Priority::Normal, former, world.now);
    world.publish(1, MAIN, Priority::Normal);
    assert!(world.parked[0].1.due.unwrap() > due);
    world.publish(1, MAIN, Priority::High);
    assert_eq!(world.sent.len(), 1, "another priority has an order of its own");
}

#[test]
fn what_a_former_owner_held_in_memory_goes_before_what_it_parked() {
    let mut world = World::new(100, 100);
    let mobile = Mobile::parse("13800000001").unwrap();
    let first_seq = 1_000_000_000;
    let at = |seconds| Some(Timestamp::UNIX_EPOCH + chrono::Duration::seconds(seconds));
    let former = Former {
        account: Some(MAIN),
        due: Some(world.now),
        on_room: false,
        reason: WaitReason::RateLimited,
        first_seq,
        last_seq: first_seq + 2,
        published: at(20),
    };
    world.pacer.restore_parked(mobile, Priority::Normal, former, world.now);
    for seq in first_seq..first_seq + 3 {
        let ticket = seq as Ticket;
        let standing = Standing::Released;
        let request = Request {
            ticket,
            mobile,
            account: MAIN,
            priority: Priority::Normal,
            seq,
            standing,
            expires: None,
            quiet: None,
            keep: false,
        };
        world.jobs.insert(ticket, request);
        world.parked.push((ticket, Park { reason: WaitReason::RateLimited, due: Some(world.now), on_room: false }));
    }
    // Four that come again: more than wait in memory at one a second.
    for n in 0..4 {
        let seq = world.pacer.place(mobile, Priority::Normal, at(10)).unwrap();
        assert!(seq < first_seq);
        let (ticket, standing) = (n, Standing::Before);
        let request = Request {
            ticket,
            mobile,
            account: MAIN,
            priority: Priority::Normal,
            seq,
            standing,
            expires: None,
            quiet: None,
            keep: false,
        };
        world.jobs.insert(ticket, request);
        world.pacer.enter(request, world.now);
        world.settle();
    }
    assert_eq!(world.pacer.place(mobile, Priority::Normal, at(21)), None, "published later");
    world.run(Duration::from_secs(10));
    let order = world.order(|_| true);
    assert_eq!(order.len(), 7);
    assert!(is_sorted(&order), "{order:?}");
}

#[test]
fn a_job_that_goes_while_others_are_withdrawn_is_not_parked() {
    let mut world = World::new(100, 100);
    for _ in 0..5 {
        world.pacer.circuit.failed(world.now);
    }
    let tickets = [(1, Priority::Normal), (1, Priority::Bulk), (2, Priority::Normal)]
        .map(|(mobile, priority)| world.publish(mobile, MAIN, priority));
    world.now += OVERDUE;
    // The circuit closes. Withdrawing the first makes way for its successor, and so for the third.
    world.pacer.circuit.reached();
    world.pacer.tend(world.now);
    world.settle();
    let parked: Vec<Ticket> = world.parked.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(parked, [tickets[0]]);
    assert_eq!((world.sent.len(), world.pacer.in_flight(MAIN)), (2, 2));
}

#[test]
fn a_job_whose_message_came_again_too_often_does_not_wait_in_memory() {
    let mut world = World::new(100, 100);
    // Else it would wait here until the gateway is back.
    (0..5).for_each(|_| {
        world.pacer.circuit.failed(world.now);
    });
    let ticket = world.publish(1, MAIN, Priority::Normal);
    assert!(world.parked.is_empty());
    let again = Request { ticket: ticket + 1, keep: true, ..world.jobs[&ticket] };
    world.jobs.insert(again.ticket, again);
    world.pacer.enter(again, world.now);
    world.settle();
    let parks: Vec<(Ticket, bool)> = world.parked.iter().map(|(ticket, park)| (*ticket, park.on_room)).collect();
    assert_eq!(parks, [(again.ticket, true)]);
}

#[test]
fn a_job_that_is_stored_after_a_look_for_it_is_looked_for_again() {
    let mut world = World::new(100, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    world.publish(1, MAIN, Priority::Normal);
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    let rooms = world.pacer.rooms(world.now);
    // Its commit is under way: Postgres does not have it yet.
    rooms.iter().for_each(|room| world.pacer.released(*room, 0, world.now));
    assert!(rooms.len() == 1 && world.pacer.rooms(world.now).is_empty());
    world.pacer.stored(MAIN, Priority::Normal);
    assert_eq!(world.pacer.rooms(world.now), rooms);
    assert!(world.pacer.rooms(world.now).is_empty(), "one look is enough");
}

#[test]
fn a_fast_number_keeps_order_and_pace_although_claims_and_answers_take_time() {
    let mut world = World::new(1_000, 100);
    world.pacer = {
        let bucket = Bucket { period: Duration::from_millis(1), burst: 100 };
        let mobile = Bucket { period: Duration::from_millis(50), burst: 1 };
        Pacer::new(mobile, &[AccountPace { bucket, max_in_flight: 100, refusals: 0 }], Tick::ZERO)
    };
    world.claim_takes = Duration::from_millis(9);
    (0..1_000).for_each(|_| {
        world.publish(1, MAIN, Priority::Normal);
    });
    world.run(Duration::from_secs(56));
    let order = world.order(|_| true);
    assert_eq!(order.len(), 1_000);
    assert!(is_sorted(&order));
    assert!(world.parks.values().all(|parks| *parks == 1), "{:?}", world.parks.values().max());
}

#[test]
fn a_stall_of_claims_leaves_no_line_behind() {
    let mut world = World::new(100, 256);
    (0..6_000).for_each(|n| {
        world.publish(n, MAIN, Priority::Bulk);
    });
    world.run(Duration::from_secs(2));
    world.claim_takes = Duration::from_secs(3);
    world.run(Duration::from_secs(3));
    world.claim_takes = Duration::from_millis(5);
    world.run(Duration::from_secs(4));
    let high = world.publish(90_000, MAIN, Priority::High);
    world.run(Duration::from_millis(500));
    assert!(world.sent.iter().any(|(_, request)| request.ticket == high));
}

#[test]
fn jobs_that_are_parked_again_and_again_keep_their_order() {
    let mut world = World::new(1_000, 100);
    (0..60).for_each(|_| {
        world.publish(1, MAIN, Priority::Normal);
    });
    world.run(Duration::from_secs(3));
    // A pause of everything: all that is parked becomes due, and comes back at once.
    world.now += Duration::from_secs(30);
    world.run(Duration::from_secs(120));
    let order = world.order(|_| true);
    assert_eq!(order.len(), 60);
    assert!(is_sorted(&order), "{order:?}");
}

#[test]
fn a_slow_account_claims_only_what_can_leave_soon() {
    for (burst, jobs) in [(1, 10), (10, 17)] {
        let bucket = Bucket { period: Duration::from_secs(60), burst };
        let mut world = World::paced(bucket, 100);
        world.now = bucket.period * burst;
        // A second signature goes past the plan.
        world.pacer.depart(MAIN, None, world.now).unwrap();
        (0..30).for_each(|n| {
            world.publish(n, MAIN, Priority::Normal);
        });
        world.run(Duration::from_secs(630));
        assert!(world.sent.len() >= jobs, "burst {burst}: {} of {jobs} in ten minutes", world.sent.len());
        let longest = world.sent.iter().map(|(at, request)| *at - world.granted[&request.ticket]).max().unwrap();
        assert!(longest <= Duration::from_secs(1), "burst {burst}: a claim waited {longest:?}");
        assert!(is_sorted(&world.order(|_| true)));
    }
}

#[test]
fn a_long_outage_leaves_room_in_memory_for_what_would_expire_in_the_queue() {
    let mut world = World::new(1_000, 100);
    world.pacer.share_memory(20);
    for _ in 0..5 {
        world.pacer.circuit.failed(world.now);
    }
    (0..20).for_each(|n| {
        world.publish(n, MAIN, Priority::Normal);
    });
    assert_eq!(world.parked.len(), 0, "a blip is waited out");
    world.now += Duration::from_secs(6);
    world.pacer.tend(world.now);
    world.settle();
    assert!(world.parked.len() >= 9, "the later half makes room: {}", world.parked.len());
    (20..60).for_each(|n| {
        world.publish(n, MAIN, Priority::Normal);
    });
    let parked = world.parked.len();
    assert!(parked >= 49, "{parked}");
    world.publish(90, MAIN, Priority::High);
    assert_eq!(world.parked.len(), parked, "each priority has a memory of its own");
    world.pacer.circuit.reached();
    world.run(Duration::from_secs(20));
    assert_eq!(world.sent.len(), 61);
    assert!(is_sorted(&world.order(|r| r.priority == Priority::Normal)[..10]));
}

/// Its jobs pass its limiter one a second; the account could do twenty.
#[test]
fn what_an_outage_piled_up_for_one_number_holds_up_nobody_afterwards() {
    let mut world = World::new(20, 100);
    world.pacer.share_memory(1_000);
    (0..3).for_each(|_| _ = world.pacer.circuit.failed(world.now));
    (0..300).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
    world.pacer.circuit.reached();
    (100..160).for_each(|other| _ = world.publish(other, MAIN, Priority::Normal));
    world.run(Duration::from_secs(10));
    assert_eq!(world.order(|r| r.mobile.as_u64() >= 13_800_000_100).len(), 60);
    world.run(Duration::from_secs(310));
    let piled = world.order(|r| r.mobile.as_u64() == 13_800_000_001);
    assert_eq!(piled.len(), 300);
    assert!(is_sorted(&piled));
}

#[test]
fn a_long_pause_keeps_the_order_of_a_number_that_had_slots() {
    for paused in [3, 70, 200] {
        let mut world = World::new(100, 100);
        (0..5).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
        world.pacer.set_mode(MAIN, Mode::Paused, world.now);
        world.settle();
        world.run(Duration::from_millis(1_200));
        (0..2).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
        world.run(Duration::from_secs(paused));
        world.pacer.set_mode(MAIN, Mode::Active, world.now);
        world.publish(1, MAIN, Priority::Normal);
        world.run(Duration::from_secs(30));
        let order = world.order(|_| true);
        assert!(order.len() == 8 && is_sorted(&order), "after {paused} s: {order:?}");
    }
}

/// A backlog that a pause left drains for longer than anybody waits for what is gone.
#[test]
fn what_a_pause_parked_is_waited_for_until_its_account_is_through() {
    let mut world = World::new(100, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    world.publish(1, MAIN, Priority::Normal);
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    // Its release waits: RabbitMQ takes nothing.
    world.now += Duration::from_secs(61);
    world.pacer.tend(world.now);
    let next = world.publish(1, MAIN, Priority::Normal);
    assert!(!world.granted.contains_key(&next), "the first one is still parked");
    world.run(Duration::from_secs(5));
    assert_eq!(world.order(|_| true), [1, 2]);
}

#[test]
fn what_another_account_parks_behind_a_pause_does_not_end_the_line() {
    let mut world = World::new(100, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    let first = world.publish(1, MAIN, Priority::Normal);
    world.publish(1, OTHER, Priority::Normal);
    world.run(Duration::from_secs(3));
    assert_eq!(world.order(|_| true), [2], "it holds up no other account");
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    let next = world.publish(1, MAIN, Priority::Normal);
    assert!(!world.granted.contains_key(&next), "{first} is still parked");
    world.run(Duration::from_secs(5));
    assert_eq!(world.order(|_| true), [2, 1, 3]);
}

#[test]
fn the_first_in_line_takes_no_slot_either_if_it_expires_before() {
    let mut world = World::new(100, 100);
    let mobile = Bucket { period: Duration::from_secs(60), burst: 1 };
    let bucket = Bucket { period: Duration::from_millis(10), burst: 1 };
    world.pacer = Pacer::new(mobile, &[AccountPace { bucket, max_in_flight: 100, refusals: 0 }], Tick::ZERO);
    world.now = Tick::from_secs(100);
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(1));
    world.publish_for(Duration::from_secs(50), 1);
    let begun = world.now;
    let next = world.publish(1, MAIN, Priority::Normal);
    let (_, park) = world.parked.iter().find(|(ticket, _)| *ticket == next).unwrap();
    assert!(park.due.unwrap() < begun + Duration::from_secs(65), "{park:?} at {begun:?}");
}

/// A job that never left says nothing of its account, and does not speak for the probe that went after it.
#[test]
fn only_the_probe_itself_ends_its_probing() {
    for (outcome, of_probe) in [(Outcome::NotSent, false), (Outcome::Retry, false), (Outcome::Retry, true)] {
        let mut world = World::new(100, 100);
        world.pacer.set_mode(MAIN, Mode::Probing { out: false }, world.now);
        let tickets = [world.publish(1, MAIN, Priority::Normal), world.publish(2, MAIN, Priority::Normal)];
        let mobile = world.jobs[&tickets[0]].mobile;
        assert_eq!(world.pacer.mode(MAIN), Mode::Probing { out: true });
        let teller = if of_probe { tickets[0] } else { tickets[1] };
        world.pacer.heard(MAIN, Some(teller), outcome, mobile, world.now);
        let (mode, news) =
            if of_probe { (Mode::Paused, None) } else { (Mode::Probing { out: true }, Some(News::Cured)) };
        assert_eq!(world.pacer.mode(MAIN), mode);
        assert_eq!(world.pacer.heard(MAIN, Some(tickets[0]), Outcome::Accepted, mobile, world.now), news);
    }
}

#[test]
fn what_waits_while_an_account_probes_says_that_it_is_paused() {
    let mut world = World::new(10, 100);
    world.pacer.set_mode(MAIN, Mode::Probing { out: true }, world.now);
    (0..100).for_each(|mobile| _ = world.publish(mobile, MAIN, Priority::Normal));
    world.run(Duration::from_secs(10));
    assert!(world.parked.len() >= 90, "{}", world.parked.len());
    let says_so = |park: &Park| park.reason == WaitReason::AccountPaused && park.due.is_none() && park.on_room;
    assert!(world.parked.iter().all(|(_, park)| says_so(park)), "{:?}", world.parked);
}

#[test]
fn with_the_circuit_open_every_backlog_may_be_the_probe() {
    let mut world = World::new(100, 100);
    (0..3).for_each(|_| _ = world.pacer.circuit.failed(world.now));
    world.pacer.add_backlog(MAIN, Priority::Bulk, 5);
    world.pacer.add_backlog(OTHER, Priority::Normal, 5);
    world.now += Duration::from_secs(1);
    let room = |account, priority| Room { account, priority, jobs: 1 };
    // The bulk job may be asleep for the night.
    assert_eq!(world.pacer.rooms(world.now), [room(MAIN, Priority::Bulk), room(OTHER, Priority::Normal)]);
}

#[test]
fn slots_of_cancelled_jobs_are_given_back() {
    let mut world = World::new(100, 100);
    (0..100).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
    let mobile = world.jobs[&1].mobile;
    let end = world.pacer.end_of_line(mobile, Priority::Normal, world.now).unwrap();
    // All but the first ten.
    world.parked.retain(|(ticket, _)| *ticket <= 10);
    let last = world.parked.last().and_then(|(_, park)| park.due);
    world.pacer.shorten_line(mobile, Priority::Normal, end, last, world.now);
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(12));
    let order = world.order(|_| true);
    assert!(order.len() == 11 && is_sorted(&order), "{order:?}");
    assert_eq!(world.most_in_a_second(|_| true), 1);
}

#[test]
fn a_line_that_somebody_joins_while_its_end_is_asked_for_keeps_it() {
    let mut world = World::new(100, 100);
    (0..100).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
    let mobile = world.jobs[&1].mobile;
    let end = world.pacer.end_of_line(mobile, Priority::Normal, world.now).unwrap();
    world.publish(1, MAIN, Priority::Normal);
    world.pacer.shorten_line(mobile, Priority::Normal, end, None, world.now);
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(105));
    assert!(is_sorted(&world.order(|_| true)) && world.sent.len() == 102);
    assert_eq!(world.pacer.end_of_line(mobile, Priority::Normal, world.now), None);
}

#[test]
fn who_is_overdue_is_not_overtaken_by_the_next_of_its_number() {
    let mut world = World::new(10, 100);
    (0..5).for_each(|_| _ = world.pacer.circuit.failed(world.now));
    (100..160).for_each(|n| _ = world.publish(n, MAIN, Priority::Normal));
    (0..2).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
    world.now += Duration::from_secs(9);
    world.pacer.circuit.reached();
    world.run(Duration::from_secs(20));
    let order = world.order(|r| r.mobile.as_u64() == 13_800_000_001);
    assert!(order.len() == 2 && is_sorted(&order), "{order:?}");
}

#[test]
fn when_a_pause_is_drained_its_numbers_go_straight_again() {
    for spare_is_paused in [false, true] {
        let mut world = World::new(100, 100);
        if spare_is_paused {
            world.pacer.set_mode(OTHER, Mode::Paused, world.now);
        }
        world.pacer.set_mode(MAIN, Mode::Paused, world.now);
        world.publish(1, MAIN, Priority::Normal);
        world.pacer.set_mode(MAIN, Mode::Active, world.now);
        let mut last = world.publish(1, MAIN, Priority::Normal);
        for _ in 0..10 {
            world.run(Duration::from_secs(30));
            last = world.publish(1, MAIN, Priority::Normal);
        }
        assert!(world.granted.contains_key(&last), "parked {:?} times", world.parks.get(&last));
    }
}

#[test]
fn slots_given_after_a_pause_let_nobody_past_what_is_still_parked() {
    let mut world = World::new(10, 100);
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    (0..8).for_each(|_| _ = world.publish(1, MAIN, Priority::Normal));
    (100..300).for_each(|n| _ = world.publish(n, MAIN, Priority::Normal));
    world.publish(1, MAIN, Priority::Normal);
    world.pacer.set_mode(MAIN, Mode::Active, world.now);
    world.run(Duration::from_secs(1));
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(40));
    let order = world.order(|r| r.mobile.as_u64() == 13_800_000_001);
    assert!(order.len() == 10 && is_sorted(&order), "{order:?}");
}

#[test]
fn with_the_circuit_open_one_numbers_limit_keeps_no_other_from_probing() {
    let mut world = World::new(100, 100);
    let mobile = Bucket { period: Duration::from_secs(60), burst: 1 };
    let bucket = Bucket { period: Duration::from_millis(10), burst: 1 };
    let pace = AccountPace { bucket, max_in_flight: 100, refusals: 0 };
    world.pacer = Pacer::new(mobile, &[pace.clone(), pace], Tick::ZERO);
    world.now = Tick::from_secs(100);
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(1));
    world.pacer.set_mode(OTHER, Mode::Paused, world.now);
    let other = world.publish(2, OTHER, Priority::Normal);
    world.pacer.set_mode(OTHER, Mode::Active, world.now);
    (0..3).for_each(|_| _ = world.pacer.circuit.failed(world.now));
    let limited = world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(10));
    assert!(world.parks[&limited] <= 2, "parked {} times", world.parks[&limited]);
    assert!(world.granted.contains_key(&other), "nobody probes");
}

#[test]
fn after_a_takeover_in_a_pause_newcomers_go_behind_the_slots_too() {
    let slot = Tick::from_secs(32);
    let line = |due, on_room, reason, seq| Former {
        account: Some(MAIN),
        due,
        on_room,
        reason,
        first_seq: seq,
        last_seq: seq,
        published: None,
    };
    let slots = line(Some(slot), false, WaitReason::RateLimited, -4);
    let paused = line(None, true, WaitReason::AccountPaused, -5);
    for lines in [[slots, paused], [paused, slots]] {
        let mut world = World::new(100, 100);
        let mobile = Mobile::parse("13800000001").unwrap();
        world.pacer.set_mode(MAIN, Mode::Paused, world.now);
        lines.into_iter().for_each(|former| {
            world.pacer.restore_parked(mobile, Priority::Normal, former, world.now);
        });
        world.publish(1, MAIN, Priority::Normal);
        assert!(world.parked[0].1.due.is_some_and(|due| due > slot), "{:?}", world.parked);
    }
}

#[test]
fn a_slow_account_probes_when_it_has_a_token_and_releases_nobody_before() {
    let mut world = World::paced(Bucket { period: Duration::from_secs(864), burst: 1 }, 100);
    world.now = Tick::from_secs(900);
    // Takes the token.
    world.publish(1, MAIN, Priority::Normal);
    world.run(Duration::from_secs(1));
    world.pacer.set_mode(MAIN, Mode::Paused, world.now);
    let probe = world.publish(2, MAIN, Priority::Normal);
    world.pacer.set_mode(MAIN, Mode::Probing { out: false }, world.now);
    world.run(Duration::from_secs(10));
    assert!(world.parks[&probe] <= 2, "parked {} times", world.parks[&probe]);
    world.run(Duration::from_secs(900));
    assert!(world.granted.contains_key(&probe));
}
