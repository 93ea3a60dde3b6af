//! Headers between HTTP and payloads, in both directions. End-to-end headers are passed on; headers about the connection or
//! this server are not.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use starlane_protocol::Failure;

/// The payload header with which a mechtron sets the HTTP status.
const STATUS: &str = "starlane-status";
/// Headers that are not passed on in either direction: those of a connection (RFC 9110, 7.6.1) or of the server itself.
const OWN: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::X_CONTENT_TYPE_OPTIONS,
];
/// Further request headers that are not passed on: secrets, and headers that the server handles itself.
const OWN_IN: [HeaderName; 6] =
    [header::HOST, header::AUTHORIZATION, header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE, header::EXPECT];

/// The maximum number of headers of a reply, and the maximum size of their names and values: clients and proxies refuse more.
const MAX_HEADERS: usize = 128;
const MAX_BYTES: usize = 64 * 1024;
/// Headers that make a proxy in front send something other than the answer.
const FOR_PROXIES: [&str; 4] = ["x-accel-", "x-sendfile", "x-lighttpd-send-file", "x-reproxy-url"];

/// The request headers that a resource receives.
pub(super) fn from_request(headers: &HeaderMap) -> Vec<(String, String)> {
    let passed = headers.iter().filter(|(name, _)| is_end_to_end(name) && !OWN_IN.contains(name));
    passed.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The text of a header as UTF-8, or else as ISO 8859-1, which older clients use.
fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

/// The content type of a reply as a header, by default `application/octet-stream`. Errors with 500 if it is not a
/// valid header value.
pub(super) fn content_type(given: &str) -> Result<HeaderValue, Failure> {
    let given = if given.is_empty() { "application/octet-stream" } else { given };
    let value = HeaderValue::from_str(given).ok().filter(|_| given.is_ascii() && given.len() <= 1_024);
    value.ok_or_else(|| Failure::guest_failed("the content type of the reply is not a valid header value"))
}

/// Puts a resource's headers into an answer, and returns the status that the resource set. Errors with 500 when a header is not
/// valid, or when the status is not that of a success or a redirection.
pub(super) fn into_answer(given: &[(String, String)], answer: &mut HeaderMap) -> Result<StatusCode, Failure> {
    let mut status = StatusCode::OK;
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > MAX_HEADERS || bytes > MAX_BYTES {
        let message = format!(
            "the reply has {} headers of {bytes} bytes; the maximum is {MAX_HEADERS} headers of {MAX_BYTES} bytes",
            given.len()
        );
        return Err(Failure::guest_failed(message));
    }
    for (name, value) in given {
        let broken = |what: &str| Failure::guest_failed(format!("the header `{name}` of the reply is {what}"));
        if name == STATUS {
            let known = value.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok());
            let known = known.filter(|status| status.is_success() || status.is_redirection());
            status =
                known.ok_or_else(|| broken("not a status from 200 to 399; return a failure for other statuses"))?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken("not a valid HTTP header name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| broken("not a valid HTTP header value"))?;
        // Only the operator decides which origins can read an answer.
        if is_end_to_end(&name) && !name.as_str().starts_with("access-control-") && !is_for_proxies(&name) {
            answer.append(name, value);
        }
    }
    Ok(status)
}

fn is_for_proxies(name: &HeaderName) -> bool {
    FOR_PROXIES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn is_end_to_end(name: &HeaderName) -> bool {
    !OWN.contains(name) && !name.as_str().starts_with("starlane-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn end_to_end_headers_are_passed_on() {
        let request = map(&[
            ("host", "x"),
            ("authorization", "Bearer secret"),
            ("connection", "close"),
            ("starlane-caller", "admin"),
            ("cookie", "a=1"),
            ("accept", "text/html"),
            ("x-own", "1"),
        ]);
        let names: Vec<String> = from_request(&request).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cookie", "accept", "x-own"]);
    }

    #[test]
    fn a_reply_sets_its_status_and_headers() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut answer = HeaderMap::new();
        let given = pairs(&[
            ("starlane-status", "303"),
            ("location", "/x"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("connection", "close"),
            ("content-length", "7"),
            ("access-control-allow-origin", "*"),
            ("starlane-signature", "x"),
            ("x-accel-redirect", "/internal"),
            ("x-sendfile", "/etc/passwd"),
        ]);
        assert_eq!(into_answer(&given, &mut answer).unwrap(), StatusCode::SEE_OTHER);
        assert_eq!(answer, map(&[("location", "/x"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]));
        for broken in [("starlane-status", "404"), ("starlane-status", "x"), ("a b", "x"), ("x", "a\nb")] {
            assert_eq!(into_answer(&pairs(&[broken]), &mut answer).unwrap_err().code, "guest-failed", "{broken:?}");
        }
    }

    #[test]
    fn every_value_of_a_header_is_passed_on() {
        let mut request = HeaderMap::new();
        request.append("x-utf8", HeaderValue::from_bytes("gräce".as_bytes()).unwrap());
        request.append("x-latin", HeaderValue::from_bytes(b"gr\xe4ce").unwrap());
        request.append("x-twice", HeaderValue::from_static("1"));
        request.append("x-twice", HeaderValue::from_static("2"));
        let seen = from_request(&request);
        let values: Vec<&str> = seen.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["gräce", "gräce", "1", "2"]);
    }

    #[test]
    fn an_invalid_header_of_a_guest_is_its_failure() {
        for given in ["text/plain\r\nx: y", "text/plain\n", "a\0b", "text/ä", &"x".repeat(2_000)] {
            assert_eq!(content_type(given).unwrap_err().code, "guest-failed", "{given:?}");
        }
        assert_eq!(content_type("").unwrap(), "application/octet-stream");
        let many: Vec<_> = (0..MAX_HEADERS + 1).map(|n| (format!("x-{n}"), String::new())).collect();
        let long = vec![("x".to_owned(), "y".repeat(MAX_BYTES))];
        for given in [many, long] {
            assert_eq!(into_answer(&given, &mut HeaderMap::new()).unwrap_err().code, "guest-failed");
        }
    }
}
