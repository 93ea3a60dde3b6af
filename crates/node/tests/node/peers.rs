//! A server, and peers that speak frames and read only when a test lets them.

use starlane_node::{Effect, Goodbye, LinkConfig, Node, NodeConfig, Operations, PrincipalLimits, RequestId, SocketId};
use starlane_protocol::{
    HostSecret, Message, Outcome, Payload, StreamId, StreamRef, Topic,
    frame::{ChunkBytes, Frame, decode_message, encode_frame, encode_message},
    wire::{WireOutcome, WirePayload},
};

use crate::world::{address, somebody};

/// The address of an echo.
pub(crate) const ECHO: &str = "acme:service";

pub(crate) struct Peers {
    pub(crate) node: Node,
    pub(crate) now: u64,
    pub(crate) hangups: Vec<(SocketId, Goodbye)>,
    /// Whether the test answers requests later.
    pub(crate) hold: bool,
    pub(crate) held: Vec<(RequestId, Payload)>,
    /// The grants of each peer.
    pub(crate) grant: &'static str,
    /// The number of numbered frames that each peer has sent.
    sent: std::collections::HashMap<u64, u64>,
}

impl Peers {
    pub(crate) fn new(link: LinkConfig) -> Self {
        Self::under(link, PrincipalLimits::default().bytes_in_flight)
    }

    /// Peers of one principal with a limit of bytes in flight.
    pub(crate) fn under(link: LinkConfig, bytes_in_flight: usize) -> Self {
        let (messages_per_second, links, keys) = (10_000_000, 10_000, 100);
        Self::limited(link, PrincipalLimits { links, messages_per_second, bytes_in_flight, keys })
    }

    /// Peers of one principal with these limits.
    pub(crate) fn limited(link: LinkConfig, limits: PrincipalLimits) -> Self {
        let actors = starlane_node::ActorLimits::default();
        let config = NodeConfig { secret: HostSecret([9; 32]), link, max_awake: 2, limits, actors, seed: [9; 32] };
        let mut node = Node::new(config);
        node.handle_serve(&address(ECHO), Operations::Any).unwrap();
        Self {
            node,
            now: 1,
            hangups: Vec::new(),
            hold: false,
            held: Vec::new(),
            grant: "admin ~*::**",
            sent: Default::default(),
        }
    }

    /// Adds a peer whose socket is open.
    pub(crate) fn accept(&mut self, peer: u64) {
        self.node.handle_accepted(self.now, SocketId(peer));
    }

    /// Adds a peer whose link is up.
    pub(crate) fn admit(&mut self, peer: u64) {
        self.accept(peer);
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&peer.to_le_bytes());
        self.say(peer, &[Frame::hello(HostSecret(secret), None, 1)]);
        assert!(matches!(self.read(peer)[..], [Frame::Welcome { .. }]), "{:?}", self.hangups);
    }

    /// Ends the link of a peer.
    pub(crate) fn leave(&mut self, peer: u64) {
        let (code, reason) = ("closed".to_owned(), String::new());
        self.say(peer, &[Frame::Goodbye { code, reason, keep: false, retry_ms: None, dial: None }]);
    }

    /// A server with one peer, whose link is up.
    pub(crate) fn one(link: LinkConfig) -> Self {
        let mut peers = Self::new(link);
        peers.admit(1);
        peers
    }

    /// Sends frames of a peer without any check.
    pub(crate) fn say(&mut self, peer: u64, frames: &[Frame]) {
        let frames: Vec<Vec<u8>> = frames.iter().map(encode_frame).collect();
        let message = encode_message(0, frames.iter().map(Vec::as_slice));
        self.node.handle_message(self.now, SocketId(peer), &message);
        self.run();
    }

    /// Sends a numbered frame of a peer.
    pub(crate) fn tell(&mut self, peer: u64, frame: impl FnOnce(u64) -> Frame) {
        let sent = self.sent.entry(peer).or_default();
        *sent += 1;
        let frame = frame(*sent);
        self.say(peer, &[frame]);
    }

    pub(crate) fn ask(&mut self, peer: u64, id: u64, body: usize) {
        self.request(peer, id, Payload::new("text/plain", vec![b'x'; body]).into());
    }

    /// Sends a request of a peer whose body of `length` bytes must follow. Returns the number of its frame.
    pub(crate) fn announce(&mut self, peer: u64, id: u64, length: u64) -> u64 {
        self.request(peer, id, WirePayload::announcing(Payload::new("text/plain", Vec::new()), length));
        self.sent[&peer]
    }

    /// Sends a request of a peer whose stream follows. Returns the number of its frame.
    pub(crate) fn announce_stream(&mut self, peer: u64, id: u64) -> u64 {
        let stream = StreamRef::loose(StreamId(0));
        self.request(peer, id, Payload::of_stream("text/plain", stream).into());
        self.sent[&peer]
    }

    /// Sends a part of a body or a stream.
    pub(crate) fn chunk(&mut self, peer: u64, of: u64, offset: u64, bytes: usize) {
        self.tell(peer, |seq| Frame::Chunk { seq, of, offset, part: ChunkBytes(vec![b'x'; bytes].into()) });
    }

    fn request(&mut self, peer: u64, id: u64, payload: WirePayload) {
        let (from, to, caller) = (address("acme:peer"), address(ECHO), String::new());
        let operation = "echo".to_owned();
        let (remaining_ms, hops, trace) = (30_000, 0, None);
        self.tell(peer, |seq| Frame::Request {
            seq,
            id,
            from,
            caller,
            to,
            operation,
            payload,
            remaining_ms,
            hops,
            trace,
        });
    }

    pub(crate) fn subscribe(&mut self, peer: u64, topic: &str) {
        let topic = Topic::parse(topic).unwrap();
        self.tell(peer, |seq| Frame::Subscribe { seq, topic });
    }

    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.node.poll_effect(self.now) {
            match effect {
                Effect::Authenticate { peer, .. } => {
                    let admin = somebody("", &[self.grant], None);
                    self.node.handle_authenticated(self.now, peer, Ok(admin));
                }
                Effect::Deliver { message: Message { request: Some(request), payload, .. }, .. } if self.hold => {
                    self.held.push((request, payload));
                }
                Effect::Deliver { message: Message { request: Some(request), payload, .. }, .. } => {
                    self.node.handle_reply(self.now, request, Ok(payload));
                }
                Effect::StreamPart { stream, part } => self.node.handle_consumed(self.now, stream, part.len()),
                Effect::Hangup { socket, goodbye } => self.hangups.push((socket, goodbye)),
                _ => {}
            }
        }
    }

    /// Takes the next message of the server for a peer.
    pub(crate) fn read(&mut self, peer: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        self.node.handle_room(SocketId(peer));
        while let Some((_, bytes)) = self.node.poll_transmit(self.now, |socket| socket.0 == peer) {
            frames.extend(decode_message(&bytes).unwrap().into_iter().map(|(_, frame)| frame));
        }
        frames
    }

    /// Takes and acknowledges everything that the server has for a peer. Returns the statuses of ended requests.
    pub(crate) fn read_all(&mut self, peer: u64) -> Vec<(u64, u16)> {
        let (mut ended, mut received) = (Vec::new(), 0);
        loop {
            let frames = self.read(peer);
            if frames.is_empty() {
                return ended;
            }
            for frame in &frames {
                received = frame.sequence().unwrap_or(received);
                if let Frame::Response { id, outcome: WireOutcome(outcome), .. } = frame {
                    ended.push((*id, outcome.as_ref().map_or_else(|failure| failure.status, |_| 200)));
                }
            }
            self.say(peer, &[Frame::Ack { received }]);
        }
    }

    pub(crate) fn reply(&mut self, outcome: Outcome) {
        let (request, _) = self.held.pop().unwrap();
        self.node.handle_reply(self.now, request, outcome);
        self.run();
    }

    /// Lets time pass, step by step; a live peer answers pings.
    pub(crate) fn pass(&mut self, ms: u64, alive: u64) {
        let end = self.now + ms;
        while let Some(due) = self.node.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.run();
            if self.hangups.is_empty() {
                self.say(alive, &[Frame::Pong { nonce: 0 }]);
            }
        }
        self.now = end;
    }

    /// The code of the link's end.
    pub(crate) fn end(&self) -> Option<&str> {
        self.hangups.first().map(|(_, goodbye)| goodbye.code.as_str())
    }
}
