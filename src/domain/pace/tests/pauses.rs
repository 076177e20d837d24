//! Accounts pause, probe and resume.

use super::*;

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
