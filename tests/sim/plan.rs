//! What goes wrong, and when: drawn from the seed.

use std::time::Duration;

use tokio::time::Instant;

/// How the services behave at present.
#[derive(Clone, Debug)]
pub struct Weather {
    pub statement: StatementFaults,
    pub gateway: GatewayFaults,
    /// A publish of released jobs fails, at any of its points.
    pub publish_fails: f64,
    /// A queue that listens to events refuses one.
    pub event_refused: f64,
    /// An acknowledgement is on its way for a while.
    pub ack_lingers: f64,
    /// Until then Postgres refuses connections.
    pub postgres_down: Option<Instant>,
    /// Until then RabbitMQ does.
    pub broker_down: Option<Instant>,
    /// Until then nobody reaches the gateway.
    pub gateway_down: Option<Instant>,
    /// Until then this account cannot send.
    pub account_down: Option<(usize, Instant)>,
}

/// Probabilities for each statement.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatementFaults {
    /// It never arrives.
    pub refused: f64,
    /// It is committed, but its answer is lost.
    pub answer_lost: f64,
    /// It is slow: up to 40 s before the commit, or after it.
    pub slow: f64,
}

/// Probabilities for each request.
#[derive(Clone, Copy, Debug, Default)]
pub struct GatewayFaults {
    /// It does not leave.
    pub not_sent: f64,
    /// Its answer is lost: the message was taken, or was not.
    pub answer_lost: f64,
    /// Taken, but without an smsid.
    pub no_smsid: f64,
    /// Code 0 or 4080.
    pub retry: f64,
    /// Code 40501.
    pub resign: f64,
    /// Code 4082: the number has had its five of the day.
    pub tomorrow: f64,
    /// The answer comes after seconds, perhaps after the time-out.
    pub slow: f64,
}

impl Weather {
    /// All is well.
    pub fn fair() -> Weather {
        Weather {
            statement: StatementFaults::default(),
            gateway: GatewayFaults::default(),
            publish_fails: 0.0,
            event_refused: 0.0,
            ack_lingers: 0.3,
            postgres_down: None,
            broker_down: None,
            gateway_down: None,
            account_down: None,
        }
    }

    /// Little goes wrong, and what does leaves the order of jobs alone.
    pub fn mild(rng: &mut fastrand::Rng) -> Weather {
        let gateway = GatewayFaults { retry: 0.05 * rng.f64(), resign: 0.02, ..GatewayFaults::default() };
        Weather { gateway, ..Weather::fair() }
    }

    /// Each fault has its day: a rate is zero in half of the worlds.
    pub fn foul(rng: &mut fastrand::Rng) -> Weather {
        let mut rate = |most: f64| if rng.bool() { most * rng.f64() } else { 0.0 };
        Weather {
            statement: StatementFaults { refused: rate(0.1), answer_lost: rate(0.1), slow: rate(0.05) },
            gateway: GatewayFaults {
                not_sent: rate(0.2),
                answer_lost: rate(0.2),
                no_smsid: rate(0.05),
                retry: rate(0.3),
                resign: rate(0.1),
                tomorrow: rate(0.1),
                slow: rate(0.2),
            },
            publish_fails: rate(0.3),
            event_refused: rate(0.3),
            ..Weather::fair()
        }
    }
}

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// kill -9 of whoever is in that slot; it is started again.
    Kill(usize),
    /// SIGTERM, then a start.
    Stop(usize),
    /// RabbitMQ restarts.
    BrokerDown(Duration),
    /// All connections to RabbitMQ are cut.
    BrokerCut,
    /// RabbitMQ has lost the messages of released jobs.
    BrokerForgets,
    /// The lease's connection breaks; its holder notices later.
    LeaseLost,
    /// Postgres is away.
    PostgresDown(Duration),
    /// The gateway is away.
    GatewayDown(Duration),
    /// An account runs out of money.
    AccountDown(usize, Duration),
    /// The dispatchers' clock is set, by so many seconds.
    ClockSet(i64),
}

impl Fault {
    /// Any of them.
    pub fn any(rng: &mut fastrand::Rng, slots: usize, accounts: usize) -> Fault {
        let longest = if rng.u8(..4) == 0 { 50_000 } else { 6_000 };
        let time = Duration::from_millis(rng.u64(100..longest));
        match rng.u8(..13) {
            0..=2 => Fault::Kill(rng.usize(..slots)),
            3 => Fault::Stop(rng.usize(..slots)),
            4 => Fault::BrokerDown(time),
            5 => Fault::BrokerCut,
            6 => Fault::BrokerForgets,
            7 | 8 => Fault::LeaseLost,
            9 => Fault::PostgresDown(time),
            10 => Fault::GatewayDown(time),
            11 => Fault::ClockSet(clock_step(rng)),
            _ => Fault::AccountDown(rng.usize(..accounts), time),
        }
    }
}

/// An hour either way is what somebody gets wrong who mistakes a time zone. Most are of minutes: longer than
/// any backoff, claim or slot, and a story need not wait an hour for them.
fn clock_step(rng: &mut fastrand::Rng) -> i64 {
    let by = if rng.u8(..4) == 0 { 3_600 } else { rng.i64(120..600) };
    if rng.bool() { by } else { -by }
}
