//! The pacer in a small world: a clock, a Postgres that holds what is parked, a gateway that
//! answers after a while.

mod lines;
mod outages;
mod pauses;

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
