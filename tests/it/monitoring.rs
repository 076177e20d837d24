//! Alerts, dashboards and runbook belong together, and to what the daemon really exports. Whether the
//! alerts fire when they should is tested by promtool: see `make test`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::readme;

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const DASHBOARDS: [(&str, &str); 2] = [
    ("operations.json", include_str!("../../deploy/grafana/operations.json")),
    ("account.json", include_str!("../../deploy/grafana/account.json")),
];
const RUNBOOKS: [(&str, &str); 2] = [
    ("runbook.md", include_str!("../../deploy/runbook.md")),
    ("runbook.zh-CN.md", include_str!("../../deploy/runbook.zh-CN.md")),
];
const RULE_TESTS: [&str; 5] = [
    include_str!("../../deploy/prometheus/tests/accounts.yml"),
    include_str!("../../deploy/prometheus/tests/flow.yml"),
    include_str!("../../deploy/prometheus/tests/outcomes.yml"),
    include_str!("../../deploy/prometheus/tests/presence.yml"),
    include_str!("../../deploy/prometheus/tests/services.yml"),
];

/// All labels there are; every one's values are a closed list.
const LABELS: [&str; 12] = [
    "account",
    "code",
    "limiter",
    "outcome",
    "priority",
    "queue",
    "reason",
    "state",
    "statement",
    "type",
    "version",
    "le",
];
/// Labels that Prometheus adds, or that are made by it.
const ADDED: [&str; 4] = ["instance", "job", "alertname", "alertstate"];

/// What the daemon exports, with a series of each.
fn exported() -> String {
    let metrics = readme::all_metrics();
    metrics.render()
}

/// The names of metrics in `text`: `dispatcher_…` and `process_…`, without what a histogram appends.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("dispatcher_") || word.starts_with("process_"));
    let bare = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|suffix| name.ends_with(suffix));
        name[..name.len() - suffix.map_or(0, str::len)].to_owned()
    };
    names.map(bare).collect()
}

/// Every query of a dashboard.
fn queries(dashboard: &str) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "expr" || name == "query" => found.push(text.clone()),
                value => collect(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(dashboard).unwrap(), &mut found);
    found
}

/// The blocks of the alerts in the rules, by name.
fn alerts() -> Vec<(&'static str, &'static str)> {
    let blocks = RULES.split("      - alert: ").skip(1);
    let alerts: Vec<_> = blocks.filter_map(|block| block.split_once('\n')).collect();
    assert!(alerts.len() >= 15, "the rules are not read right: {}", alerts.len());
    alerts
}

#[test]
fn every_metric_that_a_rule_or_a_dashboard_names_is_exported() {
    let text = exported();
    let queried = DASHBOARDS.iter().flat_map(|(_, json)| queries(json)).collect::<Vec<_>>().join("\n");
    let named = metrics_in(&format!("{RULES}\n{}\n{queried}", RULE_TESTS.join("\n")));
    assert!(named.len() > 20, "{named:?}");
    for name in &named {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not exported");
    }
}

#[test]
fn labels_are_a_closed_list() {
    for line in exported().lines().filter(|line| !line.starts_with('#')) {
        let Some((_, labels)) = line.split_once('{') else { continue };
        for label in labels.split("\",").filter_map(|pair| pair.split_once("=\"")) {
            assert!(LABELS.contains(&label.0), "{line}");
        }
    }
    let queried = DASHBOARDS.iter().flat_map(|(_, json)| queries(json)).collect::<Vec<_>>().join("\n");
    for label in labels_in(RULES).union(&labels_in(&queried)) {
        assert!(LABELS.contains(&label.as_str()) || ADDED.contains(&label.as_str()), "nothing has a label {label}");
    }
}

/// Labels that expressions select, group or join by.
fn labels_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for keyword in ["by (", "on ("] {
        let lists = text.split(keyword).skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(lists.flat_map(|list| list.split(',')).map(|label| label.trim().to_owned()));
    }
    for matcher in ["=\"", "=~\"", "!=\"", "!~\""] {
        for before in text.split(matcher) {
            let label = before.rsplit(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
            // What stands behind the last match of the text, or before another kind of match, is none.
            if before.ends_with(|c: char| c.is_ascii_lowercase()) && text.contains(&format!("{label}{matcher}")) {
                found.insert(label.to_owned());
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn every_alert_says_what_it_is_in_both_languages() {
    for (name, block) in alerts() {
        let severe = ["severity: critical", "severity: warning"].iter().any(|label| block.contains(label));
        assert!(severe, "{name} has no severity");
        for annotation in ["summary: ", "description: ", "description_zh: "] {
            assert!(block.contains(&format!("          {annotation}")), "{name} has no {annotation}");
        }
        let link = format!("runbook_url: deploy/runbook.md#{}\n", name.to_lowercase());
        assert!(block.contains(&link), "{name} has no {link}");
    }
}

#[test]
fn every_alert_has_a_section_in_both_runbooks_and_every_section_its_alert() {
    let names: Vec<&str> = alerts().into_iter().map(|(name, _)| name).collect();
    for (file, text) in RUNBOOKS {
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## Dispatcher")).collect();
        let wanted: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("Dispatcher")).collect();
        assert_eq!(sections, wanted, "{file}: its sections are the alerts, in order");
        let parts = if file.contains("zh") {
            ["**含义**", "**先看**", "**处理**"]
        } else {
            ["**Meaning.**", "**First look.**", "**Cure.**"]
        };
        for section in text.split("\n## Dispatcher").skip(1) {
            for part in parts {
                assert!(section.contains(part), "{file}: no {part} in {}", section.lines().next().unwrap_or_default());
            }
        }
    }
}

#[test]
fn every_alert_is_tested_firing_and_quiet() {
    let tests = RULE_TESTS.join("\n");
    for (name, _) in alerts() {
        let checks: Vec<&str> = tests.split(&format!("alertname: {name}\n")).skip(1).collect();
        let quiet = checks.iter().any(|check| check.trim_start().starts_with("exp_alerts: []"));
        let firing = checks.iter().any(|check| check.trim_start().starts_with("exp_alerts:\n"));
        assert!(quiet && firing, "{name}: quiet {quiet}, firing {firing}");
    }
}

#[test]
fn dashboards_are_whole() {
    for (file, json) in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(json).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: two panels have one id");
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{file}: {} asks nothing", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {}", panel["title"]);
        }
    }
    let (file, account) = DASHBOARDS[1];
    for query in queries(account)
        .iter()
        .filter(|query| metrics_in(query).iter().any(|name| name != "dispatcher_rabbitmq_connected"))
    {
        assert!(query.contains("account=\"$account\"") || query.starts_with("label_values("), "{file}: {query}");
    }
}
