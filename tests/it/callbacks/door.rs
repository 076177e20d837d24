//! Who may push, and what is refused.

use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::world::{SECRET, World, form, receipt, smsid_of};
use crate::support::metrics::get;
use crate::support::process::free_address;
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number, proxy};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn only_the_two_pages_are_there_and_only_for_who_knows_the_secret() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let good = receipt("2", &number(1), "1", Utc::now());
    let long = format!("{SECRET}0");
    for (path, status) in [
        (format!("/ihuyi/receipt/{}", &SECRET[1..]), 404),
        (format!("/ihuyi/receipt/{long}"), 404),
        (format!("/ihuyi/receipt/{}", SECRET.to_uppercase()), 404),
        ("/ihuyi/receipt/%ff".into(), 404),
        ("/ihuyi/receipt/".into(), 404),
        ("/ihuyi/receipt".into(), 404),
        (format!("/ihuyi/receipt/{SECRET}/"), 404),
        (format!("/ihuyi/other/{SECRET}"), 404),
        ("/ihuyi/reply/wrong".into(), 404),
        ("/metrics".into(), 404),
        ("/".into(), 404),
    ] {
        assert_eq!(world.post_to(&path, FORM, good.clone()).await.0, status, "{path}");
    }
    let (status, _) = get(world.address, &format!("/ihuyi/receipt/{SECRET}")).await.unwrap();
    assert_eq!(status, 405);
    assert_eq!(world.stage.db.count("receipts").await, 0);
    world.push("receipt", good).await;
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_push_is_read_however_it_is_written() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let path = format!("/ihuyi/receipt/{SECRET}");
    let json = format!(r#"{{"code":2,"msg":"发送成功","mobilephone":"{}","smsid":17954495980000000002}}"#, number(1));
    let ways = [
        (path.clone(), FORM, receipt("2", &number(1), "17954495980000000001", Utc::now())),
        (path.clone(), "application/json; charset=utf-8", json),
        (path.clone(), "text/plain", receipt("2", &number(1), "17954495980000000003", Utc::now())),
        (path.clone(), "x/y", receipt("2", &number(1), "17954495980000000004", Utc::now())),
        (format!("{path}?{}", receipt("2", &number(1), "17954495980000000005", Utc::now())), FORM, String::new()),
        (format!("{path}?smsid=17954495980000000006"), FORM, form(&[("code", "2"), ("mobilephone", "+8613900000001")])),
    ];
    for (path, media, body) in ways {
        assert_eq!(world.post_to(&path, media, body.clone()).await, (200, "success".into()), "{media} {body}");
    }
    let sql = "receipts where code = 2 and mobile = '13900000001' and smsid ~ '^1795449598000000000[1-6]$'";
    assert_eq!(world.stage.db.count(sql).await, 6);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_bad_push_names_its_field() {
    let mut world = World::silent().await;
    world.stage.start().await;
    for body in ["", "code=2", "smsid=", "{\"code\":2}", "\0\0", "smsid=%20"] {
        let (status, text) = world.post("receipt", body).await;
        assert_eq!((status, text.contains("smsid")), (400, true), "{body}: {text}");
    }
    let (status, text) = world.post("reply", "content=hello").await;
    assert_eq!((status, text.contains("mobilephone")), (400, true), "{text}");
    // What cannot be read beside the smsid is kept as far as it can be.
    world.push("receipt", "smsid=1&code=DELIVRD&msg=%00%ff&mobilephone=none&report_time=now").await;
    assert_eq!(world.stage.db.count("receipts where smsid = '1' and code is null and mobile = 'none'").await, 1);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let padded = |length: usize| format!("smsid=1&msg={}", "x".repeat(length - "smsid=1&msg=".len()));
    assert_eq!(world.post("receipt", padded(16 * 1024 + 1)).await.0, 413);
    // Without a length that could be refused at once.
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = format!("POST /ihuyi/receipt/{SECRET} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all((head + &chunk.repeat(20)).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(world.stage.db.count("receipts").await, 0);
    world.push("receipt", padded(16 * 1024)).await;
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn only_allowed_networks_may_push() {
    let mut world = World::silent().await;
    world.stage.set("callbacks.allow", "203.0.113.0/24,10.0.0.1");
    world.stage.start().await;
    let good = receipt("2", &number(1), "1", Utc::now());
    assert_eq!(world.post("receipt", good.clone()).await.0, 403);
    assert_eq!(world.post_to("/ihuyi/receipt/wrong", FORM, good.clone()).await.0, 403, "the secret is not looked at");
    assert_eq!(world.post_to("/", FORM, "").await.0, 403);
    world.stage.stop().await;
    world.stage.set("callbacks.allow", "203.0.113.0/24,127.0.0.1");
    world.stage.start().await;
    world.push("receipt", good).await;
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn strangers_take_nobodys_place() {
    let mut world = World::silent().await;
    world.stage.set("callbacks.allow", "127.0.0.2");
    world.stage.start().await;
    // More than the listener has places, all of them silent.
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(world.address).await.unwrap());
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(world.address).await.unwrap();
    let body = receipt("2", &number(1), "1", Utc::now());
    let head = format!("POST /ihuyi/receipt/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(world.stage.db.count("receipts").await, 1);
    drop(strangers);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn without_a_secret_nothing_listens() {
    let mut stage = Stage::new().await;
    let address = free_address();
    stage.set("callbacks.listen", &address.to_string());
    stage.start().await;
    assert_eq!(get(address, "/").await, None);
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn secrets_and_numbers_stay_out_of_the_log() {
    let mut world = World::silent().await;
    world.stage.migrate().await;
    world.stage.set("log.level", "trace");
    let process = world.stage.process();
    process.ready().await;
    world.push("receipt", receipt("2", &number(1), "1", Utc::now())).await;
    world.push("reply", super::world::reply(&number(2), "绝密回复", Utc::now())).await;
    let wrong = format!("{SECRET}-but-wrong");
    assert_eq!(world.post_to(&format!("/ihuyi/receipt/{wrong}"), FORM, "smsid=1").await.0, 404);
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("its secret is wrong"), "{log}");
    for hidden in [SECRET, "绝密回复", &number(1), &number(2)] {
        assert!(!log.contains(hidden), "{hidden} in\n{log}");
    }
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_standby_takes_pushes_too() {
    let mut world = World::silent().await;
    world.stage.start().await;
    world.stage.publish("high", [&job("one", &number(1))]).await;
    let smsid = world.stage.settled("one", "accepted").await.smsid.unwrap();
    let other = free_address();
    world.stage.set("callbacks.listen", &other.to_string());
    let standby = world.stage.process();
    standby.ready().await;
    let url = format!("http://{other}/ihuyi/receipt/{SECRET}");
    let pushed = reqwest::Client::new().post(url).body(receipt("2", &number(1), &smsid, Utc::now())).send().await;
    assert_eq!(pushed.unwrap().text().await.unwrap(), "success");
    world.stage.settled("one", "delivered").await;
    standby.terminate().await;
    world.stage.finish().await;
}

/// Never `success` before it is committed; in time, so that ihuyi pushes again.
#[tokio::test]
async fn while_postgres_is_away_a_push_is_refused_and_taken_later() {
    let mut world = World::silent().await;
    world.stage.migrate().await;
    let (gate, url) = proxy::before(&world.stage.db.url).await;
    world.stage.set("postgres.url", &url);
    world.stage.start().await;
    world.push("receipt", receipt("2", &number(1), "1", Utc::now())).await;
    gate.refuse();
    let good = receipt("2", &number(1), &smsid_of(Utc::now(), 1), Utc::now());
    let begun = std::time::Instant::now();
    let (status, text) = world.post("receipt", good.clone()).await;
    assert_eq!(status, 503, "{text}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(world.stage.db.count("receipts").await, 1);
    gate.resume();
    eventually("the push is taken", async || match world.post("receipt", good.clone()).await {
        (200, text) if text == "success" => Ok(()),
        other => Err(other),
    })
    .await;
    becomes("receipts", 2, async || world.stage.db.count("receipts").await).await;
    world.stage.finish_with_backlog().await;
}
