//! Failures as HTTP answers.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::json;
use starlane_protocol::Failure;

/// A failure as JSON, its code also in the header `starlane-code`.
pub(super) fn failure(failure: &Failure) -> Response {
    let body = json!({ "code": failure.code, "message": failure.message, "address": failure.address });
    with_code((status(failure), Json(body)).into_response(), failure)
}

/// A failure as a page, for whoever asks for pages, else as JSON.
pub(super) fn failure_for(headers: &HeaderMap, failed: &Failure) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/html") {
        return failure(failed);
    }
    with_code((status(failed), Html(page(failed.status, &failed.message, &failed.code))).into_response(), failed)
}

fn with_code(mut response: Response, failure: &Failure) -> Response {
    if let Ok(code) = HeaderValue::from_str(&failure.code) {
        response.headers_mut().insert("starlane-code", code);
    }
    response
}

fn status(failure: &Failure) -> StatusCode {
    StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
