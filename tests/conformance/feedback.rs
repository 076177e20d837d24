//! What ihuyi says afterwards: a receipt ends one job once, and a doubt only where it is certain.

use chrono::Duration;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::fields::Fields;
use dispatcher::domain::job::{Outcome, State};
use dispatcher::domain::receipt::Receipt;
use dispatcher::domain::uplink::{OptOut, Uplink};

use super::*;

const MOBILE: &str = "13800138000";
const DELIVERED: State = State::Delivered;

fn fields(pairs: &[(&str, &str)]) -> Fields {
    Fields::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

fn receipt_for(mobile: &str, smsid: &str, code: &str) -> Arc<Receipt> {
    Arc::new(Receipt::read(&fields(&[("smsid", smsid), ("code", code), ("mobilephone", mobile)])).unwrap())
}

fn receipt(smsid: &str, code: &str) -> Arc<Receipt> {
    receipt_for(MOBILE, smsid, code)
}

fn ended(state: State, code: i64) -> Vec<Ended> {
    vec![Ended { account: "main".into(), state, code: Some(code) }]
}

impl Pg {
    /// A job that the gateway took as 77.
    async fn accepted(&self, id: &str) {
        self.claimed(id).await;
        assert!(self.record(id, 1, Outcome::Accepted, Next::Accepted).await);
    }

    async fn doubted(&self, id: &str) {
        self.claimed(id).await;
        assert!(self.record(id, 1, Outcome::Unknown, Next::InDoubt).await);
    }

    /// An smsid of a message taken now, and so many seconds later.
    fn taken(&self, later: i64, serial: u32) -> String {
        format!("{}{serial:010}", (self.now() + Duration::seconds(later)).timestamp())
    }

    async fn receive(&self, rows: &[Arc<Receipt>]) -> Received {
        self.feedback.receive(rows).await.unwrap()
    }

    /// Both duties, once everything is due.
    async fn look(&self) -> (Vec<String>, Vec<Ended>) {
        let later = std::time::Duration::from_secs(3_600);
        let certain = self.upkeep.end_doubts(later, 100).await.unwrap();
        (certain, self.upkeep.look_again(later, 100).await.unwrap())
    }
}

pub async fn a_receipt_ends_its_job_once(pg: Pg) {
    pg.accepted("a").await;
    let first = pg.receive(&[receipt("77", "2")]).await;
    assert_eq!(first, Received { new: vec![true], ended: ended(DELIVERED, 2) });
    assert_eq!(pg.receive(&[receipt("77", "2")]).await, Received { new: vec![false], ended: vec![] });
    assert_eq!(pg.receive(&[receipt("77", "9")]).await, Received { new: vec![true], ended: vec![] });
    assert_eq!(pg.state("a").await, DELIVERED);
    assert_eq!(pg.look().await, (vec![], vec![]), "what has a job is not looked at");
}

pub async fn of_two_receipts_in_a_batch_the_first_report_counts(pg: Pg) {
    pg.accepted("a").await;
    let at = |time: &str, code: &str| {
        let pairs = [("smsid", "77"), ("code", code), ("report_time", time)];
        Arc::new(Receipt::read(&fields(&pairs)).unwrap())
    };
    let rows = [at("", "3"), at("2026-11-23 10:00:02", "2"), at("2026-11-23 10:00:01", "5")];
    assert_eq!(pg.receive(&rows).await.ended, ended(State::Undelivered, 5));
    assert_eq!(pg.state("a").await, State::Undelivered);
}

pub async fn an_early_receipt_waits_for_its_job(pg: Pg) {
    pg.claimed("a").await;
    assert_eq!(pg.receive(&[receipt("77", "4")]).await.ended, []);
    assert_eq!(pg.upkeep.look_again(std::time::Duration::ZERO, 100).await.unwrap(), [], "it is not due yet");
    assert!(pg.record("a", 1, Outcome::Accepted, Next::Accepted).await);
    assert_eq!(pg.look().await, (vec![], ended(State::Undelivered, 4)));
    assert_eq!(pg.look().await, (vec![], vec![]));
}

pub async fn an_unknown_receipt_is_looked_at_four_times(pg: Pg) {
    pg.receive(&[receipt("77", "2")]).await;
    for _ in 0..4 {
        assert_eq!(pg.look().await, (vec![], vec![]));
    }
    pg.accepted("a").await;
    assert_eq!(pg.look().await, (vec![], vec![]), "no more");
}

pub async fn a_receipt_ends_only_accepted_jobs(pg: Pg) {
    pg.accepted("a").await;
    pg.claimed("b").await;
    assert!(pg.record("b", 1, Outcome::Permanent, Next::Failed).await);
    assert_eq!(pg.receive(&[receipt("78", "2")]).await.ended, []);
    assert_eq!(pg.state("a").await, State::Accepted);
    assert_eq!(pg.state("b").await, State::Failed);
}

pub async fn a_receipt_ends_the_only_doubt_that_it_fits(pg: Pg) {
    pg.doubted("a").await;
    pg.receive(&[receipt(&pg.taken(0, 1), "2")]).await;
    assert_eq!(pg.look().await, (vec!["main".to_owned()], ended(DELIVERED, 2)));
    assert_eq!(pg.state("a").await, DELIVERED);
    assert_eq!(pg.outcome("a", 1).await, Some(Outcome::Unknown));
}

pub async fn a_receipt_that_fits_two_attempts_ends_no_doubt(pg: Pg) {
    pg.doubted("a").await;
    pg.doubted("b").await;
    pg.receive(&[receipt(&pg.taken(0, 1), "2")]).await;
    assert_eq!(pg.look().await, (vec![], vec![]));
    assert_eq!(pg.state("a").await, State::InDoubt);
}

pub async fn an_attempt_on_the_wire_counts_too(pg: Pg) {
    pg.doubted("a").await;
    pg.claimed("b").await;
    pg.receive(&[receipt(&pg.taken(0, 1), "2")]).await;
    assert_eq!(pg.look().await, (vec![], vec![]));
    assert!(pg.record("b", 1, Outcome::Accepted, Next::Accepted).await);
    assert_eq!(pg.look().await, (vec!["main".to_owned()], ended(DELIVERED, 2)));
    assert_eq!((pg.state("a").await, pg.state("b").await), (DELIVERED, State::Accepted));
}

pub async fn two_receipts_that_fit_one_doubt_do_not_end_it(pg: Pg) {
    pg.doubted("a").await;
    pg.receive(&[receipt(&pg.taken(0, 1), "2"), receipt(&pg.taken(0, 2), "2")]).await;
    assert_eq!(pg.look().await, (vec![], vec![]));
    assert_eq!(pg.state("a").await, State::InDoubt);
}

pub async fn number_and_time_must_fit(pg: Pg) {
    pg.doubted("a").await;
    let other = receipt_for("13800138001", &pg.taken(0, 1), "2");
    let rows = [other, receipt(&pg.taken(-30, 2), "2"), receipt(&pg.taken(90, 3), "2"), receipt("12345678", "2")];
    pg.receive(&rows).await;
    assert_eq!(pg.look().await, (vec![], vec![]));
    assert_eq!(pg.state("a").await, State::InDoubt);
}

pub async fn a_late_answer_after_a_doubt_was_ended_changes_nothing(pg: Pg) {
    pg.doubted("a").await;
    pg.receive(&[receipt(&pg.taken(0, 1), "2")]).await;
    pg.look().await;
    assert!(!pg.record("a", 1, Outcome::Accepted, Next::Accepted).await);
    assert_eq!(pg.state("a").await, DELIVERED);
}

pub async fn a_reply_is_heard_once(pg: Pg) {
    pg.accepted("a").await;
    let words = OptOut::new(vec!["TD".into()]);
    let reply = |content: &str| {
        let pairs = [("mobilephone", MOBILE), ("content", content), ("reply_time", "2026-11-23 10:00:00")];
        Arc::new(Uplink::read(&fields(&pairs), &words, pg.now()).unwrap())
    };
    let rows = [reply("TD"), reply("好")];
    assert_eq!(pg.feedback.hear(&rows).await.unwrap(), [true, true]);
    assert_eq!(pg.feedback.hear(&rows).await.unwrap(), [false, false]);
}

pub async fn what_ihuyi_said_is_pruned(pg: Pg) {
    pg.receive(&[receipt("1", "2"), receipt("2", "2"), receipt("3", "2")]).await;
    let old = super::upkeep::old;
    assert_eq!(pg.upkeep.prune_feedback(old(pg.now() - Duration::seconds(60), 0), 10).await.unwrap(), 0);
    let later = pg.now() + Duration::seconds(60);
    assert_eq!(pg.upkeep.prune_feedback(old(later, 60), 2).await.unwrap(), 0);
    assert_eq!(pg.upkeep.prune_feedback(old(later, 0), 2).await.unwrap(), 2);
    assert_eq!(pg.upkeep.prune_feedback(old(later, 0), 2).await.unwrap(), 1);
}
