//! A flood of receipts is committed in groups, and sending goes on beside it.

use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{SECRET, World, receipt};
use crate::support::{job, number};

const CONNECTIONS: usize = 200;
const PUSHES: usize = 25;

/// Pushes over one connection, each as soon as the one before was taken; one that is refused because the
/// machine is too slow goes again at once. How many were refused, and the longest wait for an answer.
async fn pour(address: std::net::SocketAddr, from: usize) -> (usize, Duration) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut refused, mut longest) = (0, Duration::ZERO);
    let mut n = from;
    while n < from + PUSHES {
        // Half of them of messages that nobody knows.
        let smsid = if n.is_multiple_of(2) { format!("flood-{n}") } else { format!("nobody-{n}") };
        let form = receipt("2", &number(n), &smsid, Utc::now());
        let head =
            format!("POST /ihuyi/receipt/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", form.len());
        let begun = Instant::now();
        stream.write_all((head + &form).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") || answer.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        longest = longest.max(begun.elapsed());
        match answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"success") {
            true => n += 1,
            false => refused += 1,
        }
    }
    (refused, longest)
}

#[tokio::test]
async fn a_flood_is_committed_in_groups_and_does_not_hold_up_sending() {
    let mut world = World::silent().await;
    world.stage.tempo.receipts = dispatcher::dispatch::settings::Tempo::default().receipts;
    world.stage.start().await;
    let all = CONNECTIONS * PUSHES;
    let sql =
        "insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, smsid, digest, claim_id)
         select 'old-' || n, n, 'main', (13900000000 + n)::text, 'bulk', 'x', 'accepted', 'hold', 'flood-' || n,
             '\\x00', n
         from generate_series(0, 4999) n";
    assert_eq!(world.stage.db.execute(sql).await, all as u64);
    let begun = Instant::now();
    let flood = futures_util::future::join_all((0..CONNECTIONS).map(|n| pour(world.address, n * PUSHES)));
    let sending = async {
        let jobs: Vec<_> = (0..200).map(|n| job(&format!("job-{n}"), &number(100_000 + n))).collect();
        world.stage.publish("high", &jobs).await;
        world.stage.settled("job-199", "accepted").await;
        begun.elapsed()
    };
    let (poured, sent) = tokio::join!(flood, sending);
    let (refused, longest) = poured.into_iter().fold((0, Duration::ZERO), |(r, l), (n, d)| (r + n, l.max(d)));
    let elapsed = begun.elapsed();
    println!("{all} receipts in {elapsed:?}, {refused} refused, the slowest {longest:?}; 200 jobs within {sent:?}");
    // The time of a report has seconds, so one that went again later may have a row more.
    assert_eq!(world.stage.db.count("(select distinct smsid from receipts) s").await, all as i64);
    assert_eq!(world.stage.db.count("jobs where state = 'delivered'").await, all as i64 / 2);
    let scrape = world.stage.scrape().await;
    let batches = scrape.sum("postgres_batch_rows_count", &[("statement", "receive")]);
    let seconds = |statement| {
        let labels = [("statement", statement)];
        let count = scrape.sum("postgres_batch_seconds_count", &labels);
        (count, scrape.sum("postgres_batch_seconds_sum", &labels) / count)
    };
    println!("statements and their mean time: receive {:?}, record {:?}", seconds("receive"), seconds("record"));
    assert!(batches < all as f64 / 5.0, "{batches} statements for {all} receipts");
    world.stage.finish().await;
}
