//! SIGKILL: nothing is lost, and nothing is sent twice that may not be.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options, Scripted};
use serde_json::Value;

use super::books::{all_settled, balance, jobs, run_out, taken};
use crate::support::process::Process;
use crate::support::proxy::{self, Proxy};
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually, number};

/// Kills in [`kills_at_any_instant_leave_books_that_balance`].
const KILLS: usize = 8;

#[tokio::test]
async fn after_a_kill_every_job_is_accounted_for() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "1");
    // Taken, but the process dies before it hears of it.
    let hanging: Vec<Value> = [jobs("hold", 0, 10), jobs("resend", 10, 10)].concat();
    (0..20).for_each(|n| stage.gateway.script(&number(n), vec![Scripted::Judged(Box::new(Scripted::Hang))]));
    let process = stage.process();
    process.ready().await;
    stage.publish("high", &hanging).await;
    stage.publish("normal", &jobs("plain", 100, 200)).await;
    eventually("all that hangs, and some of the others", async || {
        let taken = taken(&stage);
        if taken.len() >= 60 && (0..20).all(|n| taken.contains_key(&number(n))) { Ok(()) } else { Err(taken.len()) }
    })
    .await;
    process.kill().await;
    let before = taken(&stage);
    assert!((0..20).all(|n| before[&number(n)] == 1), "the gateway has taken what hangs");
    let open = run_out(&stage).await;
    assert!((20..100).contains(&open), "{open} were on the wire");

    stage.set("retry.initial", "10ms");
    stage.set("accounts.main.rate", "1000/s");
    // What was released, and not published any more.
    stage.tempo.lost = Duration::from_secs(2);
    stage.start().await;
    eventually("all are settled", async || {
        let settled = stage.db.count("jobs where state in ('accepted', 'in_doubt')").await;
        if settled == 220 { Ok(()) } else { Err(stage.db.states().await) }
    })
    .await;
    for (n, kind, times) in (0..10).map(|n| (n, "hold", 1)).chain((10..20).map(|n| (n, "resend", 2))) {
        let row = stage.db.job(&format!("{kind}-{n}")).await.unwrap();
        let state = if kind == "hold" { "in_doubt" } else { "accepted" };
        assert_eq!((row.state.as_str(), row.attempts), (state, times), "{}", row.id);
        assert_eq!(taken(&stage)[&number(n)], times as u32);
    }
    // The others were each sent once at most; one that is not known to be taken says so.
    let after = taken(&stage);
    for n in 100..300 {
        let row = stage.db.job(&format!("plain-{n}")).await.unwrap();
        let sent = after.get(&number(n)).copied().unwrap_or_default();
        assert!(sent <= 1, "{} was taken {sent} times", row.id);
        assert!(sent == 1 || row.state == "in_doubt", "{} is {} and was not taken", row.id, row.state);
    }
    let unknown = stage.db.count("attempts where outcome = 'unknown'").await;
    assert_eq!(unknown as u64, open);
    stage.metric("jobs_in_doubt", &[], (open - 10) as f64).await;
    stage.flush("high").await;
    stage.flush("normal").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_claim_protects_its_attempt_until_it_runs_out() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.gateway.script(&number(1), vec![Scripted::Hang]);
    let process = stage.process();
    process.ready().await;
    stage.publish("high", &jobs("hold", 1, 1)).await;
    stage.submissions(1).await;
    process.kill().await;
    stage.start().await;
    // A job published now goes all the way, and the old message is settled before it.
    stage.publish("high", &jobs("later", 2, 1)).await;
    stage.states("accepted 1, submitting 1").await;
    assert_eq!(stage.gateway.submissions().len(), 2, "the claimed one is left alone");
    stage.db.execute("update jobs set claimed_until = now() where state = 'submitting'").await;
    let row = stage.settled("hold-1", "in_doubt").await;
    assert_eq!((row.code, row.attempts), (None, 1));
    assert_eq!(stage.db.attempts("hold-1").await, [("unknown".to_owned(), None)]);
    stage.flush("high").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_standby_takes_over_what_a_killed_one_leaves() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("accounts.main.rate", "50/s");
    stage.set("accounts.main.burst", "1");
    let active = stage.process();
    active.ready().await;
    stage.publish("normal", &jobs("plain", 0, 100)).await;
    stage.submissions(10).await;
    // Ready as a standby, and quiet while the other lives.
    stage.tempo.lost = Duration::from_secs(2);
    stage.start().await;
    stage.metric("jobs_received_total", &[], 0.0).await;
    active.kill().await;
    // The standby's own claims are fresh: only those of before its first delivery are the dead one's.
    becomes("all are known", 100, async || stage.db.count("jobs").await).await;
    becomes("one process's claims", 0, async || {
        stage.db.count("jobs where state = 'submitting' and updated_at > now() - interval '3 s'").await
    })
    .await;
    stage.db.execute("update jobs set claimed_until = now() where state = 'submitting'").await;
    becomes("all", 100, async || stage.db.count("jobs where state in ('accepted', 'in_doubt')").await).await;
    assert!(taken(&stage).values().all(|times| *times == 1));
    stage.flush("normal").await;
    stage.finish().await;
}

/// The process on a network that can be held up.
struct Held {
    stage: Stage,
    postgres: Proxy,
    rabbitmq: Proxy,
}

impl Held {
    async fn new() -> Held {
        let latency = Latency::Fixed(Duration::from_millis(20));
        let mut stage = Stage::with(Options { latency, ..lenient() }).await;
        stage.migrate().await;
        stage.set("accounts.main.rate", "150/s");
        stage.set("accounts.main.burst", "1");
        stage.set("retry.initial", "10ms");
        let (postgres, url) = proxy::before(&stage.db.url).await;
        stage.set("postgres.url", &url);
        let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
        stage.set("rabbitmq.url", &url);
        Held { stage, postgres, rabbitmq }
    }

    /// Kills it, and clears the network of what it left there.
    async fn kill(&self, process: Process) {
        process.kill().await;
        for proxy in [&self.postgres, &self.rabbitmq] {
            proxy.cut();
            proxy.resume();
        }
        run_out(&self.stage).await;
    }

    /// Waits until the gateway has read so many more submits.
    async fn more_submissions(&self, more: usize) {
        self.stage.submissions(self.stage.gateway.submissions().len() + more).await;
    }
}

/// Brings the process to the instant at which it is to be killed.
async fn bring_to(held: &Held, instant: usize) {
    let Held { stage, postgres, rabbitmq } = held;
    let seen = stage.gateway.submissions().len() as i64;
    let exceeds = async |what: &str, limit: i64| {
        eventually(what, async || match stage.db.count(what).await {
            count if count > limit => Ok(()),
            count => Err(count),
        })
        .await;
    };
    match instant % 4 {
        // Anywhere.
        0 => held.more_submissions(fastrand::usize(1..15)).await,
        // A claim is committed, and its owner does not hear of it.
        1 => {
            held.more_submissions(3).await;
            postgres.stall_answers();
            exceeds("attempts where outcome is null", 0).await;
        }
        // Recorded, and the acknowledgement does not get through.
        2 => {
            rabbitmq.stall();
            exceeds("attempts where outcome is not null", seen.max(5)).await;
        }
        // A batch was just begun.
        _ => exceeds("jobs", stage.db.count("jobs").await).await,
    }
}

#[tokio::test]
async fn kills_at_any_instant_leave_books_that_balance() {
    let mut held = Held::new().await;
    let all: Vec<Value> = [jobs("hold", 0, 200), jobs("resend", 200, 200)].concat();
    let refused = Scripted::Code(4030, "手机号码已被列入黑名单".into());
    (0..400).step_by(10).for_each(|n| held.stage.gateway.script(&number(n), vec![refused.clone()]));
    for kill in 0..KILLS {
        let process = held.stage.process();
        process.ready().await;
        let (from, to) = (kill * all.len() / KILLS, (kill + 1) * all.len() / KILLS);
        held.stage.publish("normal", &all[from..to]).await;
        bring_to(&held, kill).await;
        held.kill(process).await;
    }
    held.stage.tempo.lost = Duration::from_secs(2);
    held.stage.start().await;
    all_settled(&held.stage, all.len()).await;
    balance(&held.stage, &all, 6).await;
    held.stage.flush("normal").await;
    held.stage.finish().await;
}

/// Stalls what Postgres answers, and publishes jobs until the claim of one is committed all the same; returns
/// its number. A statement that is new to its connection needs an answer before it does anything, and duties
/// take connections too: then all goes on, and another job tries.
async fn claim_unheard(held: &Held, kind: &str) -> usize {
    for n in 1..100 {
        let before = held.stage.db.count("attempts").await;
        held.postgres.stall_answers();
        held.stage.publish("high", &jobs(kind, n, 1)).await;
        let committed = async {
            while held.stage.db.count("attempts").await == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), committed).await.is_ok() {
            return n;
        }
        held.postgres.resume();
        held.stage.settled(&format!("{kind}-{n}"), "accepted").await;
    }
    panic!("no claim of a hundred was committed");
}

/// Nobody can know from the rows that nothing has left. Returns how often it was sent in the end.
async fn claimed_and_never_told(kind: &str, end: &str) -> usize {
    let mut held = Held::new().await;
    let process = held.stage.process();
    process.ready().await;
    held.stage.publish("high", &jobs("warm", 100, 100)).await;
    held.stage.states("accepted 100").await;
    let n = claim_unheard(&held, kind).await;
    held.kill(process).await;
    let before = held.stage.gateway.submissions().len();
    assert_eq!(before, 100 + n - 1, "nothing leaves before its claim is known");
    held.stage.start().await;
    held.stage.settled(&format!("{kind}-{n}"), end).await;
    held.stage.flush("high").await;
    let sent = held.stage.gateway.submissions().len() - before - 1;
    held.stage.finish().await;
    sent
}

#[tokio::test]
async fn a_claim_whose_owner_never_heard_of_it_is_held() {
    assert_eq!(claimed_and_never_told("hold", "in_doubt").await, 0);
}

#[tokio::test]
async fn a_claim_whose_owner_never_heard_of_it_is_resent_where_the_job_says_so() {
    assert_eq!(claimed_and_never_told("resend", "accepted").await, 1);
}

#[tokio::test]
async fn what_was_recorded_and_not_acknowledged_is_recognised() {
    let mut held = Held::new().await;
    let process = held.stage.process();
    process.ready().await;
    held.stage.publish("normal", &jobs("hold", 0, 50)).await;
    becomes("all have arrived", 50.0, async || {
        crate::support::metrics::Scrape::of(process.admin).await.sum("jobs_received_total", &[])
    })
    .await;
    held.rabbitmq.stall();
    held.stage.states("accepted 50").await;
    held.kill(process).await;
    held.stage.start().await;
    held.stage.flush("normal").await;
    held.stage.metric("duplicates_total", &[], 0.0).await;
    assert_eq!(held.stage.gateway.submissions().len(), 51, "each once, and the last");
    held.stage.finish().await;
}

#[tokio::test]
async fn every_session_that_writes_commits_durably() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    // The server's default is another; each writing session leaves a trace if it keeps to that.
    let traps = "create table careless (what text);
        create function note_careless() returns trigger language plpgsql as $$ begin
            if current_setting('synchronous_commit') <> 'on' then
                insert into careless values (tg_table_name || ' by ' || current_setting('application_name'));
            end if;
            return null;
        end $$;
        do $$ declare name text; begin
            execute format('alter database %I set synchronous_commit = off', current_database());
            foreach name in array array['jobs', 'attempts', 'rejections', 'accounts', 'events'] loop
                execute format('create trigger trap after insert or update or delete on %I
                                for each statement execute function note_careless()', name);
            end loop;
        end $$";
    sqlx::raw_sql(traps).execute(&stage.db.pool).await.unwrap();
    stage.gateway.script(&number(2), vec![Scripted::Code(0, "提交失败".into())]);
    stage.set("retry.initial", "10ms");
    stage.start().await;
    stage.publish("normal", &jobs("hold", 0, 10)).await;
    stage.broker.publish(&[crate::support::broker::Message::raw("high.1", "no job")]).await;
    stage.states("accepted 10").await;
    becomes("the rejection", 1, async || stage.db.count("rejections").await).await;
    assert_eq!(stage.db.count("careless").await, 0);
    // The trap does catch: the test's own session keeps to the default.
    let careless = "begin; set local synchronous_commit = off; delete from rejections; commit";
    sqlx::raw_sql(careless).execute(&stage.db.pool).await.unwrap();
    assert_eq!(stage.db.count("careless").await, 1);
    stage.finish().await;
}
