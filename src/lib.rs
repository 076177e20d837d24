//! A durable SMS dispatcher: RabbitMQ → limiters → ihuyi (互亿无线) → Postgres.
//!
//! This page is the architecture: read it, then [`domain`], then [`dispatch`]. What users rely on
//! (messages, tables, metrics, configuration) is in the README.
//!
//! # The idea
//!
//! RabbitMQ carries work that is due. Postgres holds work that waits, and every outcome. A message is
//! acknowledged only after what became of it is committed; an attempt is committed before the first
//! byte goes to ihuyi, which has no idempotency key and answers no questions afterwards. So a crash
//! can leave a doubt, but it can never hide a send.
//!
//! # The map
//!
//! ```text
//!   main ──▶ cli ──▶ app                              starts the parts, in order
//!                     │
//!       ┌───────┬─────┴──┬───────┬──────────┐
//!       ▼       ▼        ▼       ▼          ▼
//!    broker  gateway   store    web   config, telemetry
//!   (lapin) (reqwest)  (sqlx)  (axum)       │
//!       └───────┴────────┘                  │         implement its ports
//!               ▼                           │
//!            dispatch                       │         the path of a job
//!               ▼                           │
//!             domain  ◀─────────────────────┘         pure: no I/O, no clock, no chance
//! ```
//!
//! Dependencies point downwards only. [`broker`], [`gateway`] and [`store`] never meet: each is the
//! only place that names its library, and each implements small traits of [`dispatch::ports`]. [`app`]
//! alone knows all of them. [`domain`] gets time and randomness as arguments. [`simulator`] is a
//! second opinion on ihuyi's gateway and uses nothing else of the crate. [`explain`] makes a story of the rows that
//! [`store::query`] has looked up, for whoever shows it.
//!
//! | To change | look at |
//! |---|---|
//! | what a message may hold | [`domain::message`] |
//! | what a response code means | [`domain::codes`], [`domain::verdict`] |
//! | when a job is tried again | [`domain::retry`], [`domain::decide`] |
//! | who may go, and when | [`domain::pace`]; over hours and days [`domain::limits`], `store/policy.rs`; [`domain::quiet`] |
//! | how a request is signed and a reply read | [`gateway`] |
//! | SQL | [`store`], and `migrations/` |
//! | queues and exchanges | [`broker`] |
//! | what publishers are told | [`domain::event`], `store/events.rs`, `dispatch/duties/events.rs` |
//! | what a receipt or a reply means | [`domain::receipt`], [`domain::uplink`] |
//! | what is checked before a request is spent | [`domain::message`], [`domain::template`] |
//! | templates registered at ihuyi, their reviews | `store/templates.rs`, [`domain::review`], `cli/templates.rs` |
//! | what a balance tells | [`domain::balance`], `dispatch/duties/balance.rs` |
//! | what ihuyi may push, and the answer | `web/callbacks` |
//! | the API | [`web::api`], and `app/api.rs` for what stands behind it |
//! | what operators do to rows | `store/operate`, `store/replaying.rs` and `store/retrying.rs` for what follows |
//! | a periodic duty | `dispatch::duties`, a file each |
//! | what `jobs show` and the API tell of a job | [`explain`] |
//! | what anybody may see of a job | [`domain::privacy`] |
//! | what systemd is told | [`systemd`]; of the level of a log line: `telemetry/journal.rs` |
//! | alerts, dashboards, runbook, deployment | `deploy/` |
//! | what a trace tells of a job | `dispatch/trace.rs`; how it leaves: [`telemetry::traces`] |
//! | a configuration key | [`config`], and `dispatcher.toml` |
//!
//! # The path of a job
//!
//! A message arrives at `Reception` (`dispatch/intake.rs`), in the order of its queue; the prefetch bounds
//! how many are in memory. [`decode`](domain::message::decode) makes a [`Job`](domain::job::Job) of it, or a
//! rejection, which is kept whole. Large bodies share a budget of bytes (`broker/large.rs`), for the prefetch
//! counts messages only. A repeat of a job that was committed lately is acknowledged from memory. What has
//! expired, or is scheduled for later, needs no turn. Everything else lines up in the
//! [`Pacer`](domain::pace::Pacer), first at its number's limiter, then at its account's; but a job whose message
//! has come again five times is parked at once, before the queue's delivery limit gives up on it.
//!
//! From here on the job has a task of its own, [`Desk::carry`](dispatch::Desk::carry) (`dispatch/deliver.rs`;
//! its steps are in `turn.rs`, `admit.rs` and `attempt.rs` beside it):
//!
//! 1. [turn](dispatch::Desk::turn): wait until the pacer says [`Go`](domain::pace::Turn::Go); or
//!    [`Park`](domain::pace::Turn::Park), because the turn is more than
//!    [two seconds](domain::pace::PATIENCE) away (less where several accounts crowd the prefetch,
//!    [`share_memory`](domain::pace::Pacer::share_memory)) or the account is paused; or that the job has expired.
//! 2. [admit](dispatch::Desk::admit): commit that. For `Go` it is the claim: the row becomes `submitting`,
//!    and a row in `attempts` begins. Many jobs share a commit ([`batch`](dispatch::batch)). An id that is
//!    known is a repeat or a conflict, and goes no further.
//!    What stands against an attempt is asked in the same statement (`store/policy.rs`): a number that has had
//!    all that it may get over an hour or a day is [held](domain::pace::Pacer::held), a bulk job to a number
//!    that wants none fails. Quiet hours are asked before, from the clock ([`domain::quiet`]).
//! 3. [depart](dispatch::Desk::depart): take a place on the wire (`max_in_flight`) and the account's token.
//!    A claim that has grown old meanwhile, or whose session has ended, stays, and so does a job that has expired.
//! 4. [submit](dispatch::Desk::submit): [`Client::submit`](gateway::Client::submit) signs with the present
//!    time and sends once. Nothing below it tries twice; a latch in the request's body
//!    (`gateway/latch.rs`) tells "certainly not sent" from "may have been sent".
//! 5. [`judge`](domain::verdict::judge): from the reply to an outcome, here and nowhere else.
//! 6. [`decide`](domain::decide::decide): from the outcome to what becomes of the job, a total function.
//! 7. [heed](dispatch::Desk::heed): an answer that is about the account pauses it, or ends its pause.
//! 8. record: commit the outcome and the job's next state ([`Ledger::record`](dispatch::ports::Ledger::record)).
//! 9. settle: acknowledge. Acknowledgements are bundled too (`broker/ack.rs`).
//!
//! One outcome needs another attempt at once: an expired dynamic password. It begins again at the claim,
//! past the limiter of its number.
//!
//! What waits in Postgres comes back by the release duty (`dispatch/duties/release.rs`): rows that are due, of each
//! priority by itself, or for which their account has room, become `queued` and are published again with their place
//! in the order of arrival. They take the same path; only their claim is an update. What waited for the morning or for
//! its number's window first joins the line for its account's room, since so many may be due at once. Between its
//! statements the same duty lets those in line say why they wait when their account pauses or resumes
//! (`dispatch/duties/reasons.rs`): two statements at once would pass over each other's rows, and break the order. A
//! job that was cancelled does not come back, and leaves its slot to nobody: where that was the end of its number's
//! line, newcomers are told of the new one (`dispatch/duties/cancelled.rs`).
//!
//! What others are to be told of a change is written to table `events` by the statement that makes the
//! change. The events duty (`dispatch/duties/events.rs`) reads it in order, publishes, waits for the confirms
//! and deletes, on a connection of its own; woken by a hint after a commit, with polling as the truth.
//!
//! # The states
//!
//! ```text
//!                      turn                           code 2 and an smsid
//!   message ────────────────────────▶ submitting ───────────────────────▶ accepted
//!      │                               ▲  │ │ │                              ▲
//!      │ too early, or            turn │  │ │ │ permanent, or used up        │ late answer,
//!      │ the turn is far   ┌───────────┘  │ │ └──────────────▶ failed       │ operator
//!      ▼        due, room  │              │ │                                │
//!   waiting ───────────▶ queued           │ │ unknown, and to be held        │
//!      ▲ ▲                 │              │ └──────────────▶ in_doubt ──────┤
//!      │ └─────────────────┘              │                                  │ operator
//!      │   the turn is far                │                                  ▼
//!      └──────────────────────────────────┘                               waiting
//!         retry, tomorrow, account, not sent
//!
//!   message, waiting, queued ─────────▶ expired       its expires_at has come
//!
//!   in_doubt ─────────▶ accepted                      a receipt that can mean nothing else
//!   in_doubt ─────────▶ failed, waiting               a late answer
//!   waiting, queued ──▶ accepted                      a late answer to what was to be sent again
//!   expired, failed, cancelled ─▶ accepted            the same, where it has come to its end meanwhile
//!   message, queued ──▶ failed                        bulk, to a suppressed number
//!   accepted ─────────▶ delivered, undelivered        the first receipt
//!            waiting, queued ─────────▶ cancelled     operator
//!   failed, in_doubt, expired, cancelled ─▶ waiting   replay
//! ```
//!
//! Each arrow is a value of [`Entry`](dispatch::ports::Entry) or [`Next`](domain::decide::Next), a statement
//! in [`store`] that is guarded by the state it starts from, and within the CHECK constraints of
//! `migrations/`. What operators do is guarded in the same way (`store/operate`): a replay moves a job only if
//! nothing has happened to it since it was chosen.
//!
//! # What ihuyi says afterwards
//!
//! Receipts and replies come in at the callback listener (`web/callbacks`), in every process, a standby
//! too. [`Inbox`](dispatch::inbox::Inbox) commits them in groups, and only then they are answered
//! `success`; [`Feedback`](dispatch::ports::Feedback) is its port. A receipt finds its job by the smsid, in
//! the statement that keeps it, and ends the job if that is accepted. One that comes before the answer to
//! its Submit is looked at again by a duty (`dispatch/duties/receipts.rs`), four times in all; the same duty
//! ends doubts. What is pure of it is in [`domain::receipt`] and [`domain::uplink`].
//!
//! # What a crash leaves
//!
//! The process may end between any two lines, and Postgres or RabbitMQ may be gone at any of them.
//!
//! | Ends after | It leaves | What happens |
//! |---|---|---|
//! | arrival, line-up, turn | a message without acknowledgement | it comes again, as if for the first time |
//! | admit, parked or expired | the row, and the message | the message comes again, its id is known: acknowledged |
//! | admit, claimed | `submitting`, although nothing left | the claim runs out, the reclaim duty (`dispatch/duties/reclaim.rs`) records `unknown`: `in_doubt`, or sent again if the job says so |
//! | submit, or the answer | the same | the same: nobody can know, and ihuyi cannot be asked |
//! | record | the outcome, and the message | the message comes again, its id is known: acknowledged |
//! | record, expired password | `waiting`, due in seconds | the release duty takes it up |
//! | an event committed, not published | its row | the events duty of the next process publishes it |
//! | an event published, not deleted | its row | it is published again, under the same id |
//! | release committed, not published | `queued` without a message | published again after a minute by the same duty |
//! | release published, not confirmed | perhaps two messages | the second finds its job no longer `queued`: acknowledged |
//! | a refused message published again, not marked | `sending` | it is published again after 15 s; its job is known by its id |
//!
//! A claim holds for `gateway.timeout` + [30 s](dispatch::CLAIM_MARGIN), so nobody settles an attempt whose
//! owner may still be waiting for the answer. Should an owner come back after that with an answer, it is
//! recorded if it belongs to the job's last attempt and still says something new: an acceptance always does.
//!
//! Limits and backoffs run on the monotonic clock while they are in memory. What waits in Postgres is due by
//! the wall clock; when somebody puts that back, a duty (`dispatch/duties/clock.rs`) moves those times with it,
//! but for `not_before`, which means the wall clock. A step either way has paused accounts probed at once: it
//! may have been the clock that their passwords were refused for.
//!
//! A duty that ends by itself, by a bug, ends its session, which begins anew. Without one of the tasks that run the
//! batches nothing can be committed: the process ends, and leaves its messages to the broker, which counts how often.
//!
//! With Postgres away, batches wait and try again, no request leaves without its claim, and no message is
//! acknowledged. With RabbitMQ away, the session ends; attempts under way are still recorded, because they
//! belong to the [`Desk`](dispatch::Desk) and not to the session. A read-only or full Postgres is one that
//! is away: no session begins unless a job could be stored (`store/lease.rs`), because the broker counts how often a
//! message comes back. One that is gone without a word is noticed by the lease's connection within seconds: then every
//! connection is given up, and statements go again on new ones (`store/pool.rs`). While RabbitMQ's alarms
//! block publishers, intake goes on, releases wait, and `readyz` says so.
//!
//! # Three operations
//!
//! **A normal job.** A message for a number that is idle and an account with tokens. The pacer says `Go`
//! within the call that lined it up. The claim goes with whatever else gathered while the last commit was
//! under way: alone, at once, on an idle system. The account's strict bucket lets it depart, the request
//! leaves on a kept-alive connection, code 2 comes back, the outcome is committed with its neighbours', the
//! tag is acknowledged with its run. Two commits, shared by up to a thousand jobs each.
//!
//! **A thousand jobs for one number at 1/s.** The first goes. One or two have their turn within two seconds
//! and wait in the number's lane in memory. Whatever comes behind them is parked (`waiting`,
//! `rate_limited`), each with a slot of its own, one period behind the tail of its number
//! (`domain/pace/tail.rs`), and acknowledged: in order, without a question to Postgres. One that expires before its
//! slot takes none. From then on the
//! release duty sends each back half a second before its slot, it waits the rest in the lane, is claimed and
//! goes. Four writes a job, each in a shared commit; no other number and no other account notices. A restart
//! reads the tails back from Postgres (`store/parked.rs`), and counts every number as just used.
//!
//! **kill -9 in mid-request.** The kernel closes the connections. Postgres gives the advisory lock to a
//! standby, or to the process that is started again, within about a second; it reads paused accounts and
//! parked jobs, waits out one period for each number, and consumes. RabbitMQ gives out again what was not
//! acknowledged. Messages that had only arrived start afresh. Those with an attempt are recognised by their
//! id and acknowledged: their rows say `submitting`. When the claim runs out, the reclaim duty writes
//! `unknown` to the attempt and `in_doubt` to the job. It is not sent again; an operator finds out. A job
//! with `on_unknown = "resend"` waits for its backoff and is sent again, as its publisher chose.

// The page leads into private functions, for those who build the documentation with them.
#![allow(rustdoc::private_intra_doc_links)]

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod explain;
pub mod gateway;
pub mod memory;
pub mod simulator;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod web;
