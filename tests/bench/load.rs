//! Load: connections that are kept, each with one request at a time.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, timeout},
};

const CONNECTIONS: usize = 32;
/// No answer may take longer.
const ANSWER: Duration = Duration::from_secs(30);

/// Connections to one server that ask the same.
pub(crate) struct Load {
    connections: Vec<Rc<RefCell<SendRequest<Full<Bytes>>>>>,
    request: Request<Full<Bytes>>,
}

impl Load {
    pub(crate) async fn open(
        address: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &'static [u8],
    ) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            connections.push(Rc::new(RefCell::new(sender)));
        }
        let mut request = Request::builder().method(method).uri(path).header("host", address);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        Ok(Self { connections, request: request.body(Full::from(body))? })
    }

    /// Asks for so long; gives how many answers came a second. An answer that is not 200 is an error.
    pub(crate) async fn run(&self, length: Duration) -> Result<f64> {
        let begun = Instant::now();
        let end = begun + length;
        let local = LocalSet::new();
        let mut tasks = Vec::new();
        for connection in &self.connections {
            let (connection, request) = (Rc::clone(connection), self.request.clone());
            tasks.push(local.spawn_local(async move { ask_until(end, &connection, &request).await }));
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
        Ok(f64::from(answers) / begun.elapsed().as_secs_f64())
    }
}

// One task has each connection.
#[allow(clippy::await_holding_refcell_ref, reason = "nobody else borrows it meanwhile")]
async fn ask_until(
    end: Instant,
    connection: &RefCell<SendRequest<Full<Bytes>>>,
    request: &Request<Full<Bytes>>,
) -> Result<u32> {
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
        answers += 1;
    }
    Ok(answers)
}
