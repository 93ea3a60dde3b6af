//! The nodes, the sockets between them, and the time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use starlane_node::{
    ActorLimits, Authenticated, Authentication, CloseCode, Effect, LinkConfig, LinkState, Node, NodeConfig, Notice,
    Operations, PeerId, Principal, PrincipalLimits, SocketId,
};
use starlane_protocol::{
    Address, Failure, Grant, HostSecret, StreamId, Topic,
    frame::{Frame, LinkOutcome, decode_message},
};

use crate::{checks::Frames, streams::Streams, traffic::Record};

pub(crate) const SERVER: usize = 0;
pub(crate) const PAGES: [usize; 2] = [1, 2];

/// Something that happens at a time.
pub(crate) enum Event {
    /// A message arrives at an end of a socket.
    Arrive {
        pipe: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    /// An end of a socket notices that it is closed.
    Closed {
        pipe: usize,
        at: usize,
    },
    Opened {
        page: usize,
    },
    NotOpened {
        page: usize,
    },
    Authenticated {
        peer: PeerId,
        token: String,
    },
    /// A socket that had no room has some again.
    Room {
        pipe: usize,
        at: usize,
    },
    /// A handler answers.
    Reply {
        at: usize,
        request: starlane_node::RequestId,
        body: Vec<u8>,
        epoch: u64,
    },
    /// A clock goes on.
    Thaw {
        at: usize,
    },
    /// The writer of a stream goes on.
    Write {
        number: usize,
    },
    /// The reader of a stream has consumed a part.
    Read {
        at: usize,
        stream: StreamId,
        number: usize,
        bytes: usize,
        epoch: u64,
    },
    Traffic,
    Fault,
}

/// A socket between a page and the server. Both ends know it under the same number.
pub(crate) struct Pipe {
    pub(crate) page: usize,
    latency: u64,
    /// After this time nothing arrives at an end any more.
    pub(crate) cut_at: BTreeMap<usize, u64>,
    /// When the last message arrives at an end.
    last: BTreeMap<usize, u64>,
    /// The ends that have noticed its end.
    pub(crate) closed: Vec<usize>,
    full: Vec<usize>,
}

pub(crate) struct Side {
    pub(crate) node: Node,
    /// The number of times that it was started.
    pub(crate) epoch: u64,
    /// Its clock stands still until then.
    pub(crate) frozen: u64,
    /// What happened meanwhile.
    backlog: Vec<Event>,
    pub(crate) token: String,
    /// The principal of the last welcome.
    pub(crate) principal: Option<String>,
    pub(crate) up: bool,
    pub(crate) dials: Vec<u64>,
}

pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) sides: Vec<Side>,
    pub(crate) pipes: Vec<Pipe>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    last_event: u64,
    pub(crate) record: Record,
    pub(crate) frames: Frames,
    pub(crate) streams: Streams,
    /// Whether dials of a page fail.
    pub(crate) offline: [bool; 3],
    pub(crate) slow: bool,
    /// Whether traffic and faults go on.
    pub(crate) disturbed: bool,
    /// The oldest message that may be open.
    pub(crate) oldest_open: u64,
    pub(crate) cuts: usize,
    pub(crate) resumed: usize,
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn topic() -> Topic {
    Topic::parse("acme:service#changes").unwrap()
}

fn principal(token: &str) -> Authentication {
    let principal = Principal::new(token, ["admin ~*::**"].map(|text| Grant::parse(text, None).unwrap()));
    match token {
        "bad" => Err(Failure::auth_refused("a bad token")),
        // Tokens are renewed now and then.
        _ => Ok(Authenticated { principal, remaining_ms: Some(15_000) }),
    }
}

fn side(seed: u64, index: usize, epoch: u64) -> Side {
    let mut bytes = [index as u8 + 1; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
    // A server keeps its secret when it is started again.
    let secret = if index == SERVER { [1; 32] } else { bytes };
    let mut node = Node::new(NodeConfig {
        secret: HostSecret(secret),
        link: LinkConfig::default(),
        max_awake: 2,
        limits: PrincipalLimits { links: 4, ..PrincipalLimits::default() },
        actors: ActorLimits::default(),
        seed: bytes,
    });
    let at = if index == SERVER { "acme:service" } else { "acme:ui" };
    node.handle_serve(&address(at), Operations::Any).unwrap();
    Side {
        node,
        epoch,
        frozen: 0,
        backlog: Vec::new(),
        token: format!("user{index}"),
        principal: None,
        up: false,
        dials: Vec::new(),
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = Self {
            now: 1_000_000,
            rng: fastrand::Rng::with_seed(seed),
            sides: (0..3).map(|index| side(seed, index, 1)).collect(),
            pipes: Vec::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            last_event: 0,
            record: Record::default(),
            frames: Frames::default(),
            streams: Streams::default(),
            offline: [false; 3],
            slow: false,
            disturbed: false,
            oldest_open: 1,
            cuts: 0,
            resumed: 0,
        };
        for page in PAGES {
            let now = sim.now;
            sim.sides[page].node.handle_connect(now);
            sim.sides[page].node.handle_subscribe(topic());
        }
        sim.run();
        sim
    }

    /// Kills a process and starts it again, with nothing but what it has on disk.
    pub(crate) fn restart(&mut self, index: usize) {
        let epoch = self.sides[index].epoch + 1;
        let seed = self.rng.u64(..);
        let token = self.sides[index].token.clone();
        self.streams.died(index);
        self.record.died(index, self.sides[index].node.stats().dead_letters);
        for pipe in 0..self.pipes.len() {
            if (index == SERVER || self.pipes[pipe].page == index) && !self.pipes[pipe].closed.contains(&index) {
                self.pipes[pipe].closed.push(index);
                let other = if index == SERVER { self.pipes[pipe].page } else { SERVER };
                let delay = self.rng.u64(0..2_000);
                self.at(delay, Event::Closed { pipe, at: other });
            }
        }
        self.sides[index] = Side { token, ..side(seed, index, epoch) };
        if index != SERVER {
            let now = self.now;
            self.sides[index].node.handle_connect(now);
            self.sides[index].node.handle_subscribe(topic());
        }
    }

    /// Lets the clock of a host stand still for a time.
    pub(crate) fn freeze(&mut self, at: usize, ms: u64) {
        let until = self.sides[at].frozen.max(self.now + ms);
        self.sides[at].frozen = until;
        self.at(until - self.now, Event::Thaw { at });
    }

    pub(crate) fn at(&mut self, delay: u64, event: Event) {
        self.last_event += 1;
        self.queue.push(Reverse((self.now + delay, self.last_event)));
        self.events.insert(self.last_event, event);
    }

    /// Lets time pass until `end`, from event to event.
    pub(crate) fn pass_until(&mut self, end: u64) {
        loop {
            let timer = |side: &Side| side.node.next_timeout().map(|at| at.max(side.frozen));
            let timers = self.sides.iter().filter_map(timer).min();
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(at) = timers.into_iter().chain(next).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if next.is_some_and(|next| next <= self.now) {
                let Some(Reverse((_, id))) = self.queue.pop() else { break };
                let Some(event) = self.events.remove(&id) else { continue };
                self.happen(event);
            }
            for index in 0..self.sides.len() {
                let side = &mut self.sides[index];
                if side.frozen <= self.now && side.node.next_timeout().is_some_and(|at| at <= self.now) {
                    side.node.handle_timeout(self.now);
                }
            }
            self.run();
            let is_closed = |sent: &crate::traffic::Sent| sent.request.is_none() || sent.outcome.is_some();
            while self.record.sent.get(&self.oldest_open).is_some_and(is_closed) {
                self.oldest_open += 1;
            }
            self.check_step();
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let whose = match &event {
            Event::Arrive { to, .. } => *to,
            Event::Closed { at, .. } | Event::Room { at, .. } | Event::Reply { at, .. } => *at,
            Event::Read { at, .. } => *at,
            Event::Write { number } => self.streams.writer_of(*number),
            Event::Opened { page } | Event::NotOpened { page } => *page,
            Event::Authenticated { .. } => SERVER,
            Event::Thaw { at } if self.sides[*at].frozen > now => return,
            Event::Thaw { at } => {
                let backlog = std::mem::take(&mut self.sides[*at].backlog);
                for event in backlog {
                    // What the host was about to do when its clock stopped comes first.
                    self.run();
                    self.happen(event);
                }
                return;
            }
            Event::Traffic => return self.traffic(),
            Event::Fault => return self.fault(),
        };
        // What comes while a clock stands still waits, in order.
        if self.sides[whose].frozen > now {
            return self.sides[whose].backlog.push(event);
        }
        match event {
            Event::Arrive { pipe, to, bytes } => {
                let link = &self.pipes[pipe];
                let lost = link.closed.contains(&to) || link.cut_at.get(&to).is_some_and(|at| *at < now);
                if !lost {
                    if let Some(principal) = self.frames.arrived(pipe, to, &bytes) {
                        self.sides[to].principal = principal;
                    }
                    self.sides[to].node.handle_message(now, SocketId(pipe as u64), &bytes);
                }
            }
            Event::Closed { pipe, at } => self.close(pipe, at),
            Event::Opened { page } => self.open(page),
            Event::NotOpened { page } => {
                self.sides[page].node.handle_dial_failed(now, CloseCode::Unreachable, "no network");
            }
            Event::Authenticated { peer, token } => {
                self.sides[SERVER].node.handle_authenticated(now, peer, principal(&token));
            }
            Event::Room { pipe, at } => {
                self.pipes[pipe].full.retain(|end| *end != at);
                self.sides[at].node.handle_room(SocketId(pipe as u64));
            }
            Event::Reply { at, request, body, epoch } if self.sides[at].epoch == epoch => {
                let payload = starlane_protocol::Payload::new("text/plain", body);
                self.sides[at].node.handle_reply(now, request, Ok(payload));
            }
            Event::Read { at, stream, number, bytes, epoch } if self.sides[at].epoch == epoch => {
                self.read_stream(at, stream, number, bytes);
            }
            Event::Write { number } => self.write_stream(number),
            _ => {}
        }
    }

    fn open(&mut self, page: usize) {
        let (now, pipe) = (self.now, self.pipes.len());
        let latency = if self.slow { self.rng.u64(100..9_000) } else { self.rng.u64(1..80) };
        let (cut_at, last) = (BTreeMap::new(), BTreeMap::new());
        self.pipes.push(Pipe { page, latency, cut_at, last, closed: Vec::new(), full: Vec::new() });
        let (socket, token) = (SocketId(pipe as u64), self.sides[page].token.clone());
        self.sides[SERVER].node.handle_accepted(now, socket);
        self.sides[page].node.handle_dialled(now, socket, Some(token), now);
    }

    /// An end of a socket is closed; the other end notices soon.
    fn close(&mut self, pipe: usize, at: usize) {
        if !self.pipes[pipe].closed.contains(&at) {
            self.pipes[pipe].closed.push(at);
            self.sides[at].node.handle_closed(self.now, SocketId(pipe as u64));
        }
    }

    /// Carries out all effects, and gives messages to sockets with room.
    pub(crate) fn run(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.sides.len() {
                if self.sides[index].frozen > self.now {
                    continue;
                }
                while let Some(effect) = self.sides[index].node.poll_effect(self.now) {
                    quiet = false;
                    self.perform(index, effect);
                }
                loop {
                    let (pipes, now) = (&self.pipes, self.now);
                    let has_room = |socket: SocketId| !pipes[socket.0 as usize].full.contains(&index);
                    let Some((socket, bytes)) = self.sides[index].node.poll_transmit(now, has_room) else { break };
                    quiet = false;
                    self.transmit(index, socket, bytes);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn transmit(&mut self, from: usize, socket: SocketId, bytes: Vec<u8>) {
        let pipe = socket.0 as usize;
        for (_, frame) in decode_message(&bytes).unwrap() {
            if let Frame::Welcome { link, outcome, .. } = frame {
                self.resumed += usize::from(matches!(outcome, LinkOutcome::Resumed { .. }));
                if let Some(earlier) = self.frames.welcome(pipe, link) {
                    let is_closed = self.pipes[earlier].closed.contains(&SERVER);
                    assert!(is_closed, "two sockets of one link have effects");
                }
            }
        }
        self.frames.sent(pipe, from, &bytes);
        let to = if from == SERVER { self.pipes[pipe].page } else { SERVER };
        let latency = self.pipes[pipe].latency + self.rng.u64(0..5);
        let last = self.pipes[pipe].last.get(&to).copied().unwrap_or_default();
        let arrives = last.max(self.now + latency);
        self.pipes[pipe].last.insert(to, arrives);
        if self.rng.u8(..) < 8 {
            self.pipes[pipe].full.push(from);
            let delay = self.rng.u64(1..300);
            self.at(delay, Event::Room { pipe, at: from });
        }
        self.at(arrives - self.now, Event::Arrive { pipe, to, bytes });
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Dial => {
                self.sides[at].dials.push(now);
                let delay = self.rng.u64(1..60);
                let event = if self.offline[at] { Event::NotOpened { page: at } } else { Event::Opened { page: at } };
                self.at(delay, event);
            }
            Effect::Transmit { socket, message } => self.transmit(at, socket, message),
            Effect::Hangup { socket, .. } => {
                let pipe = socket.0 as usize;
                if !self.pipes[pipe].closed.contains(&at) {
                    self.pipes[pipe].closed.push(at);
                    let (other, last) = match at {
                        SERVER => (self.pipes[pipe].page, self.pipes[pipe].last.get(&self.pipes[pipe].page)),
                        _ => (SERVER, self.pipes[pipe].last.get(&SERVER)),
                    };
                    // The end of a socket comes behind its last message.
                    let delay = last.map_or(0, |last| last.saturating_sub(now)) + 1;
                    self.at(delay, Event::Closed { pipe, at: other });
                }
            }
            Effect::Authenticate { peer, token } => {
                let delay = if self.slow { self.rng.u64(0..3_000) } else { self.rng.u64(0..3) };
                self.at(delay, Event::Authenticated { peer, token: token.unwrap_or_default() });
            }
            Effect::Renew { socket } => {
                let token = self.sides[at].token.clone();
                self.sides[at].node.handle_renewed(socket, Some(token));
            }
            Effect::LinkStatus(status) => {
                assert_ne!(status.state, LinkState::Refused, "{status:?}");
                self.sides[at].up = status.state == LinkState::Up;
            }
            Effect::Deliver { mut message, .. } if message.operation.ends_with("load") => {
                self.stream_delivered(at, &mut message);
            }
            Effect::Deliver { message, .. } => self.delivered(at, message),
            Effect::Settle { request, mut outcome } => {
                if let Ok(payload) = &mut outcome {
                    self.stream_came(at, payload);
                }
                self.record.ended(now, at, request, outcome);
            }
            Effect::StreamPart { stream, part } => self.stream_part(at, stream, &part),
            Effect::StreamEnded { stream, failure } => self.stream_ended(at, stream, failure),
            Effect::StreamCredit { stream, limit } => self.stream_credit(at, stream, limit),
            Effect::StreamStopped { stream, failure } => self.stream_stopped(at, stream, failure),
            Effect::Notice { notice, .. } => match notice {
                Notice::Event { payload, .. } => self.record.event(at, &payload.body),
                Notice::Gap => self.record.gap(at),
                Notice::Refused(failure) => panic!("a subscription was refused: {failure}"),
            },
            _ => {}
        }
    }

    /// The number of dead letters of all nodes.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.sides.iter().map(|side| side.node.stats().dead_letters).sum::<u64>() + self.record.buried
    }
}
