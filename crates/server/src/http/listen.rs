//! Connections. Each speaks HTTP/1.1, over TLS if configured, is counted, and has timeouts.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, StatusCode, request::Parts},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::TokioIo;
use starlane_protocol::Failure;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    Site, answer,
    client::Peer,
    gate::{Gate, Ticket},
    guard,
    pace::{Pace, Paced},
};
use crate::{
    limits::{Limit, Limiter},
    tls::Tls,
};

/// The pause after the system refused another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of excess connections that get an answer at the same time, and the time for each to read it.
const TOLD: usize = 64;
const TELLING: Duration = Duration::from_secs(1);
/// The smallest maximum head size that the HTTP library accepts, in bytes.
const SMALLEST_HEAD: u64 = 8 * 1024;

/// Signals the end of all connections.
type Ending = watch::Receiver<bool>;

/// What answers the requests of all connections.
pub(crate) trait Answers: Clone + Send + Sync + 'static {
    /// The limits on connections.
    fn limiter(&self) -> &Arc<Limiter>;

    /// Whether all connections come from the operator's proxy.
    fn behind_proxy(&self) -> bool;

    /// Answers a request.
    fn answer(&self, peer: Peer, parts: Parts, body: Body) -> impl Future<Output = Response<Body>> + Send;
}

impl Answers for Arc<Site> {
    fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    fn behind_proxy(&self) -> bool {
        self.behind_proxy
    }

    fn answer(&self, peer: Peer, parts: Parts, body: Body) -> impl Future<Output = Response<Body>> + Send {
        guard::answer(self, peer, parts, body)
    }
}

/// The HTTP service of all connections.
pub(crate) struct Server<A> {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) site: A,
}

/// The HTTP service of one connection.
#[derive(Clone)]
struct Speaker<A> {
    http: http1::Builder,
    site: A,
}

impl<A: Answers> Server<A> {
    /// Serves connections until `stop` is ready. Then it accepts no new ones, and open requests are answered.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, site } = self;
        let gate = Gate::new(site.limiter(), !site.behind_proxy());
        let told = Arc::new(Semaphore::new(TOLD));
        let speaker = Speaker { http: http(site.limiter()), site };
        let (ending, connections) = watch::channel(false);
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok((stream, address)) => (stream, address.ip()),
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            // Without this option an answer can wait for the peer's acknowledgement.
            let _ = stream.set_nodelay(true);
            match gate.enter(peer) {
                Ok(ticket) => {
                    let (speaker, ending, tls) = (speaker.clone(), connections.clone(), tls.clone());
                    tokio::spawn(speaker.take(stream, peer, tls, ending, ticket));
                }
                // Over TLS it would cost a handshake to say so.
                Err(failure) if tls.is_none() => refuse(stream, &failure, &told),
                Err(_) => {}
            }
        }
        drop(listener);
        drop(connections);
        ending.send_replace(true);
        // Each connection has a receiver until it ends.
        ending.closed().await;
    }
}

/// HTTP/1.1 only: the timeouts of a connection require one request at a time.
fn http(limiter: &Limiter) -> http1::Builder {
    let mut http = http1::Builder::new();
    let head = limiter.get(Limit::HeadBytes).max(SMALLEST_HEAD);
    http.max_buf_size(usize::try_from(head).unwrap_or(usize::MAX)).max_headers(limiter.count(Limit::Headers));
    http
}

/// Answers an excess connection with its refusal, if that needs no waiting.
fn refuse(mut stream: TcpStream, failure: &Failure, told: &Arc<Semaphore>) {
    let Ok(permit) = Arc::clone(told).try_acquire_owned() else { return };
    let answer = answer::raw(failure);
    tokio::spawn(async move {
        let telling = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            // Unread bytes would reset the connection, and the peer would not see the reason.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(TELLING, telling).await;
        drop(permit);
    });
}

impl<A: Answers> Speaker<A> {
    async fn take(self, stream: TcpStream, peer: IpAddr, tls: Option<Tls>, ending: Ending, ticket: Ticket) {
        let Some(tls) = tls else { return self.speak(stream, peer, ending, ticket).await };
        let silence = self.site.limiter().time(Limit::HeadTime);
        match timeout(silence, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, peer, ending, ticket).await,
            Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
            Err(_) => self.site.limiter().note(Limit::HeadTime),
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        mut ending: Ending,
        _ticket: Ticket,
    ) {
        let pace = Pace::new(self.site.limiter());
        let stream = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let service = Requests { site: self.site, pace, peer: Peer(peer) };
        let mut connection = pin!(self.http.serve_connection(stream, service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = ends(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended: {error}");
        }
    }
}

async fn ends(ending: &mut Ending) {
    // Without a sender the server is gone.
    let _ = ending.wait_for(|ends| *ends).await;
}

/// The requests of one connection.
struct Requests<A> {
    site: A,
    pace: Arc<Pace>,
    peer: Peer,
}

impl<A: Answers> Service<Request<Incoming>> for Requests<A> {
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (site, pace, peer) = (self.site.clone(), Arc::clone(&self.pace), self.peer);
        let is_empty = request.body().is_end_stream();
        pace.begin(!is_empty);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = if is_empty { Body::empty() } else { Body::new(Upload { body, pace: Arc::clone(&pace) }) };
            let response = site.answer(peer, parts, body).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                pace.upgrade();
            }
            Ok(response.map(|body| Download { body, pace }))
        })
    }
}

/// The body of a request. It reports when it is read completely.
struct Upload {
    body: Incoming,
    pace: Arc<Pace>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() && self.body.is_end_stream() {
            self.pace.body_read();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.pace.body_over();
    }
}

/// The body of an answer. It reports when it has ended.
struct Download {
    body: Body,
    pace: Arc<Pace>,
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.pace.end();
    }
}
