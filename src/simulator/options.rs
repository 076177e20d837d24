//! What a simulator can be told at its start. Whatever ihuyi does not publish is a field here, so
//! that a test can take either side.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Everything a [`Simulator`](super::Simulator) can be told at its start. The default is a gateway that
/// takes every well-formed message at once, at most one a second for a number.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 (the default) takes a free one of the loopback address.
    pub listen: SocketAddr,
    /// The accounts that may submit; one by default.
    pub accounts: Vec<Account>,
    /// How far the `time` of a dynamic password may be from the clock, either way, before the answer
    /// is 40501. ihuyi does not publish it; 300 s by default.
    pub window: Duration,
    /// From a request being read to its answer being written.
    pub latency: Latency,
    /// How long an idle connection is kept before it is closed without a word, as web servers do; for ever
    /// by default. A client that sends at that moment cannot know what became of its request.
    pub keep_alive: Option<Duration>,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// The limits and content rules.
    pub rules: Rules,
    /// Delivery receipts; none by default.
    pub receipts: Option<Receipts>,
    /// Full URL that replies of people (uplinks) are pushed to.
    pub reply_url: Option<String>,
    /// Which messages people reply to by themselves; none by default.
    pub answers: Answers,
    /// How templates are reviewed that AddTemplate has registered.
    pub reviews: Reviews,
    /// Waits before the second and the third try of a push; 60 s and 120 s by default.
    pub push_retries: Vec<Duration>,
    /// How replies are spelt.
    pub wire: Wire,
    /// How many submissions the log keeps, the newest ones; 0 keeps none. They are counted either way.
    pub log: usize,
    /// Seed of everything drawn by chance; random by default.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accounts: vec![Account::default()],
            window: Duration::from_secs(300),
            latency: Latency::None,
            keep_alive: None,
            faults: Faults::default(),
            rules: Rules::default(),
            receipts: None,
            reply_url: None,
            answers: Answers::default(),
            reviews: Reviews::default(),
            push_retries: vec![Duration::from_secs(60), Duration::from_secs(120)],
            wire: Wire::default(),
            log: 1_000_000,
            seed: None,
        }
    }
}

/// One customer of the gateway.
#[derive(Debug, Clone)]
pub struct Account {
    /// The APIID.
    pub id: String,
    /// The APIKEY: the static password, and part of what a dynamic one signs.
    pub key: String,
    /// Message parts left. A submit that would need more is answered 4051.
    pub balance: u64,
    /// Answers 4050.
    pub frozen: bool,
    /// Answers 4052: the source address is not the registered one.
    pub ip_denied: bool,
    /// Answers 400: no access from this address.
    pub ip_illegal: bool,
    /// Answers 4075: the signature waits for approval.
    pub signature_pending: bool,
    /// The signature that ihuyi puts before each text, without its brackets. It is billed too.
    pub signature: String,
    /// Approved templates; looked at only under [`Rules::strict_templates`], and to bill template mode.
    pub templates: Vec<Template>,
}

impl Account {
    /// An account in good order with the vendor's test template.
    pub fn new(id: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            key: key.into(),
            balance: 1_000_000_000,
            frozen: false,
            ip_denied: false,
            ip_illegal: false,
            signature_pending: false,
            signature: "互亿无线".into(),
            templates: vec![Template::test()],
        }
    }
}

impl Default for Account {
    /// `C00000001` with the key `simulated-key`.
    fn default() -> Self {
        Self::new("C00000001", "simulated-key")
    }
}

/// An approved text with `【变量】` where a variable goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What a submit names as `templateid`.
    pub id: String,
    /// The text with its `【变量】`.
    pub text: String,
}

impl Template {
    /// A template of this id and text.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into() }
    }

    /// Template `1`, which every new account may use.
    pub fn test() -> Self {
        Self::new("1", "您的验证码是：【变量】。请不要把验证码泄露给其他人。")
    }
}

/// The gateway's limits and content rules. A limit of 0 is off.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Accepted messages a number and second, else 4080; 1 by default.
    pub per_second: u32,
    /// Whether that second is any stretch of 1,000 ms rather than one of the clock. ihuyi says "in the
    /// same second", so false by default; true is the harder test.
    pub rolling_second: bool,
    /// Accepted messages a number and day of Asia/Shanghai, else 4082. Off by default, since load
    /// tests use few numbers; 5 is ihuyi's usual setting.
    pub per_day: u32,
    /// Accepted texts with 验证码 in them a number and day, else 4085. Off by default.
    pub codes_per_day: u32,
    /// Accepted messages a number after which it is blacklisted with 408 for good. Off by default.
    pub abuse_after: u32,
    /// Numbers answered 4030.
    pub blacklist: HashSet<String>,
    /// Words answered 407.
    pub sensitive: Vec<String>,
    /// Whether a text must match an approved template: 4071, 4072, 40722 and 4070.
    pub strict_templates: bool,
    /// Characters a text may have, else 4073; 300 by default (newer pages say 500).
    pub content_max: usize,
    /// Whether the static password is taken when `time` is sent too; probably so, hence the default.
    pub static_with_time: bool,
    /// Whether an unknown account is answered 4053 instead of 405.
    pub unknown_is_4053: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            per_second: 1,
            rolling_second: false,
            per_day: 0,
            codes_per_day: 0,
            abuse_after: 0,
            blacklist: HashSet::new(),
            sensitive: Vec::new(),
            strict_templates: false,
            content_max: 300,
            static_with_time: true,
            unknown_is_4053: false,
        }
    }
}

/// How long an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Latency {
    /// At once.
    #[default]
    None,
    /// Always the same.
    Fixed(Duration),
    /// Log-normal, as network services are: half the answers within `p50`, 99 of 100 within `p99`.
    LogNormal {
        /// The median.
        p50: Duration,
        /// The 99th percentile; must not be below the median.
        p99: Duration,
    },
}

impl Latency {
    /// Draws one latency.
    pub fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(latency) => latency,
            Self::LogNormal { p50, p99 } => {
                // 2.3263 standard deviations lie below the 99th percentile.
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / 2.3263;
                let seconds = p50.as_secs_f64() * (sigma * standard_normal(rng)).exp();
                Duration::try_from_secs_f64(seconds).unwrap_or(p99)
            }
        }
    }
}

/// Box–Muller; `1 - f64()` is never 0, so the logarithm is finite.
fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Shares of submissions, each from 0 to 1, that go wrong. Their sum must not be over 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Codes answered instead of judging the request.
    pub codes: Vec<(i64, f64)>,
    /// The message is taken; no answer ever comes.
    pub hang: f64,
    /// The message is taken; the connection is reset (TCP RST) instead of an answer.
    pub reset: f64,
    /// The message is taken; the head of the answer comes, its body is cut off.
    pub cut: f64,
    /// The connection is closed before the request is read; balance queries are struck too.
    pub reset_before: f64,
    /// HTTP 500, the message is not taken.
    pub http_500: f64,
    /// HTTP 200 with an HTML page; not taken.
    pub html: f64,
    /// Bytes that are no HTTP, then the end; not taken.
    pub garbage: f64,
}

impl Faults {
    /// The sum of all shares.
    pub fn total(&self) -> f64 {
        let codes: f64 = self.codes.iter().map(|(_, share)| share).sum();
        codes + self.hang + self.reset + self.cut + self.reset_before + self.http_500 + self.html + self.garbage
    }
}

/// How receipts are pushed.
#[derive(Debug, Clone)]
pub struct Receipts {
    /// Full URL, `http://` only, the secret included.
    pub url: String,
    /// From the decision to the first push. With a delay shorter than the answer's latency, receipts
    /// come before the answer, which ihuyi does not rule out.
    pub delay: Latency,
    /// Share of messages that are not delivered.
    pub undelivered: f64,
    /// The `code` of such a receipt; anything but 2. Not published.
    pub undelivered_code: i64,
    /// Whether each part of a long message gets a receipt. Not published.
    pub per_part: bool,
    /// Share of receipts that are never pushed.
    pub lost: f64,
    /// Share of receipts that are pushed once more although they were taken, after another `delay`.
    pub repeated: f64,
}

/// People who reply to what they get.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Share of messages that get a reply.
    pub share: f64,
    /// What people write, any of these; must not be empty.
    pub words: Vec<String>,
    /// From the submit to the reply.
    pub delay: Latency,
}

impl Default for Answers {
    fn default() -> Self {
        Self { share: 0.0, words: vec!["TD".into()], delay: Latency::None }
    }
}

/// What becomes of templates that were registered.
#[derive(Debug, Clone, Default)]
pub struct Reviews {
    /// Full URL that reviews are pushed to; without one they take place and nobody is told.
    pub url: Option<String>,
    /// From the registration to the review; an approved template can be used from then on.
    pub delay: Latency,
    /// Share of templates that are refused.
    pub refused: f64,
}

impl Receipts {
    /// Pushes to `url` at once, each message delivered.
    pub fn to(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            delay: Latency::None,
            undelivered: 0.0,
            undelivered_code: 0,
            per_part: false,
            lost: 0.0,
            repeated: 0.0,
        }
    }
}

/// How replies are spelt where versions of the gateway differ.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Whether the XML namespace is left out, as in the gateway's documentation.
    pub no_namespace: bool,
    /// Whether JSON texts are sent as `\u` escapes rather than raw UTF-8.
    pub json_escapes: bool,
    /// Whether `num` of a balance reply is a JSON string.
    pub num_as_string: bool,
    /// `Content-Type` of XML replies; not published.
    pub xml_type: String,
    /// `Content-Type` of JSON replies; not published.
    pub json_type: String,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            no_namespace: false,
            json_escapes: false,
            num_as_string: false,
            xml_type: "text/xml; charset=utf-8".into(),
            json_type: "application/json; charset=utf-8".into(),
        }
    }
}
