//! `dispatcher replay`: failed jobs are sent again, by the daemon, at a rate.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::WrongUsage;
use super::jobs::JobFlags;
use super::table::{Table, clean};
use super::{connect, output, when, who};
use crate::config::Config;
use crate::domain::codes::meaning;
use crate::domain::rate::Rate;
use crate::domain::replay;
use crate::store::Store;
use crate::store::operate::{Control, Controlled, ReplayInfo, ReplayOrder, ReplayPreview, ReplayedJob};
use crate::store::query::{JobFilter, MAX_PAGE};

/// Replays in the list.
const LATEST: u32 = 20;

const EXAMPLES: &str = "\
Examples:
  dispatcher replay --state failed --code 4070 --since 2h --dry-run
  dispatcher replay --code 4070 --since 2h --rate 10/s --canary 20 --reason 'signature registered'
  dispatcher replay --state expired --since 2026-11-11 --expires-in 4h
  dispatcher replay show 7
  dispatcher replay show 7 --jobs --result failed
  dispatcher replay pause 7

Only failed jobs, unless others are named by --state: a job in doubt may have been sent already. The
choice is frozen when it begins. A running daemon carries it out; each job has a fresh budget of
attempts. What was refused is sent again by `dispatcher rejections retry`: that is a replay, too.";

/// Sends failed jobs again, or steers what was begun.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct ReplayArgs {
    #[command(subcommand)]
    command: Option<ReplayCommand>,
    #[command(flatten)]
    jobs: JobFlags,
    /// Of this id; repeated for several
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Of the ids in this file, one on each line; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    ids_file: Option<PathBuf>,
    /// How fast [default: 100/s]; the limits of numbers and accounts hold besides
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// So many first; the others only once all of those are accepted
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(replay::MAX_CANARY)))]
    canary: u32,
    /// A new expiry for each job, so long after it is sent again
    #[arg(long, value_name = "DURATION", value_parser = replay::expires_in)]
    expires_in: Option<Duration>,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum ReplayCommand {
    /// Lists the latest replays
    List,
    /// Shows a replay and how far it is, or what came of each of its jobs
    Show(Shown),
    /// Holds a replay back
    Pause(Steered),
    /// Lets a replay go on, also past a canary that failed
    Resume(Steered),
    /// Ends a replay; what it has sent stays sent
    Cancel(Steered),
}

#[derive(Debug, Args)]
struct Shown {
    /// Its number
    id: i64,
    /// List its jobs, in the order in which they go, instead
    #[arg(long)]
    jobs: bool,
    /// Those alone that came to it, such as failed
    #[arg(long, requires = "jobs", value_parser = PossibleValuesParser::new(replay::RESULTS))]
    result: Option<String>,
    /// How many, at most 1000
    #[arg(long, requires = "jobs", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Go on behind this position
    #[arg(long, requires = "jobs", default_value_t = 0)]
    cursor: i64,
}

#[derive(Debug, Args)]
struct Steered {
    /// Its number
    id: i64,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ReplayArgs {
    /// Something is said of a new replay. (clap's own rule would refuse `--json` before a subcommand, too.)
    fn chooses(&self) -> bool {
        let ReplayArgs { command: _, jobs, ids, ids_file, rate, canary, expires_in, reason, dry_run } = self;
        let order = rate.is_some() || *canary > 0 || expires_in.is_some() || reason.is_some() || *dry_run;
        order || !jobs.is_empty() || !ids.is_empty() || ids_file.is_some()
    }
}

/// Begins or steers a replay.
///
/// # Errors
/// When Postgres does not answer, the choice makes no sense, or there is no such replay.
pub(super) async fn run(args: ReplayArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    if args.command.is_some() && args.chooses() {
        return Err(WrongUsage("what chooses jobs belongs to no subcommand: leave one of the two out".into()).into());
    }
    let ReplayArgs { command: Some(command), .. } = args else { return begin(args, config, as_json).await };
    let store = connect::migrated_store(config).await?;
    match command {
        ReplayCommand::List => output::list(&store.list_replays(LATEST, None).await?.0, as_json, table),
        ReplayCommand::Show(shown) if shown.jobs => jobs(&store, shown, as_json).await,
        ReplayCommand::Show(shown) => show(&store, shown.id, as_json).await,
        ReplayCommand::Pause(steered) => steer(&store, steered, Control::Pause, as_json).await,
        ReplayCommand::Resume(steered) => steer(&store, steered, Control::Resume, as_json).await,
        ReplayCommand::Cancel(steered) => steer(&store, steered, Control::Cancel, as_json).await,
    }
}

async fn begin(args: ReplayArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let order = order(&args)?;
    let store = connect::migrated_store(config).await?;
    let by = who::operator(args.reason);
    let found = store.preview_replay(&order, &config.price()).await?;
    let begun = if args.dry_run { None } else { store.begin_replay(&by, &order).await? };
    if let (Some(mobile), None) = (order.filter.mobile, begun) {
        // It found out as much as a list does. A replay has a row of its own.
        store.note_search(&by, mobile, found.matched).await?;
    }
    if as_json {
        let id = begun.map(|(id, _)| id);
        let matched = begun.map_or(found.matched, |(_, matched)| matched);
        return output::json(&Begun { id, dry_run: args.dry_run, found: ReplayPreview { matched, ..found } });
    }
    output::line(&preview(&found))?;
    if found.matched == 0 && args.jobs.filter().states.is_empty() {
        output::line("\nonly failed jobs are chosen; --state names others: in_doubt, expired or cancelled")?;
    }
    match begun {
        Some((id, matched)) => output::line(&format!(
            "\nreplay {id} has begun: {matched} jobs at up to {}/s; see `dispatcher replay show {id}`",
            order.rate
        )),
        None if args.dry_run => output::line("\nnothing was changed"),
        None => output::line("\nno replay was begun"),
    }
}

#[derive(Serialize)]
struct Begun {
    id: Option<i64>,
    dry_run: bool,
    #[serde(flatten)]
    found: ReplayPreview,
}

/// What the flags ask for, checked.
fn order(args: &ReplayArgs) -> anyhow::Result<ReplayOrder> {
    let mut filter = args.jobs.filter();
    filter.ids = match &args.ids_file {
        Some(file) => super::jobs::ids_in(file)?,
        None => args.ids.clone(),
    };
    if args.ids_file.is_some() && filter.ids.is_empty() {
        bail!("the file names no id");
    }
    if is_empty(&filter) {
        let problem = "name which jobs: --state, --code, --account, --mobile, --since, --until, --id or --ids-file";
        return Err(WrongUsage(problem.into()).into());
    }
    filter.states = replay::states(&filter.states, args.expires_in.is_some())
        .map_err(|problem| WrongUsage(problem.replace("`expires_in`", "--expires-in")))?;
    let rate = args.rate.unwrap_or(Rate::per_second(replay::RATE)).each_second();
    Ok(ReplayOrder { filter, rate, canary: args.canary, expires_in: args.expires_in })
}

fn is_empty(filter: &JobFilter) -> bool {
    let JobFilter { ids, states, code, account, mobile, since, until, .. } = filter;
    ids.is_empty()
        && states.is_empty()
        && code.is_none()
        && account.is_none()
        && mobile.is_none()
        && since.is_none()
        && until.is_none()
}

fn preview(found: &ReplayPreview) -> String {
    let mut lines = vec![format!("jobs      {}", found.matched), format!("parts     {}", found.parts)];
    lines.extend(found.oldest.map(|at| format!("oldest    {} ({})", when::show(at), when::zone(at))));
    lines.extend(found.newest.map(|at| format!("newest    {} ({})", when::show(at), when::zone(at))));
    for (account, jobs) in &found.by_account {
        lines.push(format!("account   {}: {jobs}", clean(account)));
    }
    for (code, jobs) in &found.by_code {
        let words = code.parse().ok().and_then(meaning);
        let words = words.map(|(chinese, english)| format!(" {chinese} ({english})")).unwrap_or_default();
        lines.push(format!("code      {code}{words}: {jobs}"));
    }
    if found.past_expiry > 0 {
        lines.push(format!(
            "left out  {}: their expires_at has passed; --expires-in gives a new one",
            found.past_expiry
        ));
    }
    lines.join("\n")
}

async fn find(store: &Store, id: i64) -> anyhow::Result<ReplayInfo> {
    store.find_replay(id).await?.with_context(|| format!("there is no replay {id}: see `dispatcher replay list`"))
}

async fn show(store: &Store, id: i64, as_json: bool) -> anyhow::Result<()> {
    let info = find(store, id).await?;
    if as_json {
        return output::json(&info);
    }
    let mut lines = vec![format!("replay {id}: {}", info.state)];
    lines.extend(info.note.as_ref().map(|note| format!("note      {}", clean(note))));
    lines.push(format!("by        {} ({})", clean(&info.actor), info.via));
    lines.extend(info.reason.as_ref().map(|reason| format!("reason    {}", clean(reason))));
    lines.push(format!("filter    {}", info.filter));
    lines.push(format!("rate      {}/s", info.rate));
    if info.canary > 0 {
        lines.push(format!("canary    {} ({})", info.canary, info.canary_state));
    }
    let subject = if info.subject == "jobs" { "jobs" } else { "messages" };
    lines.push(format!("{subject:<9} {}", info.matched));
    lines.extend(info.results.iter().map(|(result, jobs)| format!("{result:<9} {jobs}")));
    lines.push(format!("begun     {} ({})", when::show(info.created_at), when::zone(info.created_at)));
    lines.extend(info.finished_at.map(|at| format!("ended     {}", when::show(at))));
    output::line(&lines.join("\n"))
}

async fn jobs(store: &Store, shown: Shown, as_json: bool) -> anyhow::Result<()> {
    let (rows, next) = store.replay_jobs(shown.id, shown.result.as_deref(), shown.cursor, shown.limit).await?;
    if rows.is_empty() {
        find(store, shown.id).await?;
    }
    output::list(&rows, as_json, jobs_table)?;
    if let Some(position) = next {
        eprintln!("there is more: add --cursor {position}");
    }
    Ok(())
}

fn jobs_table(jobs: &[ReplayedJob]) -> String {
    let zone = jobs.iter().find_map(|job| job.at).map(when::zone).unwrap_or_default();
    let mut table = Table::new(&["POSITION", "ID", "FROM", "RESULT", "CODE", &format!("AT ({zone})")]);
    for job in jobs {
        table.row([
            job.position.to_string(),
            subject(job),
            job.from.clone(),
            job.result.clone(),
            job.code.map(|code| code.to_string()).unwrap_or_default(),
            job.at.map(when::show).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// The job, and of a refused message which.
fn subject(row: &ReplayedJob) -> String {
    let id = row.job.clone().unwrap_or_default();
    match row.rejection {
        None => id,
        Some(rejection) => format!("rejection {rejection} {id}").trim_end().to_owned(),
    }
}

async fn steer(store: &Store, steered: Steered, control: Control, as_json: bool) -> anyhow::Result<()> {
    let Steered { id, reason } = steered;
    match store.control_replay(&who::operator(reason), id, control).await? {
        Controlled::Done => {}
        Controlled::Not(state) => bail!("the replay is {state}"),
        Controlled::Missing => bail!("there is no replay {id}: see `dispatcher replay list`"),
    }
    let info = find(store, id).await?;
    if as_json { output::json(&info) } else { output::line(&format!("replay {id} is {}", info.state)) }
}

fn table(replays: &[ReplayInfo]) -> String {
    let zone = replays.first().map(|info| when::zone(info.created_at)).unwrap_or_default();
    let mut table = Table::new(&["ID", "STATE", "OF", "CHOSEN", "PENDING", "BY", &format!("BEGUN ({zone})"), "REASON"]);
    for info in replays {
        table.row([
            info.id.to_string(),
            info.state.clone(),
            info.subject.clone(),
            info.matched.to_string(),
            info.results.get("pending").copied().unwrap_or_default().to_string(),
            info.actor.clone(),
            when::show(info.created_at),
            info.reason.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}
