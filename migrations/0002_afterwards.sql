-- What ihuyi says afterwards (receipts, replies), whom bulk jobs spare, and what is still to be told
-- to the systems that asked.

-- Every receipt that ihuyi pushed. The first that is final for its job decides; the others stay here.
create table receipts (
    id          bigint      generated always as identity,
    -- ihuyi's id of the message, as pushed.
    smsid       text        not null,
    -- Eleven digits where it is a mainland number, else as pushed.
    mobile      text,
    -- 2: delivered. Null where what was pushed is no number.
    code        bigint,
    message     text,
    -- ihuyi's time of the report, pushed without an offset as Asia/Shanghai.
    reported_at timestamptz,
    received_at timestamptz not null default now(),
    -- The job that it belongs to; null while none is known.
    job_id      text,
    -- Without a job: when to look for one again. Null: no more.
    look_at     timestamptz,
    looks       integer     not null default 0,
    -- MD5 of what was pushed: a repeat is recognised by it.
    digest      bytea       not null,

    constraint receipts_pkey primary key (id),
    constraint receipts_digest_key unique (digest)
);
create index receipts_smsid on receipts (smsid);
create index receipts_job on receipts (job_id) where job_id is not null;
create index receipts_look on receipts (look_at) where look_at is not null;
create index receipts_received on receipts (received_at);

-- What people answered.
create table replies (
    id          bigint      generated always as identity,
    mobile      text        not null,
    content     text        not null,
    -- As pushed: it may be wrong or missing.
    smsid       text,
    replied_at  timestamptz,
    received_at timestamptz not null default now(),
    -- The last job that went to the number.
    job_id      text,
    -- MD5 of what was pushed.
    digest      bytea       not null,

    constraint replies_pkey primary key (id),
    constraint replies_digest_key unique (digest)
);
create index replies_job on replies (job_id) where job_id is not null;
create index replies_mobile on replies (mobile, received_at);
create index replies_received on replies (received_at);

-- Numbers that bulk jobs spare.
create table suppressions (
    mobile     text        not null,
    -- The word that the person sent, or what an operator wrote.
    reason     text        not null,
    -- `reply`, or the operator.
    added_by   text        not null,
    added_at   timestamptz not null default now(),

    constraint suppressions_pkey primary key (mobile)
);

-- What is committed and not yet published to the exchange of events: written with the change that it
-- tells of, deleted once the broker has confirmed it.
create table events (
    id     bigint      generated always as identity,
    -- Null for a reply that belongs to no job.
    job_id text,
    -- `job.accepted`, …: also the routing key.
    type   text        not null,
    data   jsonb       not null,
    at     timestamptz not null default now(),

    constraint events_pkey primary key (id)
);

-- Who did what, from the command line, the API or the console.
create table operations (
    id      bigint      generated always as identity,
    at      timestamptz not null default now(),
    -- The token's name in the API, the system's user on the command line.
    actor   text        not null,
    -- `cli`, `api` or `console`.
    via     text        not null,
    -- `pause`, `resume`, `cancel`, `resolve`, `replay`, `forget`, `suppress`, …
    action  text        not null,
    -- What it was done to: an account, a job's id, a filter. Numbers masked.
    target  jsonb       not null,
    -- How many rows it changed.
    count   bigint      not null default 0,
    reason  text,

    constraint operations_pkey primary key (id),
    constraint operations_via_check check (via in ('cli', 'api', 'console'))
);
create index operations_at on operations (at, id);

-- Receipts find their jobs by it.
create index jobs_smsid on jobs (smsid) where smsid is not null;
-- Replies find the last job of a number, a list shows all of one, a long limit counts them.
create index jobs_mobile on jobs (mobile, updated_at);
-- A receipt may end a doubt.
create index jobs_doubted on jobs (mobile) where state = 'in_doubt';
