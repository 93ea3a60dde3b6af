//! Who may speak to this server at all: exact Host and Origin checks, before anything else. Other pages and DNS rebinding must
//! not reach a server on loopback.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use starlane_protocol::Failure;

use super::{Site, answer};
use crate::serve::ServeConfig;

/// The Host and Origin headers that are let in, compared byte by byte.
pub(crate) struct Allowed {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
}

impl Allowed {
    /// The names of the address that is listened on, and what the operator adds.
    pub(crate) fn new(listen: SocketAddr, config: &ServeConfig) -> Self {
        let port = listen.port();
        let mut names = vec![listen.to_string(), format!("localhost:{port}")];
        if listen.ip().is_loopback() {
            names.extend([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        }
        let added = config.allow_hosts.iter().chain(config.spaces.values().flatten());
        let added: Vec<String> = added.map(ToString::to_string).collect();
        let scheme = config.scheme();
        let outside = if config.behind_proxy { "https" } else { scheme };
        let own = names.iter().map(|name| format!("{scheme}://{name}"));
        let own = own.chain(added.iter().map(|host| format!("{outside}://{host}")));
        let origins = own.chain(config.allow_origins.iter().map(ToString::to_string)).collect();
        let hosts = names.into_iter().chain(added).collect();
        Self { hosts, origins }
    }

    pub(crate) fn origins(&self) -> impl Iterator<Item = &str> {
        self.origins.iter().map(String::as_str)
    }

    fn check(&self, headers: &HeaderMap, uri_host: Option<&str>) -> Result<(), Failure> {
        let one = |name: header::HeaderName| {
            let mut all = headers.get_all(&name).iter();
            match (all.next(), all.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => Ok(Some(value.to_str().unwrap_or("").to_owned())),
                _ => Err(Failure::new(403, "host-refused", format!("several `{name}` headers"))),
            }
        };
        let host = one(header::HOST)?.or_else(|| uri_host.map(str::to_owned)).unwrap_or_default();
        if !self.hosts.contains(&host) {
            let message = format!(
                "this server does not answer for the host `{host}`: start it with `--allow-host {host}` if it should"
            );
            return Err(Failure::new(403, "host-refused", message));
        }
        match one(header::ORIGIN)? {
            Some(origin) if !self.origins.contains(&origin) => {
                let message = format!(
                    "pages of the origin `{origin}` may not use this server: start it with `--allow-origin {origin}` if they should"
                );
                Err(Failure::new(403, "origin-refused", message))
            }
            _ => Ok(()),
        }
    }
}

/// The layer around every route.
pub(super) async fn check(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let uri_host = request.uri().authority().map(|authority| authority.as_str());
    if let Err(failure) = site.allowed.check(request.headers(), uri_host) {
        return answer::failure(&failure);
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let trace = trace_id(request.headers()).to_owned();
    let answered = next.run(request).await;
    if answered.status().is_server_error() {
        // The path says where; a query may hold what is nobody's business.
        tracing::warn!(trace, %method, path, status = answered.status().as_u16(), "a request failed");
    }
    answered
}

/// The trace that a request belongs to, by its header `traceparent` (W3C Trace Context); empty without.
fn trace_id(headers: &HeaderMap) -> &str {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id = parent.split('-').nth(1).unwrap_or_default();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { id } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: &str, origin: Option<&str>) -> bool {
        let config =
            ServeConfig { allow_origins: vec!["http://localhost:5173".parse().unwrap()], ..ServeConfig::default() };
        let allowed = Allowed::new("127.0.0.1:7711".parse().unwrap(), &config);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        allowed.check(&headers, None).is_ok()
    }

    #[test]
    fn a_trace_is_known_by_its_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(trace_id(&headers), "");
        for (parent, id) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("00-short-00f067aa0ba902b7-01", ""),
            ("nonsense", ""),
        ] {
            headers.insert("traceparent", parent.parse().unwrap());
            assert_eq!(trace_id(&headers), id);
        }
    }

    #[test]
    fn exactly_the_known_hosts_and_origins_are_let_in() {
        assert!(verdict("127.0.0.1:7711", None));
        assert!(verdict("localhost:7711", Some("http://localhost:7711")));
        assert!(verdict("127.0.0.1:7711", Some("http://localhost:5173")));
        for host in ["127.0.0.1", "localhost", "LOCALHOST:7711", "evil.example:7711", "localhost:7711.evil.example", ""]
        {
            assert!(!verdict(host, None), "{host}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:77110",
            "http://localhost",
            "https://localhost:7711",
            "http://localhost:5173.evil.example",
            "http://xlocalhost:5173",
            "http://localhost:5173/",
            "HTTP://localhost:5173",
            "",
        ] {
            assert!(!verdict("127.0.0.1:7711", Some(origin)), "{origin}");
        }
    }
}
