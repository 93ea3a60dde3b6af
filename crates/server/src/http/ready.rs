//! `GET /readyz`: whether this server is ready, that is, it can write to its data folder and all apps were started.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::json;
use starlane_protocol::Failure;

use super::Call;

/// 200 with `{ "ready": true }`, or 503 `not-ready` with the reasons.
pub(super) async fn show(call: Call<'_>) -> Result<Response, Failure> {
    call.site.readiness.look().await?;
    Ok(Json(json!({ "ready": true })).into_response())
}
