//! Two nodes on virtual time, a page and a server, with the guests and handlers of a test between them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use starlane_node::{
    ActorLimits, Authenticated, CloseCode, Effect, Goodbye, LinkConfig, LinkState, LinkStatus, Node, NodeConfig,
    Notice, Origin, Principal, PrincipalLimits, RequestId, SocketId, SubscriptionId,
    guest::{InstanceId, Returned, Saved},
    state::{ActorState, KnownActor, Owned, StateError},
};
use starlane_protocol::{Address, Failure, Grant, HostSecret, Message, Outcome, Payload, Topic};

use crate::{flows::Flows, guest::Guest};

pub(crate) const PAGE: usize = 0;
pub(crate) const SERVER: usize = 1;
/// Limits that are small enough for a test to reach.
const LIMITS: PrincipalLimits =
    PrincipalLimits { links: 2, messages_per_second: 2_000, bytes_in_flight: 8 << 20, keys: 20 };
const SOCKET: SocketId = SocketId(1);

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

pub(crate) fn origin() -> Origin {
    Origin { address: address("starlane:test"), caller: Principal::named("ada") }
}

pub(crate) fn text(text: &str) -> Payload {
    Payload::new("text/plain", text.to_owned())
}

/// One node, and the results of its effects.
pub(crate) struct Side {
    pub(crate) node: Node,
    pub(crate) outcomes: HashMap<RequestId, Outcome>,
    pub(crate) notices: Vec<(SubscriptionId, Notice)>,
    pub(crate) states: Vec<LinkStatus>,
    pub(crate) hangups: Vec<Goodbye>,
    pub(crate) logs: Vec<String>,
    pub(crate) delivered: Vec<Message>,
    /// Requests delivered to handlers that the test answers by hand.
    pub(crate) held: Vec<RequestId>,
    pub(crate) abandoned: Vec<RequestId>,
    pub(crate) flows: Flows,
    pub(crate) hold: bool,
    pub(crate) started: Vec<InstanceId>,
    pub(crate) stopped: Vec<InstanceId>,
    /// The number of batches that guests got.
    pub(crate) batches: usize,
    pub(crate) guests: HashMap<InstanceId, Guest>,
    /// The kept state of actors, and the epochs of their owners.
    pub(crate) kept: BTreeMap<String, ActorState>,
    pub(crate) epoch: u64,
    /// Whether saves wait until the test releases them.
    pub(crate) hold_saves: bool,
    pub(crate) saves: VecDeque<Effect>,
    /// The error of saves, if they fail.
    pub(crate) refuses_saves: Option<StateError>,
    /// The numbers of saves and loads.
    pub(crate) written: usize,
    pub(crate) loaded: usize,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) sides: [Side; 2],
    wire: VecDeque<(usize, Vec<u8>)>,
    /// Whether the network carries anything, and whether a dial succeeds.
    pub(crate) cut: bool,
    connected: bool,
    pub(crate) dials: usize,
    /// The principals that the server knows, by token.
    pub(crate) tokens: HashMap<String, Authenticated>,
    /// The token in the page's hello, and the one that it sends when asked for a fresh one.
    pub(crate) token: String,
    pub(crate) fresh: Option<String>,
    pub(crate) renewals: usize,
    pub(crate) limits: PrincipalLimits,
    /// Whether guests save nothing.
    pub(crate) keeps_nothing: bool,
    /// Whether instances start only when the test says so.
    pub(crate) starts_late: bool,
    /// Whether calls never return.
    pub(crate) runs_for_ever: bool,
}

/// A principal with this name, for this time.
pub(crate) fn somebody(name: &str, grants: &[&str], remaining_ms: Option<u64>) -> Authenticated {
    let grants = grants.iter().map(|text| Grant::parse(text, None).unwrap());
    Authenticated { principal: Principal::new(name, grants), remaining_ms }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(LinkConfig::default())
    }

    pub(crate) fn with(link: LinkConfig) -> Self {
        Self::under(link, ActorLimits::default())
    }

    /// Nodes with these limits of actors.
    pub(crate) fn under(link: LinkConfig, actors: ActorLimits) -> Self {
        let side = |n: u8| Side {
            node: Node::new(NodeConfig {
                secret: HostSecret([n; 32]),
                link: link.clone(),
                max_awake: 2,
                limits: LIMITS,
                actors,
                seed: [n; 32],
            }),
            outcomes: HashMap::new(),
            notices: Vec::new(),
            states: Vec::new(),
            hangups: Vec::new(),
            logs: Vec::new(),
            delivered: Vec::new(),
            held: Vec::new(),
            abandoned: Vec::new(),
            flows: Flows::default(),
            hold: false,
            started: Vec::new(),
            stopped: Vec::new(),
            batches: 0,
            guests: HashMap::new(),
            kept: BTreeMap::new(),
            epoch: 0,
            hold_saves: false,
            saves: VecDeque::new(),
            refuses_saves: None,
            written: 0,
            loaded: 0,
        };
        Self {
            now: 1,
            sides: [side(1), side(2)],
            wire: VecDeque::new(),
            cut: false,
            connected: false,
            dials: 0,
            tokens: [("ada".to_owned(), somebody("ada", &["admin ~*::**"], None))].into(),
            token: "ada".to_owned(),
            fresh: None,
            renewals: 0,
            limits: LIMITS,
            keeps_nothing: false,
            starts_late: false,
            runs_for_ever: false,
        }
    }

    /// A page whose link to the server is up.
    pub(crate) fn linked() -> Self {
        let mut world = Self::new();
        world.connect();
        world.run();
        world
    }

    /// The last state of the page's link.
    pub(crate) fn state(&self) -> Option<LinkState> {
        self.sides[PAGE].states.last().map(|status| status.state)
    }

    /// Begins to link the page to the server.
    pub(crate) fn connect(&mut self) {
        self.sides[PAGE].node.handle_connect(self.now);
    }

    pub(crate) fn page(&mut self) -> &mut Side {
        &mut self.sides[PAGE]
    }

    pub(crate) fn server(&mut self) -> &mut Side {
        &mut self.sides[SERVER]
    }

    pub(crate) fn request(&mut self, side: usize, to: &str, operation: &str, payload: Payload) -> RequestId {
        self.request_within(side, to, operation, payload, 0)
    }

    pub(crate) fn request_within(
        &mut self,
        side: usize,
        to: &str,
        operation: &str,
        payload: Payload,
        ms: u32,
    ) -> RequestId {
        let (now, to) = (self.now, address(to));
        let id = self.sides[side].node.handle_request(now, &origin(), &to, operation, payload, ms);
        self.run();
        id
    }

    pub(crate) fn outcome(&mut self, side: usize, request: RequestId) -> Outcome {
        self.sides[side].outcomes.remove(&request).expect("the request has ended")
    }

    /// Sends a request and expects an answer at once.
    pub(crate) fn ask(&mut self, side: usize, to: &str, operation: &str, payload: Payload) -> Outcome {
        let id = self.request(side, to, operation, payload);
        self.outcome(side, id)
    }

    /// Breaks the network; both sides notice.
    pub(crate) fn break_link(&mut self) {
        self.connected = false;
        self.wire.clear();
        for side in [PAGE, SERVER] {
            self.sides[side].node.handle_closed(self.now, SOCKET);
        }
        self.run();
    }

    /// Sends bytes on the page's side of the socket.
    pub(crate) fn raw_to_server(&mut self, bytes: &[u8]) {
        self.sides[SERVER].node.handle_message(self.now, SOCKET, bytes);
        self.run();
    }

    /// Releases the waiting saves, and lets later ones through.
    pub(crate) fn let_save(&mut self, side: usize) {
        self.sides[side].hold_saves = false;
        for save in std::mem::take(&mut self.sides[side].saves) {
            self.perform(side, save);
        }
        self.run();
    }

    /// Kills the server's process and starts it again, with the saved state.
    pub(crate) fn kill_server(&mut self) {
        let old = &mut self.sides[SERVER];
        let fresh = Self::new().sides.into_iter().nth(SERVER).unwrap();
        let (kept, epoch) = (std::mem::take(&mut old.kept), old.epoch);
        *old = Side { kept, epoch, ..fresh };
    }

    /// Lets time pass, from timer to timer.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        self.run();
        while let Some(due) = self.sides.iter().filter_map(|side| side.node.next_timeout()).min().filter(|d| *d <= end)
        {
            self.now = self.now.max(due);
            for side in &mut self.sides {
                side.node.handle_timeout(self.now);
            }
            self.run();
        }
        self.now = end;
    }

    /// Carries out all effects without letting time pass.
    pub(crate) fn run(&mut self) {
        loop {
            let mut quiet = true;
            for side in [PAGE, SERVER] {
                while let Some(effect) = self.sides[side].node.poll_effect(self.now) {
                    quiet = false;
                    self.perform(side, effect);
                }
                while let Some((_, bytes)) = self.sides[side].node.poll_transmit(self.now, |_| true) {
                    quiet = false;
                    self.wire.push_back((1 - side, bytes));
                }
            }
            while let Some((to, bytes)) = self.wire.pop_front() {
                quiet = false;
                if !self.cut && self.connected {
                    self.sides[to].node.handle_message(self.now, SOCKET, &bytes);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Reports that an instance has started.
    pub(crate) fn start(&mut self, at: usize, instance: InstanceId) {
        self.sides[at].guests.insert(instance, Guest::new());
        self.sides[at].node.handle_started(self.now, instance, Ok(()));
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Dial => {
                self.dials += 1;
                if self.cut {
                    self.sides[PAGE].node.handle_dial_failed(now, CloseCode::Unreachable, "no network");
                } else {
                    self.connected = true;
                    self.sides[SERVER].node.handle_closed(now, SOCKET);
                    self.sides[SERVER].node.handle_accepted(now, SOCKET);
                    self.sides[PAGE].node.handle_dialled(now, SOCKET, Some(self.token.clone()), now);
                }
            }
            Effect::Transmit { message, .. } => self.wire.push_back((1 - at, message)),
            Effect::Hangup { goodbye, .. } => self.sides[at].hangups.push(goodbye),
            Effect::Authenticate { peer, token } => {
                let token = token.unwrap_or_default();
                let (known, is_old) = (self.tokens.get(&*token).cloned(), token == "old");
                let code = if is_old { "expired" } else { "auth-refused" };
                let result = known.ok_or_else(|| Failure::new(401, code, "a bad token"));
                self.sides[at].node.handle_authenticated(now, peer, result);
            }
            Effect::Renew { socket } => {
                self.renewals += 1;
                self.sides[at].node.handle_renewed(socket, self.fresh.clone());
            }
            Effect::LinkStatus(status) => self.sides[at].states.push(status),
            Effect::StreamPart { stream, part } => {
                let read = self.sides[at].flows.part(stream, &part);
                self.sides[at].node.handle_consumed(now, stream, read);
            }
            Effect::StreamEnded { stream, failure } => self.sides[at].flows.end(stream, failure),
            Effect::StreamCredit { stream, limit } => self.sides[at].flows.allow(stream, limit),
            Effect::StreamStopped { stream, failure } => self.sides[at].flows.stop(stream, failure),
            Effect::Deliver { message: mut incoming, .. } => {
                self.sides[at].flows.came.extend(incoming.payload.stream.take().map(|stream| stream.id));
                let request = incoming.request;
                let outcome = match incoming.operation.as_str() {
                    "download" => Ok(self.sides[at].flows.answers.take().expect("a stream was opened")),
                    "fail" => Err(Failure::conflict("as asked")),
                    _ => Ok(incoming.payload.clone()),
                };
                self.sides[at].delivered.push(incoming);
                match request {
                    Some(request) if self.sides[at].hold => self.sides[at].held.push(request),
                    Some(request) => self.sides[at].node.handle_reply(now, request, outcome),
                    None => {}
                }
            }
            Effect::Abandon(request) => self.sides[at].abandoned.push(request),
            Effect::Settle { request, mut outcome } => {
                if let Ok(payload) = &mut outcome {
                    self.sides[at].flows.came.extend(payload.stream.take().map(|stream| stream.id));
                }
                assert!(self.sides[at].outcomes.insert(request, outcome).is_none(), "a request ended twice");
            }
            Effect::Notice { subscription, notice } => self.sides[at].notices.push((subscription, notice)),
            Effect::StartGuest(plan) => {
                self.sides[at].started.push(plan.instance);
                if !self.starts_late {
                    self.start(at, plan.instance);
                }
            }
            Effect::RunGuest { instance, calls } => {
                self.sides[at].batches += 1;
                if self.runs_for_ever {
                    return;
                }
                let mut report = self.sides[at].guests.get_mut(&instance).expect("it was started").run(calls);
                for call in report.done.iter_mut().filter(|_| self.keeps_nothing) {
                    if let Returned::Saved(saved) = &mut call.returned {
                        *saved = Saved { format: 0, data: Default::default() };
                    }
                }
                self.sides[at].node.handle_ran(now, instance, report);
            }
            Effect::StopGuest(instance) => {
                self.sides[at].guests.remove(&instance);
                self.sides[at].stopped.push(instance);
            }
            Effect::Log(line) => self.sides[at].logs.push(line.text),
            Effect::TakeState { app, number, .. } => {
                let side = &mut self.sides[at];
                side.epoch += 1;
                let known = |state: &ActorState| KnownActor {
                    address: state.address.clone(),
                    made_for: state.made_for.clone(),
                    has_state: state.saved.is_some(),
                    saved_ago_ms: None,
                    subscriptions: state.subscriptions.clone(),
                    wakes: state.wakes.clone(),
                };
                let owned = Owned { epoch: side.epoch, actors: side.kept.values().map(known).collect() };
                side.node.handle_state_taken(now, &app, number, Ok(owned));
            }
            Effect::LoadState { instance, actor, .. } => {
                let side = &mut self.sides[at];
                side.loaded += 1;
                let saved = side.kept.get(actor.as_str()).and_then(|state| state.saved.clone());
                side.node.handle_state_loaded(now, instance, Ok(saved));
            }
            Effect::SaveState { .. } if self.sides[at].hold_saves => self.sides[at].saves.push_back(effect),
            Effect::SaveState { write, epoch, state, .. } => {
                let side = &mut self.sides[at];
                let mut result = side.refuses_saves.clone().map_or(Ok(()), Err);
                if epoch != side.epoch {
                    result = Err(StateError::Fenced);
                }
                if result.is_ok() {
                    side.written += 1;
                    side.kept.insert(state.address.to_string(), state);
                }
                side.node.handle_state_saved(now, write, result);
            }
        }
    }
}
