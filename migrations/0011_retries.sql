-- Replays of refused messages: they are published again by the daemon, as jobs are sent again.

-- What is replayed: `jobs`, or `rejections`.
alter table replays add column subject text not null default 'jobs',
    add constraint replays_subject_check check (subject in ('jobs', 'rejections'));

-- Of a rejection: which; null for a job. `from_state` is what it was refused for, and `job_id` is that of its
-- message, null where it has none or was not published yet.
alter table replay_jobs add column rejection_id bigint,
    -- `rejections.retried_at` as this replay knows it: it goes only if nobody else has published it meanwhile.
    add column retried_at timestamptz,
    -- `jobs.digest` of its message, by which its job is recognised.
    add column digest bytea,
    alter column job_id drop not null,
    drop constraint replay_jobs_result_check,
    -- For a rejection: `sending` while it is being published, `sent` once it was, `skipped` because it had been published
    -- elsewhere, `gone` because its message was; then `taken` as a job, or `refused` again.
    add constraint replay_jobs_result_check check (result in ('pending', 'sending', 'sent', 'skipped', 'accepted',
        'delivered', 'undelivered', 'failed', 'expired', 'cancelled', 'in_doubt', 'taken', 'refused', 'gone'));

-- The next ones to go, in order, whether they were begun with or not.
create index replay_jobs_open on replay_jobs (replay_id, position) where result in ('pending', 'sending');

-- A message that was published again and refused again names the rejection that it came from.
create index rejections_again on rejections ((properties -> 'headers' ->> 'x-dispatcher-rejection'), received_at)
    where properties -> 'headers' ->> 'x-dispatcher-rejection' is not null;
