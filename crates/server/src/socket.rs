//! A WebSocket that somebody opened to `/mesh`, as the host's port.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    future::LocalBoxFuture,
    stream::{SplitSink, SplitStream},
};
use starlane_host::ports::{Dialer, Socket, SocketSink};
use starlane_protocol::frame;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// Messages that were read and not yet handed to the node.
const READ_AHEAD: usize = 16;
/// How long the parting of a socket may take: to write what is left, and to hear the peer's own close.
const LINGER: Duration = Duration::from_secs(1);

/// Both ends of a socket, ready to cross to the host's thread.
pub(crate) struct Ends {
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffered: Arc<AtomicUsize>,
    held: oneshot::Sender<()>,
}

enum Outgoing {
    Message(Vec<u8>),
    Close(u16, String),
}

/// The ends for the host, and the task that carries bytes between them and the network.
pub(crate) fn pump(socket: WebSocket) -> (Ends, impl Future<Output = ()> + Send) {
    let (to_host, incoming) = mpsc::channel(READ_AHEAD);
    let (outgoing, mut from_host) = mpsc::unbounded_channel();
    let (held, let_go) = oneshot::channel::<()>();
    let buffered = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::clone(&buffered);
    let pump = async move {
        let (mut sink, mut stream) = socket.split();
        let end = {
            let reading = read(&mut stream, to_host);
            let writing = write(&mut sink, &mut from_host, &waiting);
            // A peer that reads nothing must not keep a socket that the host has left.
            let left = async {
                let _ = let_go.await;
                sleep(LINGER).await;
            };
            tokio::select! {
                end = reading => end,
                end = writing => end,
                () = left => End::Gone,
            }
        };
        let (close, broken) = match end {
            End::Gone => return,
            End::Close(code, reason) => (CloseFrame { code, reason: reason.into() }, false),
            End::Broken(code, reason) => (CloseFrame { code, reason: reason.into() }, true),
        };
        let parting = async {
            let sent = sink.send(Message::Close(Some(close))).await;
            while sent.is_ok() && (broken || matches!(stream.next().await, Some(Ok(_)))) {
                // What is left unread would reset the connection, and the peer would never see why it was closed.
                if broken {
                    sleep(LINGER).await;
                }
            }
        };
        let _ = timeout(LINGER, parting).await;
    };
    (Ends { incoming, outgoing, buffered, held }, pump)
}

/// How a socket ends.
enum End {
    /// The peer closed it, or it broke.
    Gone,
    /// It is to be closed, with a code and a reason.
    Close(u16, String),
    /// The same, and nothing more can be read from it.
    Broken(u16, String),
}

async fn read(stream: &mut SplitStream<WebSocket>, to_host: mpsc::Sender<Bytes>) -> End {
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Binary(bytes)) => {
                if to_host.send(bytes).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Text(_)) => return End::Close(1003, "a link speaks binary messages".to_owned()),
            Ok(Message::Close(_)) => return End::Gone,
            // axum hides the type of this error; a test holds its words.
            Err(error) if error.to_string().starts_with("Space limit exceeded") => {
                return End::Broken(1009, format!("a message has at most {} bytes", frame::MAX_MESSAGE));
            }
            Err(error) => return End::Broken(1002, error.to_string().chars().take(40).collect()),
        }
    }
    End::Gone
}

async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    from_host: &mut mpsc::UnboundedReceiver<Outgoing>,
    waiting: &AtomicUsize,
) -> End {
    while let Some(outgoing) = from_host.recv().await {
        match outgoing {
            Outgoing::Message(bytes) => {
                let length = bytes.len();
                let sent = sink.send(Message::Binary(bytes.into())).await;
                waiting.fetch_sub(length, Ordering::Relaxed);
                if sent.is_err() {
                    return End::Gone;
                }
            }
            Outgoing::Close(code, reason) => return End::Close(code, reason),
        }
    }
    End::Close(1000, String::new())
}

impl Ends {
    /// The socket as the host sees it.
    pub(crate) fn into_socket(self) -> Socket {
        let Self { mut incoming, outgoing, buffered, held } = self;
        Socket {
            sink: Box::new(Sink { outgoing, buffered, _held: held }),
            incoming: futures_util::stream::poll_fn(move |context| incoming.poll_recv(context)).boxed_local(),
        }
    }
}

struct Sink {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffered: Arc<AtomicUsize>,
    /// Dropped with the sink: then the host has left.
    _held: oneshot::Sender<()>,
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
