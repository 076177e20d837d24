//! A client of the API.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::process::Process;
use crate::support::stage::Stage;

/// Speaks to one daemon.
pub struct Client {
    address: SocketAddr,
    http: reqwest::Client,
}

/// Tokens of everybody that the tests know: the operator `alice` and the viewer `bob`.
pub fn with_tokens(stage: &mut Stage) {
    for (name, role) in [("alice", "operator"), ("bob", "viewer")] {
        stage.set(&format!("admin.tokens.{name}.role"), role);
        stage.set(&format!("admin.tokens.{name}.token"), &format!("token-of-{name}"));
    }
}

impl Client {
    pub fn of(stage: &Stage) -> Client {
        Client::at(stage.admin())
    }

    pub fn of_process(process: &Process) -> Client {
        Client::at(process.admin)
    }

    fn at(address: SocketAddr) -> Client {
        dispatcher::tls::install();
        Client { address, http: reqwest::Client::new() }
    }

    /// Status and body of a GET.
    pub async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.address);
        answer(self.http.get(url).bearer_auth(token)).await
    }

    /// Status and body of a POST.
    pub async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.address);
        let request = self.http.post(url).bearer_auth(token);
        answer(request.header("content-type", "application/json").body(body.to_string())).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("the API answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(status >= 400, body["detail"].is_string(), "{status}: {body}");
    (status, body)
}
