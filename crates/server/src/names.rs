//! The hosts that a server answers for and the origins that it allows, as an operator writes them. They are parsed once, into
//! the form in which a browser sends them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use starlane_protocol::Address;
use url::{Host, Url};

/// Schemes that no page's `Origin` header has, with what to write instead.
const NEVER_SENT: [(&str, &str); 6] = [
    ("ws", "http"),
    ("wss", "https"),
    ("file", "http://localhost:5173, and serve the file from there"),
    ("data", "https"),
    ("blob", "https"),
    ("javascript", "https"),
];

/// The reason why a text is not a name of this kind, with the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: {reason}")]
pub struct NameError {
    text: String,
    kind: &'static str,
    reason: String,
}

/// The origin of a page (RFC 6454), as browsers send it: lower case, without the scheme's default port and without a path, names
/// of other scripts in Punycode.
///
/// ```
/// # use starlane_server::Origin;
/// assert_eq!("HTTPS://Shop.Example:443/".parse::<Origin>().unwrap().to_string(), "https://shop.example");
/// assert!("*".parse::<Origin>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// A host name or IP address, perhaps with a port, as it stands in a `Host` header (RFC 9110, 7.2): lower case, names of other
/// scripts in Punycode, IPv6 in brackets.
///
/// ```
/// # use starlane_server::Authority;
/// assert_eq!("Mesh.Example:8443".parse::<Authority>().unwrap().to_string(), "mesh.example:8443");
/// assert!("https://mesh.example/".parse::<Authority>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

/// The name of a space: the first segment of the addresses in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpaceName(String);

impl FromStr for Origin {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |reason: String| NameError { text: shown(text), kind: "an origin", reason };
        if text.contains('*') {
            return Err(fail("patterns are not supported; name each origin, such as http://localhost:5173".into()));
        }
        if text.eq_ignore_ascii_case("null") || text.is_empty() {
            return Err(fail("expected scheme, host and perhaps a port, such as https://shop.example".into()));
        }
        if text.contains(unprintable) {
            return Err(fail("it contains spaces or control characters".into()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(fail(format!("its scheme is missing; write http://{text} or https://{text}")));
        };
        if let Some((never, instead)) = NEVER_SENT.into_iter().find(|(never, _)| scheme.eq_ignore_ascii_case(never)) {
            return Err(fail(format!("no page has an origin with the scheme `{never}`; write {instead}")));
        }
        let bare = rest.strip_suffix('/').unwrap_or(rest);
        if bare.contains(['/', '\\', '?', '#', '@']) {
            return Err(fail("expected scheme, host and perhaps a port, without a path, a query or a user".into()));
        }
        // A scheme without a default port is parsed like `http`: `tauri://localhost` is an origin too.
        let url = Url::parse(&format!("{scheme}://{bare}")).map_err(|error| fail(error.to_string()))?;
        let host = match url.host() {
            Some(host) if !host.to_string().is_empty() => parse_host(&host.to_string()).map_err(fail)?,
            _ => return Err(fail("its host is missing".into())),
        };
        if url.port() == Some(0) {
            return Err(fail("no page has port 0".into()));
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self(format!("{}://{host}{port}", url.scheme())))
    }
}

impl Origin {
    /// The form of an `Origin` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Authority {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const EXPECTED: &str =
            "expected a host name or IP address and perhaps a port, such as mesh.example or [::1]:7711";
        let fail = |reason: String| NameError { text: shown(text), kind: "a host", reason };
        if text.contains('*') {
            return Err(fail("patterns are not supported; name each host, such as mesh.example".into()));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let bare = rest.split(['/', '?', '#']).next().unwrap_or_default();
            return Err(fail(format!("it is a URL; write {bare}")));
        }
        if text.is_empty() || text.contains(unprintable) || text.contains(['/', '\\', '?', '#', '@']) {
            return Err(fail(EXPECTED.into()));
        }
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address are in brackets.
            Some((_, after)) if after.ends_with(']') => (text, None),
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => {
                return Err(fail(format!("an IPv6 address stands in brackets; write [{text}]")));
            }
            Some((host, port)) => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port: &u16| digits && *port > 0);
                (host, Some(port.ok_or_else(|| fail("a port is a number from 1 to 65535".into()))?))
            }
            None => (text, None),
        };
        if host.is_empty() {
            return Err(fail(EXPECTED.into()));
        }
        Ok(Self { host: parse_host(host).map_err(fail)?, port })
    }
}

impl Authority {
    /// The name or address, without its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for SpaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let alone = |address: &Address| address.as_str() == address.space();
        match Address::parse(text) {
            Ok(address) if alone(&address) => Ok(Self(text.to_owned())),
            _ => {
                let reason = "expected one segment of lower-case letters, digits, `-` and `_`, such as acme".into();
                Err(NameError { text: shown(text), kind: "the name of a space", reason })
            }
        }
    }
}

impl SpaceName {
    /// The segment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for Origin {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl TryFrom<String> for Authority {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl TryFrom<String> for SpaceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SpaceName> for String {
    fn from(space: SpaceName) -> Self {
        space.0
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> Self {
        authority.to_string()
    }
}

fn parse_host(text: &str) -> Result<String, String> {
    let host = Host::parse(text).map_err(|error| format!("`{}`: {error}", shown(text)))?;
    if let Host::Domain(name) = &host
        && let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
    {
        return Err(format!("`{c}` is not part of a host name"));
    }
    let host = host.to_string();
    // The limit of DNS (RFC 1035, 2.3.4).
    if host.len() > 253 { Err("a host name has at most 253 bytes".into()) } else { Ok(host) }
}

fn unprintable(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// An invalid text, shortened and escaped for display.
fn shown(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 100;
    text.chars().take(MAX_SHOWN_CHARS).map(|c| if unprintable(c) && c != ' ' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_stored_as_browsers_send_it() {
        for (text, expected) in [
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://localhost:5173/", "http://localhost:5173"),
            ("HTTP://Localhost:5173", "http://localhost:5173"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80/", "http://shop.example"),
            ("http://shop.example:443", "http://shop.example:443"),
            ("https://Bücher.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("tauri://Localhost", "tauri://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            let origin: Origin = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(origin.as_str(), expected);
            assert_eq!(expected.parse(), Ok(origin), "the stored form is stable");
        }
    }

    #[test]
    fn an_invalid_origin_is_refused_with_the_expected_form() {
        for (text, says) in [
            ("*", "name each origin"),
            ("https://*.example", "name each origin"),
            ("", "https://shop.example"),
            ("null", "https://shop.example"),
            ("localhost:5173", "http://localhost:5173"),
            ("shop.example", "https://shop.example"),
            ("http:shop.example", "scheme"),
            ("http://", "host"),
            ("http:///", "host"),
            ("http://:80", "host"),
            ("http://shop.example/path", "without a path"),
            ("http://shop.example//", "without a path"),
            ("http://shop.example?q", "without a path"),
            ("http://shop.example#f", "without a path"),
            ("http://ada@shop.example", "user"),
            ("http://shop.example:99999", "port"),
            ("http://shop.example:0", "port 0"),
            ("http://shop.example:x", "port"),
            ("ws://shop.example", "http"),
            ("file:///home", "http"),
            (" http://shop.example", "spaces"),
            ("http://shop.example\r\nx: y", "control"),
            ("http://[::1", "IPv6"),
            ("http://a.example,http://b.example", ""),
            ("http://a.example,b.example", "`,`"),
            ("http://a.example;", "`;`"),
        ] {
            let error = text.parse::<Origin>().expect_err(text).to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_is_stored_as_browsers_send_it() {
        for (text, expected) in [
            ("mesh.example", "mesh.example"),
            ("Mesh.Example:8443", "mesh.example:8443"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[::1]:7711", "[::1]:7711"),
            ("[0:0::1]", "[::1]"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            let host: Authority = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((host.to_string(), expected.parse()), (expected.to_owned(), Ok(host)));
        }
        for (text, says) in [
            ("https://mesh.example/", "write mesh.example"),
            ("mesh.example/", "such as mesh.example"),
            ("*.example", "name each host"),
            ("::1", "[::1]"),
            ("mesh.example:", "1 to 65535"),
            ("mesh.example:0", "1 to 65535"),
            ("mesh.example:+80", "1 to 65535"),
            ("mesh.example:70000", "1 to 65535"),
            (":80", "such as"),
            ("", "such as"),
            ("a b", "such as"),
            ("ada@mesh.example", "such as"),
            ("mesh.example,other.example", ""),
        ] {
            let error = text.parse::<Authority>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
    #[test]
    fn a_space_must_be_one_segment() {
        assert_eq!("acme".parse::<SpaceName>().unwrap().as_str(), "acme");
        for text in ["", "Acme", "acme:shop", "acme.example", "*", "acme:1.0.0", "~host::acme", "acme/x"] {
            text.parse::<SpaceName>().expect_err(text);
        }
    }
}
