//! `POST /messages/ADDRESS/OPERATION`: a request, for clients that speak plain HTTP.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use starlane_host::Origin;
use starlane_protocol::{Address, Failure, Payload};

use super::{Site, answer, headers::from_request, serve_route::MECHTRON_POLICY};
use crate::handle::Ask;

/// Sends a request on behalf of the bearer, and answers with its reply.
pub(super) async fn send(
    State(site): State<Arc<Site>>,
    Path((address, operation)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let sent = async {
        let caller = site.auth.principal(bearer(&headers)?)?;
        let payload = payload(&headers, body);
        // Without a token only what no form of another page can send: a simple cross-site post has another content type.
        if caller.name().is_empty() && !payload.body.is_empty() && payload.media_type() != "application/json" {
            return Err(Failure::new(415, "unsupported-media-type", "without a token, send application/json"));
        }
        let to = Address::parse(&address).map_err(|error| Failure::malformed(error.to_string()))?;
        let from = Address::parse("starlane:http").map_err(|error| Failure::internal(error.to_string()))?;
        site.handle
            .request(Ask { from: Origin { address: from, caller }, to, operation, payload, by_route: false })
            .await
    };
    match sent.await {
        Ok(payload) => reply(payload),
        Err(failure) => answer::failure(&failure),
    }
}

/// A payload from a request's body: its content type, and the headers that are not HTTP's own business.
pub(super) fn payload(headers: &HeaderMap, body: Bytes) -> Payload {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = if body.is_empty() { "" } else { content_type };
    Payload { content_type: content_type.to_owned(), headers: from_request(headers), body }
}

/// A reply as an HTTP answer.
fn reply(payload: Payload) -> Response {
    if payload.body.is_empty() && payload.content_type.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, payload.content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_SECURITY_POLICY, MECHTRON_POLICY.to_owned()),
    ];
    (headers, payload.body).into_response()
}

/// The token of an `Authorization: Bearer …` header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    token.map(Some).ok_or_else(|| Failure::auth_refused("expected `Authorization: Bearer TOKEN`"))
}
