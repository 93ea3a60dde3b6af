//! A file of a bundle as an answer: content type, tag, ranges, cache lifetime.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http_range_header::{EndPosition, StartPosition, parse_range_header};
use starlane_bundle::{Digest, FileEntry};
use starlane_protocol::Failure;

use super::{Site, answer, pieces::Blob};

/// The policy of an app's pages: own scripts, workers and Wasm; no plugins, no other base. Not every browser applies
/// `'self'` to WebSockets, so `connect-src` also contains the host's name.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
     img-src 'self' data: https:; style-src 'self' 'unsafe-inline'; frame-src 'self'; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'self'; connect-src 'self'";
/// The cache header of files that never change under their name: every cache can keep them.
pub(super) const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The time for which a browser can keep a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// It checks each time whether its copy is current.
    Ask,
    /// For ever: a different content has a different name.
    Ever,
}

/// The minimum length of a hash in a file name, in characters.
const MIN_HASH_CHARS: usize = 8;

/// Whether a file can be cached for ever because its name changes with its content: build tools put a hash into the name, such
/// as `app-0a1b2c3d.js` or `main.0a1b2c3d.css`.
pub(super) fn caching(path: &str) -> Caching {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut pieces = name.split('.');
    let stem = pieces.next().unwrap_or_default();
    // The first part can have a hash after a `-`, the others between dots; the last is the extension.
    // A hash of 8 characters can contain a `-` itself.
    let fits = |(at, text): (usize, &str)| !text.contains('-') || stem.len() - at == 1 + MIN_HASH_CHARS;
    let behind_dash = stem.match_indices('-').filter_map(|(at, _)| Some((at, stem.get(at + 1..)?)));
    let behind_dash = behind_dash.filter(|found| fits(*found)).map(|(_, text)| text);
    let between: Vec<&str> = pieces.collect();
    let between = between.split_last().map(|(_, others)| others).unwrap_or_default();
    let hashed = behind_dash.chain(between.iter().copied()).any(is_hash);
    if hashed { Caching::Ever } else { Caching::Ask }
}

/// Whether a part of a name is a hash and not a word, date or version: hexadecimal with letters and digits, or base64url with
/// letters of both cases and digits that does not consist of words followed by a number.
fn is_hash(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(&kind);
    let all = |kind: fn(&u8) -> bool| text.as_bytes().iter().all(&kind);
    let digit = |byte: &u8| byte.is_ascii_digit();
    if text.len() < MIN_HASH_CHARS || !has(digit) {
        return false;
    }
    if all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return has(u8::is_ascii_lowercase);
    }
    // esbuild's are base32, in capitals.
    let base32 = all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) && has(u8::is_ascii_uppercase);
    let base64 = all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase);
    (base32 || base64) && !is_of_words(text)
}

/// Whether the text consists of words (`UserGuide`, `v2`, `VERSION`) with numbers before, between or after them.
fn is_of_words(text: &str) -> bool {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => '0',
        b'a'..=b'z' => 'a',
        b'A'..=b'Z' => 'A',
        _ => '-',
    };
    let mut runs: Vec<(char, usize)> = Vec::new();
    for byte in text.bytes() {
        match runs.last_mut() {
            Some((last, length)) if *last == kind(byte) => *length += 1,
            _ => runs.push((kind(byte), 1)),
        }
    }
    runs.retain(|(kind, _)| *kind != '-');
    let digits = runs.iter().filter(|(kind, _)| *kind == '0').count();
    // A word has some letters, of which the first or all may be capitals.
    let short = runs.iter().filter(|(kind, length)| *kind == 'a' && *length < 3).count();
    digits <= 1 && short == 0 && runs.iter().all(|(kind, length)| *kind != 'A' || *length == 1 || *length >= 3)
}

/// A request for bytes.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) digest: &'a Digest,
    /// In bytes.
    pub(super) length: u64,
    pub(super) content_type: &'a str,
}

/// Answers with bytes of a digest, and supports conditional and range requests (RFC 9110, 13 and 14). The bytes have no date,
/// so conditions on dates are ignored, as the RFC requires.
pub(super) async fn send_blob(
    asked: Asked<'_>,
    blob: impl Future<Output = Result<Blob, Failure>>,
) -> Result<Response, Failure> {
    let Asked { method, headers, digest, length, content_type } = asked;
    let etag = format!("\"{digest}\"");
    if headers.contains_key(header::IF_MATCH) && !lists(headers, header::IF_MATCH, |tag| tag == etag) {
        let message = format!("the header `if-match` does not list the current tag {etag}");
        return Err(Failure::new(412, "precondition-failed", message));
    }
    let known = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    let mut response = if lists(headers, header::IF_NONE_MATCH, known) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if *method == Method::HEAD {
        // The body sets no length, because the header already has that of GET.
        let nothing = stream::empty::<Result<Bytes, std::io::Error>>();
        sized(Body::from_stream(nothing).into_response(), length)
    } else {
        match range(headers, &etag, length) {
            Ok(None) => {
                let blob = blob.await?;
                let length = blob.length();
                sized(blob.body(0..length).into_response(), length)
            }
            Ok(Some((first, last))) => {
                let part = blob.await?.body(first..last + 1);
                let mut response = sized((StatusCode::PARTIAL_CONTENT, part).into_response(), last + 1 - first);
                set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
                response
            }
            Err(()) => {
                let message = format!("the header `range` asks for bytes beyond the end; the length is {length} bytes");
                let mut response = answer::failure(&Failure::new(416, "range-not-satisfiable", message));
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
                set(&mut response, header::ACCEPT_RANGES, "bytes");
                return Ok(response);
            }
        }
    };
    if response.status() != StatusCode::NOT_MODIFIED {
        set(&mut response, header::CONTENT_TYPE, content_type);
        set(&mut response, header::ACCEPT_RANGES, "bytes");
    }
    set(&mut response, header::ETAG, &etag);
    Ok(response)
}

fn sized(mut response: Response, length: u64) -> Response {
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Answers with a file of an app.
pub(super) async fn send(site: &Site, file: &FileEntry, asked: &Parts, caching: Caching) -> Result<Response, Failure> {
    let Parts { method, headers, .. } = asked;
    // The guard has compared it with the names of this server.
    let host = site.allowed.host(asked);
    let content_type = with_charset(&file.media_type);
    let asked = Asked { method, headers, digest: &file.sha256, length: file.size, content_type: &content_type };
    let digest = file.sha256;
    let blob = async {
        let blob = site.repository.file(digest).await?;
        let whole = blob.filter(|blob| blob.length() == file.size);
        whole.ok_or_else(|| Failure::internal(format!("blob {digest} is missing; publish the bundle again")))
    };
    let mut response = send_blob(asked, blob).await?;
    if response.status().is_client_error() {
        return Ok(response);
    }
    let kept = match caching {
        Caching::Ask => "no-cache",
        Caching::Ever => FOR_EVER,
    };
    set(&mut response, header::CACHE_CONTROL, kept);
    if file.media_type == "text/html" {
        let own = if host.is_empty() { String::new() } else { format!(" ws://{host}") };
        set(&mut response, header::CONTENT_SECURITY_POLICY, &format!("{PAGE_POLICY}{own}"));
    }
    Ok(response)
}

/// Whether a condition holds: its header, on one or more lines, is `*` or lists a matching tag.
fn lists(headers: &HeaderMap, name: HeaderName, fits: impl Fn(&str) -> bool) -> bool {
    let mut lines = headers.get_all(&name).iter();
    let any = matches!((lines.next(), lines.next()), (Some(only), None) if only.as_bytes().trim_ascii() == b"*");
    any || tags(headers.get_all(&name).iter()).any(fits)
}

/// The tags in a list (RFC 9110, 8.8.3). The list ends at the first text that is not a tag.
pub(super) fn tags<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    lines.flat_map(|line| {
        let mut rest = line.to_str().unwrap_or_default();
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
            let end = rest.len() - quoted.len() + quoted.find('"')? + 1;
            let tag = rest.get(..end)?;
            rest = rest.get(end..)?;
            Some(tag)
        })
    })
}

/// The first and last byte of a requested range. None means the whole content: for several ranges (allowed by RFC 9110, 14.2),
/// for a range of other content, and for a range that is not in bytes. Errors if the range is outside the content.
fn range(headers: &HeaderMap, etag: &str, length: u64) -> Result<Option<(u64, u64)>, ()> {
    let line = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        (lines.next().map(|value| value.to_str().unwrap_or_default()), lines.next().is_some())
    };
    // A weak tag never matches, and there is no date to compare.
    let same = matches!(line(header::IF_RANGE), (None, _)) || line(header::IF_RANGE) == (Some(etag), false);
    let (Some(asked), false) = line(header::RANGE) else { return Ok(None) };
    let Some(ranges) = parse_range_header(asked).ok().filter(|_| same) else { return Ok(None) };
    let [range] = ranges.ranges.as_slice() else { return Ok(None) };
    let first = match range.start {
        StartPosition::Index(first) => first,
        // If the content is shorter than the requested end, this is the whole content.
        StartPosition::FromLast(count) => length.saturating_sub(count),
    };
    let last = match range.end {
        // A range that runs backwards is not valid (RFC 9110, 14.1.1).
        EndPosition::Index(last) if last < first => return Ok(None),
        EndPosition::Index(last) => last,
        EndPosition::LastByte => u64::MAX,
    };
    if first < length { Ok(Some((first, last.min(length - 1)))) } else { Err(()) }
}

/// A media type, with the character encoding for text.
pub(super) fn with_charset(media_type: &str) -> String {
    let text = media_type.starts_with("text/") && !media_type.contains("charset");
    if text { format!("{media_type}; charset=utf-8") } else { media_type.to_owned() }
}

/// Sets a header, if the value is valid in a header.
pub(super) fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_cached_for_ever() {
        let hashed = [
            "app-0a1b2c3d.js",
            "assets/index-BfX3k9Qa.js",
            "index-D4rW9xZ_.css",
            "index-C-x2Vb9q.js",
            "main.3f2a9c1b.css",
            "chunk.3f2a9c1b04de.min.js",
            "main-X7KQ2ABC.js",
            "app-0a1b2c3d.js.map",
            "logo-5d8c72f1e0a94b3c8d7e6f5a4b3c2d1e.svg",
        ];
        let plain = [
            "web-component.js",
            "app-settings.json",
            "report-20240101.pdf",
            "report-2024-01-01.pdf",
            "photo-holiday2024.jpg",
            "chapter-introduction2.html",
            "manual-UserGuide2024.pdf",
            "manual-2024UserGuide.pdf",
            "notes-VERSION2.txt",
            "jquery-3.7.1.min.js",
            "jquery.20240101.js",
            "polyfill-es2015modules.js",
            "app-0a1b2c3.js",
            "0a1b2c3d.js",
            "background-1920x1080.jpg",
            "a-deadbeef.js",
            "data-abcdefgh.json",
            "folder-0a1b2c3d/index.html",
            "step-by-step-Guide2.html",
            "web-component-Foo2Bar.js",
            "",
            "-",
        ];
        let wrong: Vec<&str> = hashed.iter().filter(|name| caching(name) != Caching::Ever).copied().collect();
        let guessed: Vec<&str> = plain.iter().filter(|name| caching(name) == Caching::Ever).copied().collect();
        assert!(wrong.is_empty() && guessed.is_empty(), "{wrong:?} {guessed:?}");
    }

    #[test]
    fn tags_are_read_from_all_lines_and_can_contain_a_comma() {
        let lines = [r#"W/"a" , "b,c""#, r#""d""e", x, "f""#, r#""open"#].map(HeaderValue::from_static);
        assert_eq!(tags(lines.iter()).collect::<Vec<_>>(), [r#"W/"a""#, r#""b,c""#, r#""d""#, r#""e""#]);
    }
}
