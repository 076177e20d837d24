-- What operators look up and do: lists by any filter, rejections sent again, replays.

-- Lists are read newest change first, by account and state and, where one is asked for, code: every
-- page is the head of a few ranges of an index, however many rows there are. What passes through in
-- moments (`queued`, `submitting`) has small indexes of its own. `jobs_listed` costs a job one entry
-- when it waits and one when it is settled; `jobs_coded` costs those that are accepted nothing.
create index jobs_listed on jobs (account, state, updated_at, id)
    where state not in ('queued', 'submitting');
create index jobs_coded on jobs (code, account, state, updated_at, id)
    where state not in ('queued', 'submitting', 'accepted', 'delivered');

-- When somebody published the message again.
alter table rejections add column retried_at timestamptz;

-- Failed jobs that an operator sends again: who, why, and how fast.
create table replays (
    id           bigint           generated always as identity,
    -- `running` until each of its jobs has an outcome; `paused` by an operator or by its canary.
    state        text             not null default 'running',
    actor        text             not null,
    via          text             not null,
    reason       text,
    -- What the jobs were chosen by. Numbers masked.
    filter       jsonb            not null,
    -- Jobs a second.
    rate         double precision not null,
    -- So many go first, and the others only once all of those are accepted. 0: none.
    canary       bigint           not null default 0,
    -- `none`, `going`, `passed`, `failed`.
    canary_state text             not null default 'none',
    -- The new `expires_at` of each job: so long after it is sent again. Null: it keeps its own.
    expires_in   interval,
    -- How many jobs were chosen.
    matched      bigint           not null,
    -- When the next one goes.
    due_at       timestamptz      not null default now(),
    -- Why it is paused, in words.
    note         text,
    created_at   timestamptz      not null default now(),
    updated_at   timestamptz      not null default now(),
    finished_at  timestamptz,

    constraint replays_pkey primary key (id),
    constraint replays_state_check check (state in ('running', 'paused', 'done', 'cancelled')),
    constraint replays_canary_check check (canary_state in ('none', 'going', 'passed', 'failed')),
    constraint replays_rate_check check (rate > 0),
    constraint replays_finished_check check ((state in ('done', 'cancelled')) = (finished_at is not null))
);
create index replays_open on replays (id) where state in ('running', 'paused');

-- The jobs of a replay, chosen when it began: what fails later does not join.
create table replay_jobs (
    replay_id  bigint      not null,
    -- 1 for the first that goes.
    position   bigint      not null,
    job_id     text        not null,
    -- Where the job was when it was chosen. It goes only if it is still there, after as many requests.
    from_state text        not null,
    requests   integer     not null,
    -- `pending`, `sent` again, `skipped` because it had gone elsewhere; then the state it came to.
    result     text        not null default 'pending',
    at         timestamptz,

    constraint replay_jobs_pkey primary key (replay_id, position),
    constraint replay_jobs_result_check check (result in ('pending', 'sent', 'skipped', 'accepted', 'delivered',
        'undelivered', 'failed', 'expired', 'cancelled', 'in_doubt'))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- What is still to be done, and to be looked after.
create index replay_jobs_open on replay_jobs (replay_id, result, position) where result in ('pending', 'sent');
-- A job's story names its replays.
create index replay_jobs_job on replay_jobs (job_id);
