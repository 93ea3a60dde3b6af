//! Load: persistent connections, each with one request at a time.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, timeout},
};

/// The number of connections to a server.
pub(crate) const CONNECTIONS: usize = 32;
/// The time limit of an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A request, and its expected answer.
pub(crate) struct Request<'a> {
    pub(crate) address: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    /// JSON, or nothing.
    pub(crate) body: Bytes,
    pub(crate) answer: Answer,
}

/// The expected body of each answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Is(Bytes),
    Begins(&'static str),
}

impl Answer {
    fn fits(&self, body: &[u8]) -> bool {
        match self {
            Answer::Is(whole) => body == whole,
            Answer::Begins(start) => body.starts_with(start.as_bytes()),
        }
    }
}

/// The result of a block.
pub(crate) struct Done {
    pub(crate) answers: u64,
    /// Answers per second.
    pub(crate) rate: f64,
}

/// Connections to one server, all with the same request.
pub(crate) struct Load {
    connections: Vec<Rc<RefCell<SendRequest<Full<Bytes>>>>>,
    request: hyper::Request<Full<Bytes>>,
    answer: Answer,
}

impl Load {
    pub(crate) async fn open(asked: Request<'_>) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(asked.address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            connections.push(Rc::new(RefCell::new(sender)));
        }
        let request = hyper::Request::builder().method(asked.method).uri(asked.path).header("host", asked.address);
        let mut request = request;
        if let Some(token) = asked.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !asked.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        Ok(Self { connections, request: request.body(Full::from(asked.body))?, answer: asked.answer })
    }

    /// Sends requests for this long. Returns the number of answers. Another status than 200, or another body, is an error.
    pub(crate) async fn run(&self, length: Duration) -> Result<Done> {
        let begun = Instant::now();
        let end = begun + length;
        let local = LocalSet::new();
        let mut tasks = Vec::new();
        for connection in &self.connections {
            let (connection, request) = (Rc::clone(connection), self.request.clone());
            let answer = self.answer.clone();
            tasks.push(local.spawn_local(async move { ask_until(end, &connection, &request, &answer).await }));
        }
        let mut answers = 0;
        local
            .run_until(async {
                for task in tasks {
                    answers += task.await??;
                }
                anyhow::Ok(())
            })
            .await?;
        Ok(Done { answers, rate: answers as f64 / begun.elapsed().as_secs_f64() })
    }
}

// Each connection belongs to one task.
#[allow(clippy::await_holding_refcell_ref, reason = "nobody else borrows it meanwhile")]
async fn ask_until(
    end: Instant,
    connection: &RefCell<SendRequest<Full<Bytes>>>,
    request: &hyper::Request<Full<Bytes>>,
    answer: &Answer,
) -> Result<u64> {
    let mut connection = connection.borrow_mut();
    let mut answers = 0;
    while Instant::now() < end {
        let answered = timeout(ANSWER, async {
            connection.ready().await?;
            let response = connection.send_request(request.clone()).await?;
            let status = response.status();
            anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
        });
        let (status, body) = answered.await.context("no answer within 30 s")??;
        ensure!(status == 200, "{} answers {status}: {}", request.uri(), String::from_utf8_lossy(&body));
        ensure!(answer.fits(&body), "{} answers with {} wrong bytes", request.uri(), body.len());
        answers += 1;
    }
    Ok(answers)
}
