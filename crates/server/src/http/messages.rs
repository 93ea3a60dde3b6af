//! `POST /messages/ADDRESS/OPERATION`: a request, for clients that speak plain HTTP.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use starlane_host::{Origin, Principal};
use starlane_protocol::{Address, AddressError, Failure, Payload, Verb};

use super::{
    Call, body_stream,
    encoding::Streamed,
    file::set,
    headers::{content_type, from_request},
    serve_route::MECHTRON_POLICY,
};
use crate::{
    handle::{Answer, Ask, Parts},
    limits::Limit,
};

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
    let limit = if own { Limit::OwnBody } else { Limit::MessageBody };
    let (body, stream) = call.read_or_stream(limit, &to, &operation).await?;
    let payload = payload(&call.parts.headers, body.bytes.clone(), stream.is_some())?;
    // Without a token only JSON is accepted: a form of another site cannot send this content type.
    let has_body = !payload.body.is_empty() || stream.is_some();
    if caller.name().is_empty() && has_body && payload.media_type() != "application/json" {
        return Err(Failure::new(415, "unsupported-media-type", "without a token, send application/json"));
    }
    let from = Origin { address: Address::parse(FROM).map_err(AddressError::failure)?, caller };
    reply(call.site.handle.request(Ask { from, to, operation, payload, stream, by_route: false }).await?)
}

/// Checks the caller's permission before the body is read. The node decides about requests to other hosts, and each resource
/// of the space `starlane` decides about its own callers. Errors with 403 `no-grant`.
fn look(caller: &Principal, to: &Address, operation: &str) -> Result<(), Failure> {
    let later = to.host().is_some() || to.space() == "starlane";
    if later { Ok(()) } else { caller.permit(Verb::Request, to, operation) }
}

/// A payload from a request's body, with its content type and the headers that are passed on. Errors with 400 if the content
/// type occurs more than once or is not text. A body that is a stream is not in `body`.
pub(super) fn payload(headers: &HeaderMap, body: Bytes, has_stream: bool) -> Result<Payload, Failure> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = match (given.next(), given.next()) {
        (None, _) => Ok(""),
        (Some(only), None) => only.to_str().map_err(|_| "is not ASCII"),
        _ => Err("is given more than once"),
    };
    let content_type = content_type.map_err(|what| Failure::malformed(format!("the header `content-type` {what}")))?;
    let content_type = if body.is_empty() && !has_stream { "" } else { content_type };
    Ok(Payload { headers: from_request(headers), ..Payload::new(content_type, body) })
}

/// An answer with the body of a reply, which is whole or a stream. A stream is neither compressed nor kept by a proxy, because each part
/// leaves as it comes.
pub(super) fn body_of(whole: Bytes, stream: Option<Parts>) -> Response {
    let Some(parts) = stream else { return Body::from(whole).into_response() };
    let mut response = body_stream::body(parts).into_response();
    response.extensions_mut().insert(Streamed);
    set(&mut response, HeaderName::from_static("x-accel-buffering"), "no");
    response
}

/// A reply as an HTTP answer. Errors with 500 if its content type is not a valid header value.
fn reply(answer: Answer) -> Result<Response, Failure> {
    let Answer { payload, stream } = answer;
    if stream.is_none() && payload.body.is_empty() && payload.content_type.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let content_type = content_type(&payload.content_type)?;
    let mut response = body_of(payload.body, stream);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(MECHTRON_POLICY));
    Ok(response)
}
