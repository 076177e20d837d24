//! Receipts and replies pushed to a customer.

use std::collections::HashMap;
use std::time::Duration;

use dispatcher::simulator::{Answers, Latency, Options, Receipts, Reviews, Rules, Scripted, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{Client, MOBILE, Submit, TEXT, in_time, post, start};

/// A customer that answers each push on a connection of its own.
struct Customer {
    listener: TcpListener,
}

/// One push: the request line, the form, and the connection to answer on.
struct Push {
    line: String,
    form: HashMap<String, String>,
    stream: TcpStream,
}

impl Customer {
    async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener.local_addr().unwrap())
    }

    /// Waits for a push on a new connection.
    async fn next(&self) -> Push {
        let (stream, _) = in_time(self.listener.accept()).await.unwrap();
        Push::read(stream).await
    }
}

impl Push {
    async fn read(mut stream: TcpStream) -> Self {
        let mut wire = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&wire).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && body.len() == super::wire::header(head, "content-length").unwrap().parse::<usize>().unwrap()
            {
                assert_eq!(super::wire::header(head, "content-type"), Some("application/x-www-form-urlencoded"));
                let form = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
                return Self { line: head.lines().next().unwrap().into(), form, stream };
            }
            assert!(in_time(stream.read_buf(&mut wire)).await.unwrap() > 0, "a push was cut off");
        }
    }

    /// Answers, keeping the connection open.
    async fn answer(&mut self, status: u16, body: &str) {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Answers and lets the connection go.
    async fn close_with(mut self, status: u16, body: &str) {
        let answer =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn with_receipts(receipts: Receipts) -> Simulator {
    start(Options {
        receipts: Some(receipts),
        rules: Rules { per_second: 0, ..Rules::default() },
        push_retries: vec![Duration::from_millis(1), Duration::from_millis(2)],
        ..Options::default()
    })
    .await
}

async fn submit(simulator: &Simulator, content: &str) -> String {
    let answer = Client::connect(simulator).await.call(Submit::dynamic(MOBILE, content).post()).await;
    assert_eq!(answer.code(), 2);
    answer.smsid().to_owned()
}

/// Waits until `count` pushes have ended.
async fn pushes_ended(simulator: &Simulator, count: u64) {
    in_time(simulator.wait_until(|stats| stats.pushes_taken + stats.pushes_given_up >= count)).await;
}

#[tokio::test]
async fn a_taken_message_gets_its_receipt() {
    let customer = Customer::listen().await;
    let simulator = with_receipts(Receipts::to(customer.url("/ihuyi/receipt/s3cret"))).await;
    let smsid = submit(&simulator, TEXT).await;
    let push = customer.next().await;
    assert_eq!(push.line, "POST /ihuyi/receipt/s3cret HTTP/1.1");
    assert_eq!(push.form.len(), 5);
    assert_eq!((push.form["code"].as_str(), push.form["smsid"].as_str()), ("2", smsid.as_str()));
    assert_eq!(push.form["mobilephone"], MOBILE);
    let time = chrono::NaiveDateTime::parse_from_str(&push.form["report_time"], "%Y-%m-%d %H:%M:%S").unwrap();
    let utc8 = chrono::Utc::now().naive_utc() + chrono::TimeDelta::hours(8);
    assert!((utc8 - time).num_seconds().abs() < 60, "{time}");
    push.close_with(200, "success").await;
    pushes_ended(&simulator, 1).await;
    assert_eq!(simulator.stats().pushes, 1);
}

#[tokio::test]
async fn anything_but_success_is_pushed_thrice_in_all() {
    let customer = Customer::listen().await;
    let simulator = with_receipts(Receipts::to(customer.url("/r"))).await;
    submit(&simulator, TEXT).await;
    let first = customer.next().await;
    let form = first.form.clone();
    first.close_with(200, "success\n").await;
    let second = customer.next().await;
    assert_eq!(second.form, form, "the same push again");
    second.close_with(500, "success").await;
    drop(customer.next().await);
    pushes_ended(&simulator, 1).await;
    let stats = simulator.stats();
    assert_eq!((stats.pushes, stats.pushes_taken, stats.pushes_given_up), (3, 0, 1));
}

#[tokio::test]
async fn a_second_try_may_be_taken_and_a_connection_is_used_again() {
    let customer = Customer::listen().await;
    let simulator = with_receipts(Receipts::to(customer.url("/r"))).await;
    submit(&simulator, TEXT).await;
    customer.next().await.close_with(503, "").await;
    let mut second = customer.next().await;
    second.answer(200, "success").await;
    pushes_ended(&simulator, 1).await;
    let smsid = submit(&simulator, TEXT).await;
    let mut third = Push::read(second.stream).await;
    assert_eq!(third.form["smsid"], smsid);
    third.answer(200, "success").await;
    pushes_ended(&simulator, 2).await;
    assert_eq!(simulator.stats().pushes, 3);
}

#[tokio::test]
async fn undelivered_and_long_messages_have_receipts_of_their_own() {
    let customer = Customer::listen().await;
    let receipts =
        Receipts { undelivered: 1.0, undelivered_code: 7, per_part: true, ..Receipts::to(customer.url("/r")) };
    let simulator = with_receipts(receipts).await;
    let smsid = submit(&simulator, &"字".repeat(65)).await;
    for _ in 0..2 {
        let push = customer.next().await;
        assert_eq!((push.form["code"].as_str(), &push.form["smsid"]), ("7", &smsid));
        push.close_with(200, "success").await;
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_still_gets_its_receipt_but_a_refused_one_none() {
    let customer = Customer::listen().await;
    let simulator = with_receipts(Receipts::to(customer.url("/r"))).await;
    let lost = Scripted::Judged(Box::new(Scripted::CloseBeforeReply));
    simulator.script(MOBILE, vec![Scripted::Code(0, "提交失败".into()), lost]);
    for _ in 0..2 {
        let mut client = Client::connect(&simulator).await;
        client.send(Submit::dynamic(MOBILE, TEXT).post()).await;
        in_time(simulator.wait_for(1)).await;
    }
    let push = customer.next().await;
    assert_eq!(push.form["smsid"], in_time(simulator.wait_for(2)).await[1].smsid);
    push.close_with(200, "success").await;
    pushes_ended(&simulator, 1).await;
    assert_eq!(simulator.stats().pushes, 1);
}

#[tokio::test]
async fn a_receipt_may_come_before_the_reply() {
    let customer = Customer::listen().await;
    let simulator = start(Options {
        receipts: Some(Receipts::to(customer.url("/r"))),
        latency: Latency::Fixed(Duration::from_secs(600)),
        ..Options::default()
    })
    .await;
    let mut client = Client::connect(&simulator).await;
    client.send(Submit::dynamic(MOBILE, TEXT).post()).await;
    assert_eq!(customer.next().await.form["smsid"], simulator.submissions()[0].smsid);
}

#[tokio::test]
async fn a_persons_reply_is_pushed_by_hand() {
    let customer = Customer::listen().await;
    let reply_url = Some(customer.url("/ihuyi/reply/s3cret"));
    let simulator = start(Options { reply_url, ..Options::default() }).await;
    assert!(simulator.reply(MOBILE, "退订 & 谢谢", ""));
    let push = customer.next().await;
    assert_eq!(push.line, "POST /ihuyi/reply/s3cret HTTP/1.1");
    assert_eq!((push.form["mobilephone"].as_str(), push.form["content"].as_str()), (MOBILE, "退订 & 谢谢"));
    assert!(push.form.contains_key("reply_time"));
    push.close_with(200, "success").await;

    let request = post("/_sim/reply", "application/json", r#"{"mobile":"13800138000","content":"1"}"#);
    assert_eq!(Client::connect(&simulator).await.call(request).await.status, 200);
    assert_eq!(customer.next().await.form["content"], "1");
}

#[tokio::test]
async fn receipts_are_lost_and_repeated_and_people_reply_by_share() {
    let customer = Customer::listen().await;
    let lost = with_receipts(Receipts { lost: 1.0, ..Receipts::to(customer.url("/lost")) }).await;
    submit(&lost, TEXT).await;
    let repeated = Receipts { repeated: 1.0, ..Receipts::to(customer.url("/r")) };
    let answers = Answers { share: 1.0, words: vec!["退订".into()], delay: Latency::None };
    let simulator =
        start(Options { receipts: Some(repeated), reply_url: Some(customer.url("/a")), answers, ..Options::default() })
            .await;
    let smsid = submit(&simulator, TEXT).await;
    let mut forms = Vec::new();
    for _ in 0..3 {
        let push = customer.next().await;
        assert_eq!(push.form["smsid"], smsid);
        forms.push(push.form.get("content").cloned());
        push.close_with(200, "success").await;
    }
    forms.sort();
    assert_eq!(forms, [None, None, Some("退订".to_owned())], "two receipts and a reply, and none of the lost one");
}

#[tokio::test]
async fn a_template_is_registered_and_its_review_pushed() {
    let customer = Customer::listen().await;
    let reviews = Reviews { url: Some(customer.url("/t")), delay: Latency::None, refused: 1.0 };
    let simulator = start(Options { reviews, ..Options::default() }).await;
    let form = format!("account={}&password={}&content=%E5%A5%BD&format=json", super::wire::ACCOUNT, super::wire::KEY);
    let request = post("/webservice/sms.php?method=AddTemplate", "application/x-www-form-urlencoded", &form);
    let answer = Client::connect(&simulator).await.call(request).await;
    assert!(answer.body.ends_with(r#","templateid":"100001"}"#), "{answer:?}");
    let push = customer.next().await;
    assert_eq!((push.form["code"].as_str(), push.form["templateid"].as_str()), ("0", "100001"));
    push.close_with(200, "success").await;
}
