//! The flags of `dispatcher simulate`, and the options they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::simulator::{Account, Answers, Faults, Latency, Options, Receipts, Reviews, Rules, Template, Wire};

const EXAMPLES: &str = "\
Examples:
  dispatcher simulate
  dispatcher simulate --latency 50ms --latency-p99 400ms --log 0
  dispatcher simulate --fail 4080=0.01,0=0.02 --hang 0.001 --reset 0.001
  dispatcher simulate --receipt-url http://127.0.0.1:9465/ihuyi/receipt/SECRET --receipt-delay 3s

While it runs:
  curl http://127.0.0.1:8106/_sim/stats
  curl http://127.0.0.1:8106/_sim/log
  curl -d '{\"balance\": 0}' http://127.0.0.1:8106/_sim/account/C00000001";

/// Runs a simulator of the ihuyi gateway.
///
/// Nothing leaves this machine. Accounts, limits and faults are set here; what it took can be read under
/// /_sim/. Durations are written 500ms, 10s, 2m, 1h; shares are from 0 to 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8106", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Submissions kept for /_sim/log, the newest ones; 0 keeps none, which is fastest
    #[arg(long, default_value_t = 100_000, value_name = "COUNT")]
    log: usize,
    /// Makes everything drawn by chance the same in each run
    #[arg(long)]
    seed: Option<u64>,

    #[command(flatten, next_help_heading = "Accounts")]
    accounts: AccountArgs,
    #[command(flatten, next_help_heading = "Rules")]
    rules: RuleArgs,
    #[command(flatten, next_help_heading = "Latency and faults")]
    faults: FaultArgs,
    #[command(flatten, next_help_heading = "Receipts, replies and reviews")]
    pushes: PushArgs,
    #[command(flatten, next_help_heading = "Replies of the gateway")]
    wire: WireArgs,
}

#[derive(Debug, Args)]
struct AccountArgs {
    /// APIID of an account; may be repeated
    #[arg(long = "account", default_value = "C00000001", value_name = "APIID")]
    ids: Vec<String>,
    /// File with the APIKEY of the account at the same place; may be repeated. An account without one takes
    /// the variable SIMULATOR_API_KEY, else the key simulated-key
    #[arg(long = "api-key-file", value_name = "FILE")]
    key_files: Vec<PathBuf>,
    /// Message parts each account has; each message taken costs its parts, signature counted in
    #[arg(long, default_value_t = 1_000_000_000, value_name = "PARTS")]
    balance: u64,
    /// The accounts are frozen (4050)
    #[arg(long)]
    frozen: bool,
    /// The accounts may not submit from here (4052)
    #[arg(long)]
    ip_denied: bool,
    /// An approved template beside template 1, with 【变量】 for each variable; may be repeated
    #[arg(long = "template", value_name = "ID=TEXT", value_parser = parse_template)]
    templates: Vec<Template>,
}

#[derive(Debug, Args)]
struct RuleArgs {
    /// How far the time of a dynamic password may be off (40501)
    #[arg(long, default_value = "300s", value_name = "DURATION", value_parser = parse_duration)]
    window: Duration,
    /// Messages a number and second (4080); 0 for no limit
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    per_second: u32,
    /// Count any 1,000 ms as a second, not those of the clock
    #[arg(long)]
    rolling_second: bool,
    /// Messages a number and day in Asia/Shanghai (4082); 0, for no limit, suits load tests; ihuyi's is 5
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    per_day: u32,
    /// Texts with 验证码 a number and day (4085); 0 for no limit; ihuyi's is 5
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    codes_per_day: u32,
    /// Messages a number in all, after which it is blacklisted (408); 0 for no limit
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    abuse_after: u32,
    /// Numbers on the blacklist (4030)
    #[arg(long, value_delimiter = ',', value_name = "MOBILE,…")]
    blacklist: Vec<String>,
    /// Sensitive words (407)
    #[arg(long, value_delimiter = ',', value_name = "WORD,…")]
    sensitive: Vec<String>,
    /// Take only texts that match an approved template (4070, 4071, 4072, 40722)
    #[arg(long)]
    strict_templates: bool,
    /// Characters a text may have (4073)
    #[arg(long, default_value_t = 300, value_name = "CHARACTERS")]
    content_max: usize,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// How long an answer takes; with --latency-p99 the median
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    latency: Option<Duration>,
    /// What 99 of 100 answers stay under (log-normal)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "latency")]
    latency_p99: Option<Duration>,
    /// Close connections that were idle for so long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    keep_alive: Option<Duration>,
    /// Codes answered instead of judging, each with its share
    #[arg(long, value_delimiter = ',', value_name = "CODE=SHARE,…", value_parser = parse_code_share)]
    fail: Vec<(i64, f64)>,
    /// Share of messages taken but never answered
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    hang: f64,
    /// Share of messages taken but answered by a connection reset
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    reset: f64,
    /// Share of messages taken but whose answer is cut off
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    cut: f64,
    /// Share of requests whose connection is closed unread
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    reset_before: f64,
    /// Share answered by HTTP 500
    #[arg(long = "http-500", default_value_t = 0.0, value_name = "SHARE")]
    http_500: f64,
    /// Share answered by an HTML page
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    html: f64,
    /// Share answered by bytes that are no HTTP
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    garbage: f64,
}

#[derive(Debug, Args)]
struct PushArgs {
    /// Push a receipt for each message taken to this full URL
    #[arg(long, value_name = "URL")]
    receipt_url: Option<String>,
    /// From the submit to its receipt; with --receipt-delay-p99 the median
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    receipt_delay: Duration,
    /// What 99 of 100 receipts stay under (log-normal)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    receipt_delay_p99: Option<Duration>,
    /// Share of messages that are not delivered
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    undelivered: f64,
    /// The code of such a receipt
    #[arg(long, default_value_t = 0, value_name = "CODE")]
    undelivered_code: i64,
    /// Push a receipt for each part of a long message
    #[arg(long)]
    receipt_per_part: bool,
    /// Share of receipts that are lost: never pushed
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    receipt_lost: f64,
    /// Share of receipts that are pushed again although they were taken
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    receipt_repeated: f64,
    /// Push people's replies, those of --reply and those made by POST /_sim/reply, to this full URL
    #[arg(long, value_name = "URL")]
    reply_url: Option<String>,
    /// Share of messages that people reply to by themselves
    #[arg(long = "reply", default_value_t = 0.0, value_name = "SHARE", requires = "reply_url")]
    reply_share: f64,
    /// What they write: any of these words
    #[arg(long, default_value = "TD", value_delimiter = ',', value_name = "WORD,…")]
    reply_words: Vec<String>,
    /// From the submit to such a reply
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = parse_duration)]
    reply_delay: Duration,
    /// Push the review of each template that AddTemplate registers to this full URL
    #[arg(long, value_name = "URL")]
    template_url: Option<String>,
    /// From the registration of a template to its review, from which on an approved one can be used
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    template_delay: Duration,
    /// Share of templates that the review refuses
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    template_refused: f64,
    /// Waits before a push not answered success is tried again
    #[arg(long, default_value = "60s,120s", value_delimiter = ',', value_name = "DURATION,…",
          value_parser = parse_duration)]
    push_retries: Vec<Duration>,
}

#[derive(Debug, Args)]
struct WireArgs {
    /// Leave the namespace out of XML replies
    #[arg(long)]
    no_namespace: bool,
    /// Write JSON texts as \u escapes
    #[arg(long)]
    json_escapes: bool,
    /// Write num as a JSON string
    #[arg(long)]
    num_as_string: bool,
}

impl SimulateArgs {
    /// The options that these flags mean; `environment_key` is the key of accounts without a key file.
    ///
    /// # Errors
    ///
    /// When a key file cannot be read or a distribution is impossible.
    pub fn into_options(self, environment_key: Option<String>) -> anyhow::Result<Options> {
        let latency = match self.faults.latency {
            None => Latency::None,
            Some(p50) => latency(p50, self.faults.latency_p99)?,
        };
        Ok(Options {
            listen: self.listen,
            accounts: self.accounts.into_accounts(environment_key)?,
            window: self.rules.window,
            latency,
            keep_alive: self.faults.keep_alive,
            faults: self.faults.into_faults(),
            rules: self.rules.into_rules(),
            push_retries: self.pushes.push_retries.clone(),
            reply_url: self.pushes.reply_url.clone(),
            answers: self.pushes.answers(),
            reviews: self.pushes.reviews(),
            receipts: self.pushes.into_receipts()?,
            wire: Wire {
                no_namespace: self.wire.no_namespace,
                json_escapes: self.wire.json_escapes,
                num_as_string: self.wire.num_as_string,
                ..Wire::default()
            },
            log: self.log,
            seed: self.seed,
        })
    }
}

fn latency(p50: Duration, p99: Option<Duration>) -> anyhow::Result<Latency> {
    match p99 {
        None => Ok(Latency::Fixed(p50)),
        Some(p99) if !p50.is_zero() && p99 >= p50 => Ok(Latency::LogNormal { p50, p99 }),
        Some(_) => bail!("a 99th percentile must not be below its median, which must be above 0"),
    }
}

impl AccountArgs {
    fn into_accounts(self, environment_key: Option<String>) -> anyhow::Result<Vec<Account>> {
        ensure!(self.key_files.len() <= self.ids.len(), "there are more --api-key-file than --account");
        let default_key = environment_key.unwrap_or_else(|| "simulated-key".into());
        let mut accounts = Vec::with_capacity(self.ids.len());
        for (index, id) in self.ids.into_iter().enumerate() {
            let key = match self.key_files.get(index) {
                Some(file) => std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the key file {}", file.display()))?
                    .trim()
                    .to_owned(),
                None => default_key.clone(),
            };
            let mut account = Account::new(id, key);
            account.balance = self.balance;
            account.frozen = self.frozen;
            account.ip_denied = self.ip_denied;
            account.templates.extend(self.templates.iter().cloned());
            accounts.push(account);
        }
        Ok(accounts)
    }
}

impl RuleArgs {
    fn into_rules(self) -> Rules {
        Rules {
            per_second: self.per_second,
            rolling_second: self.rolling_second,
            per_day: self.per_day,
            codes_per_day: self.codes_per_day,
            abuse_after: self.abuse_after,
            blacklist: self.blacklist.into_iter().collect(),
            sensitive: self.sensitive,
            strict_templates: self.strict_templates,
            content_max: self.content_max,
            ..Rules::default()
        }
    }
}

impl FaultArgs {
    fn into_faults(self) -> Faults {
        Faults {
            codes: self.fail,
            hang: self.hang,
            reset: self.reset,
            cut: self.cut,
            reset_before: self.reset_before,
            http_500: self.http_500,
            html: self.html,
            garbage: self.garbage,
        }
    }
}

impl PushArgs {
    fn into_receipts(self) -> anyhow::Result<Option<Receipts>> {
        let Some(url) = self.receipt_url else {
            return Ok(None);
        };
        Ok(Some(Receipts {
            url,
            delay: latency(self.receipt_delay, self.receipt_delay_p99)?,
            undelivered: self.undelivered,
            undelivered_code: self.undelivered_code,
            per_part: self.receipt_per_part,
            lost: self.receipt_lost,
            repeated: self.receipt_repeated,
        }))
    }

    fn answers(&self) -> Answers {
        let delay = Latency::Fixed(self.reply_delay);
        Answers { share: self.reply_share, words: self.reply_words.clone(), delay }
    }

    fn reviews(&self) -> Reviews {
        let delay = Latency::Fixed(self.template_delay);
        Reviews { url: self.template_url.clone(), delay, refused: self.template_refused }
    }
}

fn parse_template(text: &str) -> Result<Template, String> {
    let (id, text) = text.split_once('=').ok_or("write it as ID=TEXT")?;
    Ok(Template::new(id, text))
}

fn parse_code_share(text: &str) -> Result<(i64, f64), String> {
    let (code, share) = text.split_once('=').ok_or("write it as CODE=SHARE, like 4080=0.01")?;
    let code = code.parse().map_err(|_| "the code must be a number")?;
    let share = share.parse().map_err(|_| "the share must be a number from 0 to 1")?;
    Ok((code, share))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_each = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write it as 500ms, 10s, 2m or 1h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "the part before the unit must be a number")?;
    Duration::try_from_secs_f64(number * seconds_each).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        simulate: SimulateArgs,
    }

    fn options(flags: &[&str]) -> anyhow::Result<Options> {
        let arguments = std::iter::once("simulate").chain(flags.iter().copied());
        Cli::try_parse_from(arguments)?.simulate.into_options(None)
    }

    #[test]
    fn the_defaults_suit_a_load_test() {
        let options = options(&[]).unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:8106");
        assert_eq!((options.accounts[0].id.as_str(), options.accounts[0].key.as_str()), ("C00000001", "simulated-key"));
        assert_eq!((options.rules.per_second, options.rules.per_day), (1, 0));
        assert_eq!(options.push_retries, [Duration::from_secs(60), Duration::from_secs(120)]);
        assert_eq!(options.faults.total(), 0.0);
    }

    #[test]
    fn flags_reach_their_options() {
        let options = options(&[
            "--fail",
            "4080=0.01,0=0.02",
            "--hang",
            "0.001",
            "--latency",
            "50ms",
            "--latency-p99",
            "0.4s",
            "--account",
            "A",
            "--account",
            "B",
            "--blacklist",
            "13800138000,13900139000",
            "--receipt-url",
            "http://127.0.0.1:1/x",
            "--receipt-delay",
            "0s",
            "--push-retries",
            "1s",
            "--receipt-lost",
            "0.1",
            "--receipt-repeated",
            "0.2",
            "--reply-url",
            "http://127.0.0.1:1/y",
            "--reply",
            "0.3",
            "--reply-words",
            "TD,好的",
            "--template-refused",
            "0.4",
        ])
        .unwrap();
        assert_eq!(options.faults.codes, [(4080, 0.01), (0, 0.02)]);
        let (p50, p99) = (Duration::from_millis(50), Duration::from_millis(400));
        assert_eq!(options.latency, Latency::LogNormal { p50, p99 });
        assert_eq!(options.accounts.len(), 2);
        assert_eq!(options.rules.blacklist.len(), 2);
        let receipts = options.receipts.unwrap();
        assert_eq!(receipts.delay, Latency::Fixed(Duration::ZERO));
        assert_eq!((receipts.lost, receipts.repeated, options.reviews.refused), (0.1, 0.2, 0.4));
        assert_eq!((options.answers.share, options.answers.words.len()), (0.3, 2));
        assert_eq!(options.push_retries, [Duration::from_secs(1)]);
    }

    #[test]
    fn wrong_flags_are_refused() {
        for flags in [
            &["--latency", "50"][..],
            &["--latency", "50ms", "--latency-p99", "10ms"],
            &["--fail", "4080"],
            &["--api-key-file", "/nonexistent/key"],
        ] {
            assert!(options(flags).is_err(), "{flags:?}");
        }
    }
}
