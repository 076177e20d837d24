-- A person who is forgotten leaves jobs without a number. Their states, codes and digests stay: counts
-- still add up, and a repeat of such a job is still not sent.

-- Nothing without a number may ever come back to life: it could not be sent, and would stand in the way
-- of those behind it. Not checked against rows that are there already, which all have numbers.
alter table jobs add constraint jobs_forgotten_check check (mobile <> '' or state in ('accepted', 'delivered',
    'undelivered', 'failed', 'expired', 'cancelled')) not valid;
