//! The client of a server, over HTTP.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
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
    error::{BrokeOff, NoServer, Refused},
    reach::Reached,
};

/// The timeout for making a connection, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for the beginning of a response, and for each read and write of a body. It is longer than the default
/// lifetime of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// The maximum length of a response, in bytes.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;

/// A server, and the token for it.
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

/// A response of the server, with any status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Makes a client from the arguments. Sends nothing yet.
    pub(crate) fn new(reach: &Reach) -> Result<Self> {
        let reached = Reached::read(reach)?;
        let url = reached.server.trim_end_matches('/').to_owned();
        let uri: Uri = url
            .parse()
            .with_context(|| format!("`{url}` is not a URL: expected a URL such as http://127.0.0.1:7711"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("`{url}` is not the URL of a server: expected a URL such as http://127.0.0.1:7711");
        }
        // Only the server on this machine gets the admin token of the data folder.
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
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .timeout_per_write(Some(READ_TIMEOUT))
            .user_agent(concat!("starlane/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url, token: token.map(|token| token.trim().to_owned()) })
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request to a resource. Returns [`Refused`] if the request fails.
    pub(crate) fn request(&self, to: &Address, operation: &str, payload: &Payload) -> Result<Payload> {
        let body = match payload.content_type.as_str() {
            "" => Upload::Nothing,
            content_type => Upload::Bytes(content_type, &payload.body),
        };
        // The path of a file is part of the address, not of the URL.
        let to = to.as_str().replace('/', "%2F");
        let answer = self.send("POST", &format!("/messages/{to}/{operation}"), &[], body)?.success()?;
        let content_type = answer.header(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
        Ok(Payload::new(&content_type, answer.body))
    }

    /// Sends JSON to a resource of the server itself, and reads its reply.
    pub(crate) fn ask<T: DeserializeOwned>(&self, to: &str, operation: &str, body: &Value) -> Result<T> {
        let reply = self.request(&Address::parse(to)?, operation, &Payload::json(body.to_string()))?;
        let json = if reply.body.is_empty() { b"null".as_slice() } else { &reply.body };
        serde_json::from_slice(json)
            .context("the server's answer can't be read: the server is perhaps newer than this command")
    }

    /// Sends one HTTP request.
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
            Upload::Stream(length, reader) => {
                let request = request.header(header::CONTENT_LENGTH, length);
                let mut watched = Watched { reader, failed: None };
                let ran = self.agent.run(request.body(SendBody::from_reader(&mut watched))?);
                // An error of the local file is not an error of the connection.
                if let (Err(_), Some(error)) = (&ran, watched.failed) {
                    return Err(error.into());
                }
                ran
            }
        };
        let mut response: Response<Body> = ran.map_err(|error| self.explain(method, path, error))?;
        let body = response.body_mut().with_config().limit(MAX_RESPONSE_BYTES).read_to_vec();
        let body = body.map_err(|error| self.explain(method, path, error))?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// Opens a stream of lines that does not end.
    pub(crate) fn stream(&self, path: &str) -> Result<impl BufRead + use<>> {
        let mut request = ureq::http::Request::builder().uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        // The time between two lines has no limit.
        let request = self.agent.configure_request(request.body(())?).timeout_per_read(None).build();
        let response = self.agent.run(request).map_err(|error| self.explain("GET", path, error))?;
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
            ureq::Error::Io(error) if is_cut(error.kind()) => BrokeOff { url: self.url.clone(), reason }.into(),
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Io(_)
            | ureq::Error::Protocol(_)
            | ureq::Error::Timeout(_) => NoServer { url: self.url.clone(), reason }.into(),
            _ => anyhow::Error::new(error).context(format!("{method} {}{path} failed", self.url)),
        }
    }
}

/// Returns whether an existing connection was lost (and not that no connection was made).
fn is_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero)
}

/// A reader that keeps its error. Otherwise the HTTP client would report it as an error of the connection.
struct Watched<'a> {
    reader: Box<dyn Read + 'a>,
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            told
        })
    }
}

impl Answer {
    /// Returns this response if its status is a success.
    pub(crate) fn success(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Refused::read(self.status, &self.body).into()) }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Reads the certificate authorities of a PEM file.
fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = fs::read(file).with_context(|| format!("the authority {} can't be read", file.display()))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        bail!("{} has no certificate in PEM format", file.display());
    }
    Ok(found)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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

    /// A server that takes connections, reads the first bytes of each, and closes it.
    fn cutting() -> (Client, tempfile::TempDir) {
        let (folder, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            listener.incoming().try_for_each(|stream| stream.and_then(|mut stream| stream.read(&mut [0; 16]).map(drop)))
        });
        (Client::new(&reach(&url, folder.path())).unwrap(), folder)
    }

    #[test]
    fn a_lost_connection_differs_from_a_missing_server() {
        let (client, folder) = cutting();
        let error = client.send("GET", "/", &[], Upload::Nothing).err().unwrap();
        assert!(error.is::<BrokeOff>(), "{error}");
        let long = Upload::Stream(1 << 30, Box::new(io::repeat(0)));
        let error = client.send("PUT", "/", &[], long).err().unwrap();
        assert!(error.is::<BrokeOff>(), "{error}");

        // Nobody listens on a port that was just given back.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(&reach(&format!("http://{free}"), folder.path())).unwrap();
        let error = client.send("GET", "/", &[], Upload::Nothing).err().unwrap();
        assert!(error.is::<NoServer>(), "{error}");
    }

    #[test]
    fn an_error_of_the_local_file_is_not_an_error_of_the_server() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk is broken"))
            }
        }
        let (client, _folder) = cutting();
        let error = client.send("PUT", "/", &[], Upload::Stream(9, Box::new(Broken))).err().unwrap();
        assert_eq!(error.to_string(), "the disk is broken");
        assert!(!error.is::<BrokeOff>() && !error.is::<NoServer>());
    }

    #[test]
    fn only_a_url_of_a_server_is_accepted() {
        for server in ["", "127.0.0.1:7711", "ftp://mesh.example", "http://", "ws://127.0.0.1:7711/mesh"] {
            assert!(Client::new(&reach(server, std::path::Path::new("."))).is_err(), "{server}");
        }
    }
}
