//! The other end of a link, frame by frame.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use starlane_protocol::{
    Address, HostSecret, Outcome, Payload, Topic,
    frame::{self, Frame},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Bytes, Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

use crate::world::{LONG, Server};

/// The next dial number. Each hello of a host needs a higher one.
static DIALS: AtomicU64 = AtomicU64::new(1);

/// A socket to `/mesh`.
pub(crate) struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    waiting: VecDeque<Frame>,
    sequence: u64,
    requests: u64,
}

/// How a socket was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The code of the goodbye frame, if there was one.
    pub(crate) goodbye: Option<String>,
    /// The close frame's code, if there was one.
    pub(crate) code: Option<u16>,
}

impl Peer {
    /// Dials, but sends nothing yet.
    pub(crate) async fn dial(server: &Server) -> Self {
        let mut request = format!("ws://{}/mesh", server.address()).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", frame::SUBPROTOCOL.parse().unwrap());
        let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], frame::SUBPROTOCOL);
        Self { socket, waiting: VecDeque::new(), sequence: 0, requests: 0 }
    }

    /// A link that is up, as the host with this secret.
    pub(crate) async fn link(server: &Server, secret: u8, token: Option<&str>) -> Self {
        let mut peer = Self::dial(server).await;
        peer.hello(secret, token).await;
        assert!(matches!(peer.next().await, Ok(Frame::Welcome { .. })));
        peer
    }

    pub(crate) async fn hello(&mut self, secret: u8, token: Option<&str>) {
        let token = token.map(str::to_owned);
        let dial = DIALS.fetch_add(1, Ordering::Relaxed);
        self.send(&Frame::hello(HostSecret([secret; 32]), token, dial)).await;
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        let bytes = frame::encode_frame(frame);
        self.send_bytes(frame::encode_message(0, [bytes.as_slice()].into_iter())).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.send_message(Message::Binary(bytes.into())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        // The other side can close the socket before this is sent; only its reason matters.
        let _ = timeout(LONG, self.socket.send(message)).await.expect("the socket accepts the message");
    }

    pub(crate) fn sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The next frame that is neither an ack nor a ping, or how the socket was closed.
    pub(crate) async fn next(&mut self) -> Result<Frame, Closed> {
        loop {
            match self.any().await? {
                Frame::Ack { .. } | Frame::Ping { .. } => {}
                Frame::Goodbye { code, .. } => {
                    let closed = loop {
                        if let Err(closed) = self.any().await {
                            break closed;
                        }
                    };
                    return Err(Closed { goodbye: Some(code), ..closed });
                }
                frame => return Ok(frame),
            }
        }
    }

    async fn any(&mut self) -> Result<Frame, Closed> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            match timeout(LONG, self.socket.next()).await.expect("it says something") {
                Some(Ok(Message::Binary(bytes))) => self.take(&bytes),
                Some(Ok(Message::Close(close))) => {
                    let code = close.map(|close| CloseCode::into(close.code));
                    return Err(Closed { goodbye: None, code });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Closed { goodbye: None, code: None }),
            }
        }
    }

    fn take(&mut self, bytes: &Bytes) {
        let frames = frame::decode_message(bytes).unwrap();
        self.waiting.extend(frames.into_iter().map(|(_, frame)| frame));
    }

    /// Sends a request and waits for its outcome; other frames are skipped.
    pub(crate) async fn request(&mut self, to: &str, operation: &str, body: &Value) -> Outcome {
        let id = self.ask(to, operation, body).await;
        loop {
            match self.next().await {
                Ok(Frame::Response { id: of, outcome, .. }) if of == id => return outcome.0.map(|wire| wire.payload),
                Ok(_) => {}
                Err(closed) => panic!("the link was closed: {closed:?}"),
            }
        }
    }

    /// Sends a request, and returns its id.
    pub(crate) async fn ask(&mut self, to: &str, operation: &str, body: &Value) -> u64 {
        self.requests += 1;
        let (seq, id) = (self.sequence(), self.requests);
        let request = Frame::Request {
            seq,
            id,
            from: Address::parse("starlane:page").unwrap(),
            caller: "somebody else".into(),
            to: Address::parse(to).unwrap(),
            operation: operation.into(),
            payload: Payload::json(body.to_string()).into(),
            remaining_ms: 10_000,
            hops: 0,
            trace: None,
        };
        self.send(&request).await;
        id
    }

    /// Checks that requests are answered on this link.
    pub(crate) async fn works(&mut self) {
        let outcome = self.request("starlane:apps", "list", &Value::Null).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        let seq = self.sequence();
        self.send(&Frame::Subscribe { seq, topic: Topic::parse(topic).unwrap() }).await;
        // A link keeps its order: when this is answered, the subscription exists.
        self.works().await;
    }

    /// The body of the next event.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            if let Frame::Event { payload, .. } = self.next().await.unwrap() {
                return serde_json::from_slice(&payload.payload.body).unwrap();
            }
        }
    }

    /// Returns how the other side closes the socket, within `limit`.
    pub(crate) async fn closed(&mut self, limit: Duration) -> Closed {
        let closed = async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        };
        timeout(limit, closed).await.expect("it is closed in time")
    }
}
