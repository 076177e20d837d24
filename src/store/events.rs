//! What others are to be told of a change, written in the statement that makes it.

/// An `insert` into `events` for those rows of `$rows` that publishers care about: a CTE that returns
/// `id, mobile, account, state, code, message, smsid, metadata` of jobs as the change left them. A
/// process whose configuration switches events off says so in a setting of its sessions.
macro_rules! announce {
    ($rows:literal) => {
        concat!(
            "insert into events (job_id, type, data)
             select id, 'job.' || state, jsonb_build_object('id', id, 'mobile', mobile, 'account', account,
                 'state', state, 'code', code, 'message', message, 'smsid', smsid, 'metadata', metadata, 'at', now())
             from ",
            $rows,
            " where state in ('accepted', 'failed', 'expired', 'in_doubt', 'delivered', 'undelivered')
                 and current_setting('dispatcher.events', true) is distinct from 'off'"
        )
    };
}

pub(super) use announce;
