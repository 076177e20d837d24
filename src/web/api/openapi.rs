//! The API's description, generated from the handlers and the model.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{accounts, jobs, publish, rejections, reload, replays, suppressions};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

#[derive(OpenApi)]
#[openapi(
    info(title = "dispatcher", description = "Jobs, accounts and replays of the SMS dispatcher."),
    servers((url = "/api/v1")),
    paths(
        publish::publish,
        jobs::list,
        jobs::show,
        jobs::cancel,
        jobs::resolve,
        jobs::cancel_many,
        jobs::resolve_many,
        replays::list,
        replays::begin,
        replays::show,
        replays::jobs,
        replays::pause,
        replays::resume,
        replays::cancel,
        accounts::list,
        accounts::pause,
        accounts::resume,
        rejections::list,
        rejections::retry,
        suppressions::list,
        suppressions::add,
        suppressions::remove,
        reload::reload,
    ),
    security(("token" = [])),
    modifiers(&Token),
)]
struct Description;

/// How a token is sent.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// OpenAPI 3.1.
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_is_openapi_3_1_and_names_every_path() {
        let document: serde_json::Value = serde_json::from_str(&super::DOCUMENT).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
        for path in ["/jobs", "/jobs/{id}", "/jobs/{id}/cancel", "/jobs/{id}/resolve", "/replays", "/accounts"] {
            assert!(document["paths"][path].is_object(), "{path}: {document}");
        }
        assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    }
}
