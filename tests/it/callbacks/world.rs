//! A stage whose gateway knows where to push, and pushes of the test's own.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use dispatcher::simulator::{Latency, Options, Receipts, Reviews};
use reqwest::Client;
use url::form_urlencoded::Serializer;

use crate::support::process::free_address;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually};

pub const SECRET: &str = "s3cret-0123456789abcdef";

/// A stage, and where its daemon takes pushes.
pub struct World {
    pub stage: Stage,
    pub address: SocketAddr,
    client: Client,
}

/// One push as a form, in the words of the wire.
pub fn receipt(code: &str, mobile: &str, smsid: &str, at: DateTime<Utc>) -> String {
    form(&[("code", code), ("msg", "words"), ("mobilephone", mobile), ("smsid", smsid), ("report_time", &shanghai(at))])
}

/// A person's reply as a form.
pub fn reply(mobile: &str, content: &str, at: DateTime<Utc>) -> String {
    form(&[("mobilephone", mobile), ("content", content), ("smsid", ""), ("reply_time", &shanghai(at))])
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn shanghai(at: DateTime<Utc>) -> String {
    at.with_timezone(&FixedOffset::east_opt(8 * 3_600).unwrap()).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// An smsid of today's kind, taken then.
pub fn smsid_of(at: DateTime<Utc>, number: u32) -> String {
    format!("{}{number:010}", at.timestamp())
}

impl World {
    /// Whose gateway pushes nothing by itself.
    pub async fn silent() -> World {
        World::with(lenient(), |_| None).await
    }

    /// Whose gateway pushes a receipt of each message that it takes.
    pub async fn pushing(change: impl FnOnce(Receipts) -> Receipts) -> World {
        World::with(lenient(), |url| Some(change(Receipts { delay: Latency::None, ..Receipts::to(url) }))).await
    }

    /// Whose gateway pushes the review of each template that is registered.
    pub async fn reviewing(options: Options, reviews: Reviews) -> World {
        let reviews = Reviews { url: Some(String::new()), ..reviews };
        World::with(Options { reviews, ..options }, |_| None).await
    }

    pub async fn with(options: Options, receipts: impl FnOnce(String) -> Option<Receipts>) -> World {
        dispatcher::tls::install();
        let address = free_address();
        let url = |kind| format!("http://{address}/ihuyi/{kind}/{SECRET}");
        let options = Options { receipts: receipts(url("receipt")), reply_url: Some(url("reply")), ..options };
        let reviews = Reviews { url: options.reviews.url.map(|_| url("template")), ..options.reviews };
        let options = Options { reviews, ..options };
        // On a busy machine a push may be refused for being slow.
        let options = Options { push_retries: vec![Duration::from_millis(500); 30], ..options };
        let mut stage = Stage::with(options).await;
        stage.set("callbacks.listen", &address.to_string());
        stage.set("callbacks.secret", SECRET);
        stage.tempo.receipts = Duration::from_millis(50);
        stage.migrate().await;
        stage.db.keep_events().await;
        World { stage, address, client: Client::new() }
    }

    /// Posts a form, and returns status and body.
    pub async fn post(&self, kind: &str, body: impl Into<String>) -> (u16, String) {
        self.post_to(&format!("/ihuyi/{kind}/{SECRET}"), "application/x-www-form-urlencoded", body).await
    }

    pub async fn post_to(&self, path: &str, media: &str, body: impl Into<String>) -> (u16, String) {
        let request = self.client.post(format!("http://{}{path}", self.address)).header("content-type", media);
        let answer = request.body(body.into()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Posts a form until it is taken: on a busy machine it may be refused for being slow.
    pub async fn push(&self, kind: &str, body: impl Into<String>) {
        let body = body.into();
        eventually("the push is taken", async || match self.post(kind, body.clone()).await {
            (200, text) if text == "success" => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// Waits until the events of a job are these.
    pub async fn events(&self, job: &str, wanted: &[&str]) {
        becomes(&format!("events of {job}"), wanted.to_vec().join(" "), async || {
            let sql = "select type from told where job_id = $1 order by id";
            let types: Vec<String> = sqlx::query_scalar(sql).bind(job).fetch_all(&self.stage.db.pool).await.unwrap();
            types.join(" ")
        })
        .await;
    }
}
