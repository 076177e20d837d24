-- The pause of an account for a run of permanent refusals, over all numbers: a balance query says
-- nothing about its cause, only an acceptance ends it.
alter table accounts add column refusals boolean not null default false;
