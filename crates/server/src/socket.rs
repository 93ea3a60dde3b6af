//! A WebSocket that somebody opened to `/mesh`, as the host's port.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt, future::LocalBoxFuture};
use starlane_host::ports::{Dialer, Socket, SocketSink};
use tokio::sync::mpsc;

/// Messages that were read and not yet handed to the node.
const READ_AHEAD: usize = 16;

/// Both ends of a socket, ready to cross to the host's thread.
pub(crate) struct Ends {
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffered: Arc<AtomicUsize>,
}

enum Outgoing {
    Message(Vec<u8>),
    Close(u16, String),
}

/// The ends for the host, and the task that carries bytes between them and the network.
pub(crate) fn pump(socket: WebSocket) -> (Ends, impl Future<Output = ()> + Send) {
    let (to_host, incoming) = mpsc::channel(READ_AHEAD);
    let (outgoing, mut from_host) = mpsc::unbounded_channel();
    let buffered = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::clone(&buffered);
    let pump = async move {
        let (mut sink, mut stream) = socket.split();
        let reading = async move {
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Binary(bytes) => {
                        if to_host.send(bytes).await.is_err() {
                            break;
                        }
                    }
                    Message::Ping(_) | Message::Pong(_) => {}
                    // Text is no message of a link, and nothing follows a close.
                    Message::Text(_) | Message::Close(_) => break,
                }
            }
        };
        let writing = async move {
            while let Some(outgoing) = from_host.recv().await {
                match outgoing {
                    Outgoing::Message(bytes) => {
                        let length = bytes.len();
                        let sent = sink.send(Message::Binary(bytes.into())).await;
                        waiting.fetch_sub(length, Ordering::Relaxed);
                        if sent.is_err() {
                            break;
                        }
                    }
                    Outgoing::Close(code, reason) => {
                        let _ = sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
                        break;
                    }
                }
            }
            let _ = sink.close().await;
        };
        // Whichever ends first ends both.
        futures_util::pin_mut!(reading, writing);
        futures_util::future::select(reading, writing).await;
    };
    (Ends { incoming, outgoing, buffered }, pump)
}

impl Ends {
    /// The socket as the host sees it.
    pub(crate) fn into_socket(self) -> Socket {
        let Self { mut incoming, outgoing, buffered } = self;
        Socket {
            sink: Box::new(Sink { outgoing, buffered }),
            incoming: futures_util::stream::poll_fn(move |context| incoming.poll_recv(context)).boxed_local(),
        }
    }
}

struct Sink {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffered: Arc<AtomicUsize>,
}

impl SocketSink for Sink {
    fn send(&self, message: Vec<u8>) {
        self.buffered.fetch_add(message.len(), Ordering::Relaxed);
        // A socket that is gone is noticed by its reading end.
        let _ = self.outgoing.send(Outgoing::Message(message));
    }

    fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    fn close(&self, code: u16, reason: &str) {
        let _ = self.outgoing.send(Outgoing::Close(code, reason.to_owned()));
    }
}

/// A server is dialled and dials nobody.
pub(crate) struct NoDialer;

impl Dialer for NoDialer {
    fn dial(&self, url: &str) -> LocalBoxFuture<'static, Result<Socket, String>> {
        let error = format!("this server links to no other host, so not to {url}");
        std::future::ready(Err(error)).boxed_local()
    }
}
