//! Tables, and what was wanted beside what was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::drain::{Contender, Drain};
use crate::latency::Latency;
use crate::mobiles::Mobiles;

/// A backlog drained in several rounds.
#[derive(Debug, Serialize)]
pub struct Load {
    /// How long the gateway took to answer, in milliseconds.
    pub gateway_ms: u64,
    pub rounds: Vec<Round>,
}

/// The contenders, one after the other.
pub type Round = BTreeMap<Contender, Drain>;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub cores: usize,
    pub loads: Vec<Load>,
    /// At 200 jobs a second.
    pub latency: BTreeMap<&'static str, Latency>,
    pub mobiles: Option<Mobiles>,
    pub targets: Vec<Target>,
}

/// A number that was wanted.
#[derive(Debug, Serialize)]
pub struct Target {
    pub what: String,
    pub wanted: f64,
    pub at_most: bool,
    pub measured: f64,
}

impl Load {
    /// The median over the rounds that have such a value.
    fn median(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.rounds.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => None,
            n if n % 2 == 1 => Some(values[n / 2]),
            n => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
        }
    }

    fn median_of(&self, contender: Contender, value: fn(&Drain) -> f64) -> Option<f64> {
        self.median(|round| round.get(&contender).map(value))
    }

    /// The dispatcher's value over another's. Ratios are taken within a round, where the machine was
    /// the same, and then their median.
    fn ratio(&self, other: Contender, value: fn(&Drain) -> f64) -> Option<f64> {
        self.median(|round| Some(value(round.get(&Contender::Dispatcher)?) / value(round.get(&other)?)))
    }

    fn print(&self) {
        for contender in [Contender::Dispatcher, Contender::Plain, Contender::Floor] {
            let median = |value| self.median_of(contender, value);
            let Some(rate) = median(|drain| drain.jobs_per_second) else { continue };
            let other = |value| median(value).unwrap_or(f64::NAN);
            println!(
                "{:>4} ms  {:<10} {rate:>9.0} {:>11.0} {:>8.3} {:>9.3} {:>9.1} {:>11.4}",
                self.gateway_ms,
                contender.name(),
                other(|drain| drain.at_gateway_per_second),
                other(|drain| drain.cpu_per_1000),
                other(|drain| drain.machine_cpu_per_1000),
                other(|drain| drain.peak_mib),
                other(|drain| drain.statements_per_job),
            );
        }
        if let Some(batches) = self.median(|round| round.get(&Contender::Dispatcher)?.batches_per_job) {
            println!("         of the dispatcher's statements, group commits: {batches:.4} a job");
        }
    }

    fn targets(&self) -> Vec<Target> {
        let ms = self.gateway_ms;
        let rate: fn(&Drain) -> f64 = |drain| drain.jobs_per_second;
        let own = |value| self.median_of(Contender::Dispatcher, value);
        // Behind a slow gateway every worker with as much in flight is about as fast.
        let over_plain = self.ratio(Contender::Plain, rate).filter(|_| ms == 0);
        let over_floor = if ms == 0 { 0.7 } else { 0.9 };
        let cpu = self.ratio(Contender::Plain, |drain| drain.cpu_per_1000);
        let targets = [
            at_least(format!("{ms} ms: jobs/s / plain"), 2.5, over_plain),
            at_least(format!("{ms} ms: jobs/s / floor"), over_floor, self.ratio(Contender::Floor, rate)),
            at_most(format!("{ms} ms: CPU / plain"), 1.0, cpu),
            at_most(format!("{ms} ms: peak MiB"), 60.0, own(|drain| drain.peak_mib)),
            at_most(format!("{ms} ms: statements a job"), 0.05, own(|drain| drain.statements_per_job)),
        ];
        targets.into_iter().flatten().collect()
    }
}

/// Nothing where nothing was measured.
fn at_least(what: String, wanted: f64, measured: Option<f64>) -> Option<Target> {
    measured.map(|measured| Target { what, wanted, at_most: false, measured })
}

fn at_most(what: String, wanted: f64, measured: Option<f64>) -> Option<Target> {
    measured.map(|measured| Target { what, wanted, at_most: true, measured })
}

impl Target {
    fn is_met(&self) -> bool {
        if self.at_most { self.measured <= self.wanted } else { self.measured >= self.wanted }
    }
}

impl Report {
    /// Compares with what was wanted.
    pub fn judge(&mut self) {
        let mut targets: Vec<Target> = self.loads.iter().flat_map(Load::targets).collect();
        let gateway = self.latency.get("dispatcher").map(|latency| &latency.gateway);
        let mobiles = self.mobiles.as_ref();
        let others = [
            at_most("200/s: published to gateway, p50 ms".into(), 4.0, gateway.map(|times| times.p50)),
            at_most("200/s: published to gateway, p99 ms".into(), 15.0, gateway.map(|times| times.p99)),
            at_most("tracked mobiles, MiB".into(), 400.0, mobiles.map(|mobiles| mobiles.mib)),
            at_most("mobiles left when all are idle".into(), 0.0, mobiles.map(|mobiles| mobiles.left as f64)),
        ];
        targets.extend(others.into_iter().flatten());
        self.targets = targets;
    }

    /// For people.
    pub fn print(&self) {
        self.print_loads();
        self.print_latency();
        self.print_mobiles();
        println!("\nTargets (medians; ratios are taken within a round)");
        for target in &self.targets {
            let Target { what, wanted, measured, .. } = target;
            let verdict = if target.is_met() { "ok" } else { "MISSED" };
            let sign = if target.at_most { "<=" } else { ">=" };
            println!("  {verdict:<7} {what:<38} {measured:>9.3}  {sign} {wanted}");
        }
    }

    fn print_loads(&self) {
        if self.loads.is_empty() {
            return;
        }
        println!("\nA backlog drained, {} cores for everything; medians", self.cores);
        println!("                      settled  at gateway  CPU s per 1,000 jobs      peak  statements");
        println!("gateway                jobs/s      jobs/s  process   machine       MiB       a job");
        self.loads.iter().for_each(Load::print);
    }

    fn print_latency(&self) {
        if self.latency.is_empty() {
            return;
        }
        println!("\n200 jobs/s, gateway 0 ms; ms since published   p50      p99      max");
        for (name, latency) in &self.latency {
            for (what, p) in [("at the gateway", &latency.gateway), ("accepted in Postgres", &latency.accepted)] {
                println!("  {name:<12} {what:<26} {:>8.2} {:>8.2} {:>8.2}", p.p50, p.p99, p.max);
            }
        }
    }

    fn print_mobiles(&self) {
        if let Some(mobiles) = &self.mobiles {
            let Mobiles { numbers, mib, mib_evicted, takes_per_second, left } = mobiles;
            println!("\nLimiter: {numbers} numbers in {mib:.0} MiB, {takes_per_second:.0} tokens/s on one thread;");
            println!("  when all are idle, {left} are left in {mib_evicted:.0} MiB");
        }
    }
}
