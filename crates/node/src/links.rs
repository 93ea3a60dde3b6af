//! Links of this node: their sockets, and sending over them. Work for a message touches only the links that it concerns.

use std::collections::VecDeque;

use starlane_protocol::Failure;

use crate::{
    effect::{Effect, PeerId, SocketId},
    link::{CloseCode, Goodbye, Link, LinkEvent, LinkKey, Lost, Parcel, Waiting},
    node::{Node, closed, closing},
    requests::Route,
    streams::End,
    timers::Timer,
    topics::Subscriber,
};

impl Node {
    /// Closes the host: every link sends a goodbye, and the server is not dialled again.
    pub fn handle_close(&mut self, now: u64) {
        let open: Vec<_> = self.flows.keys().copied().collect();
        for stream in &open {
            self.end_stream(now, *stream, &Failure::closed("the host of the stream closed"));
        }
        // What is due leaves before the goodbyes: acknowledgements, and the ends of streams.
        for (_, link) in self.links.iter_mut() {
            if let (Some(socket), Some(message)) = (link.socket(), link.poll_transmit(now)) {
                self.effects.push_back(Effect::Transmit { socket, message });
            }
        }
        open.into_iter().for_each(|stream| self.forget_stream(stream));
        let uplink = self.uplink.stop();
        let waiting =
            uplink.and_then(|key| self.links.get_mut(&key)).map_or_else(VecDeque::new, |link| link.take_waiting());
        let all: Vec<LinkKey> = self.links.keys().copied().collect();
        for key in all {
            let is_dialled = self.links.get(&key).is_some_and(|link| link.is_dialled());
            self.end_link(now, key, if is_dialled { closing() } else { closed() });
        }
        if let Some(key) = uplink {
            self.forget_link(key);
        }
        let closed = Failure::not_running("this host closed");
        for waiting in waiting {
            self.bury(now, &waiting, &closed);
        }
        self.starts.closed = true;
        let awake: Vec<_> = self.by_instance.keys().copied().collect();
        for instance in awake {
            self.by_instance.remove(&instance);
            self.effects.push_back(Effect::StopGuest(instance));
        }
        self.bury_mail(now, &closed);
    }

    /// Takes a socket of a peer that dialled this host.
    pub fn handle_accepted(&mut self, now: u64, socket: SocketId) {
        let key = LinkKey(self.fresh());
        self.sockets.insert(socket, key);
        self.links.insert(key, Box::new(Link::dialled(self.config.link.clone(), now, socket)));
        self.touched(key);
    }

    /// Takes a WebSocket message.
    pub fn handle_message(&mut self, now: u64, socket: SocketId, bytes: &[u8]) {
        let Some(key) = self.sockets.get(&socket).copied() else { return };
        if let Some(link) = self.links.get_mut(&key) {
            link.handle_message(now, bytes);
            self.follow_up(now, key);
        }
    }

    /// Takes the end of a socket. The link waits for another one.
    pub fn handle_closed(&mut self, now: u64, socket: SocketId) {
        if let Some(key) = self.sockets.remove(&socket) {
            self.socket_lost(now, key, &Goodbye::new(CloseCode::Closed, "the connection was closed"));
        }
    }

    /// A socket without room has some again.
    pub fn handle_room(&mut self, socket: SocketId) {
        let Some(key) = self.sockets.get(&socket) else { return };
        if let Some(link) = self.links.get_mut(key)
            && std::mem::take(&mut link.has_no_room)
        {
            self.ready.push_back(*key);
        }
    }

    /// The next WebSocket message to send, for a socket that has room. Links take turns. A socket without room is not asked again
    /// before `handle_room` names it.
    pub fn poll_transmit(
        &mut self,
        now: u64,
        mut has_room: impl FnMut(SocketId) -> bool,
    ) -> Option<(SocketId, Vec<u8>)> {
        while let Some(key) = self.ready.pop_front() {
            let Some(link) = self.links.get_mut(&key) else { continue };
            let Some(socket) = link.socket() else {
                link.is_ready = false;
                continue;
            };
            if !has_room(socket) {
                link.has_no_room = true;
                continue;
            }
            let message = link.poll_transmit(now);
            link.is_ready = message.is_some() && link.has_output();
            if link.is_ready {
                self.ready.push_back(key);
            }
            self.streams_left(now, key);
            self.count_bytes(key);
            if let Some(message) = message {
                return Some((socket, message));
            }
        }
        None
    }

    /// Sends over a link, or queues the message until the link is up. Errors when the message is refused.
    pub(crate) fn send(&mut self, key: LinkKey, parcel: Parcel, deadline: Option<u64>) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(&key) else { return Err(Failure::link_lost("the link broke")) };
        if let Parcel::Response { outcome: Ok(payload), .. } = &parcel
            && link.is_dialled()
        {
            self.usage.may_wait(&link.session.principal, payload.weight(), &self.config.limits)?;
        }
        let sent = link.send(parcel, deadline);
        self.touched(key);
        sent
    }

    /// Sends a message, whose stream follows over the same link.
    pub(crate) fn send_with_stream(
        &mut self,
        now: u64,
        key: LinkKey,
        parcel: Parcel,
        deadline: Option<u64>,
    ) -> Result<(), Failure> {
        let stream = parcel.stream();
        self.send(key, parcel, deadline)?;
        if let Some(stream) = stream {
            self.attach_stream(now, stream, End::Link(key));
        }
        Ok(())
    }

    /// Counts waiting messages and incoming bodies of a link for its principal.
    pub(crate) fn count_bytes(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if let Some((before, now)) = link.count() {
            self.usage.wait(&link.session.principal, before, now);
            if link.is_detached() {
                self.keep_detached(key);
            }
        }
    }

    /// Marks a link that changed: it may have something to send, or its next timeout may be earlier than its timer.
    pub(crate) fn touched(&mut self, key: LinkKey) {
        self.count_bytes(key);
        let Some(link) = self.links.get_mut(&key) else { return };
        #[cfg(test)]
        {
            self.touches += 1;
        }
        if !link.is_ready && link.has_output() {
            link.is_ready = true;
            self.ready.push_back(key);
        }
        let Some(due) = link.next_timeout() else { return };
        let timer = link.timer;
        if timer.is_some_and(|(at, _)| at <= due) {
            return;
        }
        if let Some(later) = timer {
            self.timers.remove(later);
        }
        let timer = self.after(due, Timer::Link(key));
        if let Some(link) = self.links.get_mut(&key) {
            link.timer = Some(timer);
        }
    }

    /// Handles the consequences of a change at a link.
    pub(crate) fn follow_up(&mut self, now: u64, key: LinkKey) {
        while let Some(event) = self.links.get_mut(&key).and_then(|link| link.poll_event(now)) {
            self.link_event(now, key, event);
        }
        self.touched(key);
    }

    pub(crate) fn link_timeout(&mut self, now: u64, key: LinkKey) {
        if let Some(link) = self.links.get_mut(&key) {
            link.timer = None;
            link.handle_timeout(now);
            self.follow_up(now, key);
        }
    }

    pub(crate) fn end_link(&mut self, now: u64, key: LinkKey, goodbye: Goodbye) {
        if let Some(link) = self.links.get_mut(&key) {
            link.end(goodbye);
            self.follow_up(now, key);
        }
    }

    fn link_event(&mut self, now: u64, key: LinkKey, event: LinkEvent) {
        match event {
            LinkEvent::Hello { token } => self.effects.push_back(Effect::Authenticate { peer: PeerId(key.0), token }),
            LinkEvent::Expiring => {
                let socket = self.links.get(&key).and_then(|link| link.socket());
                self.effects.extend(socket.map(|socket| Effect::Renew { socket }));
            }
            LinkEvent::Up => self.link_up(now, key),
            LinkEvent::Resumed if self.uplink.key() == Some(key) => self.uplink_resumed(now),
            LinkEvent::Resumed => {}
            LinkEvent::Gap(lost, goodbye) => self.link_ended(now, key, *lost, &goodbye, &[]),
            LinkEvent::OtherPrincipal(principal) => self.principal_changed(now, key, Some(principal)),
            LinkEvent::Parcel(parcel) => self.arrived(now, key, *parcel),
            LinkEvent::Announced { of, parcel, length } => self.announced(now, key, of, *parcel, length),
            LinkEvent::Streaming { of, parcel, first } => self.streaming(now, key, of, *parcel, first),
            LinkEvent::Part { stream, part } => self.flow(now, stream, End::Link(key), part),
            LinkEvent::Ended { stream, failure } => self.flow_end(now, stream, End::Link(key), failure),
            LinkEvent::Stopped { stream, failure } => self.stop_stream(now, stream, failure),
            // The link itself handles these.
            LinkEvent::Credit { .. } | LinkEvent::Stop { .. } => {}
            LinkEvent::Complete(parcel) => {
                self.count_bytes(key);
                self.parcel(now, key, *parcel);
            }
            LinkEvent::Late(parcel, failure) => self.refuse_parcel(now, key, *parcel, failure),
            LinkEvent::Dropped(goodbye) => {
                self.hang_up(now, key, &goodbye);
                self.socket_lost(now, key, &goodbye);
            }
            LinkEvent::Over(goodbye) => {
                self.hang_up(now, key, &goodbye);
                self.link_over(now, key, &goodbye);
            }
        }
    }

    /// Closes the socket of a link, after its last frame, the goodbye.
    fn hang_up(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let Some(socket) = link.socket() else { return };
        if let Some(message) = link.poll_transmit(now) {
            self.effects.push_back(Effect::Transmit { socket, message });
        }
        self.sockets.remove(&socket);
        self.effects.push_back(Effect::Hangup { socket, goodbye: goodbye.clone() });
    }

    fn link_up(&mut self, now: u64, key: LinkKey) {
        let Some(link) = self.links.get(&key) else { return };
        if let Some(peer) = link.session.peer {
            self.by_host.insert(peer, key);
        }
        if link.is_dialled() {
            self.usage.hold_link(&link.session.principal);
        } else {
            self.uplink_up(now, key);
        }
    }

    /// The socket of a link is gone. The link waits for another one, if it was up and carried anything.
    fn socket_lost(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if !link.may_resume() {
            return self.link_over(now, key, goodbye);
        }
        // What was freed before is not freed for the links without a socket.
        self.count_bytes(key);
        if let Some(link) = self.links.get_mut(&key) {
            link.detach(now);
        }
        self.keep_detached(key);
        if self.uplink.key() == Some(key) {
            let makes_progress = self.links.get(&key).is_some_and(|link| link.makes_progress());
            self.uplink_down(now, key, goodbye, makes_progress);
        }
        self.touched(key);
    }

    /// A link has ended.
    fn link_over(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye) {
        self.attached(key);
        let is_uplink = self.uplink.key() == Some(key);
        let Some(link) = self.links.get_mut(&key) else { return };
        link.close();
        // What waits for a server waits for the next link to it. A peer that is gone gets nothing more.
        let waiting: Vec<_> = if is_uplink { Vec::new() } else { link.take_waiting().into() };
        let makes_progress = link.makes_progress();
        let lost = link.lose();
        if !is_uplink {
            self.forget_link(key);
        }
        self.link_ended(now, key, lost, goodbye, &waiting);
        if is_uplink {
            self.uplink_down(now, key, goodbye, makes_progress);
        }
    }

    /// Handles what a link had when it ended: everything that may have been lost is reported. `waiting` did not leave and never will.
    fn link_ended(&mut self, now: u64, key: LinkKey, lost: Lost, goodbye: &Goodbye, waiting: &[Box<Waiting>]) {
        let is_dialled = self.uplink.key() != Some(key);
        if lost.counted > 0 && is_dialled {
            self.usage.wait(&lost.principal, lost.counted, 0);
        }
        if lost.was_up {
            if let Some(peer) = lost.peer
                && self.by_host.get(&peer) == Some(&key)
            {
                self.by_host.remove(&peer);
            }
            if is_dialled {
                self.usage.release_link(&lost.principal);
            }
        }
        let reason = &goodbye.reason;
        self.lose_streams(now, key, &lost.streams, reason);
        let unsure = Failure::link_lost(format!("it may have arrived: the link broke ({reason})")).sent(true);
        for (to, operation, trace) in lost.unsure {
            self.dead_letter(now, &to, &operation, trace, &unsure);
        }
        let unsent = Failure::link_lost(format!("the link broke before the message left ({reason})")).sent(false);
        waiting.iter().for_each(|waiting| self.bury(now, waiting, &unsent));
        let id = |waiting: &Waiting| match waiting.parcel {
            Parcel::Request { id, .. } => Some(id),
            _ => None,
        };
        let mut never_left: Vec<u64> = waiting.iter().filter_map(|waiting| id(waiting)).collect();
        never_left.sort_unstable();
        let left = Failure::link_lost(format!("the link broke before the reply came ({reason})")).sent(true);
        for request in self.asked_of(Route::Link(key)) {
            // A request that did not leave goes over the next link to the server.
            if self.links.get(&key).is_some_and(|link| link.has_waiting(request)) {
                continue;
            }
            let failure = if never_left.binary_search(&request.0).is_ok() { &unsent } else { &left };
            self.finish(now, request, Err(failure.clone()));
        }
        for request in lost.asking {
            self.drop_request(now, request);
        }
        self.unsubscribe_all(Subscriber::Link(key));
    }

    fn forget_link(&mut self, key: LinkKey) {
        if let Some(timer) = self.links.remove(&key).and_then(|link| link.timer) {
            self.timers.remove(timer);
        }
    }

    /// Drops a message that waited for a link. Requests end elsewhere.
    pub(crate) fn bury(&mut self, now: u64, waiting: &Waiting, failure: &Failure) {
        if let Parcel::Notify { message } = &waiting.parcel {
            self.dead_letter(now, &message.to, &message.operation, message.trace, failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use starlane_protocol::{
        HostSecret,
        frame::{Frame, encode_frame, encode_message},
    };

    use super::*;
    use crate::{ActorLimits, LinkConfig, NodeConfig, PrincipalLimits};

    #[test]
    fn change_at_a_link_touches_no_other_link() {
        let mut node = Node::new(NodeConfig {
            secret: HostSecret([1; 32]),
            link: LinkConfig::default(),
            max_awake: 1,
            limits: PrincipalLimits::default(),
            actors: ActorLimits::default(),
            seed: [1; 32],
        });
        (0..2_000).for_each(|socket| node.handle_accepted(1, SocketId(socket)));
        let mut touched = |what: &mut dyn FnMut(&mut Node)| {
            node.touches = 0;
            what(&mut node);
            node.touches
        };
        let hello = encode_frame(&Frame::hello(HostSecret([2; 32]), None, 1));
        let message = encode_message(0, [&*hello].into_iter());
        assert_eq!(touched(&mut |node| node.handle_message(2, SocketId(77), &message)), 1);
        assert_eq!(touched(&mut |node| node.handle_closed(2, SocketId(78))), 0);
        assert_eq!(touched(&mut |node| node.handle_timeout(3)), 0, "nothing is due");
        assert_eq!((node.links.len(), node.sockets.len(), node.next_timeout()), (1_999, 1_999, Some(5_001)));
    }
}
