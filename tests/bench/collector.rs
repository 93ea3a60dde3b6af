//! A small HTTP server on loopback, to which the page sends its measures.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// A report of a page, and the channel for the answer.
pub(crate) struct Told {
    /// `measure`, `done`, `failed` …
    pub(crate) kind: String,
    pub(crate) value: Value,
    pub(crate) answer: oneshot::Sender<Value>,
}

/// Starts to listen. Returns its address, and the reports of pages.
pub(crate) async fn start() -> Result<(SocketAddr, mpsc::Receiver<Told>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = service_fn(move |request| answer(request, sender.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((address, receiver))
}

async fn answer(
    request: hyper::Request<Incoming>,
    sender: mpsc::Sender<Told>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let kind = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, answer) = match serde_json::from_slice(&body) {
        Err(error) => (StatusCode::BAD_REQUEST, Value::from(error.to_string())),
        Ok(value) => {
            let (answer, answered) = oneshot::channel();
            // Fails only while the client ends.
            let _ = sender.send(Told { kind, value, answer }).await;
            answered.await.map_or((StatusCode::GONE, Value::Null), |answer| (StatusCode::OK, answer))
        }
    };
    let mut response = Response::new(Full::from(answer.to_string()));
    *response.status_mut() = status;
    // The page is of another origin, that of the measured server.
    response.headers_mut().insert("access-control-allow-origin", hyper::header::HeaderValue::from_static("*"));
    Ok(response)
}
