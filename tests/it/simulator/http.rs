//! HTTP itself: connections, bodies in pieces, wrong addresses.

use dispatcher::simulator::{Options, Rules, Simulator};

use super::wire::{Client, MOBILE, Submit, TEXT, get, header, start};

async fn unlimited() -> Simulator {
    start(Options { rules: Rules { per_second: 0, ..Rules::default() }, ..Options::default() }).await
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_pipelined() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    for _ in 0..3 {
        assert_eq!(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), 2);
    }
    let submit = Submit::dynamic(MOBILE, TEXT);
    client.send(format!("{}{}{}", submit.post(), submit.get(), submit.json().post())).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.code(), 2);
    }
    let mut other = Client::connect(&simulator).await;
    assert_eq!(other.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), 2);
    let connections: Vec<u64> = simulator.submissions().iter().map(|entry| entry.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1, 1, 1, 2]);
    assert_eq!(simulator.stats().connections, 2);
}

#[tokio::test]
async fn connection_close_is_kept() {
    let simulator = unlimited().await;
    let submit = Submit::dynamic(MOBILE, TEXT).get();
    let closing = submit.replace("\r\nHost", "\r\nConnection: close\r\nHost");
    let old = submit.replace("HTTP/1.1", "HTTP/1.0");
    for request in [closing, old] {
        let mut client = Client::connect(&simulator).await;
        let answer = client.call(request).await;
        assert_eq!(header(&answer.head, "connection"), Some("close"));
        assert_eq!(client.rest().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_body_may_come_in_chunks_or_after_100_continue() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let body = Submit::dynamic(MOBILE, TEXT).encoded();
    let (first, second) = body.split_at(40);
    let head = "POST /webservice/sms.php?method=Submit HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n";
    let chunks = format!("{:x}\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(client.call(chunked).await.code(), 2);

    client.send(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.expect(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.call(body).await.code(), 2);
}

#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    for byte in Submit::dynamic(MOBILE, TEXT).post().bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.code(), 2);
}

#[tokio::test]
async fn wrong_addresses_and_methods_are_plain_http_errors() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    for target in ["/", "/webservice/sms.php", "/webservice/sms.php?method=submit", "/sms/submit.json", "/_sim/nothing"]
    {
        assert_eq!(client.call(get(target)).await.status, 404, "{target}");
    }
    let put = Submit::dynamic(MOBILE, TEXT).post().replace("POST", "PUT");
    assert_eq!(client.call(put).await.status, 405);
    assert_eq!(client.call("no http at all\r\n\r\n").await.status, 400);
    assert_eq!(client.rest().await.unwrap(), b"");
    assert!(simulator.submissions().is_empty());
}
