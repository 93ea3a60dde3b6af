//! A WebSocket to `/mesh`, as the socket port of the host.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    future::LocalBoxFuture,
    stream::{self, SplitSink, SplitStream},
    task::AtomicWaker,
};
use starlane_host::ports::{Dialer, SOCKET_ROOM, Socket, SocketSink};
use starlane_protocol::frame;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

/// The maximum number of bytes of messages that are read but not yet given to the node. One message can always wait.
const READ_AHEAD: usize = 256 * 1024;
/// The maximum number of such messages.
const MESSAGES_AHEAD: usize = 16;
/// The maximum number of messages that are taken from the host at once.
const TAKEN_TOGETHER: usize = 32;
/// The number of bytes after which the socket is flushed and the bytes count as written.
const WRITTEN_TOGETHER: usize = 64 * 1024;
/// The maximum time for closing a socket: for writing the remaining bytes and for the peer's own close.
const LINGER: Duration = Duration::from_secs(1);
/// How long one write may take. It is at most a message of 256 KiB, so slower lines than 4 KiB per second are not supported.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// Both ends of a socket, which can be sent to the host's thread.
pub(crate) struct Ends {
    incoming: mpsc::Receiver<Read>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    backlog: Arc<Backlog>,
    held: oneshot::Sender<()>,
}

/// A message, and its part of what may be read ahead.
type Read = (Message, OwnedSemaphorePermit);

/// The bytes that the host has sent and the network has not taken.
#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// The host's task that waits for room.
    waiting: AtomicWaker,
}

impl Backlog {
    /// Counts bytes as written. The host is woken when there is room again.
    fn written(&self, length: usize) {
        let before = self.bytes.fetch_sub(length, Ordering::AcqRel);
        if before > SOCKET_ROOM && before.saturating_sub(length) <= SOCKET_ROOM {
            self.waiting.wake();
        }
    }

    fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        // Register first, so that a later write wakes the task.
        self.waiting.register(context.waker());
        if self.bytes.load(Ordering::Acquire) <= SOCKET_ROOM { Poll::Ready(()) } else { Poll::Pending }
    }
}

enum Outgoing {
    Message(Message),
    Close(u16, String),
}

/// The kinds of messages that a socket accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Binary messages only, as links require.
    Binary,
    /// Text messages too.
    #[cfg(feature = "testing")]
    All,
}

/// The ends for the host, and the task that carries messages between them and the network.
pub(crate) fn pump(socket: WebSocket, kinds: Kinds) -> (Ends, impl Future<Output = ()> + Send) {
    let (to_host, incoming) = mpsc::channel(MESSAGES_AHEAD);
    let (outgoing, mut from_host) = mpsc::unbounded_channel();
    let (held, let_go) = oneshot::channel::<()>();
    let backlog = Arc::new(Backlog::default());
    let unwritten = Arc::clone(&backlog);
    let pump = async move {
        let (mut sink, mut stream) = socket.split();
        let end = {
            let reading = read(&mut stream, kinds, to_host);
            let writing = write(&mut sink, &mut from_host, &unwritten);
            // A peer that does not read must not keep a socket open that the host has dropped.
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
                // Unread bytes would reset the connection, and the peer would not see the reason.
                if broken {
                    sleep(LINGER).await;
                }
            }
        };
        let _ = timeout(LINGER, parting).await;
    };
    (Ends { incoming, outgoing, backlog, held }, pump)
}

/// How a socket ends.
enum End {
    /// The peer closed it, or it broke.
    Gone,
    /// The host closes it, with a code and a reason.
    Close(u16, String),
    /// The same, and nothing more can be read from it.
    Broken(u16, String),
}

async fn read(stream: &mut SplitStream<WebSocket>, kinds: Kinds, to_host: mpsc::Sender<Read>) -> End {
    let ahead = Arc::new(Semaphore::new(READ_AHEAD));
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Text(_)) if kinds == Kinds::Binary => {
                return End::Close(1003, "a link requires binary messages".to_owned());
            }
            Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                let share = Arc::clone(&ahead).acquire_many_owned(length(&message).min(READ_AHEAD) as u32).await;
                // Nobody closes the semaphore.
                let Ok(share) = share else { return End::Gone };
                if to_host.send((message, share)).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => {
                // Reading on writes the answer, and then ends.
                let _ = timeout(LINGER, stream.next()).await;
                return End::Gone;
            }
            // axum hides the types of errors; tests hold their words.
            Err(error) if error.to_string().starts_with("Space limit exceeded") => {
                return End::Broken(1009, format!("a message exceeds the maximum of {} bytes", frame::MAX_MESSAGE));
            }
            Err(error) if error.to_string().starts_with("UTF-8 encoding error") => {
                return End::Broken(1007, "a text message is not UTF-8".to_owned());
            }
            Err(error) => return End::Broken(1002, error.to_string().chars().take(40).collect()),
        }
    }
    End::Gone
}

/// The number of bytes that a message carries.
fn length(message: &Message) -> usize {
    match message {
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Text(text) => text.len(),
        Message::Close(_) => 0,
    }
}

/// Waits for a write. Returns false if it failed, or if the peer took nothing for too long: then the socket ends, and its link may be
/// resumed by another one.
async fn in_time<E>(write: impl Future<Output = Result<(), E>>) -> bool {
    matches!(timeout(WRITE_LIMIT, write).await, Ok(Ok(())))
}

/// Writes what the host sends. All that waits leaves together.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    from_host: &mut mpsc::UnboundedReceiver<Outgoing>,
    backlog: &Backlog,
) -> End {
    let mut taken = Vec::new();
    while from_host.recv_many(&mut taken, TAKEN_TOGETHER).await > 0 {
        let mut fed = 0;
        for outgoing in taken.drain(..) {
            let message = match outgoing {
                Outgoing::Message(message) => message,
                // Closing writes what was fed.
                Outgoing::Close(code, reason) => return End::Close(code, reason),
            };
            fed += length(&message);
            if !in_time(sink.feed(message)).await {
                return End::Gone;
            }
            if fed >= WRITTEN_TOGETHER {
                if !in_time(sink.flush()).await {
                    return End::Gone;
                }
                backlog.written(std::mem::take(&mut fed));
            }
        }
        if !in_time(sink.flush()).await {
            return End::Gone;
        }
        backlog.written(fed);
    }
    End::Close(1000, String::new())
}

impl Ends {
    /// The socket as the host sees it.
    pub(crate) fn into_socket(self) -> Socket {
        let Self { mut incoming, outgoing, backlog, held } = self;
        Socket {
            sink: Box::new(Sink { outgoing, backlog, _held: held }),
            incoming: stream::poll_fn(move |context| {
                incoming.poll_recv(context).map(|read| read.map(|(message, _share)| message.into_data()))
            })
            .boxed_local(),
        }
    }

    /// Sends each message back. It reads one only when there is room for the one before, as the host does.
    #[cfg(feature = "testing")]
    pub(crate) async fn echo(self) {
        let Self { mut incoming, outgoing, backlog, held } = self;
        let sink = Sink { outgoing, backlog, _held: held };
        while let Some((message, _share)) = incoming.recv().await {
            poll_fn(|context| sink.backlog.poll_room(context)).await;
            sink.post(message);
        }
    }
}

struct Sink {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    backlog: Arc<Backlog>,
    /// It is dropped with the sink, when the host drops the socket.
    _held: oneshot::Sender<()>,
}

impl Sink {
    fn post(&self, message: Message) {
        self.backlog.bytes.fetch_add(length(&message), Ordering::AcqRel);
        // A socket that is gone is noticed by its reading end.
        let _ = self.outgoing.send(Outgoing::Message(message));
    }
}

impl SocketSink for Sink {
    fn send(&self, message: Vec<u8>) {
        self.post(Message::Binary(message.into()));
    }

    fn buffered(&self) -> usize {
        self.backlog.bytes.load(Ordering::Acquire)
    }

    fn room(&self) -> LocalBoxFuture<'static, ()> {
        let backlog = Arc::clone(&self.backlog);
        poll_fn(move |context| backlog.poll_room(context)).boxed_local()
    }

    fn close(&self, code: u16, reason: &str) {
        let _ = self.outgoing.send(Outgoing::Close(code, reason.to_owned()));
    }
}

/// A dialler that always fails: a server accepts links, but does not open any.
pub(crate) struct NoDialer;

impl Dialer for NoDialer {
    fn dial(&self, url: &str) -> LocalBoxFuture<'static, Result<Socket, String>> {
        let error = format!("this server does not open links to other hosts such as {url}");
        std::future::ready(Err(error)).boxed_local()
    }
}
