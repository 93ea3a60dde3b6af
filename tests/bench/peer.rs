//! A peer on a link, with any number of requests in flight. It sends waiting frames together.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use starlane_protocol::{
    Address, HostSecret, Payload,
    frame::{self, Frame, LinkLimits},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, client::IntoClientRequest},
};

/// A WebSocket message of this size is sent, even if more frames wait.
const MESSAGE_BYTES: usize = 64 * 1024;

/// An outgoing link to a server.
pub(crate) struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    limits: LinkLimits,
    /// The sequences of the last frame sent and of the last received.
    sent: u64,
    received: u64,
    is_acked: bool,
    /// The lengths of unacknowledged frames.
    unacked: VecDeque<usize>,
    unacked_bytes: usize,
    /// Encoded frames that wait for the window.
    waiting: VecDeque<Vec<u8>>,
    requests: u64,
    open: HashMap<u64, Bytes>,
    /// Why requests failed.
    pub(crate) failures: Vec<String>,
}

impl Peer {
    /// Opens a link, as a separate host.
    pub(crate) async fn link(address: &str, host: u64) -> Result<Self> {
        let mut request = format!("ws://{address}/mesh").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", frame::SUBPROTOCOL.parse()?);
        let (socket, _) = connect_async_with_config(request, None, true).await.context("no link")?;
        let limits = LinkLimits { payload: 0, unacked_frames: 0, unacked_bytes: 0, ..LinkLimits::default() };
        let mut peer = Self {
            socket,
            limits,
            sent: 0,
            received: 0,
            is_acked: true,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            waiting: VecDeque::new(),
            requests: 0,
            open: HashMap::new(),
            failures: Vec::new(),
        };
        let mut secret = [0x5a; 32];
        for (to, byte) in secret.iter_mut().zip(host.to_le_bytes()) {
            *to = byte;
        }
        let hello = Frame::hello(HostSecret(secret), None, 1);
        peer.send(&[frame::encode_frame(&hello)]).await?;
        for frame in peer.next().await? {
            if let Frame::Welcome { limits, .. } = frame {
                peer.limits = limits;
            }
        }
        ensure!(peer.limits.unacked_frames > 0, "the server did not send a welcome");
        Ok(peer)
    }

    /// Queues a request, which must come back unchanged.
    pub(crate) fn ask(&mut self, to: &Address, body: Bytes) -> Result<()> {
        self.requests += 1;
        self.sent += 1;
        let request = Frame::Request {
            seq: self.sent,
            id: self.requests,
            from: Address::parse("starlane:page").map_err(|error| anyhow!("{error}"))?,
            caller: String::new(),
            to: to.clone(),
            operation: "echo".to_owned(),
            payload: Payload::new("application/octet-stream", body.clone()).into(),
            remaining_ms: 30_000,
            hops: 0,
            trace: None,
        };
        self.open.insert(self.requests, body);
        self.waiting.push_back(frame::encode_frame(&request));
        Ok(())
    }

    /// Sends waiting frames, as far as the window allows, and acknowledges received ones.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        loop {
            let (mut frames, mut length) = (Vec::new(), 0);
            if !std::mem::replace(&mut self.is_acked, true) {
                frames.push(frame::encode_frame(&Frame::Ack { received: self.received }));
            }
            while length < MESSAGE_BYTES && self.unacked.len() < self.limits.unacked_frames as usize {
                let Some(next) = self.waiting.pop_front() else { break };
                if !self.unacked.is_empty() && self.unacked_bytes + next.len() > self.limits.unacked_bytes as usize {
                    self.waiting.push_front(next);
                    break;
                }
                length += next.len();
                self.unacked_bytes += next.len();
                self.unacked.push_back(next.len());
                frames.push(next);
            }
            if frames.is_empty() {
                return Ok(());
            }
            self.send(&frames).await?;
        }
    }

    /// Takes the next WebSocket message. Returns the number of answered requests. A wrong answer is an error; failures are collected.
    pub(crate) async fn answers(&mut self) -> Result<usize> {
        let mut answers = 0;
        for frame in self.next().await? {
            if let Some(sequence) = frame.sequence() {
                (self.received, self.is_acked) = (sequence, false);
            }
            match frame {
                Frame::Response { id, outcome, .. } => {
                    let body = self.open.remove(&id).with_context(|| format!("request {id} is answered twice"))?;
                    match outcome.0 {
                        Ok(answer) => {
                            ensure!(answer.payload.body == body, "request {id} is answered with another body")
                        }
                        Err(failure) => self.failures.push(format!("{}: {}", failure.code, failure.message)),
                    }
                    answers += 1;
                }
                Frame::Ack { received } => self.acked(received),
                Frame::Ping { nonce } => self.send(&[frame::encode_frame(&Frame::Pong { nonce })]).await?,
                Frame::Goodbye { code, reason, .. } => bail!("the server says goodbye: {code}: {reason}"),
                _ => {}
            }
        }
        Ok(answers)
    }

    /// Answers pings until the link ends.
    pub(crate) async fn idle(mut self) -> Result<()> {
        loop {
            self.answers().await?;
            self.flush().await?;
        }
    }

    fn acked(&mut self, received: u64) {
        let open = self.sent - self.waiting.len() as u64 - self.unacked.len() as u64;
        for _ in open..received {
            self.unacked_bytes -= self.unacked.pop_front().unwrap_or_default();
        }
    }

    async fn send(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let message = frame::encode_message(0, frames.iter().map(Vec::as_slice));
        Ok(self.socket.send(Message::Binary(message.into())).await?)
    }

    async fn next(&mut self) -> Result<Vec<Frame>> {
        loop {
            match self.socket.next().await.context("the link was closed")?? {
                Message::Binary(bytes) => {
                    return Ok(frame::decode_message(&bytes)?.into_iter().map(|(_, frame)| frame).collect());
                }
                Message::Close(close) => bail!("the link was closed: {close:?}"),
                _ => {}
            }
        }
    }
}
