//! A person is forgotten: number and texts go, in every table; states, codes and times stay.
//!
//! Each statement looks at what holds the number itself or belongs to a job that does. One transaction:
//! all of it or nothing, so that a person is never half forgotten. What has no index on numbers is read whole,
//! before the person's jobs are held: whoever sends may wait for one of those, for a moment and not for minutes.
//!
//! Words quote a number in many spellings, so they are searched by a pattern of its digits.

use serde::Serialize;
use sqlx::postgres::PgQueryResult;
use sqlx::{FromRow, PgConnection};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::mobile::Mobile;

/// How many jobs that stand in the way are named.
const NAMED: i64 = 20;

/// Rejections, receipts, operations and events have no index on numbers: they are read whole, which may take its time.
const PATIENT: &str = "set local statement_timeout = '15min'";

/// Rows that were changed, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Jobs without number, text, variables and metadata now.
    pub jobs: u64,
    /// Whose answers quoted the number.
    pub attempts: u64,
    /// Without their number.
    pub receipts: u64,
    /// Without number and text.
    pub replies: u64,
    /// Without body and properties.
    pub rejections: u64,
    /// Not yet published, without number and text.
    pub events: u64,
    /// Whose target or reason quoted the number.
    pub operations: u64,
}

impl Forgotten {
    /// In all tables.
    pub fn rows(&self) -> u64 {
        let Forgotten { jobs, attempts, receipts, replies, rejections, events, operations } = self;
        jobs + attempts + receipts + replies + rejections + events + operations
    }
}

/// A job that is not settled: it needs its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow)]
pub struct Unsettled {
    /// Which.
    pub id: String,
    /// Where it is.
    pub state: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// So many rows.
    Done(Forgotten),
    /// Nothing was changed: these jobs are in the way, 20 of them at most.
    Unsettled(Vec<Unsettled>),
}

impl Store {
    /// Erases a person from every table but `suppressions`: who wants no messages must still get none.
    /// With `rehearse` nothing stays changed, and the rows are only counted.
    pub async fn forget(&self, by: &Operator, mobile: Mobile, rehearse: bool) -> Result<Forgetting, LedgerError> {
        // Its waits have no end of their own; a person in front of a command has patience of theirs.
        let mut transaction = self.pool.current().begin().await.map_err(ledger_error)?;
        let erased = erase(&mut transaction, &Person::of(mobile)).await.map_err(ledger_error)?;
        if let (Forgetting::Done(forgotten), false) = (&erased, rehearse) {
            note(&mut transaction, by, mobile, forgotten).await.map_err(ledger_error)?;
            transaction.commit().await.map_err(ledger_error)?;
        }
        Ok(erased)
    }
}

/// The number as it is looked for, and what stands there afterwards.
struct Person {
    digits: String,
    masked: String,
    /// In words.
    spelt: String,
    /// In bytes that nobody could read.
    hidden: String,
}

impl Person {
    fn of(mobile: Mobile) -> Person {
        let digits = mobile.digits();
        Person { masked: mobile.to_string(), spelt: spelt(&digits), hidden: hidden(&digits), digits }
    }
}

/// A regular expression for the digits in words: of either width, with up to three signs or blanks between two.
fn spelt(digits: &str) -> String {
    let digit = |digit: char| format!("[{digit}{}]", wide(digit));
    digits.chars().map(digit).collect::<Vec<_>>().join(r#"[^0-9０-９A-Za-z",]{0,3}"#)
}

/// `digit` in full width.
fn wide(digit: char) -> char {
    digit.to_digit(10).and_then(|value| char::from_u32('０' as u32 + value)).unwrap_or(digit)
}

/// A regular expression for the digits in what `encode(…, 'escape')` makes of a message, with anything but digits
/// between them: there a byte above 127 is `\ooo`, and a backslash, as of JSON's `\u0031`, stands twice. A message
/// may have been refused for the very spelling of its number. Other digits before or behind are as good as none:
/// better a refused message too many without its text than one left with a person's number.
fn hidden(digits: &str) -> String {
    let digit = |digit: char| {
        let wide: String = wide(digit).to_string().bytes().map(|byte| format!(r"\\{byte:o}")).collect();
        format!(r"(?:{digit}|{wide}|\\\\u(?:003|[fF][fF]1){digit})")
    };
    let between = r"(?:[^0-9\\]|\\[0-7]{3}|\\\\u[0-9a-fA-F]{4}|\\\\.)*";
    digits.chars().map(digit).collect::<Vec<_>>().join(between)
}

async fn erase(connection: &mut PgConnection, person: &Person) -> sqlx::Result<Forgetting> {
    sqlx::query(PATIENT).execute(&mut *connection).await?;
    // The long way is not gone in vain.
    let in_the_way = unsettled(connection, person).await?;
    if !in_the_way.is_empty() {
        return Ok(Forgetting::Unsettled(in_the_way));
    }
    let mut forgotten = Forgotten {
        rejections: rejections(connection, person).await?,
        operations: operations(connection, person).await?,
        receipts: receipts(connection, person).await?,
        replies: replies(connection, person).await?,
        ..Forgotten::default()
    };
    hold(connection, person).await?;
    let in_the_way = unsettled(connection, person).await?;
    if !in_the_way.is_empty() {
        return Ok(Forgetting::Unsettled(in_the_way));
    }
    forgotten.receipts += job_receipts(connection, person).await?;
    forgotten.attempts = attempts(connection, person).await?;
    forgotten.events = events(connection, person).await?;
    forgotten.jobs = jobs(connection, person).await?;
    Ok(Forgetting::Done(forgotten))
}

/// Holds the person's jobs, so that none of them leaves its state meanwhile.
async fn hold(connection: &mut PgConnection, person: &Person) -> sqlx::Result<()> {
    sqlx::query(
        "create temporary table forgotten on commit drop as
         select id from jobs where mobile = $1 order by id for update",
    )
    .bind(&person.digits)
    .persistent(false)
    .execute(connection)
    .await
    .map(drop)
}

/// Jobs that need their number still.
async fn unsettled(connection: &mut PgConnection, person: &Person) -> sqlx::Result<Vec<Unsettled>> {
    sqlx::query_as(
        "select id, state from jobs where mobile = $1 and state in ('waiting', 'queued', 'submitting', 'in_doubt')
         order by id limit $2",
    )
    .bind(&person.digits)
    .bind(NAMED)
    .fetch_all(connection)
    .await
}

/// Runs a statement on the number ($1), its masked form ($2) and a pattern ($3).
async fn run(connection: &mut PgConnection, person: &Person, pattern: &str, sql: &'static str) -> sqlx::Result<u64> {
    let done: PgQueryResult = sqlx::query(sql)
        .bind(&person.digits)
        .bind(&person.masked)
        .bind(pattern)
        // The table of the person's jobs is another one each time.
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// `updated_at` stays: it says when the job changed, and ages it out.
async fn jobs(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update jobs j
        set mobile = '', content = case when content is not null then '' end,
            variables = case when variables is not null then '[]'::jsonb end, metadata = null,
            traceparent = null, message = regexp_replace(message, $3, $2, 'g')
        from forgotten f where j.id = f.id and $1::text is not null";
    run(connection, person, &person.spelt, sql).await
}

/// Where ihuyi's words quote the number.
async fn attempts(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update attempts a set message = regexp_replace(message, $3, $2, 'g')
        from forgotten f where a.job_id = f.id and a.message ~ $3 and $1::text is not null";
    run(connection, person, &person.spelt, sql).await
}

/// Their digests stay: what is pushed again is still a repeat. A number that ihuyi pushes in a spelling of its own may
/// be kept so.
async fn receipts(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update receipts
        set mobile = case when mobile = $1 or mobile ~ $3 then null else mobile end,
            message = regexp_replace(message, $3, $2, 'g')
        where mobile = $1 or length(mobile) > 11 and mobile ~ $3 or message ~ $3";
    run(connection, person, &person.spelt, sql).await
}

/// Those of the person's jobs, whatever number they name.
async fn job_receipts(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update receipts r set mobile = null
        from forgotten f
        where r.job_id = f.id and r.mobile is not null and ($1::text, $2::text, $3::text) is not null";
    run(connection, person, &person.spelt, sql).await
}

async fn replies(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update replies set mobile = '', content = ''
        where (mobile = $1 or length(mobile) > 11 and mobile ~ $3) and $2::text is not null";
    run(connection, person, &person.spelt, sql).await
}

/// Bodies are read by the megabyte, and as much behind it as a number may need: RabbitMQ hands over some that are too long
/// to be made text of. A message takes 20 µs.
async fn rejections(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update rejections
        set body = ''::bytea, properties = '{}'::jsonb, detail = replace(detail, $1, $2)
        where exists (
                select from generate_series(0, length(body), 1048576) as part
                where encode(substring(body from part + 1 for 1048576 + 256), 'escape') ~ $3)
            or encode(convert_to(properties::text, 'UTF8'), 'escape') ~ $3 or strpos(detail, $1) > 0";
    run(connection, person, &person.hidden, sql).await
}

/// They are still published: what happened stays true.
async fn events(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update events
        set data = data || jsonb_build_object('mobile', null,
                case when data ? 'content' then 'content' else 'metadata' end, null)
            || case when data ? 'message'
                then jsonb_build_object('message', regexp_replace(data ->> 'message', $3, $2, 'g')) else '{}' end
        where data ->> 'mobile' = $1 or length(data ->> 'mobile') > 11 and data ->> 'mobile' ~ $3";
    run(connection, person, &person.spelt, sql).await
}

/// Numbers are masked there; an operator's own words may hold one.
async fn operations(connection: &mut PgConnection, person: &Person) -> sqlx::Result<u64> {
    let sql = "update operations
        set target = regexp_replace(target::text, $3, $2, 'g')::jsonb, reason = regexp_replace(reason, $3, $2, 'g')
        where (target::text ~ $3 or reason ~ $3) and $1::text is not null";
    let noted = run(connection, person, &person.spelt, sql).await?;
    let sql = "update replays
        set filter = regexp_replace(filter::text, $3, $2, 'g')::jsonb, reason = regexp_replace(reason, $3, $2, 'g')
        where (filter::text ~ $3 or reason ~ $3) and $1::text is not null";
    Ok(noted + run(connection, person, &person.spelt, sql).await?)
}

async fn note(connection: &mut PgConnection, by: &Operator, mobile: Mobile, rows: &Forgotten) -> sqlx::Result<()> {
    sqlx::query(
        "insert into operations (actor, via, action, target, count, reason)
         values ($1, $2, 'forget', jsonb_build_object('mobile', $3::text), $4, regexp_replace($5, $6, $3, 'g'))",
    )
    .bind(&by.actor)
    .bind(by.via.as_str())
    .bind(mobile.to_string())
    .bind(i64::try_from(rows.rows()).unwrap_or(i64::MAX))
    .bind(by.reason.as_deref())
    .bind(spelt(&mobile.digits()))
    .execute(connection)
    .await
    .map(drop)
}
