//! The daemon as the API sees it: Postgres to look up and to act, RabbitMQ to publish.
//!
//! Every call runs as a task of its own: a client that goes away must not cut a statement short. Few
//! run at a time, so that what hangs is bounded.

mod gate;
mod shown;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::SecondsFormat;
use tokio::time::timeout;
use tracing::warn;

use self::gate::{Gate, Kind};
use self::shown::{
    attempt, job, job_filter, job_replay, next, receipt, rejection, replay, replayed_job, reply, suppression, told,
};
use super::parts;
use super::reload::{Asking, Silent};
use crate::broker::{JobPublisher, Message};
use crate::config::{self, Config};
use crate::dispatch::metrics::Metrics;
use crate::dispatch::ports::{LedgerError, Upkeep};
use crate::domain::job::{Job, Timestamp};
use crate::domain::message::Rules;
use crate::domain::mobile::Mobile;
use crate::domain::price::Price;
use crate::domain::privacy::without_numbers;
use crate::explain::{self, Manner};
use crate::store::Store;
use crate::store::operate::{
    Acted, Changed, Control, Controlled, JobAct, Operator, ReplayOrder, RetryChoice, RetryOrder, Via,
};
use crate::store::query::{JobFilter, RejectionFilter};
use crate::web::api::model;
use crate::web::api::port::{
    Act, Answer, Backend, Many, ManyAsked, PageOf, Refused, RefusedPage, ReplayAsked, ReplayPage, RetryAsked, Steer,
    Trouble,
};
use crate::web::api::tokens::{Caller, Role, TokenEntry, Tokens};

/// For RabbitMQ to confirm what is handed in.
const CONFIRM: Duration = Duration::from_secs(10);
/// Jobs that one call withdraws or resolves by a filter, at most: a second's work or two.
const ACTS_AT_ONCE: u32 = 10_000;
/// Calls to RabbitMQ under way at a time.
const PUBLISHING: usize = 16;
/// Calls to Postgres under way at a time, at most: the other connections are for sending.
const LOOKS: u32 = 4;

/// See the module.
pub(super) struct Daemon {
    store: Store,
    metrics: Metrics,
    publisher: Arc<JobPublisher>,
    known: RwLock<Known>,
    postgres: Gate,
    rabbitmq: Gate,
    reload: Asking,
}

/// What a reload of the configuration changes.
#[derive(Clone)]
struct Known {
    rules: Arc<Rules>,
    accounts: Vec<String>,
    drain: Duration,
    max_attempts: u32,
    /// Jobs a second, of each account.
    rates: BTreeMap<String, f64>,
    price: Arc<Price>,
}

impl Known {
    fn of(config: &Config) -> Known {
        Known {
            rules: Arc::new(parts::rules(config)),
            accounts: config.accounts.keys().cloned().collect(),
            drain: config.drain_timeout,
            max_attempts: config.retry.max_attempts,
            rates: config.accounts.iter().map(|(name, account)| (name.clone(), account.rate.each_second())).collect(),
            price: Arc::new(config.price()),
        }
    }

    /// How the story of a job of `account` is told.
    fn manner(&self, account: &str) -> Manner {
        let show = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Manner { max_attempts: self.max_attempts, rate: self.rates.get(account).copied(), show }
    }
}

impl Daemon {
    pub fn new(config: &Config, store: Store, metrics: Metrics, publisher: Arc<JobPublisher>, reload: Asking) -> Self {
        let known = RwLock::new(Known::of(config));
        let looks = (config.postgres.max_connections / 3).clamp(1, LOOKS) as usize;
        Daemon {
            store,
            metrics,
            publisher,
            known,
            postgres: Gate::new("Postgres", looks),
            rabbitmq: Gate::new("RabbitMQ", PUBLISHING),
            reload,
        }
    }

    /// Another configuration is in force.
    pub fn reload(&self, config: &Config) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::of(config);
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Backend for Daemon {
    fn rules(&self) -> Arc<Rules> {
        self.known().rules
    }

    fn publish(&self, jobs: Vec<Job>) -> Answer<'_, ()> {
        let publisher = self.publisher.clone();
        self.rabbitmq.apart(Kind::Look, async move {
            let messages: Vec<Message> = jobs.iter().map(Message::of).collect();
            // Its place is free again before whoever waits behind it gives up.
            let published = timeout(CONFIRM, publisher.publish(&messages)).await;
            let problem = match published {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("RabbitMQ has not confirmed within {} s", CONFIRM.as_secs()),
            };
            let unsure = "any of the jobs may or may not have arrived: send the same again, under the same ids";
            Err(Trouble::Unavailable(format!("{problem}; {unsure}")))
        })
    }

    fn jobs(&self, page: PageOf) -> Answer<'_, model::JobPage> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Look, async move {
            let cursor = page.cursor.map(|text| text.parse()).transpose();
            let cursor = cursor.map_err(|problem| Trouble::Unreadable(format!("`cursor` {problem}")))?;
            let filter = JobFilter { limit: page.limit, cursor, ..job_filter(page.filter) };
            let page = store.list_jobs(&filter).await?;
            let next_cursor = page.next.map(|cursor| cursor.to_string());
            Ok(model::JobPage { jobs: page.rows.into_iter().map(job).collect(), next_cursor })
        })
    }

    fn job(&self, id: String, full: bool) -> Answer<'_, model::WholeJob> {
        let (store, known) = (self.store.clone(), self.known());
        self.postgres.apart(Kind::Look, async move {
            let mut dossier = store.dossier(&id).await?.ok_or_else(no_job)?;
            if !full {
                dossier.mask();
            }
            let story = explain::story(&dossier, &known.manner(&dossier.job.account));
            let model::Job { facts, attempts } = job(dossier.job);
            Ok(model::WholeJob {
                facts,
                attempts_spent: attempts,
                attempts: dossier.attempts.into_iter().map(attempt).collect(),
                receipts: dossier.receipts.into_iter().map(receipt).collect(),
                replies: dossier.replies.into_iter().map(reply).collect(),
                replays: dossier.replays.into_iter().map(job_replay).collect(),
                story: story.events.into_iter().map(told).collect(),
                next: next(story.next),
            })
        })
    }

    fn note_search(&self, act: Act, mobile: Mobile, found: usize) -> Answer<'_, ()> {
        let store = self.store.clone();
        self.postgres
            .apart(Kind::Look, async move { Ok(store.note_search(&operator(act), mobile, found as i64).await?) })
    }

    fn cancel(&self, act: Act, id: String) -> Answer<'_, ()> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        self.postgres.apart(Kind::Act, async move {
            let acted = store.act_on_jobs(&operator(act), &JobAct::Cancel, &[id], None).await?;
            count(&metrics, &JobAct::Cancel, acted.iter().filter_map(Acted::done));
            settled(&acted, "only a job that is waiting or queued can be withdrawn")
        })
    }

    fn resolve(&self, act: Act, id: String, sent: bool, smsid: Option<String>) -> Answer<'_, ()> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        self.postgres.apart(Kind::Act, async move {
            let what = if sent { JobAct::Sent(smsid) } else { JobAct::NotSent };
            let acted = store.act_on_jobs(&operator(act), &what, &[id], None).await?;
            count(&metrics, &what, acted.iter().filter_map(Acted::done));
            settled(&acted, "only a job in doubt can be resolved")
        })
    }

    fn act_on_many(&self, act: Act, asked: ManyAsked) -> Answer<'_, model::ActedOn> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        self.postgres.apart(Kind::of_many(asked.dry_run), async move {
            let what = match asked.what {
                Many::Cancel => JobAct::Cancel,
                Many::Sent => JobAct::Sent(None),
                Many::NotSent => JobAct::NotSent,
            };
            let (by, mut filter) = (operator(act), job_filter(asked.filter));
            filter.states = what
                .states(&filter.states)
                .map_err(|problem| Trouble::Invalid(format!("`filter.state` holds {problem}")))?;
            let by_state = store.count_jobs(&filter).await?;
            let matched: i64 = by_state.values().sum();
            let mut changed = Vec::new();
            let done = match asked.dry_run {
                true => Ok(()),
                false => store.act_on_many(&by, &what, &filter, Some(ACTS_AT_ONCE), &mut changed).await,
            };
            // Also what was done before Postgres failed.
            count(&metrics, &what, &changed);
            done?;
            if asked.dry_run || matched == 0 {
                note_look(&store, &by, &filter, matched).await?;
            }
            let left = if asked.dry_run { matched } else { (matched - i64::from(ACTS_AT_ONCE)).max(0) };
            Ok(model::ActedOn { dry_run: asked.dry_run, matched, by_state, changed: changed.len() as i64, left })
        })
    }

    fn begin_replay(&self, act: Act, asked: ReplayAsked) -> Answer<'_, model::ReplayBegun> {
        let (store, price) = (self.store.clone(), self.known().price);
        self.postgres.apart(Kind::of_many(asked.dry_run), async move {
            let ReplayAsked { filter, dry_run, rate, canary, expires_in } = asked;
            let order = ReplayOrder { filter: job_filter(filter), rate: rate.each_second(), canary, expires_in };
            let by = operator(act);
            let found = store.preview_replay(&order, &price).await?;
            let begun = if dry_run { None } else { store.begin_replay(&by, &order).await? };
            if begun.is_none() {
                note_look(&store, &by, &order.filter, found.matched).await?;
            }
            Ok(model::ReplayBegun {
                id: begun.map(|(id, _)| id),
                dry_run,
                // Jobs may have failed between the two looks.
                matched: begun.map_or(found.matched, |(_, matched)| matched),
                past_expiry: found.past_expiry,
                already: 0,
                parts: found.parts,
                oldest: found.oldest,
                newest: found.newest,
                by_code: found.by_code,
                by_account: found.by_account,
                by_reason: BTreeMap::new(),
            })
        })
    }

    fn replays(&self, limit: u32, cursor: Option<i64>) -> Answer<'_, model::ReplayPage> {
        let store = self.store.clone();
        self.postgres.apart(Kind::LookAtMany, async move {
            let (rows, next) = store.list_replays(limit, cursor).await?;
            let next_cursor = next.map(|number| number.to_string());
            Ok(model::ReplayPage { replays: rows.into_iter().map(replay).collect(), next_cursor })
        })
    }

    fn replay(&self, id: i64) -> Answer<'_, model::Replay> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Look, async move { store.find_replay(id).await?.map(replay).ok_or_else(no_replay) })
    }

    fn replay_jobs(&self, id: i64, page: ReplayPage) -> Answer<'_, model::ReplayJobPage> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Look, async move {
            let (rows, next) = store.replay_jobs(id, page.result.as_deref(), page.after, page.limit).await?;
            if rows.is_empty() && !store.has_replay(id).await? {
                return Err(no_replay());
            }
            let jobs = rows.into_iter().map(replayed_job).collect();
            Ok(model::ReplayJobPage { jobs, next_cursor: next.map(|position| position.to_string()) })
        })
    }

    fn steer_replay(&self, act: Act, id: i64, steer: Steer) -> Answer<'_, ()> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Act, async move {
            let control = match steer {
                Steer::Pause => Control::Pause,
                Steer::Resume => Control::Resume,
                Steer::Cancel => Control::Cancel,
            };
            match store.control_replay(&operator(act), id, control).await? {
                Controlled::Done => Ok(()),
                Controlled::Not(state) => Err(Trouble::Conflict(format!("the replay is {state}"))),
                Controlled::Missing => Err(no_replay()),
            }
        })
    }

    fn rejections(&self, page: RefusedPage) -> Answer<'_, model::RejectionPage> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Look, async move {
            let cursor = page.cursor.map(|text| text.parse()).transpose();
            let cursor = cursor.map_err(|problem| Trouble::Unreadable(format!("`cursor` {problem}")))?;
            let Refused { reason, since, until, .. } = page.filter;
            let found =
                store.list_rejections(&RejectionFilter { reason, since, until, limit: page.limit, cursor }).await?;
            let next_cursor = found.next.map(|cursor| cursor.to_string());
            Ok(model::RejectionPage { rejections: found.rows.into_iter().map(rejection).collect(), next_cursor })
        })
    }

    fn retry(&self, act: Act, asked: RetryAsked) -> Answer<'_, model::Retried> {
        let store = self.store.clone();
        self.postgres.apart(Kind::of_many(asked.dry_run), async move {
            let Refused { ids, reason, since, until } = asked.filter;
            let choice = RetryChoice { ids, reason, since, until, again: asked.again };
            let found = store.preview_retry(&choice).await?;
            let order = RetryOrder { choice, rate: asked.rate.each_second(), canary: asked.canary };
            let begun = if asked.dry_run { None } else { store.begin_retry(&operator(act), &order).await? };
            // Messages may have been refused between the two looks.
            let matched = begun.map_or(found.matched, |(_, matched)| matched);
            Ok(model::Retried {
                replay: begun.map(|(id, _)| id),
                dry_run: asked.dry_run,
                matched,
                already: found.already,
                published: 0,
                left: matched,
                oldest: found.oldest,
                newest: found.newest,
                by_reason: found.by_reason,
            })
        })
    }

    fn suppressions(&self, limit: u32, cursor: Option<String>) -> Answer<'_, model::SuppressionPage> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Look, async move {
            let cursor = cursor.map(|text| text.parse()).transpose();
            let cursor = cursor.map_err(|problem| Trouble::Unreadable(format!("`cursor` {problem}")))?;
            let page = store.list_suppressions(limit, cursor.as_ref()).await?;
            let next_cursor = page.next.map(|cursor| cursor.to_string());
            Ok(model::SuppressionPage { suppressions: page.rows.into_iter().map(suppression).collect(), next_cursor })
        })
    }

    fn set_suppressed(&self, act: Act, mobile: Mobile, suppressed: bool) -> Answer<'_, bool> {
        let store = self.store.clone();
        self.postgres.apart(Kind::Act, async move {
            let by = operator(act);
            Ok(if suppressed { store.suppress(mobile, &by).await? } else { store.unsuppress(mobile, &by).await? })
        })
    }

    fn accounts(&self) -> Answer<'_, model::AccountList> {
        let (store, configured) = (self.store.clone(), self.known().accounts);
        self.postgres.apart(Kind::Look, async move {
            // A configured account may be looked at before the first job was taken.
            store.accounts(&configured).await?;
            let known = store.list_account_info().await?;
            let account = |info: crate::store::query::AccountInfo| model::Account {
                configured: configured.contains(&info.name),
                name: info.name,
                state: info.state,
                reason: info.reason,
                paused_at: info.paused_at,
                paused_by: info.paused_by,
            };
            Ok(model::AccountList { accounts: known.into_iter().map(account).collect() })
        })
    }

    fn set_paused(&self, act: Act, account: String, paused: bool) -> Answer<'_, bool> {
        let (store, configured) = (self.store.clone(), self.known().accounts);
        self.postgres.apart(Kind::Act, async move {
            let known = store.accounts(&configured).await?;
            if known.iter().all(|row| row.name != account) {
                let names: Vec<&str> = known.iter().map(|row| row.name.as_str()).collect();
                return Err(Trouble::Missing(format!("there is no such account: name one of {}", names.join(", "))));
            }
            let by = operator(act);
            Ok(if paused {
                store.operate_pause(&by, &account).await?
            } else {
                store.operate_resume(&by, &account).await?
            })
        })
    }

    fn reload(&self, act: Act) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let asked = self.reload.ask(self.known().drain).await.map_err(|silent| match silent {
                Silent::Busy => Trouble::Conflict("another reload is under way: wait for it".into()),
                Silent::Slow => Trouble::Unavailable("it takes long: the daemon's log will say how it ended".into()),
            })?;
            let changed = asked.map_err(Trouble::Refused)?;
            let (store, keys) = (self.store.clone(), changed.clone());
            let noted = self.postgres.apart(Kind::Look, async move {
                let (target, count) = (serde_json::json!({ "changed": keys }), keys.len() as i64);
                Ok(store.note(&operator(act), "reload", &target, count).await?)
            });
            // It is done, with Postgres or without.
            if let Err(trouble) = noted.await {
                warn!(?trouble, "a reload could not be noted in `operations`");
            }
            Ok(changed)
        })
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Trouble::Unavailable(error.to_string())
    }
}

/// The tokens of the configuration. Those without a value admit nobody, and are left out.
pub(super) fn tokens(config: &Config) -> Tokens {
    let entry = |(name, token): (&String, &config::Token)| {
        let role = match token.role {
            config::Role::Viewer => Role::Viewer,
            config::Role::Operator => Role::Operator,
        };
        let (caller, secret) = (Caller { name: name.clone(), role }, token.token.clone()?);
        Some(TokenEntry { caller, secret, file: token.file.clone() })
    };
    Tokens::new(config.admin.tokens.iter().filter_map(entry).collect())
}

fn operator(act: Act) -> Operator {
    // Viewers read it.
    let reason = act.reason.as_deref().map(without_numbers);
    Operator { actor: act.actor, via: Via::Api, reason }
}

/// Counts the jobs that an act has ended.
fn count<'a>(metrics: &Metrics, what: &JobAct, changed: impl IntoIterator<Item = &'a Changed>) {
    let Some(state) = what.end() else { return };
    changed.into_iter().for_each(|job| metrics.finished(&job.account, state, job.code, 1));
}

/// Who looks for a number finds out as much as by a list, and is noted in the same way. An act has a row of its own.
async fn note_look(store: &Store, by: &Operator, filter: &JobFilter, found: i64) -> Result<(), LedgerError> {
    match filter.mobile {
        Some(mobile) => store.note_search(by, mobile, found).await,
        None => Ok(()),
    }
}

fn no_replay() -> Trouble {
    Trouble::Missing("there is no such replay".into())
}

fn no_job() -> Trouble {
    let words = "no job has this id: it was not received yet (or waits in memory, as while the gateway cannot be \
         reached), was refused (see `rejections`), or is older than retention.jobs";
    Trouble::Missing(words.into())
}

/// One act on one job: done, or why not.
fn settled(acted: &[Acted], rule: &str) -> Result<(), Trouble> {
    match acted.first() {
        Some(Acted::Done(_)) => Ok(()),
        Some(Acted::Not(state)) => Err(Trouble::Conflict(format!("the job is {state}: {rule}"))),
        Some(Acted::Taken { smsid, by }) => {
            Err(Trouble::Conflict(format!("the job stays in doubt: {smsid} is the smsid of job {by}")))
        }
        Some(Acted::Missing) | None => Err(no_job()),
    }
}
