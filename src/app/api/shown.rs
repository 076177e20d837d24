//! Rows of Postgres as the API shows them, and its filters as Postgres takes them.

use crate::domain::codes::Words;
use crate::explain::{Cure, Event, Next};
use crate::store::operate::{ReplayInfo, ReplayedJob};
use crate::store::query::{
    AttemptInfo, JobFilter, JobInfo, JobReplay, ReceiptInfo, RejectionSummary, ReplyInfo, SuppressionInfo,
};
use crate::web::api::model;
use crate::web::api::port::Filter;

pub(super) fn replay(info: ReplayInfo) -> model::Replay {
    model::Replay {
        id: info.id,
        subject: info.subject,
        state: info.state,
        note: info.note,
        canary_state: info.canary_state,
        actor: info.actor,
        via: info.via,
        reason: info.reason,
        filter: info.filter,
        rate: info.rate,
        canary: info.canary,
        expires_in_seconds: info.expires_in_seconds,
        matched: info.matched,
        results: info.results,
        created_at: info.created_at,
        updated_at: info.updated_at,
        finished_at: info.finished_at,
    }
}

pub(super) fn replayed_job(row: ReplayedJob) -> model::ReplayedJob {
    let ReplayedJob { position, job, rejection, from, result, code, at } = row;
    model::ReplayedJob { position, job, rejection, from, result, code, at }
}

pub(super) fn rejection(row: RejectionSummary) -> model::Rejection {
    let RejectionSummary { id, reason, detail, bytes, received_at, retried_at } = row;
    model::Rejection { id, reason, detail, bytes, received_at, retried_at }
}

pub(super) fn suppression(row: SuppressionInfo) -> model::Suppression {
    let SuppressionInfo { mobile, reason, added_by, added_at } = row;
    model::Suppression { mobile, reason, added_by, added_at }
}

pub(super) fn job(info: JobInfo) -> model::Job {
    let attempts = info.attempts;
    let facts = model::JobFacts {
        id: info.id,
        account: info.account,
        mobile: info.mobile,
        priority: info.priority,
        content: info.content,
        template_id: info.template_id,
        variables: info.variables,
        state: info.state,
        wait_reason: info.wait_reason,
        due_at: info.due_at,
        not_before: info.not_before,
        expires_at: info.expires_at,
        on_unknown: info.on_unknown,
        code: info.code,
        message: info.message,
        smsid: info.smsid,
        metadata: info.metadata,
        published_at: info.published_at,
        created_at: info.created_at,
        updated_at: info.updated_at,
    };
    model::Job { facts, attempts }
}

pub(super) fn attempt(info: AttemptInfo) -> model::Attempt {
    let AttemptInfo { attempt, account, outcome, code, message, smsid, started_at, finished_at } = info;
    model::Attempt { attempt, account, outcome, code, message, smsid, started_at, finished_at }
}

pub(super) fn receipt(info: ReceiptInfo) -> model::Receipt {
    let ReceiptInfo { smsid, mobile, code, message, reported_at, received_at, .. } = info;
    model::Receipt { smsid, mobile, code, message, reported_at, received_at }
}

pub(super) fn reply(info: ReplyInfo) -> model::Reply {
    let ReplyInfo { mobile, content, smsid, replied_at, received_at, .. } = info;
    model::Reply { mobile, content, smsid, replied_at, received_at }
}

pub(super) fn job_replay(info: JobReplay) -> model::JobReplay {
    let JobReplay { replay, state, actor, via, reason, created_at, from, result, at } = info;
    model::JobReplay { replay, state, actor, via, reason, created_at, from, result, at }
}

pub(super) fn told(event: Event) -> model::Told {
    let Event { at, event, text, code, meaning, cure } = event;
    let meaning = meaning.map(|Words { zh, en }| model::InBoth { zh: zh.into(), en: en.into() });
    model::Told { at, event: event.as_str(), text, code, meaning, cure: cure.map(in_both) }
}

pub(super) fn next(next: Next) -> model::Next {
    let Next { text, until, ahead, cure, commands } = next;
    model::Next { text, until, ahead, cure: cure.map(in_both), commands }
}

fn in_both(cure: Cure) -> model::InBoth {
    model::InBoth { zh: cure.zh, en: cure.en }
}

pub(super) fn job_filter(filter: Filter) -> JobFilter {
    let Filter { ids, states, code, account, mobile, since, until } = filter;
    JobFilter { ids, states, code, account, mobile, since, until, limit: 0, cursor: None }
}
