//! From the configuration to the parts of the daemon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;

use crate::broker::{EventPublisher, JobPublisher, JobSource};
use crate::config::{self, Config};
use crate::dispatch::ports::System;
use crate::dispatch::settings::{AccountSettings, Settings, Tempo};
use crate::dispatch::{CLAIM_MARGIN, Ports};
use crate::domain::message::Rules;
use crate::domain::pace::account::AccountPace;
use crate::domain::pace::bucket::Bucket;
use crate::domain::retry::RetryPolicy;
use crate::gateway::{Accounts, Client, ClientOptions, Credentials};
use crate::store::{ShardLease, Store};
use crate::telemetry::traces::Exporter;
use crate::web::client;

pub(super) fn open_store(config: &Config) -> anyhow::Result<Store> {
    let open = if config.events.enabled { Store::new } else { Store::silent };
    let store = open(&config.postgres.url, config.postgres.max_connections, lease(config))?;
    Ok(store.with_limits(config.limits.windows))
}

/// How long a claim protects its attempt.
pub(super) fn lease(config: &Config) -> Duration {
    config.gateway.timeout + CLAIM_MARGIN
}

pub(super) fn gateway(config: &Config) -> anyhow::Result<Accounts> {
    let max_idle = config.accounts.values().map(|account| account.max_in_flight as usize).sum();
    let client = Client::new(&client_options(&config.gateway, max_idle))?;
    let credentials = config.accounts.iter().map(|(name, account)| {
        let api_key = account.api_key.clone().with_context(|| format!("accounts.{name}.api_key is missing"))?;
        Ok(Credentials { api_id: account.api_id.clone(), api_key, auth: account.auth })
    });
    Ok(Accounts::new(client, credentials.collect::<anyhow::Result<_>>()?))
}

/// How the gateway is spoken to, with so many idle connections at most.
pub(crate) fn client_options(gateway: &config::Gateway, max_idle: usize) -> ClientOptions {
    ClientOptions {
        submit_url: gateway.submit_url.to_string(),
        balance_url: gateway.balance_url.to_string(),
        method: gateway.method,
        format: gateway.format,
        timeout: gateway.timeout,
        connect_timeout: gateway.connect_timeout,
        max_idle,
    }
}

pub(super) fn ports(
    config: &Config,
    store: &Store,
    publisher: Arc<JobPublisher>,
    announcer: Arc<EventPublisher>,
    gateway: Accounts,
) -> Ports {
    let rabbitmq = &config.rabbitmq;
    let store = Arc::new(store.clone());
    Ports {
        ledger: store.clone(),
        upkeep: store.clone(),
        outbox: store.clone(),
        publisher,
        announcer,
        source: Arc::new(JobSource::new(&rabbitmq.url, &rabbitmq.prefix, rabbitmq.prefetch)),
        lease: Arc::new(ShardLease::new(&config.postgres.url, &rabbitmq.prefix, &store)),
        gateway: Arc::new(gateway),
        chance: Arc::new(System),
        tracer: None,
    }
}

/// The way to the collector of traces, if one is configured.
pub(super) fn tracer(config: &Config) -> Option<Arc<Exporter>> {
    let mut url = config.telemetry.otlp_endpoint.clone()?;
    url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
    let post = move |body: Vec<u8>| {
        let url = url.clone();
        let sent = async move {
            match client::post_bytes(&url, "application/x-protobuf", body).await {
                Ok(status) if status.is_success() => Ok(()),
                Ok(status) => Err(format!("it answers {status}")),
                Err(error) => Err(error.to_string()),
            }
        };
        sent.boxed()
    };
    Some(Arc::new(Exporter::start(Box::new(post))))
}

pub(super) fn settings(config: &Config, tempo: Tempo) -> Settings {
    let index = |name: &String| config.accounts.keys().position(|other| other == name);
    let accounts = config.accounts.iter().map(|(name, account)| AccountSettings {
        name: name.clone(),
        pace: AccountPace {
            bucket: Bucket { period: account.rate.period(), burst: account.burst },
            max_in_flight: account.max_in_flight,
            refusals: account.pause_after_refusals,
        },
        balance_low: i64::from(account.balance_low),
        signature: account.signature_length,
        fallback: account.fallback.as_ref().and_then(index),
    });
    Settings {
        rules: rules(config),
        accounts: accounts.collect(),
        prefetch: usize::from(config.rabbitmq.prefetch),
        mobile: Bucket { period: config.limits.mobile.period(), burst: config.limits.mobile_burst },
        number_limited: !config.limits.windows.is_empty(),
        quiet: config.limits.quiet,
        retry: RetryPolicy::new(config.retry.max_attempts, config.retry.initial, config.retry.max),
        codes: config.codes.clone(),
        retention: config.retention.jobs,
        keep_records: config.retention.rejections,
        balance_every: Some(config.gateway.balance_interval).filter(|every| !every.is_zero()),
        drain_timeout: config.drain_timeout,
        events: config.events.enabled,
        tempo,
    }
}

/// How messages are decoded.
pub(super) fn rules(config: &Config) -> Rules {
    Rules {
        content_max: config.gateway.content_max,
        default_account: config.default_account_name().unwrap_or_default().to_owned(),
        accounts: config.accounts.keys().cloned().collect::<BTreeSet<_>>(),
        on_unknown: config.in_doubt.on_unknown,
        checks: config.checks,
        templates: config.templates.clone(),
    }
}
