//! What an outage of the gateway does to the lines, and its end.

use super::*;

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
