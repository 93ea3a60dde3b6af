//! A file of a bundle as an answer: type, tag, ranges, how long it may be kept.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use starlane_bundle::{Digest, FileEntry};
use starlane_protocol::Failure;

use super::Site;

/// What a page of an app may do: its own scripts, workers and Wasm; no plugins, no other base. Not every browser takes
/// `'self'` to mean WebSockets too, so `connect-src` comes with the host's name.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
     img-src 'self' data: https:; style-src 'self' 'unsafe-inline'; frame-src 'self'; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'self'; connect-src 'self'";
/// What never changes under its name may be kept by anybody, also on the way.
pub(super) const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// How long a browser may keep a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// It asks each time whether its copy is still the one.
    Ask,
    /// For ever: another content has another name.
    Ever,
}

/// Files whose names change with their content may be kept for ever: build tools put a hash into them.
pub(super) fn caching(path: &str) -> Caching {
    let hashed = path.rsplit('/').next().is_some_and(|name| {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        stem.rsplit_once('-').is_some_and(|(_, hash)| hash.len() >= 8)
    });
    if hashed { Caching::Ever } else { Caching::Ask }
}

/// Answers with bytes of a digest, as conditional and range requests (RFC 9110) ask for them.
pub(super) async fn send_blob(
    digest: &Digest,
    headers: &HeaderMap,
    content_type: &str,
    bytes: impl Future<Output = Result<Bytes, Failure>>,
) -> Result<Response, Failure> {
    let etag = format!("\"{digest}\"");
    let mut response = if names(headers, header::IF_NONE_MATCH, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = part(bytes.await?, headers, &etag);
        set(&mut response, header::CONTENT_TYPE, content_type);
        response
    };
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Ok(response)
}

/// Answers with a file of an app.
pub(super) async fn send(
    site: &Site,
    file: &FileEntry,
    headers: &HeaderMap,
    caching: Caching,
) -> Result<Response, Failure> {
    let bytes = site.handle.file(file.clone());
    let mut response = send_blob(&file.sha256, headers, &with_charset(&file.media_type), bytes).await?;
    let kept = match caching {
        Caching::Ask => "no-cache",
        Caching::Ever => FOR_EVER,
    };
    set(&mut response, header::CACHE_CONTROL, kept);
    if file.media_type == "text/html" {
        // The guard has compared it with the names of this server.
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let own = host.map(|host| format!(" ws://{host}")).unwrap_or_default();
        set(&mut response, header::CONTENT_SECURITY_POLICY, &format!("{PAGE_POLICY}{own}"));
    }
    Ok(response)
}

/// Whether a header lists a tag; a weak one counts as well, since the content is named by its digest.
fn names(headers: &HeaderMap, header: header::HeaderName, etag: &str) -> bool {
    let listed = headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default();
    listed.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == etag)
}

/// The whole, or the one range that is asked for. Several are answered with the whole, as RFC 9110 (14.2) allows; so is a
/// range of another content than this.
fn part(bytes: Bytes, headers: &HeaderMap, etag: &str) -> Response {
    let length = bytes.len() as u64;
    let same = !headers.contains_key(header::IF_RANGE) || names(headers, header::IF_RANGE, etag);
    let asked = headers.get(header::RANGE).filter(|_| same).and_then(|value| value.to_str().ok());
    // What is no range of bytes is as good as none.
    let asked = asked.and_then(|text| http_range_header::parse_range_header(text).ok());
    let ranges = asked.map(|ranges| ranges.validate(length));
    let mut response = match ranges.as_ref().map(|ranges| ranges.as_deref()) {
        Some(Ok([range])) => {
            let slice = bytes.slice(*range.start() as usize..=*range.end() as usize);
            let mut response = (StatusCode::PARTIAL_CONTENT, Body::from(slice)).into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {}-{}/{length}", range.start(), range.end()));
            response
        }
        Some(Err(_)) => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            response
        }
        _ => Body::from(bytes).into_response(),
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    response
}

/// A media type, with the encoding that text in a bundle has.
pub(super) fn with_charset(media_type: &str) -> String {
    let text = media_type.starts_with("text/") && !media_type.contains("charset");
    if text { format!("{media_type}; charset=utf-8") } else { media_type.to_owned() }
}

/// Sets a header, if the value can stand in one.
pub(super) fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
