//! What people do: each act and its row in `operations` are one statement, so that neither is there
//! without the other. An act that changes nothing leaves no row.

mod accounts;
mod forget;
mod jobs;
mod notes;
mod rejections;
mod replays;

pub use forget::{Forgetting, Forgotten, Unsettled};
pub use jobs::{Acted, Batch, Changed, JobAct};
pub use notes::{Operator, Via};
pub use rejections::{RetryChoice, RetryOrder, RetryPreview};
pub use replays::{Control, Controlled, ReplayInfo, ReplayOrder, ReplayPreview, ReplayedJob};
