//! The line of a number: its slots, its order, and who is gone from it.

use super::*;

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
