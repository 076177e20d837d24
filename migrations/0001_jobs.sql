-- Jobs, their attempts, what was rejected, and the accounts.
--
-- The names of tables and columns that the README lists are public: operators query them. The
-- others serve the dispatcher. See README.md in this folder on how the schema may change.

create table jobs (
    -- The publisher's idempotency key.
    id            text        not null,
    -- Order of arrival (microseconds, unique enough): parked jobs are released in it.
    seq           bigint      not null,
    -- The account that sends it.
    account       text        not null,
    -- Eleven digits, normalised.
    mobile        text        not null,
    priority      text        not null,
    -- The full text; null in template mode.
    content       text,
    template_id   text,
    variables     jsonb,
    state         text        not null,
    wait_reason   text,
    -- While waiting: when it is due; null where it waits for its account.
    due_at        timestamptz,
    not_before    timestamptz,
    expires_at    timestamptz,
    on_unknown    text        not null,
    -- Raised with each claim, lowered again for `account` and `not_sent`.
    attempts      integer     not null default 0,
    -- `attempts` when the present budget began: a replay starts a new one.
    attempts_base integer     not null default 0,
    -- Rows in `attempts`: requests of every outcome.
    requests      integer     not null default 0,
    -- The last answer of the gateway.
    code          bigint,
    message       text,
    smsid         text,
    metadata      jsonb,
    traceparent   text,
    published_at  timestamptz,
    -- MD5 of what makes two messages with one id the same job.
    digest        bytea       not null,
    -- Who last admitted or claimed the row: tells our own commit, whose answer was lost, from
    -- somebody else's.
    claim_id      bigint      not null,
    -- While submitting: nobody else may settle the attempt before.
    claimed_until timestamptz,
    -- While waiting: released when its account has room, in order of arrival, and not at `due_at`.
    on_room       boolean     not null default false,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),

    constraint jobs_pkey primary key (id),
    constraint jobs_id_check check (length(id) between 1 and 128),
    constraint jobs_priority_check check (priority in ('high', 'normal', 'bulk')),
    constraint jobs_state_check check (state in ('waiting', 'queued', 'submitting', 'in_doubt', 'accepted',
        'delivered', 'undelivered', 'failed', 'expired', 'cancelled')),
    constraint jobs_wait_check check ((state = 'waiting') = (wait_reason is not null)),
    constraint jobs_wait_reason_check check (wait_reason in ('scheduled', 'retry', 'rate_limited',
        'account_paused', 'quiet_hours', 'number_limit', 'replay')),
    constraint jobs_on_unknown_check check (on_unknown in ('hold', 'resend')),
    constraint jobs_claim_check check ((state = 'submitting') = (claimed_until is not null)),
    constraint jobs_payload_check check (num_nonnulls(content, template_id) = 1)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Each index is partial and small: only rows that wait for something are in it.
create index jobs_due on jobs (due_at, seq) where state = 'waiting' and not on_room;
create index jobs_on_room on jobs (account, priority, seq) where state = 'waiting' and on_room;
create index jobs_queued on jobs (updated_at) where state = 'queued';
create index jobs_claimed on jobs (claimed_until) where state = 'submitting';
create index jobs_in_doubt on jobs (updated_at) where state = 'in_doubt';
create index jobs_expiring on jobs (expires_at) where state in ('waiting', 'queued') and expires_at is not null;
-- Lists are read newest change first; retention eats from the other end.
create index jobs_updated on jobs (updated_at, id);

-- One row for every request that went, or may have gone, to the gateway. No foreign key: the claim
-- writes both rows in one statement, and the check would cost a lookup for each.
create table attempts (
    job_id      text        not null,
    attempt     integer     not null,
    account     text        not null,
    -- Null while on the wire.
    outcome     text,
    code        bigint,
    message     text,
    smsid       text,
    started_at  timestamptz not null default now(),
    finished_at timestamptz,

    constraint attempts_pkey primary key (job_id, attempt),
    constraint attempts_outcome_check check (outcome in ('accepted', 'retry', 'resign', 'permanent', 'tomorrow',
        'account', 'not_sent', 'unknown')),
    constraint attempts_finished_check check ((outcome is null) = (finished_at is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Messages that are no valid jobs, whole.
create table rejections (
    id          bigint      generated always as identity,
    reason      text        not null,
    -- Names the field, the problem and the cure; never the text or the full number.
    detail      text        not null,
    body        bytea       not null,
    properties  jsonb       not null,
    received_at timestamptz not null default now(),

    constraint rejections_pkey primary key (id)
);
create index rejections_received on rejections (received_at, id);

create table accounts (
    name       text        not null,
    state      text        not null default 'active',
    reason     text,
    paused_at  timestamptz,
    -- A pause by an operator ends only by an operator.
    paused_by  text,
    updated_at timestamptz not null default now(),

    constraint accounts_pkey primary key (name),
    constraint accounts_state_check check (state in ('active', 'paused')),
    constraint accounts_paused_check check ((state = 'paused') = (paused_at is not null)),
    constraint accounts_paused_by_check check (paused_by in ('gateway', 'operator'))
);
