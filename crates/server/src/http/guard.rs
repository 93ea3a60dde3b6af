//! The first checks of each request: Host, Origin, and the browser's headers about its source. Pages of other sites and DNS
//! rebinding must not reach a server on loopback.

use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use starlane_protocol::{Failure, Trace, trace::TRACEPARENT};

use super::{
    Site, answer,
    call::{Call, methods},
    client::{self, Client, Peer},
    cors, encoding,
};
use crate::serve::ServeConfig;

/// The maximum number of remembered refused origins. Each is logged once.
const MAX_LOGGED: usize = 256;
/// The maximum length of a refused origin in the log, in characters.
const LOGGED: usize = 200;
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_MODE: &str = "sec-fetch-mode";
const FETCH_DEST: &str = "sec-fetch-dest";

/// The comparison of host names: without the default port of the scheme that clients use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// `:80` or `:443`.
    default_port: &'static str,
}

impl Names {
    /// The names of a server with this configuration.
    pub(crate) fn of(config: &ServeConfig) -> Self {
        Self { default_port: default_port_of(config.outside()) }
    }

    /// A name in its comparable form.
    pub(crate) fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_suffix(self.default_port).unwrap_or(name)
    }
}

/// The allowed Host and Origin headers, compared byte by byte without a scheme's default port.
pub(crate) struct Allowed {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
    names: Names,
    logged: Mutex<HashSet<String>>,
}

impl Allowed {
    /// The names of the listening address, and those that the operator adds.
    pub(crate) fn new(listen: SocketAddr, config: &ServeConfig) -> Self {
        let port = listen.port();
        let mut names = vec![listen.to_string(), format!("localhost:{port}")];
        if listen.ip().is_loopback() {
            names.extend([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        }
        let added = config.allow_hosts.iter().chain(config.spaces.values().flatten());
        let added: Vec<String> = added.map(ToString::to_string).collect();
        let (scheme, outside) = (config.scheme(), config.outside());
        let own = names.iter().map(|name| format!("{scheme}://{name}"));
        let own = own.chain(added.iter().map(|host| format!("{outside}://{host}")));
        let origins = own.chain(config.allow_origins.iter().map(ToString::to_string));
        let origins = origins.map(|origin| without_default_port(&origin).to_owned()).collect();
        let compared = Names::of(config);
        let short = |name: &str| name.strip_suffix(default_port_of(scheme)).unwrap_or(name).to_owned();
        let hosts = names.iter().flat_map(|name| [name.clone(), short(name)]);
        let hosts = hosts.chain(added.iter().map(|host| compared.bare(host).to_owned())).collect();
        Self { hosts, origins, names: compared, logged: Mutex::default() }
    }

    /// The requested host name in its comparable form. All code that depends on it must use this function.
    pub(super) fn host<'a>(&self, asked: &'a Parts) -> &'a str {
        self.names.bare(client::named(asked))
    }

    /// Whether pages of an origin can use this server.
    pub(super) fn allows(&self, origin: &str) -> bool {
        self.origins.contains(without_default_port(origin))
    }

    /// Checks a request's Host and Origin. Errors with 403 `host-refused` and `origin-refused`.
    fn check(&self, method: &Method, headers: &HeaderMap, uri_host: Option<&str>) -> Result<(), Failure> {
        let named = one(headers, header::HOST)?;
        // A target that names an authority counts more than the header (RFC 9112, 3.2.2).
        let host = uri_host.or(named).unwrap_or_default();
        if !self.hosts.contains(self.names.bare(host)) {
            let message = format!(
                "this server does not answer for the host `{host}`; to allow it, start the server with `--allow-host {host}`"
            );
            return Err(Failure::new(403, "host-refused", message));
        }
        match one(headers, header::ORIGIN)? {
            Some(origin) if !self.allows(origin) => {
                self.log(origin);
                let message = format!(
                    "pages of the origin `{origin}` cannot use this server; to allow them, start it with `--allow-origin {origin}`"
                );
                Err(Failure::new(403, "origin-refused", message))
            }
            Some(_) => Ok(()),
            None => self.check_site(method, headers),
        }
    }

    /// Checks the browser's headers of a request without an origin. Scripts, images and frames of other sites are refused,
    /// because the request alone can have an effect. Following a link is allowed.
    fn check_site(&self, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let elsewhere = headers.get_all(FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none");
        let follows_link = said(FETCH_MODE) == "navigate"
            && matches!(said(FETCH_DEST), "document" | "")
            && [Method::GET, Method::HEAD].contains(method);
        if !elsewhere || follows_link || self.referred(headers).is_some() {
            return Ok(());
        }
        let message = "a page of another site loads this as a script, an image, a frame or the like, which is not allowed: \
                       start the server with `--allow-origin ORIGIN` if pages of that origin may use it";
        Err(Failure::new(403, "origin-refused", message))
    }

    /// The allowed origin of a page that loads a resource without the header `origin`. No page can forge its `referer`.
    fn referred(&self, headers: &HeaderMap) -> Option<String> {
        let referer = one(headers, header::REFERER).ok()??;
        let end = referer.find("://").map(|at| at + 3)?;
        let origin = match referer.get(end..)?.find(['/', '?', '#']) {
            Some(length) => referer.get(..end + length)?,
            None => referer,
        };
        self.allows(origin).then(|| origin.to_owned())
    }

    /// Logs a refused origin, once.
    fn log(&self, origin: &str) {
        let shown: String = origin.chars().take(LOGGED).collect();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() > MAX_LOGGED || !logged.insert(shown.clone()) {
            return;
        }
        if logged.len() > MAX_LOGGED {
            tracing::warn!("more than {MAX_LOGGED} origins were refused: further ones are not logged");
        } else {
            tracing::warn!("a page of the origin {shown:?} was refused: `--allow-origin {shown}` would allow it");
        }
    }
}

/// The value of a header that must occur once. Errors with 403 if it occurs more often. A value that is not ASCII is returned as
/// one that is never allowed.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Failure> {
    let mut all = headers.get_all(&name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or(""))),
        _ => Err(Failure::new(403, "host-refused", format!("the request has several `{name}` headers; send one"))),
    }
}

/// The default port of a scheme.
fn default_port_of(scheme: &str) -> &'static str {
    if scheme == "https" { ":443" } else { ":80" }
}

/// An origin as browsers write it: without its scheme's default port.
fn without_default_port(origin: &str) -> &str {
    let scheme = origin.split("://").next().unwrap_or_default();
    match scheme {
        "http" | "https" => origin.strip_suffix(default_port_of(scheme)).unwrap_or(origin),
        _ => origin,
    }
}

/// Answers a request: refuses it if a check fails, answers a preflight, or calls its route. Then it adds the common headers.
pub(super) async fn answer(site: &Arc<Site>, peer: Peer, mut parts: Parts, body: Body) -> Response {
    let uri_host = parts.uri.authority().map(|authority| authority.as_str());
    let checked = site.allowed.check(&parts.method, &parts.headers, uri_host);
    let answered = match (checked, cors::preflight(site, &parts)) {
        (Ok(()), Some(preflight)) => preflight,
        (Ok(()), None) => {
            let client = Client::of(site, peer, &parts);
            let answered = Call::new(site, &client, &mut parts, body).answer().await;
            let answered = answered.unwrap_or_else(|failure| answer::failure(&failure));
            say_methods(site, &parts, encoding::encode(&parts.headers, answered).await)
        }
        // The page can read the reason: otherwise its author sees only a network error.
        (Err(failure), Some(preflight)) if failure.code == "origin-refused" => preflight,
        (Err(failure), _) => answer::failure(&failure),
    };
    let Parts { method, uri, headers, .. } = &parts;
    if answered.status().is_server_error() {
        // The query is not logged, because it can contain secrets.
        tracing::warn!(
            trace = trace_id(headers), %method, path = uri.path(), status = answered.status().as_u16(), "a request failed"
        );
    }
    let mut answered = answer::finish(headers, answered).await;
    cors::finish(site, headers.get(header::ORIGIN), &mut answered);
    protect(site, headers, &mut answered);
    answered
}

/// Sets `allow` on a refused method (RFC 9110, 15.5.6) and on an answer to OPTIONS (9.3.7).
fn say_methods(site: &Site, asked: &Parts, mut answer: Response) -> Response {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let allowed = methods(site, asked).join(", ");
    if asked.method == Method::OPTIONS {
        answer = StatusCode::NO_CONTENT.into_response();
    }
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}

/// The headers of every answer: pages of other origins cannot embed it, and browsers do not guess its type.
fn protect(site: &Site, asked: &HeaderMap, answer: &mut Response) {
    let embeds = if site.allowed.referred(asked).is_some() { "cross-origin" } else { "same-origin" };
    let headers = answer.headers_mut();
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static(embeds));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The trace id of a request, from its header `traceparent` (W3C Trace Context); empty without one.
fn trace_id(headers: &HeaderMap) -> String {
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    parent.and_then(Trace::parse).map_or(String::new(), |trace| trace.id().to_owned())
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
        allowed.check(&Method::GET, &headers, None).is_ok()
    }

    #[test]
    fn a_trace_is_read_from_its_header() {
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
    fn only_the_known_hosts_and_origins_are_admitted() {
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

    #[test]
    fn the_default_port_is_optional() {
        let at = |listen: &str, scheme: &str, host: &str, origin: &str| {
            let tls =
                (scheme == "https").then(|| crate::TlsFiles { cert: "c".parse().unwrap(), key: "k".parse().unwrap() });
            let config = ServeConfig {
                tls,
                allow_hosts: vec![
                    "mesh.test".parse().unwrap(),
                    "other.test:80".parse().unwrap(),
                    "third.test:443".parse().unwrap(),
                ],
                allow_origins: vec!["https://a.test:443".parse().unwrap(), "http://b.test".parse().unwrap()],
                ..ServeConfig::default()
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            Allowed::new(listen.parse().unwrap(), &config).check(&Method::GET, &headers, None).is_ok()
        };
        let own = "http://127.0.0.1";
        let cases = [
            ("127.0.0.1:80", "http", "127.0.0.1", own, true),
            ("127.0.0.1:80", "http", "127.0.0.1:80", own, true),
            ("127.0.0.1:80", "http", "localhost", "http://localhost:80", true),
            ("127.0.0.1:80", "http", "[::1]", "http://[::1]", true),
            ("127.0.0.1:443", "https", "localhost", "https://localhost", true),
            ("127.0.0.1:443", "https", "localhost:443", "https://localhost:443", true),
            ("127.0.0.1:80", "http", "mesh.test:80", "http://mesh.test", true),
            ("127.0.0.1:80", "http", "other.test", "http://other.test", true),
            ("127.0.0.1:443", "https", "third.test", "https://third.test", true),
            ("127.0.0.1:80", "http", "localhost", "https://a.test", true),
            ("127.0.0.1:80", "http", "localhost", "http://b.test:80", true),
            ("127.0.0.1:80", "http", "127.0.0.1:443", own, false),
            ("127.0.0.1:443", "https", "localhost:80", "https://localhost", false),
            ("127.0.0.1:443", "https", "localhost", "https://localhost:80", false),
            ("127.0.0.1:80", "http", "localhost", "http://localhost:443", false),
            ("127.0.0.1:7711", "http", "127.0.0.1", "http://127.0.0.1:7711", false),
            ("127.0.0.1:7711", "http", "127.0.0.1:80", "http://127.0.0.1:7711", false),
            ("127.0.0.1:7711", "http", "127.0.0.1:7711", own, false),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(listen, scheme, host, origin, allowed)| at(listen, scheme, host, origin) != *allowed)
            .collect();
        starlane_testkit::field_fault("F16", cases.len(), wrong.len());
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn embedding_by_another_site_is_refused_and_following_a_link_works() {
        let config =
            ServeConfig { allow_origins: vec!["http://localhost:5173".parse().unwrap()], ..ServeConfig::default() };
        let allowed = Allowed::new("127.0.0.1:7711".parse().unwrap(), &config);
        let verdict = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:7711".parse().unwrap());
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            allowed.check(&method, &headers, None).is_ok()
        };
        let site = |site, mode, dest| [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        for elsewhere in ["cross-site", "same-site", "unheard-of"] {
            for (mode, dest) in [
                ("no-cors", "script"),
                ("no-cors", "image"),
                ("no-cors", "empty"),
                ("navigate", "iframe"),
                ("navigate", "embed"),
                ("navigate", "object"),
                ("cors", "empty"),
                ("websocket", "websocket"),
                ("", ""),
            ] {
                let refused = !verdict(Method::GET, &site(elsewhere, mode, dest));
                assert!(refused, "{elsewhere} {mode} {dest}");
            }
            assert!(verdict(Method::GET, &site(elsewhere, "navigate", "document")));
            assert!(!verdict(Method::POST, &site(elsewhere, "navigate", "document")));
            let mut referred = site(elsewhere, "no-cors", "image").to_vec();
            referred.push(("referer", "http://localhost:5173/page?x"));
            assert!(verdict(Method::GET, &referred), "a page of an allowed origin can embed");
            referred.pop();
            referred.push(("referer", "http://localhost:5173.evil.example/"));
            assert!(!verdict(Method::GET, &referred));
        }
        assert!(verdict(Method::GET, &site("same-origin", "no-cors", "script")));
        assert!(verdict(Method::GET, &site("none", "navigate", "document")));
        let twice = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert!(!verdict(Method::GET, &twice));
        assert!(verdict(Method::GET, &[]), "a client without these headers is allowed");
    }

    #[test]
    fn a_refused_origin_is_logged_once_up_to_a_maximum_of_origins() {
        let allowed = Allowed::new("127.0.0.1:7711".parse().unwrap(), &ServeConfig::default());
        for number in 0..10_000 {
            allowed.log(&format!("http://{number}.test{}", "x".repeat(1_000)));
        }
        let logged = allowed.logged.lock().unwrap();
        assert!(logged.len() <= MAX_LOGGED + 1 && logged.iter().all(|origin| origin.len() <= LOGGED));
    }
}
