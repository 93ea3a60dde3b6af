//! Failures as HTTP answers: JSON, an RFC 9457 problem, or a page, as the client asks. A header always contains the
//! code too.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use starlane_protocol::Failure;

/// The header with the code of a failure.
pub(super) const CODE: HeaderName = HeaderName::from_static("starlane-code");
/// The maximum length of the code in that header, in bytes.
const MAX_CODE_BYTES: usize = 64;
/// The maximum length of a text of the web framework in an answer, in bytes.
const TEXT: usize = 1_024;

/// How a failure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Problem,
    Page,
}

/// A failure as an answer. [`finish`] gives it the form that the client asks for.
pub(super) fn failure(failure: &Failure) -> Response {
    let mut response = status(failure).into_response();
    response.headers_mut().insert(CODE, header_code(&failure.code));
    response.extensions_mut().insert(failure.clone());
    response
}

/// Gives every failure its form, also those of the web framework. `asked` are the headers of the request.
pub(super) async fn finish(asked: &HeaderMap, response: Response) -> Response {
    if response.status().as_u16() < 400 {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let failure = match parts.extensions.remove::<Failure>() {
        Some(failure) => failure,
        None => of_framework(parts.status, &to_bytes(body, TEXT).await.unwrap_or_default()),
    };
    let (content_type, text) = written(&failure, form(asked));
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ETAG, header::CACHE_CONTROL] {
        parts.headers.remove(name);
    }
    parts.headers.insert(CODE, header_code(&failure.code));
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Another client can need another form, and the cause can be repaired at any time.
    parts.headers.append(header::VARY, HeaderValue::from_static("accept"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(parts, Body::from(text))
}

/// A failure as the bytes of a complete answer that closes the connection.
pub(super) fn raw(failure: &Failure) -> Vec<u8> {
    let (content_type, text) = written(failure, Form::Json);
    let status = status(failure);
    let code = code(&failure.code);
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nstarlane-code: {code}\r\n\
         x-content-type-options: nosniff\r\ncross-origin-resource-policy: same-origin\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n{text}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        text.len(),
    )
    .into_bytes()
}

/// The status of a failure: other statuses than 4xx and 5xx become 500, so that a failure never looks like a success.
fn status(failure: &Failure) -> StatusCode {
    let known = StatusCode::from_u16(failure.status).ok();
    known.filter(|status| (400..600).contains(&status.as_u16())).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn header_code(text: &str) -> HeaderValue {
    HeaderValue::from_str(&code(text)).unwrap_or(HeaderValue::from_static("internal"))
}

/// A guest's code, made safe for a header.
fn code(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let code: String = text.chars().take(MAX_CODE_BYTES).map(allowed).collect();
    if code.is_empty() { "guest-failed".to_owned() } else { code }
}

fn written(failure: &Failure, form: Form) -> (&'static str, String) {
    let Failure { message, address, .. } = failure;
    let (status, code) = (status(failure), code(&failure.code));
    match form {
        Form::Json => ("application/json", json!({ "code": code, "message": message, "address": address }).to_string()),
        Form::Problem => {
            let mut problem = json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or("Failure"),
                "status": status.as_u16(),
                "detail": message,
                "code": code,
            });
            if let (Some(address), Some(problem)) = (address, problem.as_object_mut()) {
                problem.insert("address".to_owned(), Value::from(address.to_string()));
            }
            ("application/problem+json", problem.to_string())
        }
        Form::Page => ("text/html; charset=utf-8", page(status.as_u16(), message, &code)),
    }
}

/// The client's preferred form, by its header `accept` (RFC 9110, 12.5.1). The default is JSON.
fn form(asked: &HeaderMap) -> Form {
    let mut best = (Form::Json, 0.0);
    for value in asked.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" => Form::Json,
                "application/problem+json" => Form::Problem,
                "text/html" | "application/xhtml+xml" => Form::Page,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (form, quality);
            }
        }
    }
    best.0
}

/// An error of the web framework, as a failure.
fn of_framework(status: StatusCode, text: &[u8]) -> Failure {
    let (code, otherwise) = match status.as_u16() {
        400 => ("malformed", "the request is malformed"),
        404 => ("not-found", "nothing exists at this path"),
        405 => (
            "method-not-allowed",
            "this path does not accept this method; the header `allow` lists the accepted methods",
        ),
        406 => (
            "not-acceptable",
            "the header `accept-encoding` refuses every encoding, including `identity`; remove the header",
        ),
        408 => ("too-slow", "the request took too long"),
        413 => ("too-large", "the body is too large"),
        415 => ("unsupported-media-type", "this path does not accept the content type of the body"),
        417 => ("malformed", "the header `expect` has a value that this server does not support"),
        500.. => ("internal", "the server failed"),
        _ => ("malformed", "the request is refused"),
    };
    let text = std::str::from_utf8(text).unwrap_or_default().trim();
    Failure::new(
        status.as_u16(),
        code,
        if text.is_empty() || status == StatusCode::NOT_ACCEPTABLE { otherwise } else { text },
    )
}

/// A small page with a heading and a text.
fn page(status: u16, text: &str, code: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{status}</title><style>:root{{color-scheme:light dark}}body{{font:1rem/1.6 system-ui,sans-serif;\
         max-width:36rem;margin:15vh auto;padding:0 1.5rem}}h1{{font-size:3rem;margin:0}}code{{opacity:.7}}</style>\
         <h1>{status}</h1><p>{}</p><p><code>{}</code></p></html>",
        escape(text),
        escape(code)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_statuses_become_500_and_codes_fit_into_a_header() {
        for (given, shown) in
            [(101, 500), (200, 500), (204, 500), (304, 500), (0, 500), (999, 500), (600, 500), (599, 599), (418, 418)]
        {
            let response = failure(&Failure::new(given, "a\nb: c", "x"));
            assert_eq!(
                (response.status().as_u16(), response.headers()[CODE].as_bytes()),
                (shown, &b"a-b--c"[..]),
                "{given}"
            );
            assert!(raw(&Failure::new(given, "x", "y")).starts_with(format!("HTTP/1.1 {shown} ").as_bytes()));
        }
        assert_eq!(code(""), "guest-failed");
        assert_eq!(code(&"ä".repeat(1_000)).len(), MAX_CODE_BYTES);
    }

    #[test]
    fn the_answer_has_the_form_that_the_client_prefers() {
        for (accept, wanted) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/problem+json", Form::Problem),
            ("application/problem+json, application/json", Form::Problem),
            ("application/json, text/html", Form::Json),
            ("application/json;q=0.5, application/problem+json;q=0.7", Form::Problem),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Page),
            ("text/html;q=0", Form::Json),
            ("text/html;q=x, Application/Problem+JSON", Form::Problem),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(form(&headers), wanted, "{accept}");
        }
    }
}
