//! The node: its parts, its inputs and its outputs. Bytes and time go in by `handle_*`, effects come out by `poll_*`.

use std::{collections::VecDeque, rc::Rc};

use sha2::{Digest, Sha256};
use starlane_bundle::Bind;
use starlane_protocol::{
    Address, AddressError, Failure, HostName, HostSecret, Message, Outcome, Payload, StreamDrops, StreamId, Topic,
    Trace,
    bounds::{MAX_OPERATIONS, check_operation, cut},
    message::ONE_WAY,
};

use crate::{
    actor::{Actor, ActorId},
    app::Apps,
    dead_letters::DeadLetters,
    detached::Detached,
    effect::{Effect, HandlerId, LogLine, Notice, Origin, RequestId, SocketId, SubscriptionId},
    forget::Recency,
    guest::{InstanceId, Level},
    limits::ActorLimits,
    link::{CloseCode, Goodbye, Link, LinkConfig, LinkKey},
    maps::{Index, Map},
    owner::Owners,
    requests::{Asker, Pending, Route},
    shares::{Shares, Slot},
    starts::StartQueue,
    stats::Stats,
    streams::Flow,
    timers::{Key, Timer, Timers},
    topics::Topics,
    uplink::Uplink,
    usage::{PrincipalLimits, Usage},
};

/// The timeout of a request that does not set one, in milliseconds.
pub(crate) const DEFAULT_TIMEOUT_MS: u32 = 30_000;

/// The maximum size of a log line, in bytes; a longer one is cut.
const MAX_LOG_LINE_BYTES: usize = 64 * 1024;

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The secret from which this host's name is derived.
    pub secret: HostSecret,
    /// Limits and times of links.
    pub link: LinkConfig,
    /// The maximum number of awake actors.
    pub max_awake: usize,
    /// The limits of each principal that dials this host.
    pub limits: PrincipalLimits,
    /// The limits of actors.
    pub actors: ActorLimits,
    /// 256 random bits of cryptographic quality, for link ids and jitter.
    pub seed: [u8; 32],
}

/// The operations that a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operations {
    /// All operations; the handler refuses unknown ones itself.
    Any,
    /// Only these.
    Named(Vec<String>),
    /// Those of a bind, with its content types; the second field has their names.
    Bound(Rc<Bind>, Vec<String>),
}

impl Operations {
    /// The operations of a bind.
    pub fn of_bind(bind: &Rc<Bind>) -> Self {
        Self::Bound(Rc::clone(bind), bind.operations.keys().cloned().collect())
    }

    /// Their names; empty for `Any`.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Any => Vec::new(),
            Self::Named(names) | Self::Bound(_, names) => names.clone(),
        }
    }
}

/// A handler at an address.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) address: Address,
    pub(crate) operations: Operations,
    /// The events that it emits; none: any event.
    pub(crate) events: Option<Vec<String>>,
}

/// The decisions of a host. The crate's documentation explains how to drive it.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) name: HostName,
    pub(crate) random: Random,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) links: Map<LinkKey, Box<Link>>,
    pub(crate) sockets: Map<SocketId, LinkKey>,
    /// The links that have been up, by the host at their other end. A host has one link.
    pub(crate) by_host: Map<HostName, LinkKey>,
    pub(crate) detached: Detached,
    /// Links that have something to send and may have room, each once.
    pub(crate) ready: VecDeque<LinkKey>,
    /// The number of open requests that the cycle checks of the present batch of calls can still examine.
    pub(crate) cycle_looks: usize,
    /// The number of times that the node touched links and examined actors and open requests, for tests.
    #[cfg(test)]
    pub(crate) touches: usize,
    pub(crate) uplink: Uplink,
    pub(crate) requests: Map<RequestId, Box<Pending>>,
    /// The requests that each responder has to answer, by the number of the responder.
    pub(crate) asked: Index<u64, RequestId>,
    pub(crate) flows: Map<StreamId, Box<Flow>>,
    pub(crate) stream_drops: StreamDrops,
    pub(crate) handlers: Map<HandlerId, Box<Registered>>,
    pub(crate) handler_at: Map<Address, HandlerId>,
    pub(crate) apps: Apps,
    pub(crate) owners: Owners,
    pub(crate) actors: Map<ActorId, Box<Actor>>,
    pub(crate) by_address: Map<Address, ActorId>,
    pub(crate) by_app: Index<Address, ActorId>,
    pub(crate) recency: Recency,
    pub(crate) by_instance: Map<InstanceId, (ActorId, Slot)>,
    pub(crate) starts: StartQueue,
    pub(crate) shares: Shares,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) topics: Topics,
    pub(crate) usage: Usage,
    pub(crate) stats: Stats,
    pub(crate) timers: Timers,
    pub(crate) last_id: u64,
}

impl Node {
    /// A node with nothing in it yet.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            name: config.secret.name(),
            random: Random::new(config.seed),
            effects: VecDeque::new(),
            links: Map::new(),
            sockets: Map::new(),
            by_host: Map::new(),
            detached: Detached::default(),
            ready: VecDeque::new(),
            cycle_looks: 0,
            #[cfg(test)]
            touches: 0,
            uplink: Uplink::default(),
            requests: Map::new(),
            asked: Index::default(),
            flows: Map::new(),
            stream_drops: StreamDrops::default(),
            handlers: Map::new(),
            handler_at: Map::new(),
            apps: Apps::default(),
            owners: Owners::default(),
            actors: Map::new(),
            by_address: Map::new(),
            by_app: Index::default(),
            recency: Recency::default(),
            by_instance: Map::new(),
            starts: StartQueue::default(),
            shares: Shares::default(),
            dead_letters: DeadLetters::default(),
            topics: Topics::default(),
            usage: Usage::default(),
            stats: Stats::default(),
            timers: Timers::default(),
            last_id: 0,
            config,
        }
    }

    /// The name of this host.
    pub fn name(&self) -> HostName {
        self.name
    }

    /// Returns a number that this node has not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a request of this host itself; `Settle` brings its outcome. `timeout_ms` 0 means the default, 30 s.
    pub fn handle_request(
        &mut self,
        now: u64,
        origin: &Origin,
        to: &Address,
        operation: &str,
        payload: Payload,
        timeout_ms: u32,
    ) -> RequestId {
        let message = Message { remaining_ms: timeout_ms, ..message(origin, to, operation, payload) };
        self.ask(now, Asker::Host, message)
    }

    /// Cancels a request of this host itself.
    pub fn handle_cancel(&mut self, now: u64, request: RequestId) {
        self.drop_request(now, request);
    }

    /// Sends a one-way message. Errors when it is refused at once; later refusals go to the log.
    pub fn handle_notify(
        &mut self,
        now: u64,
        origin: &Origin,
        to: &Address,
        operation: &str,
        payload: Payload,
    ) -> Result<(), Failure> {
        self.tell(now, message(origin, to, operation, payload))
    }

    /// Sends a one-way message; `Settle` reports whether its target took it, on whichever host.
    pub fn handle_notify_taken(
        &mut self,
        now: u64,
        origin: &Origin,
        to: &Address,
        operation: &str,
        mut payload: Payload,
    ) -> RequestId {
        payload.headers.push((ONE_WAY.to_owned(), "1".to_owned()));
        self.ask(now, Asker::Host, message(origin, to, operation, payload))
    }

    /// Takes a handler's reply to a request that was delivered to it.
    pub fn handle_reply(&mut self, now: u64, request: RequestId, outcome: Outcome) {
        self.finish(now, request, outcome);
    }

    /// Registers a handler at an address of this host. Errors with 409 when the address is taken, and with 413 when it has too many
    /// operations or their names are too long.
    pub fn handle_serve(&mut self, address: &Address, operations: Operations) -> Result<HandlerId, Failure> {
        let address = address.without_host();
        let names = operations.names();
        let (count, most) = (names.len(), MAX_OPERATIONS);
        if count > most {
            let message = format!("{count} operations are served at {address}; the maximum is {most}");
            return Err(Failure::too_large(message).at(&address));
        }
        names.iter().try_for_each(|name| check_operation(name)).map_err(|failure| failure.at(&address))?;
        if self.handler_at.contains_key(&address) || self.apps.role(&address).is_some() {
            let message = format!("{address} is served on this host already: release it first");
            return Err(Failure::conflict(message).at(&address));
        }
        let id = HandlerId(self.fresh());
        self.announce(&address, names);
        self.handler_at.insert(address.clone(), id);
        self.handlers.insert(id, Box::new(Registered { address, operations, events: None }));
        Ok(id)
    }

    /// Limits a handler to these events; subscriptions to others are refused.
    pub fn handle_events(&mut self, handler: HandlerId, events: Vec<String>) {
        if let Some(registered) = self.handlers.get_mut(&handler) {
            registered.events = Some(events);
        }
    }

    /// Removes a handler; requests that it has not answered fail.
    pub fn handle_release(&mut self, now: u64, handler: HandlerId) {
        let Some(registered) = self.handlers.remove(&handler) else { return };
        let address = registered.address;
        self.handler_at.remove(&address);
        self.withdraw(&address);
        let why = || Failure::not_running("the resource was released before it answered").at(&address);
        self.fail_asked(now, Route::Handler(handler), why);
    }

    /// Emits an event of a handler's resource to its subscribers.
    pub fn handle_emit(&mut self, now: u64, from: &Address, event: &str, payload: Payload) -> Result<(), Failure> {
        let topic = Topic::new(from.without_host(), event).map_err(AddressError::failure)?;
        self.emit(now, &topic, &payload, None)
    }

    /// Subscribes the host itself to a topic. `Notice` brings the events, or the failure if a resource of this host has no such
    /// event.
    pub fn handle_subscribe(&mut self, topic: Topic) -> SubscriptionId {
        let id = SubscriptionId(self.fresh());
        match self.check_topic(&topic) {
            Ok(()) => self.subscribe(topic, crate::topics::Subscriber::Host(id)),
            Err(failure) => self.notice(id, Notice::Refused(failure)),
        }
        id
    }

    /// Ends a subscription of the host itself.
    pub fn handle_unsubscribe(&mut self, subscription: SubscriptionId) {
        self.unsubscribe_all(crate::topics::Subscriber::Host(subscription));
    }

    /// Runs everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: u64) {
        while let Some((key, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Wake(actor, token) => self.wake_actor(now, key, actor, token),
                Timer::Restart(actor) => self.restart_actor(now, actor),
                Timer::Wakes(actor) => self.give_wakes(now, actor),
                Timer::Overdue(actor) => self.look_for_overdue(now, actor),
                Timer::Slots => self.ask_for_slots_again(now),
                Timer::Save(actor) => self.save_is_due(now, actor),
                Timer::Leave(actor) => self.leave_now(now, actor),
                Timer::Link(key) => self.link_timeout(now, key),
                Timer::Detached => self.end_surplus(now),
                Timer::Stream(stream) => self.stream_is_due(now, stream),
                Timer::Deadline(request) => self.deadline_passed(now, request),
            }
        }
        self.uplink_timeout(now);
    }

    /// When `handle_timeout` should be called next, on the clock of `now`.
    pub fn next_timeout(&self) -> Option<u64> {
        let uplink = self.uplink.key().and_then(|key| self.links.get(&key));
        let first_deadline = uplink.and_then(|link| link.first_deadline());
        self.timers.next().into_iter().chain(self.uplink.next_timeout()).chain(first_deadline).min()
    }

    /// The next effect, in order.
    pub fn poll_effect(&mut self, now: u64) -> Option<Effect> {
        while self.effects.is_empty() && self.sweep_streams(now) {}
        self.effects.pop_front()
    }

    /// Whether `poll_effect` has something, apart from the ends of streams whose messages were dropped.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    pub(crate) fn log(&mut self, address: &Address, level: Level, text: impl Into<String>) {
        self.log_traced(address, level, None, text);
    }

    /// Logs a line about a message of a trace.
    pub(crate) fn log_traced(&mut self, about: &Address, level: Level, trace: Option<Trace>, text: impl Into<String>) {
        let (address, text) = (about.clone(), cut(text.into(), MAX_LOG_LINE_BYTES));
        self.effects.push_back(Effect::Log(LogLine { address, level, trace, text }));
    }

    pub(crate) fn after(&mut self, at: u64, timer: Timer) -> Key {
        let key = (at, self.fresh());
        self.timers.insert(key, timer);
        key
    }

    pub(crate) fn notice(&mut self, subscription: SubscriptionId, notice: Notice) {
        self.effects.push_back(Effect::Notice { subscription, notice });
    }
}

fn message(origin: &Origin, to: &Address, operation: &str, payload: Payload) -> Message {
    let (from, caller) = (origin.address.clone(), origin.caller.clone());
    Message::new(from, caller, to.clone(), operation.to_owned(), payload)
}

/// The goodbye of a link that the host itself closes.
pub(crate) fn closed() -> Goodbye {
    Goodbye::new(CloseCode::Closed, "this host closed the link")
}

/// How long peers should wait before they dial a host again that closes, in milliseconds.
const CLOSING_RETRY_MS: u32 = 1_000;

/// The goodbye of a server that closes.
pub(crate) fn closing() -> Goodbye {
    let reason = "the server is stopping: dial again later";
    Goodbye { retry_ms: Some(CLOSING_RETRY_MS), ..Goodbye::new(CloseCode::Closing, reason) }
}

/// Random numbers that depend only on the seed: digests of the seed and a counter.
pub(crate) struct Random {
    seed: [u8; 32],
    count: u64,
}

impl Random {
    fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.count += 1;
        Sha256::new().chain_update(self.seed).chain_update(self.count.to_le_bytes()).finalize().into()
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.bytes()).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Between `least` and `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        let [one, two, ..] = self.bytes();
        least + most.saturating_sub(least) * u64::from(u16::from_le_bytes([one, two])) / u64::from(u16::MAX)
    }
}
