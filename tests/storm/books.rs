//! The books: what was published, what Postgres says and what the gateway saw, laid side by side.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use dispatcher::simulator::{Simulator, Submission};
use sqlx::{Connection as _, FromRow};

use super::TIMEOUT;
use super::gateway::{IN_FLIGHT, MAX_ATTEMPTS, is_permanent};
use super::jobs::Job;
use super::services::{Crash, Services};

/// Taken, as the gateway says it.
const TAKEN: i64 = 2;

/// The ledger of a storm.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Jobs that the broker has confirmed.
    pub published: usize,
    /// Messages that came again: repeats of the publisher's, and those whose confirm was lost.
    pub repeats: usize,
    /// Requests that the gateway read.
    pub submissions: usize,
    /// Of those, before the last kill: the rest met with a daemon that nobody killed.
    pub before_last_kill: usize,
    /// Jobs in state `accepted`.
    pub accepted: usize,
    /// Jobs in state `failed`.
    pub failed: usize,
    /// Jobs in state `expired`.
    pub expired: usize,
    /// Jobs in state `in_doubt`.
    pub in_doubt: usize,
    /// Of those, taken by the gateway.
    pub doubts_taken: usize,
    /// Of those, read by the gateway and not taken.
    pub doubts_not_taken: usize,
    /// Of those, never read by the gateway.
    pub doubts_unseen: usize,
    /// Jobs that nobody knows of.
    pub lost: usize,
    /// Jobs with `hold` that the gateway took twice.
    pub doubled: usize,
    /// Jobs with `resend` that the gateway took twice, as their publisher chose.
    pub resent_twice: usize,
    /// Messages in the dead-letter queue.
    pub dead: u32,
    /// Requests that came too soon for their number, as the gateway counts.
    pub too_soon: u64,
    /// What does not balance.
    pub problems: Vec<String>,
    circumstances: String,
    kills: usize,
    unread: u64,
    unseen_by_kill: usize,
}

#[derive(FromRow)]
struct Row {
    id: String,
    state: String,
    smsid: Option<String>,
    attempts: i32,
    requests: i64,
    spent: i64,
    /// The last attempt's words.
    words: Option<String>,
}

const ROWS: &str = "select id, state, smsid, attempts, \
    (select count(*) from attempts a where a.job_id = id) as requests, \
    (select count(*) from attempts a where a.job_id = id and a.outcome not in ('account', 'not_sent')) as spent, \
    (select message from attempts a where a.job_id = id order by attempt desc limit 1) as words from jobs";

impl Books {
    /// Reads Postgres, the gateway's log and the dead-letter queue.
    pub async fn lay(services: &Services, jobs: &[Job], gateway: &Simulator) -> anyhow::Result<Books> {
        let mut connection = services.connect().await?;
        let rows: Vec<Row> = sqlx::query_as(ROWS).fetch_all(&mut connection).await?;
        connection.close().await?;
        let rows: HashMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        let log = gateway.submissions();
        let mut submissions: HashMap<&str, Vec<&Submission>> = HashMap::new();
        for submission in &log {
            let id = Job::id_of(&submission.content).unwrap_or_default();
            submissions.entry(id).or_default().push(submission);
        }
        let stats = gateway.stats();
        let mut books = Books {
            published: jobs.len(),
            submissions: log.len(),
            dead: services.dead().await?,
            too_soon: stats.codes.get(&4080).copied().unwrap_or(0),
            unread: stats.reset_before,
            ..Books::default()
        };
        for job in jobs {
            let sent = submissions.remove(job.id.as_str()).unwrap_or_default();
            books.enter(job, rows.get(job.id.as_str()).copied(), &sent);
        }
        for (id, sent) in submissions {
            books.problem(id, &format!("{} submissions of nobody's job", sent.len()));
        }
        if books.dead > 0 {
            books.problems.push(format!("{} messages in the dead-letter queue", books.dead));
        }
        Ok(books)
    }

    /// Adds what went on, and what can only be judged with it.
    pub fn note(
        &mut self,
        repeats: usize,
        kills: usize,
        crashed: &[Crash],
        took: Duration,
        peak_mib: f64,
        rested: bool,
    ) {
        self.repeats = repeats;
        self.kills = kills;
        let crashes = |service: &str| crashed.iter().filter(|crash| crash.service == service).count();
        self.circumstances = format!(
            "{kills} kills of the daemon, {} of RabbitMQ, {} of Postgres; {:.0} s; peak memory after the last start \
             {peak_mib:.0} MiB",
            crashes("rabbitmq"),
            crashes("postgres"),
            took.as_secs_f64(),
        );
        if !rested {
            self.problems.push("it did not come to rest".into());
        }
        // A claim that was committed and had not left when its process died: as documented. So many are
        // claimed at once at most, for each of two accounts.
        let claimable = kills * 2 * (IN_FLIGHT + IN_FLIGHT / 4 + 16);
        if self.unseen_by_kill > claimable {
            self.problems.push(format!("{} doubts by kills whose request never left", self.unseen_by_kill));
        }
        let cut_off = self.doubts_unseen - self.unseen_by_kill;
        if cut_off as u64 > self.unread {
            self.problems.push(format!("{cut_off} doubts without a request, and {} were cut off unread", self.unread));
        }
    }

    /// Whether every job is accounted for.
    pub fn balance(&self) -> bool {
        self.problems.is_empty() && self.lost == 0 && self.doubled == 0
    }

    fn enter(&mut self, job: &Job, row: Option<&Row>, sent: &[&Submission]) {
        let taken = sent.iter().filter(|submission| submission.code == Some(TAKEN)).count();
        match (taken > 1, job.resend) {
            (true, true) => self.resent_twice += 1,
            (true, false) => self.doubled += 1,
            (false, _) => {}
        }
        let Some(row) = row else {
            self.lost += 1;
            return;
        };
        match row.state.as_str() {
            "accepted" => self.accepted += 1,
            "failed" => self.failed += 1,
            "expired" => self.expired += 1,
            "in_doubt" => self.enter_doubt(row, sent, taken),
            state => self.problem(&job.id, &format!("is left {state}")),
        }
        let problems = [wrong_state(job, row, sent, taken), wrong_submissions(job, row, sent), wrong_attempts(row)];
        problems.into_iter().flatten().for_each(|problem| self.problem(&job.id, problem));
    }

    fn enter_doubt(&mut self, row: &Row, sent: &[&Submission], taken: usize) {
        self.in_doubt += 1;
        match (taken, sent.len()) {
            (0, 0) => {
                self.doubts_unseen += 1;
                let killed = row.words.as_deref().is_some_and(|words| words.starts_with("the dispatcher ended"));
                self.unseen_by_kill += usize::from(killed);
            }
            (0, _) => self.doubts_not_taken += 1,
            _ => self.doubts_taken += 1,
        }
    }

    fn problem(&mut self, id: &str, problem: &str) {
        self.problems.push(format!("{id}: {problem}"));
    }
}

fn wrong_state(job: &Job, row: &Row, sent: &[&Submission], taken: usize) -> Option<&'static str> {
    let told = |submission: &&&Submission| submission.code == Some(TAKEN) && submission.fault.is_none();
    match row.state.as_str() {
        "accepted" => {
            let known = |submission: &Submission| row.smsid.as_ref() == Some(&submission.smsid);
            let answered = sent.iter().filter(told).any(|submission| known(submission));
            (!answered).then_some("is accepted without an answer of 2")
        }
        "in_doubt" if job.resend => Some("is in doubt although it may be sent again"),
        "failed" | "expired" if taken > 0 && !job.resend => Some("failed or expired although it was taken"),
        "failed" => {
            let refused = sent.last().and_then(|submission| submission.code).is_some_and(is_permanent);
            (!refused && row.attempts < MAX_ATTEMPTS).then_some("failed without a reason")
        }
        _ => None,
    }
}

fn wrong_submissions(job: &Job, row: &Row, sent: &[&Submission]) -> Option<&'static str> {
    let refused = |submission: &&Submission| submission.fault.is_none() && submission.code.is_some_and(|c| c != TAKEN);
    let before_last = &sent[..sent.len().saturating_sub(1)];
    if !job.resend && !before_last.iter().all(refused) {
        return Some("was sent again after an answer that nobody knows");
    }
    if sent.iter().any(|submission| submission.mobile != job.mobile) {
        return Some("went to another number");
    }
    let deadline = job.expires_at.map(|at| at.timestamp_micros() as f64 / 1e6 + TIMEOUT.as_secs_f64());
    if deadline.is_some_and(|deadline| sent.iter().any(|submission| submission.at > deadline)) {
        return Some("was submitted after its expiry");
    }
    (sent.len() as i64 > row.requests).then_some("has submissions that no attempt tells of")
}

fn wrong_attempts(row: &Row) -> Option<&'static str> {
    if row.attempts > MAX_ATTEMPTS {
        return Some("has more attempts than it may");
    }
    (row.spent != i64::from(row.attempts)).then_some("counts its attempts wrongly")
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.circumstances)?;
        let lines = [
            ("published", self.published, format!("and {} repeats", self.repeats)),
            ("accepted", self.accepted, self.requests()),
            ("failed", self.failed, "by their code, or after six attempts".into()),
            ("expired", self.expired, String::new()),
            ("in doubt", self.in_doubt, self.doubts()),
            ("lost", self.lost, String::new()),
            ("doubled", self.doubled, format!("{} taken twice that may be sent again", self.resent_twice)),
        ];
        for (name, count, remark) in lines {
            writeln!(f, "{}", format!("  {name:<12}{count:>8}   {remark}").trim_end())?;
        }
        writeln!(f, "  too soon for a number, as the gateway counts: {}", self.too_soon)?;
        for problem in self.problems.iter().take(20) {
            writeln!(f, "  PROBLEM {problem}")?;
        }
        let verdict = if self.balance() { "the books balance" } else { "the books do not balance" };
        write!(f, "{verdict} ({} problems)", self.problems.len() + self.lost + self.doubled)
    }
}

impl Books {
    fn requests(&self) -> String {
        format!("{} submissions, {} before the last kill", self.submissions, self.before_last_kill)
    }

    fn doubts(&self) -> String {
        let (taken, not_taken, unseen) = (self.doubts_taken, self.doubts_not_taken, self.doubts_unseen);
        format!("the gateway took {taken}, took not {not_taken}, never saw {unseen}")
    }
}
