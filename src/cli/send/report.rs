//! How sending went: refused lines as they come, progress where it takes long, totals at the end.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;

use super::input::Refused;
use crate::cli::output;

/// What is done sooner needs no progress bar.
const LONG: Duration = Duration::from_secs(1);

/// Counts and tells. As JSON: `{"refused": […], "published": n}`, written as it goes, because a
/// million refused lines do not fit into the memory.
pub(super) struct Report {
    as_json: bool,
    published: u64,
    refused: u64,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Report {
    /// Nothing yet.
    pub fn new(as_json: bool) -> Self {
        Report { as_json, published: 0, refused: 0, started: Instant::now(), bar: None }
    }

    /// Jobs that RabbitMQ has.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Lines that were no jobs.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// One job by flags was published.
    pub fn one(mut self, told: &str) -> anyhow::Result<()> {
        self.published = 1;
        if self.as_json { self.finish() } else { output::line(told) }
    }

    /// So many more jobs were published.
    pub fn publish(&mut self, jobs: usize) {
        self.published += jobs as u64;
        if self.bar.is_none() && self.started.elapsed() >= LONG {
            self.bar = Some(bar());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.published);
        }
    }

    /// A line is no job.
    pub fn refuse(&mut self, refused: &Refused) -> anyhow::Result<()> {
        self.refused += 1;
        let Refused { line, rejection } = refused;
        if self.as_json {
            let before = if self.refused == 1 { "{\"refused\":[\n" } else { ",\n" };
            let item = json!({ "line": line, "reason": rejection.reason.as_str(), "detail": rejection.detail });
            return Ok(write!(io::stdout(), "{before}{item}")?);
        }
        let print = || eprintln!("line {line}: {}: {}", rejection.reason, rejection.detail);
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
        Ok(())
    }

    /// The totals.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let (published, refused) = (self.published, self.refused);
        match (self.as_json, refused) {
            (true, 0) => output::line(&format!("{{\"refused\":[],\"published\":{published}}}")),
            (true, _) => output::line(&format!("\n],\"published\":{published}}}")),
            (false, 0) => output::line(&format!("published {}", count(published, "job"))),
            (false, _) => {
                output::line(&format!("published {}, refused {}", count(published, "job"), count(refused, "line")))
            }
        }
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// On stderr, and only on a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant: without it the bar would only look plainer.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} jobs published, {rate}, {elapsed}") {
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}

fn rate(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    // An error here can only cost a frame of the bar.
    let _ = write!(text, "{:.0}/s", state.per_sec());
}
