//! What stands against an attempt is asked in the statement that claims it: no round trip of its own,
//! and nothing can come between the question and the claim.

/// CTEs behind `input` (with `id`, `account`, `mobile`, `priority`, `state`, `wait_reason`, `due_at`, `on_room`):
/// `decided` has all its columns, and what is to be stored instead of the last four: `goes`, `why`, `until` and
/// `for_room`, with `says`, the message of a job that fails.
///
/// - A job of an account that an operator has paused is not claimed: the pause holds from its commit on, and not
///   only from the daemon's next look.
/// - A bulk job whose number wants none is `suppressed`: one look-up by key, for bulk rows alone.
/// - `number_limits` asks what a number may get; without it nothing is asked, and nothing locked.
macro_rules! decided {
    (number_limits($most:literal, $seconds:literal, $a_day:literal)) => {
        $crate::store::policy::decided!(concat!(
            "case when state = 'submitting' and mobile is not null
                 then number_held_until(mobile, ",
            $most,
            ", ",
            $seconds,
            ", ",
            $a_day,
            ", ahead) end"
        ), "(select *, dense_rank() over (partition by mobile, state order by id)::int - 1 as ahead
             from input order by hashtext(mobile) & 255, id) rows")
    };
    (no_limits) => {
        $crate::store::policy::decided!("null::timestamptz", "input rows")
    };
    ($held:expr, $rows:literal) => {
        concat!(
            "judged as materialized (
                 select *, ",
            $held,
            " as held,
                     state = 'submitting' and account in (
                         select a.name from accounts a where a.paused_by = 'operator') as paused,
                     case when state = 'submitting' and priority = 'bulk' then exists (
                         select from suppressions s where s.mobile = rows.mobile) else false end as spared
                 from ",
            $rows,
            "
             ), decided as (
                 select *,
                     case when spared then 'failed' when paused or held is not null then 'waiting' else state end as goes,
                     case when spared then null when paused then 'account_paused'
                         when held is not null then 'number_limit' else wait_reason end as why,
                     case when spared or paused then null else coalesce(held, due_at) end as until,
                     on_room or paused and not spared as for_room,
                     case when spared then 'suppressed' end as says
                 from judged
             )"
        )
    };
}

pub(super) use decided;

/// The message of a bulk job that was not sent because its number wants none.
pub(super) const SUPPRESSED: &str = "suppressed";
