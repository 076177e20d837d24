//! Another configuration.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::access::Operator;
use super::body::{Body, Fields};
use super::model::{Acting, Reason, Reloaded};
use crate::web::problem::Problem;

/// Read the configuration again and take it up, as with SIGHUP
///
/// A wrong one changes nothing; each thing that is wrong with it is one of `errors`. What is on the wire finishes
/// first.
#[utoipa::path(post, path = "/reload", tag = "daemon",
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = Reloaded),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Another one is under way"),
        Acting,
    ))]
pub(super) async fn reload(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<Reloaded>, Problem> {
    let reason = Fields::of(&body, &["reason"])?.reason()?;
    Ok(Json(Reloaded { changed: api.backend.reload(operator.act(reason)).await? }))
}
