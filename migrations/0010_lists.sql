-- Every page of a list is the head of a few ranges of an index, whatever is asked for.

-- A number's jobs by state, account and code without a look at those that do not pass: a number that is
-- sent to every minute has a hundred thousand.
drop index jobs_mobile;
create index jobs_mobile on jobs (mobile, updated_at, id) include (state, account, code);

-- Plans are made once, for no account in particular. Where one account has nearly all jobs, Postgres would
-- take the jobs by time and look for an account's among them: all of them, for one that has few. So it is
-- told that there are many.
alter table jobs alter column account set (n_distinct = 1000), alter column code set (n_distinct = 1000);
analyze jobs;

-- Rejections of one reason. Few reasons have nearly all of them: where Postgres could choose, it would take them by
-- time and look for the reason among them, or sort all of the reason. So the index by time alone has a
-- condition that always holds, and only what asks for no reason says it.
create index rejections_reason on rejections (reason, received_at, id);
drop index rejections_received;
create index rejections_received on rejections (received_at, id) where id > 0;

-- Receipts that belong to no job: none of the others enters it.
create index receipts_unmatched on receipts (received_at, id) where job_id is null;

-- The number that was added last first.
create index suppressions_added on suppressions (added_at, mobile);

-- The jobs of a replay that came to one result, and how many came to each.
drop index replay_jobs_open;
create index replay_jobs_result on replay_jobs (replay_id, result, position);
alter table replay_jobs alter column result set (n_distinct = 1000);
analyze replay_jobs;

-- What was done to one job, however much was done to others since.
create index operations_target on operations using gin (target jsonb_path_ops);
