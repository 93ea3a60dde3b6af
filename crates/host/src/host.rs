//! The host: one node, its ports, and the loop between them. Everything runs on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use futures_channel::{mpsc, oneshot};
use futures_util::{
    Stream,
    future::{AbortHandle, join_all},
};
use litemap::LiteMap;
use starlane_bundle::Digest;
use starlane_node::{
    ActorLimits, Authentication, HandlerId, LinkConfig, LinkState, LinkStatus, LogLine, Node, NodeConfig, Operations,
    Origin, Principal, PrincipalLimits, RequestId, SocketId, SubscriptionId,
};
use starlane_protocol::{Address, Failure, HostName, HostSecret, Outcome, Payload, StreamId, Topic};

use crate::{
    apps::InstalledApps,
    blobs::Blobs,
    flush::Outlet,
    handler::{Handler, Handling, Served, unknown_outcome},
    perform::{Compiling, TokenProvider},
    ports::{Ports, Socket},
    resource::Resources,
    stream::{Credit, Fetched, Inflow},
    subscription::{self, Reading, Sink, Subscription},
};

/// Checks the token of a peer. Returns the principal, or why the token is refused.
pub type Authenticate = Rc<dyn Fn(Option<&str>) -> Authentication>;
/// Receives the lines of the log.
pub type Log = Rc<dyn Fn(&LogLine)>;

/// The configuration of a host.
#[derive(Clone)]
pub struct HostConfig {
    /// The address of the host as a sender: `starlane:page`, `starlane:server`.
    pub address: Address,
    /// The secret from which its name is derived.
    pub secret: HostSecret,
    /// Limits and times of links.
    pub link: LinkConfig,
    /// The maximum number of actors that are awake.
    pub max_awake: usize,
    /// The limits of each principal that dials this host.
    pub limits: PrincipalLimits,
    /// The limits of actors.
    pub actors: ActorLimits,
    /// Authenticates peers that dial this host.
    pub authenticate: Authenticate,
    /// Receives log lines.
    pub log: Log,
    /// Serves the resources of apps that are not mechtrons; `None` for a host without drivers.
    pub resources: Option<Rc<dyn Resources>>,
}

/// A host. All clones are the same host.
#[derive(Clone)]
pub struct Host(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) config: HostConfig,
    pub(crate) node: RefCell<Node>,
    // Ids ascend, so insertions append at the end. A second type of map would add a few KB to the page's Wasm.
    pub(crate) sockets: RefCell<LiteMap<SocketId, Outlet>>,
    pub(crate) askers: RefCell<LiteMap<RequestId, oneshot::Sender<Result<Fetched, Failure>>>>,
    pub(crate) inflows: RefCell<LiteMap<StreamId, Rc<RefCell<Inflow>>>>,
    pub(crate) credits: RefCell<LiteMap<StreamId, Rc<Credit>>>,
    pub(crate) handlers: RefCell<LiteMap<HandlerId, Rc<dyn Handler>>>,
    pub(crate) handling: RefCell<LiteMap<RequestId, Handling>>,
    pub(crate) subscriptions: RefCell<LiteMap<SubscriptionId, Sink>>,
    pub(crate) reading: Rc<Reading>,
    pub(crate) server: RefCell<Option<(String, TokenProvider)>>,
    pub(crate) link_status: RefCell<LinkStatus>,
    pub(crate) link_watchers: RefCell<Vec<mpsc::UnboundedSender<LinkStatus>>>,
    pub(crate) blobs: Blobs,
    pub(crate) apps: RefCell<InstalledApps>,
    pub(crate) compiling: RefCell<LiteMap<(Digest, u64, String), Compiling>>,
    pub(crate) timer: RefCell<Option<(u64, AbortHandle)>>,
    pub(crate) draining: Cell<bool>,
    pub(crate) flushing: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    pub(crate) last_socket: Cell<u64>,
}

impl Host {
    /// Opens a host on its ports. Dials and loads nothing yet.
    pub fn open(ports: Ports, config: HostConfig) -> Self {
        let node = Node::new(NodeConfig {
            secret: config.secret.clone(),
            link: config.link.clone(),
            max_awake: config.max_awake,
            limits: config.limits,
            actors: config.actors,
            seed: ports.time.random(),
        });
        Self(Rc::new(Inner {
            ports,
            config,
            node: RefCell::new(node),
            sockets: RefCell::default(),
            askers: RefCell::default(),
            inflows: RefCell::default(),
            credits: RefCell::default(),
            handlers: RefCell::default(),
            handling: RefCell::default(),
            subscriptions: RefCell::default(),
            reading: Rc::default(),
            server: RefCell::default(),
            link_status: RefCell::new(LinkStatus {
                state: LinkState::Down,
                reason: None,
                since: 0,
                attempt: 0,
                next: None,
            }),
            link_watchers: RefCell::default(),
            blobs: Blobs::default(),
            apps: RefCell::default(),
            compiling: RefCell::default(),
            timer: RefCell::default(),
            draining: Cell::new(false),
            flushing: Cell::new(false),
            closed: Cell::new(false),
            last_socket: Cell::new(0),
        }))
    }

    /// The name of this host.
    pub fn name(&self) -> HostName {
        self.0.node.borrow().name()
    }

    /// The address of this host as a sender.
    pub(crate) fn own_address(&self) -> Address {
        self.0.config.address.clone()
    }

    /// Sends a request and waits for its outcome, which must have a whole body. `timeout_ms` 0 is the default, 30 s. Dropping the
    /// future cancels the request.
    pub async fn request(
        &self,
        from: &Origin,
        to: &Address,
        operation: &str,
        payload: Payload,
        timeout_ms: u32,
    ) -> Outcome {
        let fetched = self.fetch(from, to, operation, payload, timeout_ms).await?;
        fetched.whole().map_err(|failure| failure.at(to))
    }

    /// Sends a request and waits for its outcome, whose body may be a stream. Dropping the future cancels the request.
    pub async fn fetch(
        &self,
        from: &Origin,
        to: &Address,
        operation: &str,
        payload: Payload,
        timeout_ms: u32,
    ) -> Result<Fetched, Failure> {
        self.still_open(to)?;
        self.ended(to, |node, now| node.handle_request(now, from, to, operation, payload, timeout_ms)).await
    }

    /// Sends a one-way message, and waits until its handler gets it, on this host or another. Returns an error if the
    /// message is refused, or its host can't be reached within 30 s. Dropping the future cancels the message, if that
    /// is still possible.
    pub async fn notify_taken(
        &self,
        from: &Origin,
        to: &Address,
        operation: &str,
        payload: Payload,
    ) -> Result<(), Failure> {
        self.still_open(to)?;
        let taken = self.ended(to, |node, now| node.handle_notify_taken(now, from, to, operation, payload));
        taken.await.map(|_| ())
    }

    /// Starts a request and waits for its outcome.
    async fn ended(&self, to: &Address, begin: impl FnOnce(&mut Node, u64) -> RequestId) -> Result<Fetched, Failure> {
        let (sender, receiver) = oneshot::channel();
        // Insert the sender before the effects run, because a request may end in the same turn.
        let request = {
            let now = self.0.ports.time.now_ms();
            let request = begin(&mut self.0.node.borrow_mut(), now);
            self.0.askers.borrow_mut().insert(request, sender);
            request
        };
        let mut guard = CancelOnDrop { host: Rc::downgrade(&self.0), request: Some(request) };
        self.drain();
        let outcome = receiver.await;
        guard.request = None;
        outcome.unwrap_or_else(|_| Err(Failure::not_running("the host was closed").at(to)))
    }

    /// Admits a message from outside that did not come over a link, such as one by HTTP: counts it, and checks the
    /// sender's grants. Returns 429 `too-many` and 403 `no-grant`.
    pub fn admit(&self, caller: &Principal, to: &Address, operation: &str) -> Result<(), Failure> {
        let now = self.0.ports.time.now_ms();
        self.0.node.borrow_mut().admit(now, caller, to, operation)
    }

    /// Counts a message from outside that needs no grant, such as one to a route. Returns 429 `too-many`.
    pub fn count_message(&self, caller: &Principal) -> Result<(), Failure> {
        let now = self.0.ports.time.now_ms();
        self.0.node.borrow_mut().count_message(now, caller)
    }

    /// Whether an operation of a resource on this host takes a stream, by its bind.
    pub fn takes_stream(&self, to: &Address, operation: &str) -> bool {
        self.0.node.borrow().takes_stream(to, operation)
    }

    /// Authenticates all links again after a change of grants or a revocation of tokens, and ends links that are no
    /// longer allowed.
    pub fn reauthenticate(&self) {
        self.turn(|node, _| node.handle_reauthenticate());
    }

    /// Sends a one-way message. Returns an error if it is refused immediately.
    pub fn notify(&self, from: &Origin, to: &Address, operation: &str, payload: Payload) -> Result<(), Failure> {
        self.still_open(to)?;
        self.turn(|node, now| node.handle_notify(now, from, to, operation, payload))
    }

    /// Subscribes to a topic immediately. The subscription buffers up to `buffer` items for a slow reader. Dropping it
    /// ends it.
    pub fn subscribe(&self, topic: Topic, buffer: usize) -> Subscription {
        let (sink, subscription) = subscription::channel(buffer, Rc::clone(&self.0.reading));
        let id = {
            let id = self.0.node.borrow_mut().handle_subscribe(topic);
            self.0.subscriptions.borrow_mut().insert(id, sink);
            id
        };
        self.drain();
        let host = Rc::downgrade(&self.0);
        subscription.on_drop(move || {
            if let Some(inner) = host.upgrade() {
                let host = Self(inner);
                host.0.subscriptions.borrow_mut().remove(&id);
                host.turn(|node, _| node.handle_unsubscribe(id));
            }
        })
    }

    /// Checks whether a principal without a link may subscribe to a topic. Returns 403 `no-grant`, and 404
    /// `no-resource` or `no-event` if the topic does not exist.
    pub fn admit_subscriber(&self, caller: &Principal, topic: &Topic) -> Result<(), Failure> {
        self.0.node.borrow().admit_subscriber(caller, topic)
    }

    /// Checks the grants of a principal for a topic, which need not exist. Returns 403 `no-grant`.
    pub fn permit_topic(&self, caller: &Principal, topic: &Topic) -> Result<(), Failure> {
        self.0.node.borrow().permit_topic(caller, topic)
    }

    /// Restarts the actors at an address, or all actors of an app. Ends quarantines; unfinished messages fail. Returns
    /// the number of restarted actors.
    pub fn restart(&self, address: &Address) -> usize {
        self.turn(|node, now| node.handle_restart(now, address))
    }

    /// Serves an address of this host. Returns 409 `conflict` if it is already served.
    pub fn serve(
        &self,
        address: &Address,
        operations: Operations,
        handler: Rc<dyn Handler>,
    ) -> Result<Served, Failure> {
        self.still_open(address)?;
        let id = self.turn(|node, _| node.handle_serve(address, operations))?;
        self.0.handlers.borrow_mut().insert(id, handler);
        Ok(Served { host: self.clone(), id, address: address.without_host() })
    }

    pub(crate) fn release(&self, id: HandlerId) {
        self.0.handlers.borrow_mut().remove(&id);
        let mut begun = Vec::new();
        self.0.handling.borrow_mut().retain(|request, handling| {
            let is_its = handling.handler == id;
            if is_its {
                begun.push((*request, handling.to.clone()));
            }
            !is_its
        });
        self.turn(|node, now| {
            for (request, to) in begun {
                node.handle_reply(now, request, Err(unknown_outcome(&to)));
            }
            node.handle_release(now, id);
        });
    }

    /// Waits until those requests are answered that handlers at addresses within `app` have now.
    pub async fn answered(&self, app: &Address) {
        let ends: Vec<_> = {
            let mut handling = self.0.handling.borrow_mut();
            let within = handling.iter_mut().filter(|(_, handling)| handling.to.is_within(app));
            within.filter_map(|(_, handling)| handling.ended.take()).collect()
        };
        join_all(ends).await;
    }

    pub(crate) fn emit(&self, from: &Address, event: &str, payload: Payload) -> Result<(), Failure> {
        self.turn(|node, now| node.handle_emit(now, from, event, payload))
    }

    /// Accepts a socket that a peer has dialled.
    pub fn accept(&self, socket: Socket) {
        let id = self.adopt(socket);
        self.turn(|node, now| node.handle_accepted(now, id));
    }

    /// Links this host to a server permanently: it dials again whenever the connection is lost. It calls `token` before
    /// each dial, and before a token expires.
    pub fn connect(&self, url: &str, token: TokenProvider) {
        *self.0.server.borrow_mut() = Some((url.to_owned(), token));
        self.turn(|node, now| node.handle_connect(now));
    }

    /// Reports that the network may have changed, or that the page is seen again: a link that is up is probed, and a
    /// pause before a dial is shortened.
    pub fn wake(&self) {
        self.turn(|node, now| node.handle_wake(now));
    }

    /// Dials the server again soon, also after it refused this host.
    pub fn reconnect(&self) {
        self.turn(|node, now| node.handle_reconnect(now));
    }

    /// The state of the link to the server. Its times are on the clock of the port `Time`.
    pub fn link_status(&self) -> LinkStatus {
        self.0.link_status.borrow().clone()
    }

    /// Returns a stream of the states of the link to the server.
    pub fn watch_link(&self) -> impl Stream<Item = LinkStatus> + use<> {
        let (sender, receiver) = mpsc::unbounded();
        let mut watchers = self.0.link_watchers.borrow_mut();
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
        receiver
    }

    /// Closes the host: it ends links with a goodbye, ends guests, and fails waiting requests with `not-running`.
    pub fn close(&self) {
        if self.0.closed.replace(true) {
            return;
        }
        self.turn(|node, now| node.handle_close(now));
        self.flush();
        self.0.sockets.borrow_mut().clear();
        drop(self.0.askers.take());
        for (_, handling) in self.0.handling.take() {
            handling.abort.abort();
        }
        for (_, sink) in self.0.subscriptions.take() {
            sink.close();
        }
        if let Some((_, timer)) = self.0.timer.borrow_mut().take() {
            timer.abort();
        }
        // Drop handlers and bundles outside of the borrow: dropping them releases addresses, which borrows the host.
        let (handlers, apps) = (self.0.handlers.take(), self.0.apps.take());
        drop((handlers, apps));
    }

    fn still_open(&self, to: &Address) -> Result<(), Failure> {
        if self.0.closed.get() { Err(Failure::not_running("the host was closed").at(to)) } else { Ok(()) }
    }
}

/// Cancels a request when its sender stops waiting.
struct CancelOnDrop {
    host: Weak<Inner>,
    request: Option<RequestId>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let (Some(request), Some(inner)) = (self.request, self.host.upgrade()) {
            let host = Host(inner);
            host.0.askers.borrow_mut().remove(&request);
            host.turn(|node, now| node.handle_cancel(now, request));
        }
    }
}
