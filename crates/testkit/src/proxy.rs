//! A proxy between browser and server. A page that is opened through it can be observed and disturbed.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, UPGRADE},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::line::{Cut, Line};

type Body = BoxBody<Bytes, hyper::Error>;

/// Changes the headers and the body of a response.
pub type Alteration = dyn Fn(&mut HeaderMap, Vec<u8>) -> Vec<u8> + Send + Sync;

/// A fault on the way.
#[derive(Clone)]
pub enum ProxyFault {
    /// Answers paths with this prefix with 503.
    Refuse(&'static str),
    /// Forwards all requests as if a page of this origin had sent them.
    Origin(&'static str),
    /// Forwards paths with this prefix to another address, `127.0.0.1:PORT`.
    Elsewhere(&'static str, String),
    /// Alters the responses for paths with this prefix.
    Alter(&'static str, Arc<Alteration>),
}

#[derive(Default)]
struct State {
    seen: Vec<String>,
    faults: Vec<ProxyFault>,
}

/// A proxy that forwards everything to one server, except for added faults.
pub struct Proxy {
    /// Its origin: `http://127.0.0.1:PORT`.
    pub origin: String,
    state: Arc<Mutex<State>>,
    line: Line,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for `upstream`, which is `127.0.0.1:PORT`.
    pub async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let line = Line::default();
        let forward = Arc::new(Forward {
            own: origin.clone(),
            upstream: upstream.to_owned(),
            // One connection per request: the server may close an idle connection just when the next request is sent.
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(),
            state: state.clone(),
            line: line.clone(),
        });
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let forward = forward.clone();
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    let service = service_fn(|request| {
                        let forward = forward.clone();
                        async move { Ok::<_, Infallible>(forward.answer(request).await) }
                    });
                    let serving = hyper::server::conn::http1::Builder::new();
                    // Ignores a browser that breaks the connection.
                    let _ = serving.serve_connection(TokioIo::new(socket), service).with_upgrades().await;
                });
            }
        });
        Ok(Self { origin, state, line, task })
    }

    /// Adds a fault to the present ones.
    pub fn add_fault(&self, fault: ProxyFault) {
        lock(&self.state).faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        lock(&self.state).faults.clear();
    }

    /// Cuts all open WebSockets.
    pub fn cut(&self, how: Cut) {
        self.line.cut(how);
    }

    /// Divides what WebSockets carry into parts of at most `bytes`, and delays each for up to `delay_ms`.
    pub fn slow(&self, bytes: usize, delay_ms: u64) {
        self.line.slow(bytes, delay_ms);
    }

    /// Damages the next bytes that a WebSocket carries to the browser.
    pub fn damage(&self) {
        self.line.damage();
    }

    /// The requested paths since the last call, in order.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Forward {
    own: String,
    upstream: String,
    client: Client<HttpConnector, Incoming>,
    state: Arc<Mutex<State>>,
    line: Line,
}

impl Forward {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let faults = {
            let mut state = lock(&self.state);
            state.seen.push(path.clone());
            state.faults.clone()
        };
        if faults.iter().any(|fault| matches!(fault, ProxyFault::Refuse(prefix) if path.starts_with(prefix))) {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the proxy refuses this path");
        }
        if faults.iter().any(|fault| matches!(fault, ProxyFault::Alter(prefix, _) if path.starts_with(prefix))) {
            // An alteration needs an uncompressed body.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        for fault in &faults {
            if let ProxyFault::Origin(origin) = fault {
                request.headers_mut().insert(ORIGIN, HeaderValue::from_static(origin));
            }
        }
        let elsewhere = faults.iter().find_map(|fault| match fault {
            ProxyFault::Elsewhere(prefix, upstream) if path.starts_with(prefix) => Some(upstream.as_str()),
            _ => None,
        });
        let mut response = match self.forward(request, elsewhere.unwrap_or(&self.upstream)).await {
            Ok(response) => response,
            Err(error) => return plain(StatusCode::BAD_GATEWAY, &format!("the server did not answer: {error:#}")),
        };
        for fault in faults {
            if let ProxyFault::Alter(prefix, alter) = fault
                && path.starts_with(prefix)
            {
                response = altered(response, &*alter).await;
            }
        }
        response
    }

    async fn forward(&self, mut request: Request<Incoming>, upstream: &str) -> Result<Response<Body>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(format!("http://{upstream}{path}"))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(upstream)?);
        // The server sees the proxy's page as its own. Other origins stay as they are.
        if headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes() == self.own.as_bytes()) {
            headers.insert(ORIGIN, HeaderValue::try_from(format!("http://{upstream}"))?);
        }
        let upgrade = headers.contains_key(UPGRADE);
        let near = upgrade.then(|| hyper::upgrade::on(&mut request));
        let mut response = self.client.request(request).await?;
        if let Some(near) = near
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            let far = hyper::upgrade::on(&mut response);
            let line = self.line.clone();
            tokio::spawn(async move {
                if let (Ok(near), Ok(far)) = (near.await, far.await) {
                    line.carry(near, far).await;
                }
            });
        }
        Ok(response.map(BodyExt::boxed))
    }
}

async fn altered(response: Response<Body>, alter: &Alteration) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return plain(StatusCode::BAD_GATEWAY, "the server broke the connection");
    };
    let body = alter(&mut head.headers, body.to_bytes().to_vec());
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(head, full(body))
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(text.as_bytes().to_vec()));
    *response.status_mut() = status;
    response
}

fn full(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::server::get;

    /// A server that returns the head of its request, one per connection, and echoes after an upgrade.
    async fn upstream() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(socket.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    if head.to_lowercase().contains("upgrade: echo") {
                        socket
                            .write_all(
                                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                            )
                            .await
                            .unwrap();
                        let (mut read, mut write) = socket.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    } else {
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}",
                            head.len()
                        );
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_request_is_recorded_and_forwarded_with_the_servers_own_host() {
        let upstream = upstream().await;
        let proxy = Proxy::start(&upstream).await.unwrap();
        let (status, body) = get(&format!("{}/people/ada?x=1", proxy.origin)).await.unwrap();
        let told = String::from_utf8(body).unwrap().to_lowercase();
        assert_eq!(status, 200);
        assert!(told.starts_with("get /people/ada?x=1 ") && told.contains(&format!("host: {upstream}")), "{told}");
        assert_eq!(proxy.take_seen(), ["/people/ada"]);
        assert!(proxy.take_seen().is_empty());
    }

    #[tokio::test]
    async fn faults_affect_only_the_paths_that_they_name() {
        let upstream = upstream().await;
        let proxy = Proxy::start(&upstream).await.unwrap();
        proxy.add_fault(ProxyFault::Refuse("/blobs/"));
        proxy.add_fault(ProxyFault::Alter(
            "/bundles/",
            Arc::new(|_, mut body| {
                body.truncate(3);
                body
            }),
        ));
        let origin = proxy.origin.clone();
        let ask = async |path: &str| get(&format!("{origin}{path}")).await;
        assert_eq!(ask("/blobs/1").await.unwrap().0, 503);
        assert_eq!(ask("/bundles/1").await.unwrap().1, b"GET");
        assert_eq!(ask("/other").await.unwrap().0, 200);
        proxy.clear_faults();
        assert_eq!(ask("/blobs/1").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn an_upgraded_connection_carries_bytes_both_ways() {
        let proxy = Proxy::start(&upstream().await).await.unwrap();
        let mut socket = TcpStream::connect(proxy.origin.trim_start_matches("http://")).await.unwrap();
        socket
            .write_all(b"GET /mesh HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        socket.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }

    #[tokio::test]
    async fn an_unreachable_server_is_a_bad_gateway() {
        let proxy = Proxy::start("127.0.0.1:1").await.unwrap();
        assert_eq!(get(&proxy.origin).await.unwrap().0, 502);
    }
}
