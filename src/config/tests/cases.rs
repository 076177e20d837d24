//! Values, one by one and together: what is taken, what is refused, and in which words.

use std::time::Duration;

use super::super::{Auth, Config, Format, LogFormat, Method, Needs, Role, load};
use super::{load_text, loaded, problem, problems};
use crate::domain::codes::Class;
use crate::domain::job::{OnUnknown, Priority};

const NONE: &[(&str, &str)] = &[];

#[test]
fn a_bad_value_is_named_with_its_path_and_cure() {
    let cases = [
        ("rabbitmq.prefix = \"a b\"", "rabbitmq.prefix: `a b` cannot begin a queue's name: use"),
        ("rabbitmq.prefix = \"\"", "rabbitmq.prefix: is empty: give it a value, or remove it"),
        ("rabbitmq.prefetch = 0", "rabbitmq.prefetch: `0` is out of range: write 1 to 65535"),
        ("rabbitmq.prefetch = 65536", "rabbitmq.prefetch: `65536` is out of range"),
        ("rabbitmq.prefetch = 1.5", "rabbitmq.prefetch: `1.5` is neither text nor a whole number"),
        ("rabbitmq.prefetch = \"many\"", "rabbitmq.prefetch: `many` is no whole number: write 1 to 65535"),
        ("rabbitmq.prefetch = [1]", "rabbitmq.prefetch: is a list: write a single value"),
        ("rabbitmq.prefetch.x = 1", "rabbitmq.prefetch: is a table: write a single value"),
        ("rabbitmq.shards = 2", "rabbitmq.shards: more than one shard is not supported by this version yet; set 1"),
        ("rabbitmq.shards = 0", "rabbitmq.shards: `0` is no number of shards: write 1"),
        ("rabbitmq.url = \"http://h/\"", "rabbitmq.url: does not begin with amqp:// or amqps://: write amqp://USER"),
        ("rabbitmq.url = \"amqp:///x\"", "rabbitmq.url: names no host: write"),
        ("postgres.url = \"mysql://h/db\"", "postgres.url: does not begin with postgres:// or postgresql://"),
        ("postgres.url = \"postgres://a:b/c@h\"", "postgres.url: is no URL (invalid port number): write postgres://"),
        ("postgres.max_connections = 3", "postgres.max_connections: `3` is out of range: write 4 to 1000"),
        ("gateway.submit_url = \"ftp://h/\"", "gateway.submit_url: does not begin with http:// or https://"),
        ("gateway.submit_url = \"h\"", "gateway.submit_url: is no URL (relative URL without a base): write https://"),
        ("gateway.submit_url = \"http://h/?method=GetNum\"", "gateway.submit_url: asks for another method"),
        ("gateway.balance_url = \"http://h/?method=Submit\"", "gateway.balance_url: asks for another method"),
        ("gateway.submit_url = \"http://u:p@h/?method=Submit\"", "gateway.submit_url: holds a user or a password"),
        ("gateway.submit_url = \"http://h/?method=Submit#x\"", "gateway.submit_url: holds a `#…`"),
        (
            "gateway.submit_url = \"http://h/?method=Submit&mobile=1\"",
            "gateway.submit_url: holds the parameter `mobile`",
        ),
        ("gateway.submit_url = \"http://h/sms\"", "gateway.balance_url: is missing: write `balance_url = \"…\"`"),
        ("gateway.method = \"PUT\"", "gateway.method: `PUT` is not known: write `GET` or `POST`"),
        ("gateway.format = \"yaml\"", "gateway.format: `yaml` is not known: write `xml` or `json`"),
        ("gateway.timeout = 10", "gateway.timeout: `10` is no duration: write a whole number and a unit"),
        ("gateway.timeout = \"6m\"", "gateway.timeout: `6m` is out of range: write 10ms to 5m"),
        (
            "gateway.timeout = \"3s\"\ngateway.connect_timeout = \"3s\"",
            "gateway.connect_timeout: is not shorter than gateway.timeout: lower it",
        ),
        ("gateway.connect_timeout = \"10s\"", "gateway.connect_timeout: is not shorter than gateway.timeout"),
        ("gateway.content_max = 0", "gateway.content_max: `0` is out of range: write 1 to 1000"),
        ("accounts.main.signature_length = 33", "accounts.main.signature_length: `33` is out of range: write 0 to 32"),
        ("checks.emoji = \"maybe\"", "checks.emoji: `maybe` is not known: write `true` or `false`"),
        ("checks.template = true", "checks.template: is on, and no template is configured"),
        ("templates.a.text = \"好\"", "templates.a.id: is missing: write `id = \"…\"` under [templates.a]"),
        ("templates.a.id = 1", "templates.a.text: is missing: write `text"),
        (
            "templates.a = { id = 1, text = \"【甲】好\" }",
            "templates.a.text: begins with 【甲】: leave a signature out",
        ),
        ("templates.a = { id = \"1 2\", text = \"好\" }", "templates.a.id: is no template's number"),
        ("templates.a = { id = 1, text = \"好\", variable_max = 0 }", "templates.a.variable_max: `0` is out of range"),
        (
            "templates.a = { id = 1, text = \"好\" }\ntemplates.b = { id = 1, text = \"好的\" }",
            "templates.b.id: is also that of templates.a",
        ),
        (
            "templates.1 = { id = 2, text = \"好\" }\ntemplates.b = { id = 1, text = \"好的\" }",
            "templates.b.id: is the name of templates.1",
        ),
        ("accounts.main.rate = 100", "accounts.main.rate: `100` is no rate: write a whole number and a unit"),
        ("accounts.main.burst = 0", "accounts.main.burst: `0` is out of range"),
        ("accounts.main.rate = \"1/d\"\naccounts.main.burst = 366", "accounts.main.burst: `366` is more than a year's"),
        ("accounts.main.auth = \"md5\"", "accounts.main.auth: `md5` is not known: write `dynamic` or `static`"),
        ("accounts.main.max_in_flight = 0", "accounts.main.max_in_flight: `0` is out of range: write 1 to 65535"),
        ("accounts.main.fallback = \"main\"", "accounts.main.fallback: names its own account"),
        ("accounts.main.fallback = \"x\"", "accounts.main.fallback: `x` is no configured account: name one of `main`"),
        ("accounts.main.api_id = \"C 1\"", "accounts.main.api_id: is no APIID"),
        ("accounts.main.api_key = 12345", "accounts.main.api_key: is no text: put it in quotes"),
        ("default_account = \"x\"", "default_account: `x` is no configured account: name one of `main`, or write"),
        ("limits.mobile = \"1/w\"", "limits.mobile: `1/w` is no rate"),
        ("limits.mobile = [\"1/s\", \"1/w\"]", "limits.mobile: `1/w` is no rate"),
        ("limits.mobile = 1", "limits.mobile: is no list: write"),
        ("limits.quiet_hours.bulk = \"9pm\"", "limits.quiet_hours.bulk: `9pm` is no time of the day: write two"),
        ("limits.quiet_hours.bulk = \"08:00-08:00\"", "limits.quiet_hours.bulk: `08:00-08:00` leaves no time"),
        ("limits.mobile = \"5/d\"\nretention.jobs = \"23h\"", "retention.jobs: is shorter than the 24 h that limits"),
        ("events.enabled = \"maybe\"", "events.enabled: `maybe` is not known: write `true` or `false`"),
        ("events.enabled = 1", "events.enabled: `1` is not known"),
        ("limits.mobile_burst = 0", "limits.mobile_burst: `0` is out of range"),
        ("retry.max_attempts = 101", "retry.max_attempts: `101` is out of range: write 1 to 100"),
        ("retry.initial = \"11m\"\nretry.max = \"10m\"", "retry.initial: is longer than retry.max"),
        ("retry.initial = \"0s\"", "retry.initial: `0s` is out of range: write 10ms to 30d"),
        ("codes.4082 = \"later\"", "codes.4082: `later` is not known: write `accepted` or `retry` or"),
        ("codes.4082 = \"accepted\"", "codes.4082: code 4082 cannot be `accepted`: 2, and only 2, is"),
        ("codes.2 = \"retry\"", "codes.2: code 2 cannot be `retry`"),
        ("codes.04082 = \"retry\"", "codes.04082: is no code: the keys of [codes] are whole numbers"),
        ("in_doubt.on_unknown = \"maybe\"", "in_doubt.on_unknown: `maybe` is not known: write `hold` or `resend`"),
        ("retention.jobs = \"0d\"", "retention.jobs: `0d` is out of range: write 1s to 36500d"),
        ("log.level = \"inof\"", "log.level: `inof` is no level: write off, error"),
        ("log.level = \"info,dispatcher=loud\"", "log.level: `info,dispatcher=loud` is no level ("),
        ("log.format = \"xml\"", "log.format: `xml` is not known: write `pretty` or `json`"),
        ("drain_timeout = \"2h\"", "drain_timeout: `2h` is out of range: write 0ms to 1h"),
        ("admin.listen = \"localhost:9464\"", "admin.listen: `localhost:9464` is no address to listen on"),
        ("admin.tokens.al.token = \"12345678\"", "admin.tokens.al.role: is missing: write `role = \"…\"` under [adm"),
        (
            "admin.tokens.al.role = \"root\"\nadmin.tokens.al.token = \"12345678\"",
            "admin.tokens.al.role: `root` is not",
        ),
        ("callbacks.allow = [\"10.0.0.0/33\"]", "callbacks.allow: `10.0.0.0/33` is no network: write one such as"),
        ("callbacks.allow = 10", "callbacks.allow: is no list: write"),
        ("callbacks.allow = \"10.0.0.1,\"", "callbacks.allow: `` is no network"),
    ];
    for (more, expected) in cases {
        let found = problem(more, NONE);
        assert!(found.starts_with(&format!("file: {expected}")), "{more}\n  {found}");
    }
}

#[test]
fn values_at_the_edge_are_taken() {
    for more in [
        "rabbitmq.prefetch = 65535\npostgres.max_connections = 4\ngateway.content_max = 1000",
        "gateway.timeout = \"5m\"\ngateway.connect_timeout = \"1ms\"",
        "drain_timeout = \"0s\"",
        "rabbitmq.prefix = \"Shop.eu_1-x\"",
        "retry.initial = \"10m\"",
        // Defaults give way.
        "retry.initial = \"1h\"",
        "retry.max = \"100ms\"",
        "gateway.timeout = \"3s\"",
        "gateway.timeout = \"10ms\"",
        "postgres.url = \"postgres:///sms?host=/run/postgresql\"",
        "accounts.main.rate = \"1/d\"\naccounts.main.burst = 365",
        "log.level = \"WARN,dispatcher=debug,sqlx=off\"",
        "log.level = \"info,dispatcher[job{id=1}]=trace\"",
        "codes.2 = \"accepted\"",
        "admin.listen = \"[::1]:0\"\ncallbacks.listen = \"0.0.0.0:0\"",
    ] {
        loaded(more, NONE);
    }
}

#[test]
fn values_mean_what_they_say() {
    let config = loaded(
        "gateway.method = \"get\"\ngateway.format = \"xml\"\naccounts.main.auth = \"static\"\ncodes.4082 = \"permanent\"\n\
         codes.\"-7\" = \"account\"\ncodes.500 = \"unknown\"\nin_doubt.on_unknown = \"resend\"\nlog.format = \"json\"\n\
         callbacks.allow = [\"203.0.113.9/24\", \"::1\"]\nadmin.tokens.al.role = \"operator\"\n\
         admin.tokens.al.token = \"12345678\"",
        NONE,
    );
    assert_eq!((config.gateway.method, config.gateway.format), (Method::Get, Format::Xml));
    assert_eq!(config.account("main").unwrap().auth, Auth::Static);
    assert_eq!((config.codes.class(4082), config.codes.class(-7)), (Class::Permanent, Class::Account));
    assert_eq!(config.codes.class(500), Class::Unknown);
    assert_eq!((config.codes.class(4084), config.codes.class(2)), (Class::Tomorrow, Class::Accepted));
    assert_eq!(config.in_doubt.on_unknown, OnUnknown::Resend);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(
        config.callbacks.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["203.0.113.0/24", "::1/128"]
    );
    assert_eq!(config.admin.tokens["al"].role, Role::Operator);
}

#[test]
fn limits_of_a_number_are_one_or_many() {
    let limits = |text: &str| {
        let limits = loaded(&format!("limits.mobile = {text}"), NONE).limits;
        let hourly = limits.windows.sliding.map(|sliding| (sliding.most, sliding.window.as_secs()));
        (limits.mobile.to_string(), hourly, limits.windows.daily)
    };
    assert_eq!(limits("\"2/s\""), ("2/s".into(), None, None));
    assert_eq!(limits("[\"1/s\", \"3/h\", \"10/d\"]"), ("1/s".into(), Some((3, 3_600)), Some(10)));
    assert_eq!(limits("\"5/d\""), ("1/s".into(), None, Some(5)), "without one of its own, a second has one message");
    let config = loaded(
        "",
        &[("DISPATCHER__LIMITS__MOBILE", "1/s, 3/h"), ("DISPATCHER__LIMITS__QUIET_HOURS__BULK", "21:00-08:00")],
    );
    assert_eq!(config.limits.windows.sliding.unwrap().most, 3);
    assert!(config.limits.quiet.of(Priority::Bulk).is_some() && config.limits.quiet.of(Priority::High).is_none());
}

#[test]
fn burst_follows_the_rate() {
    for (rate, burst) in
        [("100/s", 10), ("1/s", 1), ("25/s", 2), ("9/s", 1), ("600/m", 1), ("1/d", 1), ("1000000/s", 100_000)]
    {
        let config = loaded(&format!("accounts.main.rate = \"{rate}\""), NONE);
        assert_eq!(config.account("main").unwrap().burst, burst, "{rate}");
    }
}

#[test]
fn the_balance_url_follows_the_submit_url() {
    for (submit, balance) in [
        (
            "http://127.0.0.1:8080/webservice/sms.php?method=Submit",
            "http://127.0.0.1:8080/webservice/sms.php?method=GetNum",
        ),
        ("http://h/a?x=1&method=Submit", "http://h/a?method=GetNum&x=1"),
        ("https://api.ihuyi.com/sms/Submit.json", "https://api.ihuyi.com/sms/GetNum.json"),
    ] {
        let config = loaded(&format!("gateway.submit_url = \"{submit}\""), NONE);
        assert_eq!(config.gateway.submit_url.as_str(), submit);
        assert_eq!(config.gateway.balance_url.as_str(), balance);
    }
    let config = loaded("gateway.submit_url = \"http://h/a\"\ngateway.balance_url = \"http://h/b\"", NONE);
    assert_eq!(config.gateway.balance_url.as_str(), "http://h/b");
}

#[test]
fn the_default_account_is_the_only_one_or_named() {
    let two = "accounts.b.api_id = \"C2\"\naccounts.b.api_key = \"k\"";
    assert_eq!(loaded("", NONE).default_account_name(), Some("main"));
    assert_eq!(loaded(&format!("default_account = \"b\"\n{two}"), NONE).default_account_name(), Some("b"));
    assert_eq!(
        problem(two, NONE),
        "file: default_account: is missing, and there is more than one account: name one of `b`, `main`"
    );
    assert!(problem(&format!("default_account = \"\"\n{two}"), NONE).starts_with("file: default_account: is empty"));
}

#[test]
fn fallbacks_end_somewhere() {
    let chain = |links: &[(&str, &str)]| {
        let account = |name: &str| format!("accounts.{name}.api_id = \"C1\"\naccounts.{name}.api_key = \"k\"\n");
        let link = |(from, to): &(&str, &str)| format!("accounts.{from}.fallback = \"{to}\"\n");
        let accounts: String = ["a", "b", "c"].map(account).concat();
        format!("default_account = \"a\"\n{accounts}{}", links.iter().map(link).collect::<String>())
    };
    loaded(&chain(&[("a", "b"), ("b", "c")]), NONE);
    loaded(&chain(&[("a", "c"), ("b", "c")]), NONE);
    // One problem a circle, and none for the account that only leads into it.
    let found = problem(&chain(&[("a", "b"), ("b", "c"), ("c", "b")]), NONE);
    assert_eq!(found, "file: accounts.b.fallback: goes in a circle (b → c → b): remove one of these fallbacks");
    let found = problem(&chain(&[("a", "b"), ("b", "c"), ("c", "a")]), NONE);
    assert!(found.contains("accounts.a.fallback: goes in a circle (a → b → c → a)"), "{found}");
}

#[test]
fn the_two_listeners_do_not_share_a_port() {
    let secret = "callbacks.secret = \"0123456789abcdef\"\n";
    for (admin, callbacks, collide) in [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        let listen = format!("admin.listen = \"{admin}\"\ncallbacks.listen = \"{callbacks}\"\n");
        loaded(&listen, NONE);
        let found = problems(&format!("{secret}{listen}"), NONE);
        assert_eq!(found.iter().any(|line| line.contains("is taken by admin.listen")), collide, "{admin} {callbacks}");
    }
}

#[test]
fn several_problems_come_at_once() {
    let found = problems(
        "rabbitmq.prefetch = 0\ngateway.timeout = \"soon\"\naccounts.main.rate = \"fast\"\ncodes.1 = \"x\"\ncodes.2 = \"retry\"\n\
         log.levle = \"info\"\ncallbacks.allow = [\"a\", \"b\"]",
        &[("DISPATCHER__RETRY__MAX", "never"), ("DISPATCHER__", "x")],
    );
    let starts = [
        "DISPATCHER__: names no key: write DISPATCHER__TABLE__KEY",
        "file: rabbitmq.prefetch: ",
        "file: gateway.timeout: ",
        "file: accounts.main.rate: ",
        "DISPATCHER__RETRY__MAX: retry.max: `never` is no duration",
        "file: codes.1: ",
        "file: codes.2: ",
        "file: log.levle: is no key of [log]: did you mean `level`?",
        "file: callbacks.allow: `a`",
        "file: callbacks.allow: `b`",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (line, start) in found.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn what_is_missing_is_named_with_key_and_variable() {
    let found = load_text("", NONE, Needs::Secrets).unwrap_err();
    assert_eq!(
        found,
        [
            "file: rabbitmq.url: is missing: write `url = \"…\"` under [rabbitmq], or set DISPATCHER__RABBITMQ__URL",
            "file: postgres.url: is missing: write `url = \"…\"` under [postgres], or set DISPATCHER__POSTGRES__URL",
            "file: accounts: has no account: write [accounts.main] with api_id, or set DISPATCHER__ACCOUNTS__MAIN__API_ID",
        ]
    );
    let found = problems("accounts.b.rate = \"1/s\"\ndefault_account = \"b\"", NONE);
    assert_eq!(
        found,
        [
            "file: accounts.b.api_id: is missing: write `api_id = \"…\"` under [accounts.b], or set DISPATCHER__ACCOUNTS__B__API_ID",
            "file: accounts.b.api_key: is missing: write `api_key_file = \"…\"` under [accounts.b], or set DISPATCHER__ACCOUNTS__B__API_KEY",
        ]
    );
}

#[test]
fn unknown_keys_are_refused_with_a_hint() {
    for (more, expected) in [
        ("rabitmq.prefix = \"x\"", "rabitmq: is no key at the top: did you mean `rabbitmq`?"),
        ("Log.level = \"info\"", "Log: is no key at the top: did you mean `log`?"),
        ("retry.max_attemps = 1", "retry.max_attemps: is no key of [retry]: did you mean `max_attempts`?"),
        ("accounts.main.api-id = \"x\"", "accounts.main.api-id: is no key of [accounts.main]: did you mean `api_id`?"),
        ("log.drain_timeout = \"1s\"", "log.drain_timeout: is no key of [log]: it belongs at the top of the file"),
        ("limits.colour = 1", "limits.colour: is no key of [limits]: remove it, or use one of mobile, mobile_burst"),
        (
            "accounts.Main.api_id = \"C1\"\naccounts.Main.api_key = \"k\"\ndefault_account = \"main\"",
            "accounts.Main: is no name: use",
        ),
        ("log = 1", "log: is no table: write [log] and its keys below it"),
        ("admin.tokens.al = \"x\"", "admin.tokens.al: is no table: write [admin.tokens.al]"),
    ] {
        let found = problems(more, NONE);
        assert!(found.iter().any(|line| line.starts_with(&format!("file: {expected}"))), "{more}\n  {found:#?}");
    }
}

#[test]
fn the_environment_wins_in_every_table() {
    type Read = fn(&Config) -> String;
    let cases: &[(&str, &str, Read)] = &[
        ("DISPATCHER__RABBITMQ__PREFETCH", "7", |c| c.rabbitmq.prefetch.to_string()),
        ("DISPATCHER__POSTGRES__MAX_CONNECTIONS", "7", |c| c.postgres.max_connections.to_string()),
        ("DISPATCHER__GATEWAY__CONTENT_MAX", "7", |c| c.gateway.content_max.to_string()),
        ("DISPATCHER__ACCOUNTS__MAIN__RATE", "7/m", |c| c.account("main").unwrap().rate.to_string()),
        ("DISPATCHER__DEFAULT_ACCOUNT", "main", |c| c.default_account.clone().unwrap()),
        ("DISPATCHER__LIMITS__MOBILE", "7/m", |c| c.limits.mobile.to_string()),
        ("DISPATCHER__RETRY__MAX_ATTEMPTS", "7", |c| c.retry.max_attempts.to_string()),
        ("DISPATCHER__CODES__4082", "permanent", |c| c.codes.class(4082).to_string()),
        ("DISPATCHER__IN_DOUBT__ON_UNKNOWN", "resend", |c| c.in_doubt.on_unknown.to_string()),
        ("DISPATCHER__RETENTION__JOBS", "7s", |c| format!("{}s", c.retention.jobs.as_secs())),
        ("DISPATCHER__RETENTION__REJECTIONS", "7s", |c| format!("{}s", c.retention.rejections.as_secs())),
        ("DISPATCHER__LOG__LEVEL", "debug", |c| c.log.level.clone()),
        ("DISPATCHER__DRAIN_TIMEOUT", "7s", |c| format!("{}s", c.drain_timeout.as_secs())),
        ("DISPATCHER__ADMIN__LISTEN", "127.0.0.1:7", |c| c.admin.listen.to_string()),
        ("DISPATCHER__CALLBACKS__ALLOW", "10.0.0.0/8,::1/128", |c| {
            c.callbacks.allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }),
    ];
    let file = "rabbitmq.prefetch = 1\nlog.level = \"warn\"\nlimits.mobile = \"1/s\"\ncallbacks.allow = [\"127.0.0.1\"]\n\
                retry.max_attempts = \"bad, but nobody sees it\"";
    let everything: Vec<_> = cases.iter().map(|(name, value, _)| (*name, *value)).collect();
    let config = loaded(file, &everything);
    for (name, value, read) in cases {
        assert_eq!(read(&config), *value, "{name}");
    }
}

#[test]
fn the_environment_alone_is_enough_and_is_named_in_problems() {
    let env = |more: &[(&str, &str)]| {
        let least = [
            ("DISPATCHER__RABBITMQ__URL", "amqps://u:p@h/v"),
            ("DISPATCHER__POSTGRES__URL", "postgresql://h/db"),
            ("DISPATCHER__ACCOUNTS__SHOP-2__API_ID", "C1"),
            ("DISPATCHER__ACCOUNTS__SHOP-2__API_KEY", "12345"),
            ("DISPATCHER__ADMIN__TOKENS__ALICE__ROLE", "viewer"),
            ("DISPATCHER__ADMIN__TOKENS__ALICE__TOKEN", "0123456789"),
            ("DISPATCHER_PORT", "tcp://10.0.0.1:9464"),
            ("DISPATCHER_SERVICE_HOST", "10.0.0.1"),
        ];
        least.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    // An empty file stands for none: beside the sample, where tests run, there is always one.
    let empty = super::file("");
    let config = load(Some(empty.path()), env(&[]).into_iter(), Needs::Secrets).unwrap();
    assert_eq!(config.default_account_name(), Some("shop-2"));
    assert_eq!(config.admin.tokens["alice"].role, Role::Viewer);

    let bad = env(&[
        ("DISPATCHER__ACCOUNTS__SHOP-2__RATE", "fast"),
        ("DISPATCHER__LOGS__LEVEL", "info"),
        ("DISPATCHER__LOG__LEVEL", ""),
        ("DISPATCHER__CALLBACKS__ALLOW", ""),
    ]);
    let found = load(Some(empty.path()), bad.into_iter(), Needs::Secrets).unwrap_err().to_string();
    let starts = [
        "DISPATCHER__ACCOUNTS__SHOP-2__RATE: accounts.shop-2.rate: `fast` is no rate",
        "DISPATCHER__LOG__LEVEL: log.level: is empty",
        "DISPATCHER__CALLBACKS__ALLOW: callbacks.allow: `` is no network",
        "DISPATCHER__LOGS__LEVEL: logs: is no key at the top: did you mean `log`?",
    ];
    assert_eq!(found.lines().count(), starts.len(), "{found}");
    for (line, start) in found.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let found = load(Some(&missing), std::iter::empty(), Needs::NoSecrets).unwrap_err().to_string();
    assert!(found.starts_with(&format!("{}: cannot be read: No such file", missing.display())), "{found}");
    assert!(found.ends_with("name a readable file with --config"), "{found}");
    let found = load(Some(folder.path()), std::iter::empty(), Needs::NoSecrets).unwrap_err().to_string();
    assert!(found.contains("cannot be read: Is a directory"), "{found}");
}

#[test]
fn broken_toml_has_line_and_column_and_keeps_the_line_to_itself() {
    for (text, place) in [
        ("[accounts.main]\napi_key = \"geheim", "line 2, column "),
        ("[accounts.main]\napi_key = geheim", "line 2, column 11"),
        ("[log]\n[log]\n", "line 2, column "),
        ("a = 1\na = \"geheim\"", "line 2, column 1"),
    ] {
        let found = load_text(text, NONE, Needs::Secrets).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("file: {place}")), "{found:?}");
        assert!(found[0].contains(": no valid TOML: "), "{found:?}");
        assert!(!found[0].contains("geheim"), "{found:?}");
    }
    let found = load_text("a = 99999999999999999999", NONE, Needs::Secrets).unwrap_err();
    assert!(found[0].contains("no valid TOML"), "{found:?}");
}

#[test]
fn durations_and_defaults_are_the_documented_ones() {
    let config = loaded("", NONE);
    assert_eq!(config.gateway.timeout, Duration::from_secs(10));
    assert_eq!(config.retry.max, Duration::from_secs(600));
    assert_eq!(config.retention.jobs, Duration::from_secs(90 * 86_400));
    assert_eq!(config.retention.rejections, config.retention.jobs);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.gateway.balance_url.as_str(), "https://106.ihuyi.com/webservice/sms.php?method=GetNum");
    assert!(config.callbacks.secret.is_none() && config.callbacks.allow.is_empty());
}

#[test]
fn a_switch_is_a_word_in_the_environment() {
    let with = |text: &str, env: &[(&str, &str)]| loaded(text, env).events.enabled;
    assert!(with("", NONE) && with("events.enabled = true", NONE));
    assert!(!with("events.enabled = false", NONE) && !with("events.enabled = \"FALSE\"", NONE));
    assert!(!with("", &[("DISPATCHER__EVENTS__ENABLED", "false")]));
}
