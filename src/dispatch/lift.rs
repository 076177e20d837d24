//! Rules that hold no more. What was parked for quiet hours or for limits of its number keeps the time that they
//! gave it; a new configuration may have others, or none. Its claim judges it anew.

use tracing::info;

use super::desk::Desk;
use super::ports::LedgerError;
use crate::domain::job::Priority;

/// Rows that one statement touches at most.
const BATCH: u32 = 1_000;

/// Jobs that wait for a rule that does not hold now are due. Before anybody reads who stands in line.
pub(super) async fn lift(desk: &Desk) -> Result<(), LedgerError> {
    let now = desk.now();
    let is_awake = |priority: &Priority| desk.settings.quiet.ends(*priority, now).is_none();
    let awake: Vec<Priority> = Priority::ALL.iter().copied().filter(is_awake).collect();
    let mut lifted = 0;
    loop {
        let jobs = desk.ports.upkeep.lift(now, &awake, !desk.settings.number_limited, BATCH).await?;
        lifted += jobs;
        if jobs < u64::from(BATCH) {
            break;
        }
    }
    if lifted > 0 {
        info!(jobs = lifted, "no quiet hours and no limit hold these jobs any more: they are due");
    }
    Ok(())
}
