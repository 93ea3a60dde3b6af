//! `POST /messages/ADDRESS/OPERATION`: a request, for clients that speak plain HTTP.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use starlane_host::{Origin, Principal};
use starlane_protocol::{Address, AddressError, Failure, Payload, Verb};

use super::{
    Call,
    headers::{content_type, from_request},
    serve_route::MECHTRON_POLICY,
};
use crate::{handle::Ask, limits::Limit};

/// The sender that a mechtron sees.
const FROM: &str = "starlane:http";

/// Sends a request on behalf of the bearer, and answers with the reply.
pub(super) async fn send(mut call: Call<'_>) -> Result<Response, Failure> {
    let [address, operation] = call.captured()?;
    let caller = call.principal()?;
    let to = Address::parse(&address).map_err(|error| Failure::malformed(error.to_string()))?;
    look(&caller, &to, &operation)?;
    // Counted until the answer, because the node holds the same bytes.
    let own = to.host().is_none() && to.space() == "starlane";
    let body = call.read(if own { Limit::OwnBody } else { Limit::MessageBody }).await?;
    let payload = payload(&call.parts.headers, body.bytes.clone())?;
    // Without a token only JSON is accepted: a form of another site cannot send this content type.
    if caller.name().is_empty() && !payload.body.is_empty() && payload.media_type() != "application/json" {
        return Err(Failure::new(415, "unsupported-media-type", "without a token, send application/json"));
    }
    let from = Origin { address: Address::parse(FROM).map_err(AddressError::failure)?, caller };
    reply(call.site.handle.request(Ask { from, to, operation, payload, by_route: false }).await?)
}

/// Checks the caller's permission before the body is read. The node decides about requests to other hosts, and each resource
/// of the space `starlane` decides about its own callers. Errors with 403 `no-grant`.
fn look(caller: &Principal, to: &Address, operation: &str) -> Result<(), Failure> {
    let later = to.host().is_some() || to.space() == "starlane";
    if later { Ok(()) } else { caller.permit(Verb::Request, to, operation) }
}

/// A payload from a request's body, with its content type and the headers that are passed on. Errors with 400 if the content
/// type occurs more than once or is not text.
pub(super) fn payload(headers: &HeaderMap, body: Bytes) -> Result<Payload, Failure> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = match (given.next(), given.next()) {
        (None, _) => Ok(""),
        (Some(only), None) => only.to_str().map_err(|_| "is not ASCII"),
        _ => Err("is given more than once"),
    };
    let content_type = content_type.map_err(|what| Failure::malformed(format!("the header `content-type` {what}")))?;
    let content_type = if body.is_empty() { "" } else { content_type };
    Ok(Payload { content_type: content_type.to_owned(), headers: from_request(headers), body })
}

/// A reply as an HTTP answer. Errors with 500 if its content type is not a valid header value.
fn reply(payload: Payload) -> Result<Response, Failure> {
    if payload.body.is_empty() && payload.content_type.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let content_type = content_type(&payload.content_type)?;
    let mut response = Body::from(payload.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(MECHTRON_POLICY));
    Ok(response)
}
