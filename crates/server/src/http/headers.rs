//! Headers between HTTP and payloads, both ways: what is end to end is passed on, what a connection or this server itself is
//! about is not.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use starlane_protocol::Failure;

/// The payload header by which a mechtron gives the status of a page.
const STATUS: &str = "starlane-status";
/// What belongs to a connection (RFC 9110, section 7.6.1) or is the server's own business, both ways.
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
/// What more is not passed on of a request: secrets, and what the server answers itself.
const OWN_IN: [HeaderName; 6] =
    [header::HOST, header::AUTHORIZATION, header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE, header::EXPECT];

/// The headers of a request that a resource gets.
pub(super) fn from_request(headers: &HeaderMap) -> Vec<(String, String)> {
    let passed = headers.iter().filter(|(name, _)| is_end_to_end(name) && !OWN_IN.contains(name));
    passed.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

/// Puts the headers that a resource gave into an answer, and gives the status that it asked for. Errors with 500 when one is
/// no header, or the status is none of a success or a redirection.
pub(super) fn into_answer(given: &[(String, String)], answer: &mut HeaderMap) -> Result<StatusCode, Failure> {
    let mut status = StatusCode::OK;
    for (name, value) in given {
        let broken = |what: &str| Failure::guest_failed(format!("the header `{name}` of the reply is {what}"));
        if name == STATUS {
            let known = value.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok());
            let known = known.filter(|status| status.is_success() || status.is_redirection());
            status = known.ok_or_else(|| broken("no status from 200 to 399: other ends are failures"))?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken("not one that HTTP knows"))?;
        let value = HeaderValue::from_str(value).map_err(|_| broken("no text that HTTP can carry"))?;
        // Who may read an answer across origins is for the operator to say.
        if is_end_to_end(&name) && !name.as_str().starts_with("access-control-") {
            answer.append(name, value);
        }
    }
    Ok(status)
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
    fn what_is_end_to_end_is_passed_on() {
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
    fn a_reply_gives_its_status_and_headers() {
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
        ]);
        assert_eq!(into_answer(&given, &mut answer).unwrap(), StatusCode::SEE_OTHER);
        assert_eq!(answer, map(&[("location", "/x"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]));
        for broken in [("starlane-status", "404"), ("starlane-status", "x"), ("a b", "x"), ("x", "a\nb")] {
            assert_eq!(into_answer(&pairs(&[broken]), &mut answer).unwrap_err().code, "guest-failed", "{broken:?}");
        }
    }
}
