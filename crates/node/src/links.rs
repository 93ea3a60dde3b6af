//! Links of this node: sockets that open and close, what arrives over them, and the uplink's dialling.

use starlane_protocol::{Address, Failure, Verb};

use crate::{
    effect::{Effect, LinkState, RequestId, SocketId},
    link::{CloseCode, Goodbye, Link, LinkEvent, Parcel},
    node::{Node, Operations, closed},
    requests::{Answerer, Asker},
    topics::Subscriber,
    uplink::refused,
};

/// The maximum number of addresses that a peer is known to serve.
const MAX_SERVED: usize = 1_024;

impl Node {
    /// From now on this host has a server, dialled at once and again for ever.
    pub fn handle_connect(&mut self) {
        if !self.uplink.is_wanted() {
            self.effects.push_back(Effect::LinkState(LinkState::Connecting));
            self.dial();
        }
    }

    /// The host closes: every link says goodbye, nothing is dialled again.
    pub fn handle_close(&mut self, now: u64) {
        self.uplink.stop();
        for (_, link) in self.links.iter_mut() {
            link.end(closed());
        }
        self.drain_links(now);
        let closed = Failure::not_running("this host closed");
        for waiting in self.uplink.take_waiting().into_iter().filter(|waiting| waiting.request.is_none()) {
            self.dead_letter(now, &waiting.envelope.to, &waiting.envelope.operation, &closed);
        }
        self.starts.closed = true;
        let awake: Vec<_> = self.by_instance.keys().copied().collect();
        for instance in awake {
            self.by_instance.remove(&instance);
            self.effects.push_back(Effect::StopGuest(instance));
        }
        self.bury_mail(now, &closed);
    }

    /// The socket that `Dial` asked for is open; `token` is what hello shows.
    pub fn handle_dialled(&mut self, now: u64, socket: SocketId, token: Option<String>) {
        if !self.uplink.is_dialling() {
            self.effects.push_back(Effect::Hangup { socket, goodbye: closed() });
            return;
        }
        let link = Link::dialling(self.config.link.clone(), now, &self.config.secret, token);
        self.links.insert(socket, Box::new(link));
        self.uplink.opened(socket);
    }

    /// The socket that `Dial` asked for could not be opened.
    pub fn handle_dial_failed(&mut self, now: u64) {
        if self.uplink.is_dialling() {
            self.redial_later(now);
        }
    }

    /// A peer has dialled this host.
    pub fn handle_accepted(&mut self, now: u64, socket: SocketId) {
        self.links.insert(socket, Box::new(Link::dialled(self.config.link.clone(), now)));
    }

    /// A WebSocket message arrived.
    pub fn handle_message(&mut self, now: u64, socket: SocketId, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&socket) {
            link.handle_message(now, bytes);
            self.drain_links(now);
        }
    }

    /// A socket is gone.
    pub fn handle_closed(&mut self, now: u64, socket: SocketId) {
        if let Some(link) = self.links.remove(&socket) {
            self.link_lost(now, socket, &link, &Goodbye::new(CloseCode::Closed, "the connection was closed"));
        }
    }

    pub(crate) fn links_timeout(&mut self, now: u64) {
        for (_, link) in self.links.iter_mut() {
            link.handle_timeout(now);
        }
        self.drain_links(now);
    }

    pub(crate) fn uplink_timeout(&mut self, now: u64) {
        for waiting in self.uplink.expired(now) {
            let failure = Failure::unreachable("the link to the server did not come up in time");
            self.dead_letter(now, &waiting.envelope.to, &waiting.envelope.operation, &failure);
        }
        if self.uplink.next_timeout().is_some_and(|at| at <= now) {
            self.dial();
        }
    }

    fn dial(&mut self) {
        self.uplink.dialling();
        self.effects.push_back(Effect::Dial);
    }

    fn redial_later(&mut self, now: u64) {
        let pause = self.uplink.next_pause(&self.config.link);
        let pause = self.random.jitter(pause);
        self.uplink.pause_until(now + pause);
        self.effects.push_back(Effect::LinkState(LinkState::Down));
    }

    /// Sends on the uplink if it is up; what matters beyond that is sent when it comes up.
    pub(crate) fn send_up(&mut self, parcel: Parcel) {
        if let Some(link) = self.uplink.socket().and_then(|socket| self.links.get_mut(&socket))
            && link.is_up()
        {
            let _ = link.send(parcel);
        }
    }

    /// Tells the server that this host serves an address.
    pub(crate) fn announce(&mut self, address: &Address, operations: &Operations) {
        let operations = match operations {
            Operations::Any => Vec::new(),
            Operations::Named(names) => names.clone(),
        };
        self.send_up(Parcel::Serve { address: address.clone(), operations });
    }

    pub(crate) fn withdraw(&mut self, address: &Address) {
        self.send_up(Parcel::Release { address: address.clone() });
    }

    pub(crate) fn drain_links(&mut self, now: u64) {
        let sockets: Vec<SocketId> = self.links.keys().copied().collect();
        for socket in sockets {
            while let Some(event) = self.links.get_mut(&socket).and_then(|link| link.poll_event()) {
                self.link_event(now, socket, event);
            }
        }
    }

    fn link_event(&mut self, now: u64, socket: SocketId, event: LinkEvent) {
        match event {
            LinkEvent::Hello { token } => self.effects.push_back(Effect::Authenticate { socket, token }),
            LinkEvent::Expiring => self.effects.push_back(Effect::Renew { socket }),
            LinkEvent::Up => self.link_up(now, socket),
            LinkEvent::Parcel(parcel) => self.parcel(now, socket, parcel),
            LinkEvent::Over(goodbye) => {
                // Its last frame, the goodbye, is transmitted before the socket is closed.
                if let Some(bytes) = self.links.get_mut(&socket).and_then(|link| link.poll_transmit(now)) {
                    self.effects.push_back(Effect::Transmit { socket, message: bytes });
                }
                let link = self.links.remove(&socket);
                self.effects.push_back(Effect::Hangup { socket, goodbye: goodbye.clone() });
                if let Some(link) = link {
                    self.link_lost(now, socket, &link, &goodbye);
                }
            }
        }
    }

    fn link_up(&mut self, now: u64, socket: SocketId) {
        if self.uplink.socket() != Some(socket) {
            return;
        }
        self.uplink.server = self.links.get(&socket).and_then(|link| link.peer);
        let after_a_break = self.uplink.was_up;
        self.uplink.up();
        self.effects.push_back(Effect::LinkState(LinkState::Up));
        let served: Vec<_> = self
            .handlers
            .iter()
            .map(|(address, registered)| (address.clone(), registered.operations.clone()))
            .collect();
        for (address, operations) in served {
            self.announce(&address, &operations);
        }
        self.resubscribe(now, after_a_break);
        for waiting in self.uplink.take_waiting() {
            let (to, operation) = (waiting.envelope.to.clone(), waiting.envelope.operation.clone());
            match (self.forward_to_link(now, socket, waiting.request, waiting.envelope), waiting.request) {
                (Ok(()), _) => {}
                (Err(failure), Some(request)) => self.finish(now, request, Err(failure)),
                (Err(failure), None) => self.dead_letter(now, &to, &operation, &failure),
            }
        }
    }

    fn link_lost(&mut self, now: u64, socket: SocketId, link: &Link, goodbye: &Goodbye) {
        let (unacked, peer) = (link.one_way_unacked(), link.peer);
        if unacked > 0 {
            self.lost_with_link(peer, unacked, goodbye);
        }
        let lost = || Failure::link_lost(format!("the link broke before the answer came ({})", goodbye.reason));
        self.fail_asked(now, Answerer::Link(socket), lost);
        let asked: Vec<RequestId> = self.requests_of_link(socket);
        for request in asked {
            self.drop_request(now, request);
        }
        self.unsubscribe_all(Subscriber::Link(socket));
        if self.uplink.socket() != Some(socket) {
            return;
        }
        if goodbye.code.is_final() {
            self.uplink.refuse(goodbye.clone());
            for waiting in self.uplink.take_waiting() {
                match waiting.request {
                    Some(request) => self.finish(now, request, Err(refused(goodbye))),
                    None => {
                        self.dead_letter(now, &waiting.envelope.to, &waiting.envelope.operation, &refused(goodbye));
                    }
                }
            }
            self.effects.push_back(Effect::LinkState(LinkState::Refused(goodbye.clone())));
        } else {
            self.redial_later(now);
        }
    }

    fn requests_of_link(&self, socket: SocketId) -> Vec<RequestId> {
        self.from_links.iter().filter(|((from, _), _)| *from == socket).map(|(_, request)| *request).collect()
    }

    fn parcel(&mut self, now: u64, socket: SocketId, parcel: Parcel) {
        match parcel {
            Parcel::Request { id, envelope, remaining_ms } => match self.enter(now, socket, envelope, Verb::Request) {
                _ if self.from_links.contains_key(&(socket, id)) => {
                    self.end_link(
                        now,
                        socket,
                        Goodbye::new(CloseCode::Malformed, format!("request {id} was sent twice")),
                    );
                }
                Ok(envelope) => {
                    self.ask(now, Asker::Link(socket, id), envelope, remaining_ms);
                }
                Err(failure) => {
                    if let Some(link) = self.links.get_mut(&socket) {
                        let _ = link.send(Parcel::Response { id, outcome: Err(failure) });
                    }
                }
            },
            Parcel::Notify { envelope } => {
                let (to, operation) = (envelope.to.clone(), envelope.operation.clone());
                let told =
                    self.enter(now, socket, envelope, Verb::Notify).and_then(|envelope| self.tell(now, envelope));
                if let Err(failure) = told {
                    self.dead_letter(now, &to, &operation, &failure);
                }
            }
            Parcel::Response { id, outcome } => {
                let request = RequestId(id);
                // An answer from who was not asked is not one; an answer that comes too late has no request any more.
                if self.requests.get(&request).is_some_and(|pending| pending.answerer == Some(Answerer::Link(socket))) {
                    self.finish(now, request, outcome);
                }
            }
            Parcel::Cancel { id } => {
                if let Some(request) = self.from_links.get(&(socket, id)).copied() {
                    self.drop_request(now, request);
                }
            }
            Parcel::Subscribe { topic } => self.enter_subscription(socket, topic),
            Parcel::Unsubscribe { topic } => self.unsubscribe(topic, Subscriber::Link(socket)),
            Parcel::Event { topic, payload } => {
                // Only the server brings events, and only of resources that are not here.
                if self.uplink.socket() == Some(socket)
                    && !self.is_here(&topic.address)
                    && let Err(failure) = self.emit(now, &topic, &payload)
                {
                    self.dead_letter(now, &topic.address, &topic.event, &failure);
                }
            }
            Parcel::Gap { topic } => {
                if self.uplink.socket() == Some(socket) && !self.is_here(&topic.address) {
                    self.gap(now, &topic);
                }
            }
            Parcel::Refused { topic, failure } => {
                if self.uplink.socket() == Some(socket) && !self.is_here(&topic.address) {
                    self.refuse_topic(now, &topic, &failure);
                }
            }
            Parcel::Serve { address, operations } => {
                // What is more than a peer may serve is not kept: its own host has refused it.
                if let Some(link) = self.links.get_mut(&socket)
                    && (link.served.len() < MAX_SERVED || link.served.contains_key(&address))
                {
                    link.served.insert(address, operations);
                }
            }
            Parcel::Release { address } => {
                if let Some(link) = self.links.get_mut(&socket) {
                    link.served.remove(&address);
                }
            }
        }
    }

    pub(crate) fn end_link(&mut self, now: u64, socket: SocketId, goodbye: Goodbye) {
        if let Some(link) = self.links.get_mut(&socket) {
            link.end(goodbye);
        }
        self.drain_links(now);
    }
}
