//! `GET /readyz`: whether this server can do its work: it can write to its data folder, and all apps were started.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Site, answer};

/// 200 with `{ "ready": true }`, or 503 `not-ready` with what is missing.
pub(super) async fn show(State(site): State<Arc<Site>>) -> Response {
    match site.readiness.look().await {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(failure) => answer::failure(&failure),
    }
}
