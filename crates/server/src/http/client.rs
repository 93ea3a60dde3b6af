//! The client of an HTTP request: its address, its token, and whether it is on this machine.

use std::{fmt, net::IpAddr};

use axum::http::{HeaderMap, HeaderName, Version, header, request::Parts, uri::Authority};
use starlane_host::Principal;
use starlane_protocol::Failure;

use super::{Site, gate::network};

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(super) IpAddr);

/// The headers that proxies add to a request.
const OF_PROXIES: [HeaderName; 8] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("fastly-client-ip"),
];

/// The sender of a request.
#[derive(Debug)]
pub(super) struct Client {
    account: Account,
    /// Whether it came directly from a program of this machine, as far as the server can see.
    direct: bool,
}

/// The account of a client's requests: its IPv4 address, or its IPv6 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Account(IpAddr);

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Client {
    /// The client of a request that the guard has let in.
    pub(super) fn of(site: &Site, Peer(peer): Peer, parts: &Parts) -> Self {
        // The operator's proxy is trusted. It appends the client's address.
        let forwarded = site.behind_proxy.then(|| forwarded(&parts.headers)).flatten();
        let direct = !by_proxy(&parts.headers, parts.version) && is_of_loopback(named(parts));
        Self { account: Account(network(forwarded.unwrap_or(peer))), direct }
    }

    /// The account of its requests.
    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// Whether it came directly from a program of this machine to a server that only this machine can reach.
    pub(super) fn is_local(&self, site: &Site) -> bool {
        site.local && self.direct
    }

    /// The principal of a request: the bearer, or the anonymous one for a program of this machine. Errors with 401.
    pub(super) fn principal(&self, site: &Site, headers: &HeaderMap) -> Result<Principal, Failure> {
        let token = bearer(headers)?;
        if token.is_none() && !self.direct {
            // Only a program of this machine needs no token.
            site.auth.principal(None)?;
            return Err(through_proxy());
        }
        site.auth.principal(token)
    }

    /// Checks that the client can open a link. The token follows later; without one the link would be anonymous. Errors with 401.
    pub(super) fn permit_link(&self, site: &Site) -> Result<(), Failure> {
        if self.direct || site.auth.principal(None).is_err() { Ok(()) } else { Err(through_proxy()) }
    }
}

fn through_proxy() -> Failure {
    Failure::auth_refused(
        "this request came through a proxy, or used a host name that is not local; that requires a token \
         (`starlane token create`). Start a server that is behind a proxy with `--behind-proxy`",
    )
}

/// The token of an `Authorization: Bearer …` header (RFC 9110, 11.1, and RFC 6750): the scheme in any case, then spaces.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let refused = || Failure::auth_refused("expected one header `Authorization: Bearer TOKEN`");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(header::AUTHORIZATION) { Err(refused()) } else { Ok(None) };
    };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or_else(refused)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim_start_matches(' '))) } else { Err(refused()) }
}

/// Whether a request came through a proxy. Proxies that add no header, such as nginx, use HTTP/1.0.
fn by_proxy(headers: &HeaderMap, version: Version) -> bool {
    let names = |name: &HeaderName| {
        OF_PROXIES.contains(name)
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str().starts_with("x-original-")
    };
    version < Version::HTTP_11 || headers.keys().any(names)
}

/// The client's address as the proxy reports it: the last one, because the client can forge the earlier ones.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = |name: &str| headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim);
    let of_standard = || {
        let mut pairs = last("forwarded")?.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value.trim())
    };
    last("x-forwarded-for").or_else(of_standard).or_else(|| last("x-real-ip")).and_then(address)
}

/// An address as proxies write it: in quotes or brackets, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => text,
    };
    bare.parse().ok().or_else(|| bare.rsplit_once(':').and_then(|(host, _)| host.parse().ok()))
}

/// The host name in a request, unchanged.
pub(super) fn named(asked: &Parts) -> &str {
    // A target that names an authority counts more than the header (RFC 9112, 3.2.2).
    let header = || asked.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    asked.uri.authority().map(Authority::as_str).or_else(header).unwrap_or_default()
}

/// Whether a name always means this machine.
fn is_of_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_scheme_of_a_token_ignores_case_and_extra_spaces() {
        let tried = ["Bearer x", "bearer x", "BEARER x", "bEaReR   x", "Bearer x "];
        let failing = tried.iter().filter(|text| bearer(&map(&[("authorization", text)])) != Ok(Some("x"))).count();
        assert_eq!(failing, 0);
        assert_eq!(bearer(&map(&[])), Ok(None));
        for refused in ["Basic x", "Bearer", "Bearerx", "x", "", "Bearer\tx"] {
            assert_eq!(bearer(&map(&[("authorization", refused)])).unwrap_err().status, 401, "{refused}");
        }
        assert!(bearer(&map(&[("authorization", "Bearer x"), ("authorization", "Bearer y")])).is_err());
    }

    #[test]
    fn forwarded_requests_are_recognised() {
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"] {
            assert!(by_proxy(&map(&[(name, "x")]), Version::HTTP_11), "{name}");
        }
        assert!(by_proxy(&map(&[]), Version::HTTP_10));
        assert!(!by_proxy(&map(&[("accept", "*/*"), ("x-own", "1")]), Version::HTTP_11));
        for (host, own) in [
            ("127.0.0.1:7711", true),
            ("localhost:7711", true),
            ("localhost", true),
            ("app.localhost:80", true),
            ("[::1]:7711", true),
            ("127.9.9.9", true),
            ("mesh.test", false),
            ("10.0.0.1:7711", false),
            ("127.0.0.1.evil.example", false),
            ("xlocalhost", false),
            ("", false),
        ] {
            assert_eq!(is_of_loopback(host), own, "{host}");
        }
    }

    #[test]
    fn the_last_forwarded_address_is_the_clients() {
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        for (headers, address) in [
            (&[("x-forwarded-for", "10.0.0.1, 192.0.2.7")][..], Some(v4)),
            (&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "192.0.2.7:4711")], Some(v4)),
            (&[("forwarded", "for=10.0.0.1, for=\"[2001:db8::7]:4711\";proto=https")], Some(v6)),
            (&[("x-real-ip", "2001:db8::7")], Some(v6)),
            (&[("x-forwarded-for", "unknown")], None),
            (&[], None),
        ] {
            assert_eq!(forwarded(&map(headers)), address, "{headers:?}");
        }
    }
}
