-- Limits of one number over hours and days, asked in the statement that claims its job.

-- Until when `number` has had all that it may get; null while there is room for one more message behind
-- `ahead` others of the same statement. `most` in any window of `seconds`, `a_day` in a calendar day of
-- Asia/Shanghai; null: not limited.
--
-- What counts is an attempt that reached the person or may have: accepted, or unknown. One that is still
-- on the wire may turn out not to count, so it only holds others for some seconds; and so does one whose
-- password had expired, as long as another follows at once.
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
    begin_of_window constant timestamptz := now() - make_interval(secs => seconds);
    since constant timestamptz := least(case when a_day is not null then begin_of_day end, begin_of_window);
    sent timestamptz[];
    this_window integer;
    today integer;
    open integer;
    held timestamptz;
begin
    -- 'numb' in ASCII, and the lock.
    perform pg_advisory_xact_lock(1853189474, hashtext(number) & 255);
    select array_agg(a.started_at order by a.started_at desc) filter (where a.outcome in ('accepted', 'unknown')),
        count(*) filter (where a.outcome in ('accepted', 'unknown') and a.started_at > begin_of_window),
        count(*) filter (where a.outcome in ('accepted', 'unknown') and a.started_at >= begin_of_day),
        ahead + count(*) filter (where a.outcome is null or a.outcome = 'resign')
    into sent, this_window, today, open
    from jobs j
    join attempts a on a.job_id = j.id
    where j.mobile = number and j.updated_at >= since and a.started_at >= since
      and (a.outcome is null or a.outcome in ('accepted', 'unknown')
           or a.outcome = 'resign' and a.attempt = j.requests and j.state = 'waiting');
    if this_window >= most then
        -- That one leaves the window first.
        held := sent[most] + make_interval(secs => seconds);
    end if;
    if today >= a_day then
        held := greatest(held, (date_trunc('day', now() at time zone 'Asia/Shanghai') + interval '1 day')
            at time zone 'Asia/Shanghai');
    end if;
    if held is null and (this_window + open >= most or today + open >= a_day) then
        held := now() + interval '5 s';
    end if;
    return held;
end
$$;
