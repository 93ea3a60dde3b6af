//! The raw WebSocket: an echo on the server's own stack, and a client on the library below it.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite};

/// Serves the echo forever. Prints its address first.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let app = Router::new().route("/", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }));
    Ok(axum::serve(tokio_listener(listener), app).await?)
}

/// Sends small writes at once, like the server.
fn tokio_listener(listener: TcpListener) -> impl axum::serve::Listener<Addr = std::net::SocketAddr> {
    use axum::serve::ListenerExt;
    listener.tap_io(|stream| {
        // A failure only makes the echo slower.
        let _ = stream.set_nodelay(true);
    })
}

/// One WebSocket message in, one out.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Binary(_) | Message::Text(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// A client of the echo.
pub(crate) struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Raw {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let (socket, _) = connect_async_with_config(format!("ws://{address}/"), None, true).await?;
        Ok(Self { socket })
    }

    /// Runs a block with this many messages in flight. Returns the echoes per second.
    pub(crate) async fn block(&mut self, many: usize, length: Duration, body: impl Fn(u64) -> Bytes) -> Result<f64> {
        let start = Instant::now();
        let (mut sent, mut answers) = (0, 0_u64);
        let mut waiting = VecDeque::new();
        while waiting.len() < many {
            sent += 1;
            self.send(&mut waiting, body(sent)).await?;
        }
        while let Some(wanted) = waiting.pop_front() {
            let message = self.socket.next().await.context("the echo closed the connection")??;
            ensure!(message.into_data() == wanted, "the echo differs from the sent message");
            answers += 1;
            if start.elapsed() < length {
                sent += 1;
                self.send(&mut waiting, body(sent)).await?;
            }
        }
        Ok(answers as f64 / start.elapsed().as_secs_f64())
    }

    async fn send(&mut self, waiting: &mut VecDeque<Bytes>, body: Bytes) -> Result<()> {
        waiting.push_back(body.clone());
        Ok(self.socket.send(tungstenite::Message::Binary(body)).await?)
    }
}
