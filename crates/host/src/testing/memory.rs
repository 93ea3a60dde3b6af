//! Ports in memory: a source of bundles, sockets and a network. The store is [`MemoryStore`].

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{poll_fn, ready},
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_util::{
    FutureExt, StreamExt,
    future::{LocalBoxFuture, Shared},
};
use starlane_bundle::{Digest, SignedManifest};
use starlane_protocol::Address;

pub use crate::memory_store::MemoryStore;
use crate::ports::{Dialer, SOCKET_ROOM, Socket, SocketSink, Source, SourceError};

/// A source in memory, which counts fetched blobs. Clones share its content and the count.
#[derive(Clone, Default)]
pub struct MemorySource(Rc<Served>);

#[derive(Default)]
struct Served {
    manifests: RefCell<HashMap<Address, SignedManifest>>,
    blobs: RefCell<HashMap<Digest, Bytes>>,
    offline: Cell<bool>,
    fetched: Cell<u64>,
    holding: RefCell<Option<Shared<oneshot::Receiver<()>>>>,
}

impl MemorySource {
    /// Makes an empty source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a manifest at a bundle's address.
    pub fn publish(&self, bundle: &Address, manifest: SignedManifest) {
        self.0.manifests.borrow_mut().insert(bundle.clone(), manifest);
    }

    /// Serves a blob under its digest, which is returned.
    pub fn add_blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.put_under(digest, bytes);
        digest
    }

    /// Serves bytes under a digest that can be wrong.
    pub fn put_under(&self, digest: Digest, bytes: impl Into<Bytes>) {
        self.0.blobs.borrow_mut().insert(digest, bytes.into());
    }

    /// Makes it unreachable, or reachable again.
    pub fn set_offline(&self, offline: bool) {
        self.0.offline.set(offline);
    }

    /// Delays all blobs until the result is dropped.
    pub fn hold(&self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        *self.0.holding.borrow_mut() = Some(receiver.shared());
        sender
    }

    /// Ends the delay for later requests.
    pub fn hold_no_more(&self) {
        self.0.holding.take();
    }

    /// The number of fetched blobs.
    pub fn fetched(&self) -> u64 {
        self.0.fetched.get()
    }

    fn serve<T>(&self, what: String, found: impl FnOnce(&Served) -> Option<T>) -> Result<T, SourceError> {
        let url = "memory:".to_owned();
        if self.0.offline.get() {
            return Err(SourceError::Offline { what, url });
        }
        found(&self.0).ok_or(SourceError::Refused { what, url, status: 404 })
    }
}

impl Source for MemorySource {
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<SignedManifest, SourceError>> {
        let served = self.serve(bundle.to_string(), |served| served.manifests.borrow().get(bundle).cloned());
        Box::pin(ready(served))
    }

    fn blob(&self, digest: &Digest, size: u64) -> LocalBoxFuture<'static, Result<Bytes, SourceError>> {
        let what = digest.to_string();
        let served = self.serve(what.clone(), |served| served.blobs.borrow().get(digest).cloned());
        let served = served.and_then(|bytes| {
            self.0.fetched.set(self.0.fetched.get() + 1);
            if bytes.len() as u64 <= size {
                return Ok(bytes);
            }
            Err(SourceError::Unusable { what, reason: format!("it is longer than {size} bytes") })
        });
        let holding = self.0.holding.borrow().clone();
        Box::pin(async move {
            if let Some(holding) = holding {
                let _ = holding.await;
            }
            served
        })
    }
}

/// The two ends of a connection. Each end receives the messages of the other immediately and in order.
pub fn socket_pair() -> (Socket, Socket) {
    let (wire, ends) = Wire::pair();
    drop(wire);
    ends
}

/// A connection that a test can cut.
#[derive(Clone)]
pub struct Wire(Rc<Halves>);

struct Halves {
    left: Lane,
    right: Lane,
    held: Cell<bool>,
    closed: RefCell<Option<(u16, String)>>,
}

/// One direction of a connection.
struct Lane {
    sender: RefCell<Option<mpsc::UnboundedSender<Bytes>>>,
    /// The messages that were sent while the connection was held.
    buffer: RefCell<Vec<Vec<u8>>>,
    room: RefCell<Option<Waker>>,
}

impl Lane {
    fn new() -> (Self, mpsc::UnboundedReceiver<Bytes>) {
        let (sender, receiver) = mpsc::unbounded();
        let lane = Self { sender: RefCell::new(Some(sender)), buffer: RefCell::default(), room: RefCell::default() };
        (lane, receiver)
    }

    fn buffered(&self) -> usize {
        self.buffer.borrow().iter().map(Vec::len).sum()
    }

    fn write(&self) {
        for message in self.buffer.take() {
            if let Some(sender) = &*self.sender.borrow() {
                // The other end is closed. As in a network, the sender does not notice that.
                let _ = sender.unbounded_send(message.into());
            }
        }
        if let Some(room) = self.room.take() {
            room.wake();
        }
    }
}

impl Wire {
    /// Makes a connection with its two ends.
    pub fn pair() -> (Self, (Socket, Socket)) {
        let ((left, to_left), (right, to_right)) = (Lane::new(), Lane::new());
        let wire = Self(Rc::new(Halves { left, right, held: Cell::new(false), closed: RefCell::new(None) }));
        let end = |towards_left, incoming: mpsc::UnboundedReceiver<Bytes>| Socket {
            sink: Box::new(MemorySink { wire: wire.clone(), towards_left }),
            incoming: incoming.boxed_local(),
        };
        let ends = (end(false, to_left), end(true, to_right));
        (wire, ends)
    }

    /// Holds or releases the connection. While it is held, messages stay in the buffer of the sending socket.
    pub fn hold(&self, held: bool) {
        self.0.held.set(held);
        if !held {
            self.0.left.write();
            self.0.right.write();
        }
    }

    /// The number of bytes in the buffers of both sockets.
    pub fn buffered(&self) -> usize {
        self.0.left.buffered() + self.0.right.buffered()
    }

    /// The number of messages in the buffers of both sockets.
    pub fn messages(&self) -> usize {
        self.0.left.buffer.borrow().len() + self.0.right.buffer.borrow().len()
    }

    /// Ends the connection: both incoming streams end after the earlier messages.
    pub fn cut(&self) {
        self.0.left.sender.take();
        self.0.right.sender.take();
    }

    /// The code and the reason with which an end closed it, if one did.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.0.closed.borrow().clone()
    }
}

struct MemorySink {
    wire: Wire,
    towards_left: bool,
}

impl MemorySink {
    fn lane(&self) -> &Lane {
        if self.towards_left { &self.wire.0.left } else { &self.wire.0.right }
    }
}

impl SocketSink for MemorySink {
    fn send(&self, message: Vec<u8>) {
        self.lane().buffer.borrow_mut().push(message);
        if !self.wire.0.held.get() {
            self.lane().write();
        }
    }

    fn buffered(&self) -> usize {
        self.lane().buffered()
    }

    fn room(&self) -> LocalBoxFuture<'static, ()> {
        let (wire, towards_left) = (self.wire.clone(), self.towards_left);
        Box::pin(poll_fn(move |context| {
            let lane = if towards_left { &wire.0.left } else { &wire.0.right };
            if lane.buffered() <= SOCKET_ROOM {
                return Poll::Ready(());
            }
            *lane.room.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        }))
    }

    fn close(&self, code: u16, reason: &str) {
        self.wire.0.closed.borrow_mut().get_or_insert_with(|| (code, reason.to_owned()));
        self.wire.cut();
    }
}

impl Drop for MemorySink {
    fn drop(&mut self) {
        self.wire.cut();
    }
}

/// A network with one listener, which gets the other end of each dialled socket. Clones share it.
#[derive(Clone)]
pub struct MemoryDialer(Rc<Network>);

struct Network {
    accept: Box<dyn Fn(Socket)>,
    down: Cell<bool>,
    wires: RefCell<Vec<Wire>>,
}

impl MemoryDialer {
    /// Makes a network with a listener for dialled sockets: `move |socket| server.accept(socket)`.
    pub fn new(accept: impl Fn(Socket) + 'static) -> Self {
        Self(Rc::new(Network { accept: Box::new(accept), down: Cell::new(false), wires: RefCell::default() }))
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for wire in self.0.wires.take() {
            wire.cut();
        }
    }

    /// Holds or releases the network. While it is held, messages over open connections stay with their senders.
    pub fn hold(&self, held: bool) {
        for wire in &*self.0.wires.borrow() {
            wire.hold(held);
        }
    }

    /// The number of bytes in the buffers of all sockets.
    pub fn buffered(&self) -> usize {
        self.0.wires.borrow().iter().map(Wire::buffered).sum()
    }

    /// The number of messages in the buffers of all sockets.
    pub fn messages(&self) -> usize {
        self.0.wires.borrow().iter().map(Wire::messages).sum()
    }

    /// Sets whether the network is down. While it is down, dialling fails; going down cuts all connections.
    pub fn set_down(&self, down: bool) {
        self.0.down.set(down);
        if down {
            self.cut();
        }
    }
}

impl Dialer for MemoryDialer {
    fn dial(&self, url: &str) -> LocalBoxFuture<'static, Result<Socket, String>> {
        if self.0.down.get() {
            return Box::pin(ready(Err(format!("no connection to {url}: the network is down"))));
        }
        let network = Rc::clone(&self.0);
        Box::pin(async move {
            let (wire, (near, far)) = Wire::pair();
            network.wires.borrow_mut().push(wire);
            (network.accept)(far);
            Ok(near)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::{
        MemoryStateStore,
        testing::{state_suite, store_suite},
    };

    #[test]
    fn the_memory_store_keeps_the_contract() {
        block_on(store_suite::all(|| async { Rc::new(MemoryStore::new()) as _ }));
    }

    #[test]
    fn the_memory_state_store_keeps_the_contract() {
        block_on(state_suite::all(|limits| async move { Rc::new(MemoryStateStore::new(limits)) as _ }));
    }

    #[test]
    fn an_end_reads_what_the_other_sent_before_it_left() {
        let (near, mut far) = socket_pair();
        near.sink.send(b"1".to_vec());
        near.sink.send(b"2".to_vec());
        near.sink.close(1000, "done");
        near.sink.send(b"3".to_vec());
        let read = block_on(far.incoming.by_ref().collect::<Vec<_>>());
        assert_eq!(read, ["1", "2"]);
    }

    #[test]
    fn a_network_that_is_down_is_not_dialled() {
        let dialer = MemoryDialer::new(drop);
        let mut socket = block_on(dialer.dial("ws://x")).unwrap();
        dialer.set_down(true);
        assert_eq!(block_on(socket.incoming.next()), None);
        assert!(block_on(dialer.dial("ws://x")).is_err());
        dialer.set_down(false);
        assert!(block_on(dialer.dial("ws://x")).is_ok());
    }
}
