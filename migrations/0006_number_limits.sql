-- Limits of one number over hours and days, asked in the statement that claims its job.

-- Until when `number` has had all that it may get; null while there is room for one more message behind
-- `ahead` others of the same statement. `most` in any window of `seconds`, `a_day` in a calendar day of
-- Asia/Shanghai; null: not limited.
--
-- What counts is an attempt that may have reached the person: accepted, unknown, or still on the wire.
-- An attempt whose password had expired keeps its place for the one that follows at once.
--
-- Volatile, so that it sees what was committed while it waited for the lock: two statements that claim
-- jobs of one number, of two processes perhaps, go one after the other. There are 256 locks, because the
-- server's table of them is small. Callers ask in the order of `hashtext(number) & 255`, so that none of
-- them waits for one that waits for it.
create function number_held_until(number text, most integer, seconds double precision, a_day integer, ahead integer)
returns timestamptz
language plpgsql volatile as $$
declare
    begin_of_day constant timestamptz :=
        date_trunc('day', now() at time zone 'Asia/Shanghai') at time zone 'Asia/Shanghai';
    since constant timestamptz :=
        least(case when a_day is not null then begin_of_day end,
              case when most is not null then now() - make_interval(secs => seconds) end);
    sent timestamptz[];
    today integer;
    held timestamptz;
begin
    -- 'numb' in ASCII, and the lock.
    perform pg_advisory_xact_lock(1853189474, hashtext(number) & 255);
    select array_agg(a.started_at order by a.started_at desc), count(*) filter (where a.started_at >= begin_of_day)
    into sent, today
    from jobs j
    join attempts a on a.job_id = j.id
    where j.mobile = number and j.updated_at >= since and a.started_at >= since
      and (a.outcome is null or a.outcome in ('accepted', 'unknown')
           or a.outcome = 'resign' and a.attempt = j.requests and j.state = 'waiting');
    if most is not null then
        -- The one that must leave the window before there is room.
        held := case when ahead >= most then now() else sent[most - ahead] end + make_interval(secs => seconds);
    end if;
    if today + ahead >= a_day then
        held := greatest(held, (date_trunc('day', now() at time zone 'Asia/Shanghai') + interval '1 day')
            at time zone 'Asia/Shanghai');
    end if;
    return case when held > now() then held end;
end
$$;
