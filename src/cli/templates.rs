//! `dispatcher templates`: what is configured, what ihuyi thinks of it, and whether a job suits it.

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::exit::Reported;
use super::table::Table;
use super::{connect, output, when, who};
use crate::app;
use crate::config::{Auth, Config, Needs};
use crate::domain::codes::SUCCESS;
use crate::domain::message::MAX_TEMPLATE_ID;
use crate::domain::template::{Template, Templates, VARIABLE_MAX};
use crate::gateway::{Added, Client, Credentials};
use crate::store::{Store, TemplateInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher templates list
  dispatcher templates check order_shipped SF112401
  dispatcher templates check --content '您的订单SF112401已发货。'
  dispatcher templates add --account main '您的订单【变量】已发货。'

A template that `add` registers can be used once ihuyi has approved it. Bind /ihuyi/template/SECRET in
ihuyi's console, and `list` shows the review. Then write it to the configuration as [templates.NAME].";

/// Lists templates, checks a job against those configured, registers one at ihuyi.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TemplatesArgs {
    #[command(subcommand)]
    command: TemplatesCommand,
}

#[derive(Debug, Subcommand)]
enum TemplatesCommand {
    /// Lists what is configured, and what was registered or reviewed
    List,
    Check(CheckArgs),
    Add(AddArgs),
}

/// Says whether a job suits the configured templates; nothing is sent, nothing is asked
#[derive(Debug, Args)]
struct CheckArgs {
    /// The template, by its name in the configuration or by ihuyi's id
    #[arg(required_unless_present = "content", conflicts_with = "content")]
    template: Option<String>,
    /// The variables, in order
    #[arg(conflicts_with = "content")]
    variables: Vec<String>,
    /// A whole text instead, without signature
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
}

/// Registers a template at ihuyi and prints its id
#[derive(Debug, Args)]
struct AddArgs {
    /// The text without signature, with 【变量】 for each variable
    text: String,
    /// The account to register it for [default: default_account]
    #[arg(long)]
    account: Option<String>,
    /// How the request is authenticated: ihuyi publishes it for other requests only [default: the account's
    /// auth]
    #[arg(long)]
    auth: Option<AddAuth>,
    /// Why, for whoever looks at it next
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddAuth {
    /// As for the balance: the MD5 of account, key and time
    Dynamic,
    /// The key itself
    Static,
    /// The MD5 of the key, as an older client does
    Md5,
}

impl TemplatesArgs {
    /// Only what asks ihuyi needs an account's key.
    pub(super) fn needs(&self) -> Needs {
        match self.command {
            TemplatesCommand::Add(_) => Needs::Secrets,
            TemplatesCommand::List | TemplatesCommand::Check(_) => Needs::NoSecrets,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When Postgres or ihuyi does not answer, ihuyi refuses, or a job does not suit its template.
pub(super) async fn run(args: TemplatesArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    match args.command {
        TemplatesCommand::List => {
            let registered = connect::migrated_store(config).await?.list_templates().await?;
            let rows = rows(&config.templates, registered);
            output::list(&rows, as_json, table)
        }
        TemplatesCommand::Check(args) => check(&args, &config.templates, as_json),
        TemplatesCommand::Add(args) => add(args, config, as_json).await,
    }
}

/// A template of the configuration, of Postgres, or of both.
#[derive(serde::Serialize)]
struct Row {
    name: Option<String>,
    variables: Option<usize>,
    variable_max: Option<usize>,
    #[serde(flatten)]
    info: TemplateInfo,
}

/// Those of the configuration first, each with its review.
fn rows(configured: &Templates, registered: Vec<TemplateInfo>) -> Vec<Row> {
    let unknown = |template: &Template| TemplateInfo {
        id: template.id.clone(),
        account: None,
        content: None,
        state: "unknown".into(),
        code: None,
        message: None,
        added_by: None,
        added_at: None,
        reviewed_at: None,
    };
    let known = |id: &str| registered.iter().find(|info| info.id == id).cloned();
    let mut rows: Vec<Row> = Vec::new();
    for (name, template) in configured.iter() {
        let info = known(&template.id).unwrap_or_else(|| unknown(template));
        rows.push(Row {
            name: Some(name.to_owned()),
            variables: Some(template.places()),
            variable_max: Some(template.variable_max),
            // What jobs are judged by.
            info: TemplateInfo { content: Some(template.text()), ..info },
        });
    }
    let others = registered.into_iter().filter(|info| configured.find(&info.id).is_none());
    rows.extend(others.map(|info| Row { name: None, variables: None, variable_max: None, info }));
    rows
}

fn table(rows: &[Row]) -> String {
    let zone = rows.iter().find_map(|row| row.info.reviewed_at).map(when::zone).unwrap_or_default();
    let reviewed = if zone.is_empty() { "REVIEWED".to_owned() } else { format!("REVIEWED ({zone})") };
    let mut table = Table::new(&["NAME", "ID", "REVIEW", &reviewed, "MESSAGE", "TEXT"]);
    for row in rows {
        let info = &row.info;
        table.row([
            row.name.clone().unwrap_or_else(|| "(not configured)".into()),
            info.id.clone(),
            info.state.clone(),
            info.reviewed_at.map(when::show).unwrap_or_default(),
            info.message.clone().unwrap_or_default(),
            info.content.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn check(args: &CheckArgs, templates: &Templates, as_json: bool) -> anyhow::Result<()> {
    ensure!(templates.iter().next().is_some(), "no template is configured: write [templates.NAME], with id and text");
    let judged = match (&args.content, &args.template) {
        (Some(text), _) => templates.matching(text).map_err(|nearest| match nearest {
            Some((name, misfit)) => format!("it matches no template; the nearest is {name}: {misfit}"),
            None => "it matches no template".into(),
        }),
        (None, template) => by_template(templates, template.as_deref().unwrap_or_default(), &args.variables),
    };
    match (&judged, as_json) {
        (Ok(name), true) => output::json(&json!({ "ok": true, "template": name }))?,
        (Err(problem), true) => output::json(&json!({ "ok": false, "problem": problem }))?,
        (Ok(name), false) => output::line(&format!("it suits template {name}"))?,
        (Err(problem), false) => output::line(problem)?,
    }
    if judged.is_ok() { Ok(()) } else { Err(Reported::Failed.into()) }
}

fn by_template<'a>(templates: &'a Templates, wanted: &str, variables: &[String]) -> Result<&'a str, String> {
    let known = || templates.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    let (name, template) =
        templates.find(wanted).ok_or_else(|| format!("`{wanted}` is not configured: name one of {}", known()))?;
    match template.check(variables) {
        Ok(()) => Ok(name),
        Err(misfit) => Err(format!("template {name}: {misfit}")),
    }
}

async fn add(args: AddArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    // What is read here is what ihuyi is told: it knows no word but 变量.
    let read = Template::new("", args.text.trim(), VARIABLE_MAX);
    let text = read.map_err(|problem| anyhow::anyhow!("the text {problem}"))?.text();
    let name = args.account.as_deref().or(config.default_account_name()).context("name an --account")?;
    let account = config.account(name).with_context(|| format!("{name} is no configured account"))?;
    let api_key = account.api_key.clone().with_context(|| format!("accounts.{name}.api_key is missing"))?;
    // Before ihuyi is asked: what cannot be noted should not be registered.
    let store = connect::migrated_store(config).await?;
    let auth = match args.auth {
        Some(AddAuth::Static | AddAuth::Md5) => Auth::Static,
        Some(AddAuth::Dynamic) => Auth::Dynamic,
        None => account.auth,
    };
    let credentials = Credentials { api_id: account.api_id.clone(), api_key, auth };
    let credentials = if matches!(args.auth, Some(AddAuth::Md5)) { credentials.hashed() } else { credentials };
    let client = Client::new(&app::client_options(&config.gateway, 1))?;
    match client.add_template(&credentials, &text, Utc::now().timestamp()).await {
        Added::Answer { code: SUCCESS, id: Some(id), .. } if id.len() <= MAX_TEMPLATE_ID => {
            noted(&store, &id, name, &text, args.reason, as_json).await
        }
        Added::Answer { code: SUCCESS, .. } => bail!("ihuyi took it and named no id: look for it in ihuyi's console"),
        Added::Answer { code, message, .. } => {
            bail!("ihuyi refuses it with code {code} “{}”", super::table::clean(&message))
        }
        Added::Unavailable(why) => bail!("{why}: it may be registered; look in ihuyi's console before you try again"),
    }
}

async fn noted(
    store: &Store,
    id: &str,
    account: &str,
    text: &str,
    reason: Option<String>,
    as_json: bool,
) -> anyhow::Result<()> {
    let noted = store.add_template(&who::operator(reason), id, account, text).await;
    noted.with_context(|| format!("ihuyi has registered it as {id}, and this could not be noted in Postgres"))?;
    match as_json {
        true => output::json(&json!({ "id": id, "account": account, "state": "pending" })),
        false => output::line(&format!("{id} is registered for {account} and waits for ihuyi's review")),
    }
}
