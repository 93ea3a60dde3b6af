//! The server, over HTTP.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use starlane_protocol::{Address, Payload};
use ureq::{
    Agent, Body, SendBody,
    http::{HeaderMap, Response, Uri, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{
    arguments::Reach,
    error::{NoServer, Refused},
    reach::Reached,
};

/// How long to wait for the beginning of an answer: longer than a request lives by default.
const PATIENCE: Duration = Duration::from_secs(40);
/// The longest answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024 * 1024;

/// A server, and the token to show it.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// A body to send.
pub(crate) enum Upload<'a> {
    Nothing,
    Bytes(&'a str, &'a [u8]),
    Stream(u64, Box<dyn Read + 'a>),
}

/// An answer: what the server said, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client as the arguments say. Nothing is sent yet.
    pub(crate) fn new(reach: &Reach) -> Result<Self> {
        let reached = Reached::read(reach)?;
        let url = reached.server.trim_end_matches('/').to_owned();
        let uri: Uri =
            url.parse().with_context(|| format!("`{url}` is no URL: expected such as http://127.0.0.1:7711"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("`{url}` is no URL of a server: expected such as http://127.0.0.1:7711");
        }
        // The admin token of this machine's server is for that server alone.
        let of_data = || fs::read_to_string(reached.data.join("admin.token")).ok().filter(|_| is_loopback(&uri));
        let token = reached.token.or_else(of_data);
        let roots = match &reached.ca {
            Some(file) => RootCerts::from(certificates(file)?),
            None => RootCerts::PlatformVerifier,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_recv_response(Some(PATIENCE))
            .user_agent(concat!("starlane/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url, token: token.map(|token| token.trim().to_owned()) })
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request to a resource. Errors with [`Refused`] when it fails.
    pub(crate) fn request(&self, to: &Address, operation: &str, payload: &Payload) -> Result<Payload> {
        let body = match payload.content_type.as_str() {
            "" => Upload::Nothing,
            content_type => Upload::Bytes(content_type, &payload.body),
        };
        // A file's path is part of the address, and no path of the URL.
        let to = to.as_str().replace('/', "%2F");
        let answer = self.send("POST", &format!("/messages/{to}/{operation}"), &[], body)?.success()?;
        let content_type = answer.header(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
        Ok(Payload { content_type, headers: Vec::new(), body: answer.body.into() })
    }

    /// Sends JSON to a resource of the server's own, and reads its answer.
    pub(crate) fn ask<T: DeserializeOwned>(&self, to: &str, operation: &str, body: &Value) -> Result<T> {
        let reply = self.request(&Address::parse(to)?, operation, &Payload::json(body.to_string()))?;
        let json = if reply.body.is_empty() { b"null".as_slice() } else { &reply.body };
        serde_json::from_slice(json).context("the server's answer can't be read: is it a newer one?")
    }

    /// One exchange.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Upload<'_>) -> Result<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let ran = match body {
            Upload::Nothing => self.agent.run(request.body(SendBody::none())?),
            Upload::Bytes(content_type, bytes) => {
                let request = request.header(header::CONTENT_TYPE, content_type);
                self.agent.run(request.body(bytes)?)
            }
            Upload::Stream(length, mut reader) => {
                let request = request.header(header::CONTENT_LENGTH, length);
                self.agent.run(request.body(SendBody::from_reader(&mut reader))?)
            }
        };
        let mut response: Response<Body> = ran.map_err(|error| self.explain(method, path, error))?;
        let body = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = body.map_err(|error| self.explain(method, path, error))?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// Opens a stream of lines that the server goes on writing to.
    pub(crate) fn stream(&self, path: &str) -> Result<impl BufRead + use<>> {
        let mut request = ureq::http::Request::builder().uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.agent.run(request.body(())?).map_err(|error| self.explain("GET", path, error))?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        if (200..300).contains(&status) {
            return Ok(BufReader::new(body.into_reader()));
        }
        Err(Refused::read(status, &body.read_to_vec()?).into())
    }

    fn explain(&self, method: &str, path: &str, error: ureq::Error) -> anyhow::Error {
        let reason = error.to_string();
        match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Io(_)
            | ureq::Error::Protocol(_)
            | ureq::Error::Timeout(_) => NoServer { url: self.url.clone(), reason }.into(),
            _ => anyhow::Error::new(error).context(format!("{method} {}{path} failed", self.url)),
        }
    }
}

impl Answer {
    /// This answer, if it is a success.
    pub(crate) fn success(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Refused::read(self.status, &self.body).into()) }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The authorities of a PEM file.
fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = fs::read(file).with_context(|| format!("the authority {} can't be read", file.display()))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        bail!("{} holds no certificate in PEM form", file.display());
    }
    Ok(found)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(server: &str, data: &std::path::Path) -> Reach {
        Reach { server: Some(server.into()), data: Some(data.into()), ..Reach::default() }
    }

    #[test]
    fn the_admin_token_goes_to_a_server_on_this_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("admin.token"), "secret\n").unwrap();
        for (server, shown) in [
            ("http://127.0.0.1:7711", true),
            ("http://localhost:7711/", true),
            ("http://[::1]:7711", true),
            ("http://127.0.0.1.evil.example", false),
            ("http://192.0.2.1:7711", false),
        ] {
            let client = Client::new(&reach(server, folder.path())).unwrap();
            assert_eq!(client.token.as_deref(), shown.then_some("secret"), "{server}");
        }
    }

    #[test]
    fn only_a_url_of_a_server_is_taken() {
        for server in ["", "127.0.0.1:7711", "ftp://mesh.example", "http://", "ws://127.0.0.1:7711/mesh"] {
            assert!(Client::new(&reach(server, std::path::Path::new("."))).is_err(), "{server}");
        }
    }
}
