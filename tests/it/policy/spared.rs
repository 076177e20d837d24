//! Suppressed numbers get no bulk messages.

use crate::support::stage::Stage;
use crate::support::{job, number};

#[tokio::test]
async fn a_bulk_job_to_a_suppressed_number_fails_without_a_request() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let suppress = "insert into suppressions (mobile, reason, added_by) values ('13900000001', 'TD', 'reply')";
    assert_eq!(stage.db.execute(suppress).await, 1);
    stage.publish("bulk", [&job("campaign", &number(1)), &job("to-another", &number(2))]).await;
    stage.publish("normal", [&job("notice", &number(1))]).await;
    let mut later = job("later", &number(1));
    later["not_before"] = (chrono::Utc::now() + chrono::Duration::seconds(1)).to_rfc3339().into();
    stage.publish("bulk", [&later]).await;
    stage.states("accepted 2, failed 2").await;
    for id in ["campaign", "later"] {
        let row = stage.db.job(id).await.unwrap();
        assert_eq!((row.message.as_deref(), row.code, row.attempts), (Some("suppressed"), None, 0), "{id}");
        assert_eq!(stage.db.attempts(id).await, []);
    }
    assert_eq!(stage.gateway.submissions().len(), 2);
    stage.metric("jobs_finished_total", &[("state", "failed"), ("code", "none")], 2.0).await;
    // A repeat is a repeat, and a number that changes its mind is sent to again.
    stage.db.execute("delete from suppressions").await;
    stage.publish("bulk", [&job("campaign", &number(1)), &job("again", &number(1))]).await;
    stage.states("accepted 3, failed 2").await;
    stage.finish().await;
}
