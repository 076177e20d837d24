//! What the dispatcher relies on in `Ledger`, `Upkeep` and `Feedback`, and in `Source` and `Publisher`
//! (`broker`), whoever implements them: the simulation's in-memory ones and the real adapters pass the
//! same cases.
//!
//! A binary names its fixture, a function `async fn(terms: Terms) -> Pg`, in [`conformance!`].

pub mod broker;
pub mod feedback;
pub mod ledger;
pub mod outbox;
pub mod policy;
pub mod replays;
pub mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::{Decision, Next};
use dispatcher::domain::job::{Job, OnUnknown, Outcome, Payload, Priority, Timestamp, WaitReason};
use dispatcher::domain::limits::{NumberLimits, Sliding};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::verdict::Answer;
use dispatcher::store::operate::{Control, ReplayOrder};

/// An empty Postgres.
pub struct Pg {
    pub ledger: Arc<dyn Ledger>,
    pub upkeep: Arc<dyn Upkeep>,
    pub outbox: Arc<dyn Outbox>,
    pub feedback: Arc<dyn Feedback>,
    look: Box<dyn Look>,
    next: AtomicI64,
}

/// What a Postgres is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a claim protects its attempt.
    pub lease: std::time::Duration,
    /// What one number may get over long windows.
    pub limits: NumberLimits,
}

impl Terms {
    pub fn usual() -> Terms {
        Terms { lease: std::time::Duration::from_secs(60), limits: NumberLimits::default() }
    }

    /// Claims protect nothing.
    pub fn no_lease() -> Terms {
        Terms { lease: std::time::Duration::ZERO, ..Terms::usual() }
    }

    pub fn an_hour(most: u32) -> Terms {
        let sliding = Some(Sliding { most, window: std::time::Duration::from_secs(3_600) });
        Terms { limits: NumberLimits { sliding, daily: None }, ..Terms::usual() }
    }

    pub fn a_day(most: u32) -> Terms {
        Terms { limits: NumberLimits { sliding: None, daily: Some(most) }, ..Terms::usual() }
    }
}

/// What a case must see beside the ports. Lives as long as the case, and cleans up after it.
pub trait Look: Send + Sync {
    /// Now, by Postgres' clock.
    fn now(&self) -> Timestamp;
    /// How an attempt ended, if it did.
    fn outcome<'a>(&'a self, id: &'a str, attempt: u32) -> Boxed<'a, Option<Outcome>>;
    /// An attempt began so much earlier.
    fn backdate<'a>(&'a self, id: &'a str, attempt: u32, by: chrono::Duration) -> Boxed<'a, ()>;
    /// A job that waits is due so much earlier.
    fn hasten<'a>(&'a self, id: &'a str, by: chrono::Duration) -> Boxed<'a, ()>;
    /// The number wants no bulk messages.
    fn suppress(&self, mobile: Mobile) -> Boxed<'_, ()>;
    /// An operator begins a replay; its number, where there is something to send.
    fn begin_replay(&self, order: ReplayOrder) -> Boxed<'_, Option<i64>>;
    /// An operator steers it.
    fn control_replay(&self, id: i64, control: Control) -> Boxed<'_, ()>;
    /// Its state, its canary's, and how many jobs came to each result.
    fn replay(&self, id: i64) -> Boxed<'_, (String, String, BTreeMap<String, i64>)>;
}

/// A tick that the database's clock has certainly passed when it is asked again.
const TICK: std::time::Duration = std::time::Duration::from_millis(2);
/// Looks until a condition must hold.
const LOOKS: u32 = 1_000;

impl Pg {
    pub fn new<P: Ledger + Upkeep + Outbox + Feedback>(port: Arc<P>, look: impl Look + 'static) -> Pg {
        Pg {
            ledger: port.clone(),
            upkeep: port.clone(),
            outbox: port.clone(),
            feedback: port,
            look: Box::new(look),
            next: AtomicI64::new(1),
        }
    }

    fn unique(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn now(&self) -> Timestamp {
        self.look.now()
    }

    /// A row for `job`; each has a claim id and a place of its own.
    pub fn admission(&self, job: Job, entry: Entry) -> Admission {
        let number = self.unique();
        Admission { account: job.account.clone(), job: Arc::new(job), seq: number, claim_id: number, entry }
    }

    pub async fn admit(&self, job: Job, entry: Entry) -> Admitted {
        self.ledger.admit(&[self.admission(job, entry)]).await.unwrap()[0]
    }

    pub fn readmission(&self, id: &str, from: From, entry: Entry) -> Readmission {
        let to = (from == From::Queued).then_some((job(id).mobile, job(id).priority));
        Readmission { id: id.into(), account: None, to, claim_id: self.unique(), from, entry }
    }

    pub async fn readmit(&self, id: &str, from: From, entry: Entry) -> Readmitted {
        self.ledger.readmit(&[self.readmission(id, from, entry)]).await.unwrap()[0]
    }

    pub async fn record(&self, id: &str, request: u32, outcome: Outcome, next: Next) -> bool {
        self.ledger.record(&[record(id, request, outcome, next)]).await.unwrap()[0]
    }

    /// A job whose first attempt is under way.
    pub async fn claimed(&self, id: &str) {
        assert_eq!(self.admit(job(id), Entry::Claim).await, FIRST);
    }

    /// A job that has been released.
    pub async fn queued(&self, id: &str) {
        let past = self.now() - chrono::Duration::seconds(60);
        assert_eq!(self.admit(job(id), wait_until(past)).await, Admitted::Stored);
        let due = self.upkeep.release_due(self.now(), 100).await.unwrap();
        assert!(due.iter().any(|released| released.job.id == id));
    }

    /// The claims that have run out, as soon as there are any.
    pub async fn stale(&self) -> Vec<StaleClaim> {
        for _ in 0..LOOKS {
            let stale = self.upkeep.stale_claims(100).await.unwrap();
            if !stale.is_empty() {
                return stale;
            }
            tokio::time::sleep(TICK).await;
        }
        panic!("no claim runs out")
    }

    /// The jobs that were released and have not come back, as soon as there are any.
    pub async fn lost(&self, age: u32) -> Vec<String> {
        for _ in 0..LOOKS {
            let lost = self.upkeep.release_lost(age, 100).await.unwrap();
            if !lost.is_empty() {
                return ids(&lost);
            }
            tokio::time::sleep(TICK).await;
        }
        panic!("no job is lost")
    }

    pub async fn outcome(&self, id: &str, attempt: u32) -> Option<Outcome> {
        self.look.outcome(id, attempt).await
    }

    /// What is in the outbox: type and job of each event, in order.
    pub async fn kinds(&self) -> Vec<String> {
        let events = self.outbox.turn(&[], &[], 100).await.unwrap();
        events.iter().map(|event| format!("{} {}", event.kind, event.job_id.as_deref().unwrap_or("-"))).collect()
    }

    /// The state of a job, as a repeat of its message is told.
    pub async fn state(&self, id: &str) -> dispatcher::domain::job::State {
        match self.admit(job(id), Entry::Claim).await {
            Admitted::Repeat(state) => state,
            other => panic!("{id}: {other:?}"),
        }
    }
}

pub const FIRST: Admitted = Admitted::Claimed(Claim { attempts: 1, request: 1 });

/// A job; its id says everything.
pub fn job(id: &str) -> Job {
    Job {
        id: id.into(),
        mobile: Mobile::parse("13800138000").unwrap(),
        payload: Payload::Text(format!("the text of {id}")),
        account: "main".into(),
        priority: Priority::Normal,
        not_before: None,
        expires_at: None,
        on_unknown: OnUnknown::Hold,
        metadata: Some("{\"order\":1}".into()),
        published_at: None,
        traceparent: None,
    }
}

pub fn wait_until(at: Timestamp) -> Entry {
    Entry::Wait { reason: WaitReason::Scheduled, due_at: Some(at), on_room: false }
}

pub fn wait_for_room() -> Entry {
    Entry::Wait { reason: WaitReason::AccountPaused, due_at: None, on_room: true }
}

pub fn retry_at(at: Timestamp) -> Next {
    Next::Wait { reason: WaitReason::Retry, due_at: Some(at) }
}

/// What became of an attempt.
pub fn record(id: &str, request: u32, outcome: Outcome, next: Next) -> Record {
    let accepted = Answer { code: 2, message: "ok".into(), smsid: Some("77".into()) };
    let spent = !matches!(outcome, Outcome::Account | Outcome::NotSent);
    Record {
        id: id.into(),
        request,
        decision: Decision { outcome, next, spent },
        answer: (outcome == Outcome::Accepted).then_some(accepted),
        message: "words".into(),
    }
}

pub fn ids(released: &[Released]) -> Vec<String> {
    released.iter().map(|released| released.job.id.clone()).collect()
}

/// Every case, as a test of its own, on `$fixture`.
macro_rules! conformance {
    ($fixture:path; $($module:ident :: $case:ident $(with $terms:expr)?;)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let terms = crate::suite::Terms::usual();
                $(let terms = { let _ = terms; $terms };)?
                crate::suite::$module::$case($fixture(terms).await).await;
            }
        )+
    };
}

/// The list of the cases.
macro_rules! every_case {
    ($fixture:path) => {
        crate::suite::conformance! { $fixture;
            ledger::an_id_is_claimed_once;
            ledger::a_lost_answer_is_found_again;
            ledger::a_row_at_fault_refuses_the_batch;
            ledger::a_released_job_is_claimed_by_one_copy;
            ledger::a_job_is_claimed_again_only_where_it_was_left;
            ledger::an_outcome_ends_its_own_attempt_only;
            ledger::a_late_acceptance_lands_and_a_late_failure_does_not;
            ledger::what_did_not_leave_gives_the_attempt_back;
            ledger::a_correction_keeps_the_count_of_attempts;
            ledger::a_message_that_is_no_job_is_kept;
            ledger::a_doubt_does_not_land_on_a_doubt;
            outbox::each_fact_is_there_once_and_in_order;
            outbox::what_is_done_goes_and_what_is_aside_stays;
            outbox::an_event_says_what_became_of_the_job;
            feedback::a_receipt_ends_its_job_once;
            feedback::of_two_receipts_in_a_batch_the_first_report_counts;
            feedback::an_early_receipt_waits_for_its_job;
            feedback::an_unknown_receipt_is_looked_at_four_times;
            feedback::a_receipt_ends_only_accepted_jobs;
            feedback::a_receipt_ends_the_only_doubt_that_it_fits;
            feedback::a_receipt_that_fits_two_attempts_ends_no_doubt;
            feedback::an_attempt_on_the_wire_counts_too;
            feedback::two_receipts_that_fit_one_doubt_do_not_end_it;
            feedback::number_and_time_must_fit;
            feedback::a_late_answer_after_a_doubt_was_ended_changes_nothing;
            feedback::a_reply_is_heard_once;
            feedback::what_ihuyi_said_is_pruned;
            upkeep::what_is_due_is_released_in_order;
            upkeep::what_is_due_of_a_higher_priority_is_released_first;
            upkeep::what_slept_is_woken_by_priority;
            upkeep::a_clock_that_was_put_back_delays_no_backoff_and_no_slot;
            upkeep::what_waits_for_room_is_released_by_account_and_priority;
            upkeep::a_released_job_comes_back_whole;
            upkeep::a_job_that_does_not_come_back_is_lost;
            upkeep::a_claim_protects_its_attempt;
            upkeep::a_claim_runs_out with crate::suite::Terms::no_lease();
            upkeep::what_waits_beyond_its_time_expires;
            upkeep::settled_jobs_are_pruned;
            upkeep::old_rejections_are_pruned;
            upkeep::an_account_pauses_and_resumes_once;
            upkeep::parked_jobs_change_their_account;
            upkeep::the_highest_priority_changes_its_account_first;
            upkeep::what_waits_for_room_says_why;
            upkeep::a_job_that_its_account_may_have_taken_stays_there;
            upkeep::what_is_parked_is_told_by_number;
            upkeep::the_last_slot_of_a_number_is_the_last_that_is_taken;
            upkeep::what_waits_is_counted;
            replays::what_was_chosen_is_sent_again_in_order_and_once;
            replays::two_replays_send_a_job_once;
            replays::a_canary_holds_the_others_back;
            replays::a_canary_is_of_jobs_that_went;
            replays::a_canary_that_finds_too_few_ends_with_them;
            replays::what_came_back_to_where_it_was_is_not_what_was_chosen;
            replays::a_replay_keeps_its_pace_and_its_end;
            replays::what_has_expired_needs_a_new_expiry;
            replays::what_a_cancelled_replay_had_sent_still_comes_to_a_result;
            replays::a_replayed_job_is_due_by_the_clock_that_releases_it;
            policy::a_number_has_so_much_in_an_hour with crate::suite::Terms::an_hour(2);
            policy::only_what_may_have_reached_the_person_counts with crate::suite::Terms::an_hour(2);
            policy::what_is_on_the_wire_holds_for_seconds with crate::suite::Terms::an_hour(2);
            policy::of_a_batch_as_many_pass_as_there_is_room_for with crate::suite::Terms::an_hour(2);
            policy::what_is_held_goes_when_there_is_room with crate::suite::Terms::an_hour(2);
            policy::a_second_signature_keeps_the_place_of_the_first with crate::suite::Terms::an_hour(1);
            policy::who_was_held_for_its_own_unknown_attempt_goes_when_that_is_known with crate::suite::Terms::an_hour(1);
            policy::a_day_ends_at_midnight_in_shanghai with crate::suite::Terms::a_day(2);
            policy::parked_lines_say_what_they_wait_for with crate::suite::Terms::an_hour(2);
            policy::bulk_jobs_spare_who_wants_none;
            policy::a_held_claim_is_none_when_its_job_has_moved_on with crate::suite::Terms::an_hour(2);
            policy::a_morning_wakes_in_order_and_in_parts;
        }
    };
}

pub(crate) use conformance;
pub(crate) use every_case;
