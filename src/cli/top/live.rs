//! The picture again and again, until somebody presses `q`.

use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Eye;
use super::frame::{Look, Order, frame};
use super::view::{self, Heading};
use crate::cli::when;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Quit,
    Pause,
    Sort,
    /// The window has another size, or somebody wants to see something now.
    Redraw,
}

/// What a terminal's event asks for.
pub(super) fn press(event: &Event) -> Option<Press> {
    let key = match event {
        Event::Resize(..) => return Some(Press::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Press::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Press::Quit),
        KeyCode::Char('p' | ' ') => Some(Press::Pause),
        KeyCode::Char('s') => Some(Press::Sort),
        _ => None,
    }
}

/// What the screen shows, and how.
struct Screen {
    before: Look,
    now: Look,
    elapsed: Duration,
    /// When `now` was asked for.
    time: String,
    paused: bool,
    order: Order,
}

pub(super) async fn run(eye: &Eye, every: Duration) -> anyhow::Result<()> {
    let first = eye.look().await;
    let mut terminal = ratatui::try_init().context("the terminal cannot be used: try --once")?;
    let ended = watch(&mut terminal, eye, first, every).await;
    // Also after a failure, so that the shell is usable.
    ratatui::restore();
    ended
}

async fn watch(terminal: &mut ratatui::DefaultTerminal, eye: &Eye, first: Look, every: Duration) -> anyhow::Result<()> {
    let mut presses = presses();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut looked = Instant::now();
    let time = when::show(chrono::Utc::now());
    let order = Order::default();
    let mut screen = Screen { before: first.clone(), now: first, elapsed: every, time, paused: false, order };
    loop {
        draw(terminal, eye, &screen)?;
        tokio::select! {
            press = presses.recv() => match press {
                None | Some(Press::Quit) => return Ok(()),
                Some(Press::Pause) => screen.paused = !screen.paused,
                Some(Press::Sort) => screen.order = screen.order.next(),
                Some(Press::Redraw) => {}
            },
            _ = ticks.tick() => if !screen.paused {
                let now = eye.look().await;
                screen.elapsed = looked.elapsed();
                looked = Instant::now();
                screen.before = std::mem::replace(&mut screen.now, now);
                screen.time = when::show(chrono::Utc::now());
            },
        }
    }
}

fn draw(terminal: &mut ratatui::DefaultTerminal, eye: &Eye, screen: &Screen) -> anyhow::Result<()> {
    let Screen { before, now, elapsed, time, paused, order } = screen;
    let picture = frame(before, now, *elapsed, *order);
    let heading = Heading { url: eye.metrics_url.as_str(), time, live: true, paused: *paused, order: *order };
    terminal.draw(|frame| view::draw(&picture, &heading, frame.area(), frame.buffer_mut()))?;
    Ok(())
}

/// Keys, from a thread of their own: reading them blocks. It ends with the process.
fn presses() -> mpsc::UnboundedReceiver<Press> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(press) = press(&event)
                && sender.send(press).is_err()
            {
                return;
            }
        }
    });
    receiver
}
