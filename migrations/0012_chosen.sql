-- A replay sends a job only if nothing has happened to it since it was chosen.

-- `jobs.updated_at` as it was then: a job that has been elsewhere meanwhile, and come back to its state, was withdrawn or
-- has expired anew. Null for a rejection, and for what was chosen before this column was there.
alter table replay_jobs add column changed_at timestamptz;
