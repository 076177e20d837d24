//! Pictures of made-up looks, drawn on a terminal that is none.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::frame::{Look, Order, frame};
use super::live::{Press, press};
use super::scrape::Scrape;
use super::view::{Heading, draw};
use super::*;
use crate::domain::job::{Outcome, State, WaitReason};

/// After `n` seconds of 10 accepted and 2 refused jobs a second.
fn look(n: u64) -> Look {
    let metrics = crate::dispatch::metrics::Metrics::new();
    metrics.received.with_label_values(&["high"]).inc_by(12 * n);
    for _ in 0..10 * n {
        metrics.submission("main", Outcome::Accepted, Some(2));
        metrics.submit_seconds.with_label_values(&["main"]).observe(0.05);
        metrics.limiter_wait.with_label_values(&["account"]).observe(0.2);
    }
    metrics.finished("main", State::Accepted, Some(2), 10 * n);
    metrics.finished("main", State::Failed, Some(4030), n);
    (0..n).for_each(|_| metrics.submission("main", Outcome::Permanent, Some(4030)));
    (0..7).for_each(|_| metrics.submission("second", Outcome::Account, Some(4051)));
    metrics.set_waiting(&[(WaitReason::AccountPaused, 7)]);
    metrics.set_queues(Some(&[("bulk", 42), ("dead", 1)]));
    metrics.in_flight.with_label_values(&["main"]).set(3);
    metrics.account_paused.with_label_values(&["main"]).set(0);
    metrics.account_paused.with_label_values(&["second"]).set(1);
    metrics.account_balance.with_label_values(&["second"]).set(0.0);
    let account = AccountInfo {
        name: "second".into(),
        state: "paused".into(),
        reason: Some("code 4051: no balance left\x1b[2J".into()),
        paused_at: None,
        paused_by: Some("gateway".into()),
    };
    Look { metrics: Ok(Scrape::parse(&metrics.render())), accounts: Ok(vec![account]) }
}

fn drawn(frame: &Frame, width: u16, height: u16) -> String {
    let heading = Heading { url: "http://x/metrics", time: "now", live: true, paused: true, order: Order::Total };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|screen| draw(frame, &heading, screen.area(), screen.buffer_mut())).unwrap();
    view::text(terminal.backend().buffer())
}

/// The line that begins with `name`, without borders and spaces.
fn line(text: &str, name: &str) -> String {
    let found = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    found.split(['│', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_picture_shows_rates_queues_limiters_accounts_and_failures() {
    let frame = frame(&look(10), &look(12), Duration::from_secs(2), Order::Rate);
    let text = drawn(&frame, 120, 40);
    assert!(text.starts_with("dispatcher top   http://x/metrics   now   PAUSED"), "{text}");
    assert!(line(&text, "received").starts_with("received 12.0 144 ready, bulk 42"), "{text}");
    assert!(line(&text, "accepted  ").contains("accepted 10.0 120"), "{text}");
    assert!(line(&text, "waiting, account_paused").contains(" 7"), "{text}");
    assert!(text.contains("gateway circuit") && text.contains("closed"), "{text}");
    assert_eq!(line(&text, "main "), "main active 10.0 3 50.0");
    assert_eq!(line(&text, "second  "), "second PAUSED 0 0 0 code 4051: no balance left\u{fffd}[2J");
    assert_eq!(line(&text, "4030"), "4030 permanent 1.0 12 the number is on the blacklist (手机号码已被列入黑名单)");
    assert!(text.ends_with("q quit   p pause   s sort the failures"), "{text}");
    assert_eq!(frame.limiters[1].mean_ms.map(f64::round), Some(200.0));
}

#[test]
fn a_narrow_terminal_keeps_the_names_and_a_large_balance_is_not_cut() {
    let mut look = look(2);
    let metrics =
        "dispatcher_account_paused{account=\"main\"} 0\ndispatcher_account_balance{account=\"main\"} 1000000000\n";
    let frame = frame(&look, &look, Duration::from_secs(1), Order::Rate);
    let text = drawn(&frame, 80, 30);
    for name in ["received", "submitted", "in doubt", "waiting, account_paused", "ready, bulk", "circuit", "mobile"] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    assert!(text.contains("per second") && text.contains("wait, ms"), "{text}");
    look.metrics = Ok(Scrape::parse(metrics));
    let frame = super::frame::frame(&look, &look, Duration::from_secs(1), Order::Rate);
    assert_eq!(line(&drawn(&frame, 80, 30), "main "), "main active 0 0 1000M");
}

#[test]
fn failures_are_sorted_as_was_asked() {
    let codes = |order| {
        let frame = frame(&look(3), &look(4), Duration::from_secs(1), order);
        frame.failures.into_iter().map(|failure| failure.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(Order::Rate), ["4030", "4051"]);
    assert_eq!(codes(Order::Total), ["4051", "4030"]);
    assert_eq!(codes(Order::Code), ["4030", "4051"]);
    assert_eq!(Order::Rate.next().next().next(), Order::Rate);
}

#[test]
fn a_small_terminal_and_a_silent_world_do_no_harm() {
    let silent = || Err("no answer".to_owned());
    let nothing = Look { metrics: silent().map(|()| Scrape::default()), accounts: Err("no".into()) };
    let frame = frame(&look(1), &nothing, Duration::ZERO, Order::Rate);
    assert_eq!(frame.problems, ["metrics: no answer", "Postgres: no"]);
    for (width, height) in [(1, 1), (20, 5), (60, 12), (200, 60)] {
        drawn(&frame, width, height);
    }
    assert!(drawn(&frame, 80, 40).contains("metrics: no answer"));
}

#[test]
fn a_daemon_that_was_restarted_counts_from_zero() {
    let frame = frame(&look(10), &look(1), Duration::from_secs(1), Order::Rate);
    assert_eq!((frame.rates[0].name, frame.rates[0].per_second), ("received", 12.0));
}

#[test]
fn keys_do_what_the_last_line_says() {
    let key = |code, modifiers| press(&Event::Key(KeyEvent::new(code, modifiers)));
    assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Press::Quit));
    assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Press::Quit));
    assert_eq!(key(KeyCode::Char('p'), KeyModifiers::NONE), Some(Press::Pause));
    assert_eq!(key(KeyCode::Char('s'), KeyModifiers::NONE), Some(Press::Sort));
    assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
    assert_eq!(press(&Event::Resize(80, 24)), Some(Press::Redraw));
}

#[test]
fn the_interval_has_a_range() {
    assert!(parse_interval("1s").is_ok() && parse_interval("1ms").is_err() && parse_interval("x").is_err());
}
