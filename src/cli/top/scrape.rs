//! Prometheus' text format, as far as our own `/metrics` uses it.

use std::collections::BTreeMap;

/// One scrape: the samples by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape {
    samples: BTreeMap<String, Vec<Sample>>,
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// The label's value, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Scrape {
    /// Lines that cannot be read are passed over: a newer daemon may say more.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = sample(line) {
                scrape.samples.entry(name.to_owned()).or_default().push(sample);
            }
        }
        scrape
    }

    /// All series of `dispatcher_<name>`.
    pub fn all(&self, name: &str) -> &[Sample] {
        self.samples.get(&format!("dispatcher_{name}")).map_or(&[], Vec::as_slice)
    }

    /// The sum over the series for which `is` holds.
    pub fn sum(&self, name: &str, is: impl Fn(&Sample) -> bool) -> f64 {
        // Not `sum()`: that of nothing is -0.
        self.all(name).iter().filter(|sample| is(sample)).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The only series of that name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.all(name).first().map(|sample| sample.value)
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(&str, Sample)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, pairs(labels.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some((name, Sample { labels, value }))
}

fn pairs(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        pairs.insert(name.to_owned(), value);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(pairs)
}

/// What stands before the closing quote, without escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_own_registry_writes_is_read() {
        let metrics = crate::dispatch::metrics::Metrics::new();
        metrics.submission("a\"b\\c", crate::domain::job::Outcome::Retry, Some(4080));
        metrics.submission("main", crate::domain::job::Outcome::Unknown, None);
        let scrape = Scrape::parse(&metrics.render());
        let codes: Vec<_> =
            scrape.all("submissions_total").iter().map(|s| (s.label("account"), s.label("code"))).collect();
        assert!(codes.contains(&("a\"b\\c", "4080")) && codes.contains(&("main", "none")), "{codes:?}");
        assert_eq!(scrape.sum("submissions_total", |sample| sample.label("outcome") == "retry"), 1.0);
        assert_eq!(scrape.value("jobs_in_doubt"), Some(0.0));
        assert_eq!(scrape.value("no_such"), None);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let scrape = Scrape::parse("dispatcher_a{x=\"1} 2\ndispatcher_a nothing\n\ndispatcher_a 3\n");
        assert_eq!(scrape.all("a").len(), 1);
    }
}
