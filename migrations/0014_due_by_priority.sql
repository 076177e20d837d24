-- What is due is found by priority, so that a retry of `high` does not wait behind a campaign; and what waits for the
-- morning or for its number's window apart from the rest, so that neither is read where the other is looked for.
-- Statements that read all that waits still find it here.
drop index jobs_due;
create index jobs_due on jobs (
    (case when wait_reason in ('quiet_hours', 'number_limit') then 'asleep' else 'awake' end), priority, due_at, seq)
    where state = 'waiting' and not on_room;
