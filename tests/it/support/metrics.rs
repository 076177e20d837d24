//! What `/metrics` says.

use std::net::SocketAddr;

/// One scrape.
#[derive(Clone, Debug)]
pub struct Scrape(String);

impl Scrape {
    /// Asks the admin listener.
    pub async fn of(admin: SocketAddr) -> Scrape {
        let (status, text) = get(admin, "/metrics").await.expect("the admin listener answers");
        assert_eq!(status, 200);
        Scrape(text)
    }

    /// The sum of all series of `name` (without its prefix) that have all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |line: &str, (label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        let series = self.samples().filter(|(metric, _)| {
            let bare = metric.split('{').next().unwrap_or_default();
            bare.strip_prefix("dispatcher_") == Some(name) && labels.iter().all(|label| has(metric, label))
        });
        series.map(|(_, value)| value).sum()
    }

    /// Every sample: name with labels, and value.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(metric, value)| (metric, value.parse().unwrap()))
    }

    /// Whether a metric of that name (without its prefix) is there, as sample or as histogram.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&format!("# TYPE dispatcher_{name} "))
    }
}

/// Status and body of a GET; `None` where nobody listens.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    dispatcher::tls::install();
    let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}
