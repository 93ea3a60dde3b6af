//! The headers for requests across origins (the CORS protocol of the Fetch standard). Pages of allowed origins can use all
//! routes and read the answers. Pages of other origins can read only the reason of the refusal.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use starlane_bundle::SIGNATURE_HEADER;

use super::{Site, answer::CODE, call::methods};

/// The additional headers that a page can read. `*` means all others, except for requests with cookies.
const EXPOSED: &str = "starlane-code, accept-ranges, content-range, etag, *";
/// The cache lifetime of a preflight answer, in seconds.
const KEPT: &str = "600";
const PRIVATE_ASKED: &str = "access-control-request-private-network";
const PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The answer to a preflight, none for any other request.
pub(super) fn preflight(site: &Site, request: &Parts) -> Option<Response> {
    let headers = &request.headers;
    if request.method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let routed = methods(site, request);
    // Where nothing is routed the page may read the 404.
    let routed = if routed.is_empty() { Ok(asked.clone()) } else { HeaderValue::from_str(&routed.join(", ")) };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, routed.unwrap_or_else(|_| asked.clone()));
    for asked in headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.append(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(KEPT));
    if headers.get(PRIVATE_ASKED).is_some_and(|asked| asked == "true") {
        answer.insert(PRIVATE, HeaderValue::from_static("true"));
    }
    for name in [header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS] {
        answer.append(header::VARY, HeaderValue::from(name));
    }
    Some(response)
}

/// Sets the headers that decide which page can read an answer.
pub(super) fn finish(site: &Site, origin: Option<&HeaderValue>, response: &mut Response) {
    let allowed = origin.is_some_and(|origin| origin.to_str().is_ok_and(|origin| site.allowed.allows(origin)));
    let refused = response.headers().get(CODE).is_some_and(|code| code == "origin-refused");
    let preflight = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS);
    vary(response.headers_mut(), header::ORIGIN);
    let Some(origin) = origin.filter(|_| allowed || refused || preflight) else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if !preflight {
        let exposed = if allowed { format!("{SIGNATURE_HEADER}, {EXPOSED}") } else { CODE.to_string() };
        if let Ok(exposed) = HeaderValue::from_str(&exposed) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// Adds a request header to the answer's `vary`.
pub(super) fn vary(headers: &mut HeaderMap, name: HeaderName) {
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(name.as_str())))
    };
    if !headers.get_all(header::VARY).iter().any(named) {
        headers.append(header::VARY, HeaderValue::from(name));
    }
}
