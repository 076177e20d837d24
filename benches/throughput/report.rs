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

/// All contenders, one after the other.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    pub dispatcher: Drain,
    pub plain: Drain,
    pub floor: Drain,
}

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

impl Round {
    /// The place of a contender.
    pub fn of(&mut self, contender: Contender) -> &mut Drain {
        match contender {
            Contender::Dispatcher => &mut self.dispatcher,
            Contender::Plain => &mut self.plain,
            Contender::Floor => &mut self.floor,
        }
    }
}

impl Load {
    /// The median over the rounds.
    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => values[n / 2],
            n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
        }
    }

    fn line(&self, name: &str, pick: impl Fn(&Round) -> &Drain) -> String {
        let median = |value: fn(&Drain) -> f64| self.median(|round| value(pick(round)));
        format!(
            "{:>4} ms  {name:<10} {:>9.0} {:>11.0} {:>8.3} {:>9.3} {:>9.1} {:>11.4}",
            self.gateway_ms,
            median(|drain| drain.jobs_per_second),
            median(|drain| drain.at_gateway_per_second),
            median(|drain| drain.cpu_per_1000),
            median(|drain| drain.machine_cpu_per_1000),
            median(|drain| drain.peak_mib),
            median(|drain| drain.statements_per_job),
        )
    }

    /// Ratios are taken within a round, where the machine was the same, and then their median.
    fn targets(&self) -> Vec<Target> {
        let ms = self.gateway_ms;
        let over = |other: fn(&Round) -> &Drain| {
            self.median(|round| round.dispatcher.jobs_per_second / other(round).jobs_per_second)
        };
        let cpu = self.median(|round| round.dispatcher.cpu_per_1000 / round.plain.cpu_per_1000);
        let at_least_plain = if ms == 0 { Some(2.5) } else { None };
        let at_least_floor = if ms == 0 { 0.7 } else { 0.9 };
        let plain =
            at_least_plain.map(|wanted| at_least(format!("{ms} ms: jobs/s / plain"), wanted, over(|r| &r.plain)));
        plain
            .into_iter()
            .chain([
                at_least(format!("{ms} ms: jobs/s / floor"), at_least_floor, over(|round| &round.floor)),
                at_most(format!("{ms} ms: CPU / plain"), 1.0, cpu),
                at_most(format!("{ms} ms: peak MiB"), 60.0, self.median(|round| round.dispatcher.peak_mib)),
                at_most(
                    format!("{ms} ms: statements a job"),
                    0.05,
                    self.median(|round| round.dispatcher.statements_per_job),
                ),
            ])
            .collect()
    }
}

fn at_least(what: String, wanted: f64, measured: f64) -> Target {
    Target { what, wanted, at_most: false, measured }
}

fn at_most(what: String, wanted: f64, measured: f64) -> Target {
    Target { what, wanted, at_most: true, measured }
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
        if let Some(latency) = self.latency.get("dispatcher") {
            targets.push(at_most("200/s: published to gateway, p50 ms".into(), 4.0, latency.gateway.p50));
            targets.push(at_most("200/s: published to gateway, p99 ms".into(), 15.0, latency.gateway.p99));
        }
        if let Some(mobiles) = &self.mobiles {
            targets.push(at_most(format!("{} mobiles, MiB", mobiles.numbers), 400.0, mobiles.mib));
            targets.push(at_most("mobiles left when all are idle".into(), 0.0, mobiles.left as f64));
        }
        self.targets = targets;
    }

    /// For people.
    pub fn print(&self) {
        self.print_loads();
        self.print_latency();
        self.print_mobiles();
        println!("\nTargets (medians of ratios within a round)");
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
        for load in &self.loads {
            println!("{}", load.line("dispatcher", |round| &round.dispatcher));
            println!("{}", load.line("plain", |round| &round.plain));
            println!("{}", load.line("floor", |round| &round.floor));
            let batches = load.median(|round| round.dispatcher.batches_per_job.unwrap_or(f64::NAN));
            println!("         of the dispatcher's statements, group commits: {batches:.4} a job");
        }
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
