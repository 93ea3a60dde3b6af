//! The way of a request through this node: requester, responder, and exactly one end.

use starlane_protocol::{
    Address, Failure, Message, Outcome, Payload, StreamId, Trace,
    bounds::{MAX_PRINCIPAL_BYTES, check_operation},
    message::{MAX_HOPS, ONE_WAY},
    payload::JSON,
    trace::TRACEPARENT,
};

use crate::{
    actor::{ActorId, Settled, remaining},
    app,
    effect::{Effect, HandlerId, RequestId},
    guest::Kind,
    link::{LinkKey, Parcel},
    maps::Map,
    node::{DEFAULT_TIMEOUT_MS, Node, Operations},
    principal::Principal,
    streams::End,
    timers::Timer,
};

/// How many open requests all cycle checks of one batch of calls may look at together. Further requests pass unchecked: a cycle
/// only wastes the time of its members. It ends at the first of their deadlines, like a cycle that spans hosts.
pub(crate) const MAX_CYCLE_LOOKS: usize = 8_192;

/// The requester, which gets the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asker {
    /// This host: a page, an HTTP route, a command.
    Host,
    /// A guest, under its own id.
    Guest(ActorId, u64),
    /// A peer, under its own id.
    Link(LinkKey, u64),
}

/// Where a message goes from here: the responder of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Handler(HandlerId),
    Actor(ActorId),
    /// The host at the other end of a link, whether the link is up or the request waits for it.
    Link(LinkKey),
}

impl Route {
    /// Its number, unique among all kinds of routes: the node assigned it.
    fn number(self) -> u64 {
        let (Self::Handler(HandlerId(number)) | Self::Actor(ActorId(number)) | Self::Link(LinkKey(number))) = self;
        number
    }
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) asker: Asker,
    /// None until it is known.
    pub(crate) answerer: Option<Route>,
    pub(crate) to: Address,
    pub(crate) deadline: u64,
    pub(crate) timeout_ms: u32,
    trace: Option<Trace>,
    /// The stream of its message.
    stream: Option<StreamId>,
    /// The principal that pays for its bytes, and how many they are.
    held: (Principal, usize),
}

impl Node {
    /// Starts a request. It waits as long as the message says, or the default. `finish` ends it, now or later.
    pub(crate) fn ask(&mut self, now: u64, asker: Asker, mut message: Message) -> RequestId {
        let request = RequestId(self.fresh());
        let timeout_ms = if message.remaining_ms == 0 { DEFAULT_TIMEOUT_MS } else { message.remaining_ms };
        let timeout_ms = timeout_ms.min(u32::try_from(self.config.actors.request_ms).unwrap_or(u32::MAX));
        let deadline = now + u64::from(timeout_ms);
        (message.kind, message.request, message.deadline) = (Kind::Request, Some(request), Some(deadline));
        let to = message.to.clone();
        if let Asker::Link(key, id) = asker
            && let Some(link) = self.links.get_mut(&key)
        {
            link.session.asking.insert(id, request);
        }
        self.timers.insert((deadline, request.0), Timer::Deadline(request));
        // Requests of guests have a limit of their own, `open-requests`.
        let from_outside = !matches!(asker, Asker::Guest(..));
        let (bytes, limits) = (message.payload.weight(), self.config.limits);
        let held = check(&mut message).and_then(|()| match from_outside {
            true => self.usage.hold(&message.caller, bytes, &limits),
            false => Ok(()),
        });
        let bytes = if from_outside && held.is_ok() { bytes } else { 0 };
        let holds = (message.caller.clone(), bytes);
        let (trace, stream) = (message.trace, message.payload.stream.as_ref().map(|stream| stream.id));
        let pending = Pending { asker, answerer: None, to, deadline, timeout_ms, trace, stream, held: holds };
        self.requests.insert(request, Box::new(pending));
        if let Some(flow) = stream.and_then(|stream| self.flows.get_mut(&stream)) {
            flow.request = Some(request);
        }
        if let Err(failure) = held.and_then(|()| self.forward(now, message)) {
            self.finish(now, request, Err(failure));
        }
        request
    }

    /// Sends a one-way message.
    pub(crate) fn tell(&mut self, now: u64, mut message: Message) -> Result<(), Failure> {
        self.stats.one_way += 1;
        check(&mut message).map_err(|failure| failure.at(&message.to))?;
        self.forward(now, message)
    }

    /// Forwards a message to the target of its address.
    fn forward(&mut self, now: u64, mut message: Message) -> Result<(), Failure> {
        let to = message.to.clone();
        if message.hops >= MAX_HOPS {
            return Err(Failure::cycle(format!(
                "the message was forwarded {MAX_HOPS} times, the maximum: check for a loop"
            ))
            .at(&to));
        }
        message.hops += 1;
        let route = self.resolve(&to, &message.caller).map_err(|failure| failure.at(&to))?;
        let mut taken = None;
        if message.request.is_some()
            && message.payload.header(ONE_WAY).is_some()
            && matches!(route, Route::Handler(_) | Route::Actor(_))
        {
            message.payload.headers.retain(|(name, _)| name != ONE_WAY);
            taken = message.request.take();
            (message.kind, message.deadline) = (Kind::Notify, None);
        }
        self.answered_by(message.request, route);
        match route {
            Route::Handler(handler) => self.forward_to_handler(now, handler, message),
            Route::Actor(actor) => self.forward_to_actor(now, actor, message),
            Route::Link(key) => self.forward_to_link(now, key, message),
        }
        .map_err(|failure| failure.at(&to))?;
        if let Some(request) = taken {
            self.finish(now, request, Ok(Payload::nothing()));
        }
        Ok(())
    }

    /// The route of an address. With a host prefix it leads to that host; without one, to this host or else to its server.
    fn resolve(&mut self, to: &Address, caller: &Principal) -> Result<Route, Failure> {
        if let Some(host) = to.host()
            && host != self.name
        {
            if let Some(key) = self.by_host.get(&host).copied().or(self.uplink.key()) {
                return Ok(Route::Link(key));
            }
            return Err(Failure::no_resource(format!("the host {host} has no link to this host now")));
        }
        let bare = to.without_host();
        if let Some(handler) = self.handler_at(&bare) {
            return Ok(Route::Handler(handler));
        }
        if let Some(actor) = self.actor_at(&bare, caller)? {
            return Ok(Route::Actor(actor));
        }
        if let Some(key) = self.uplink.key().filter(|_| to.host().is_none()) {
            return Ok(Route::Link(key));
        }
        Err(Failure::no_resource(format!("nothing on this host has the address {bare}")))
    }

    /// The handler of an address, with or without its path.
    pub(crate) fn handler_at(&self, bare: &Address) -> Option<HandlerId> {
        let handler = self.handler_at.get(bare).or_else(|| self.handler_at.get(&bare.without_path()));
        handler.copied()
    }

    /// Whether a resource is on this host, or would be if it existed.
    pub(crate) fn is_here(&self, address: &Address) -> bool {
        if !self.uplink.is_wanted() {
            return true;
        }
        let bare = address.without_host();
        match address.host() {
            Some(host) => host == self.name,
            None => self.handler_at.contains_key(&bare) || self.apps.role(&bare).is_some(),
        }
    }

    /// Whether an operation of a resource on this host takes a stream, by its bind.
    pub fn takes_stream(&self, to: &Address, operation: &str) -> bool {
        let bare = to.without_host();
        let handler = self.handler_at(&bare).and_then(|handler| self.handlers.get(&handler));
        let role = self.apps.role(&bare);
        let bind = match (handler.map(|registered| &registered.operations), &role) {
            (Some(Operations::Bound(bind, _)), _) => &**bind,
            (None, Some(role)) => &role.plan.bind,
            _ => return false,
        };
        bind.operations.get(operation).is_some_and(|operation| operation.request.stream)
    }

    fn forward_to_handler(&mut self, now: u64, handler: HandlerId, mut message: Message) -> Result<(), Failure> {
        let operations = self.handlers.get(&handler).map(|registered| &registered.operations);
        match operations {
            Some(Operations::Named(names)) if !names.contains(&message.operation) => {
                let (operation, names) = (&message.operation, names.join(", "));
                return Err(Failure::no_operation(format!("no operation `{operation}` here; there are: {names}")));
            }
            Some(Operations::Bound(bind, _)) => {
                let Payload { content_type, body, .. } = &message.payload;
                // An empty body without a content type counts as JSON `null`.
                let given = if body.is_empty() && content_type.is_empty() { JSON } else { content_type };
                let has_stream = message.payload.stream.is_some();
                app::check(bind, &message.operation, given, message.request.is_none(), has_stream)?;
            }
            _ => {}
        }
        message.to = message.to.without_host();
        message.remaining_ms = remaining(message.deadline, now);
        let stream = message.payload.stream.as_ref().map(|stream| stream.id);
        self.effects.push_back(Effect::Deliver { handler, message });
        if let Some(stream) = stream {
            self.attach_stream(now, stream, End::Host);
        }
        Ok(())
    }

    fn forward_to_actor(&mut self, now: u64, actor: ActorId, message: Message) -> Result<(), Failure> {
        self.check_cycle(message.request, actor)?;
        self.post(now, actor, message)
    }

    fn forward_to_link(&mut self, now: u64, key: LinkKey, message: Message) -> Result<(), Failure> {
        if let Some(failure) = self.uplink.refusal(key) {
            return Err(failure);
        }
        let deadline = message.deadline.unwrap_or(now + u64::from(DEFAULT_TIMEOUT_MS));
        let parcel = match message.request {
            Some(RequestId(id)) => Parcel::Request { id, message },
            None => Parcel::Notify { message },
        };
        self.send_with_stream(now, key, parcel, Some(deadline))
    }

    fn answered_by(&mut self, request: Option<RequestId>, route: Route) {
        let Some(request) = request else { return };
        let Some(pending) = self.requests.get_mut(&request) else { return };
        if let Some(other) = pending.answerer.replace(route) {
            self.asked.remove(&other.number(), &request);
        }
        self.asked.add(route.number(), request);
    }

    /// Refuses a request that would make a deadlock: the target is (indirectly) waiting for the sender.
    fn check_cycle(&mut self, request: Option<RequestId>, asked: ActorId) -> Result<(), Failure> {
        let asker = request.and_then(|request| self.requests.get(&request)).map(|pending| &pending.asker);
        let Some(Asker::Guest(asking, _)) = asker else { return Ok(()) };
        let is_full = |id: ActorId| {
            self.actors.get(&id).is_some_and(|a| a.unfinished.len() >= a.role.plan.limits.concurrency as usize)
        };
        if !is_full(*asking) {
            return Ok(());
        }
        let (mut seen, mut next, mut looks) = (Map::new(), vec![asked], self.cycle_looks);
        seen.insert(asked, ());
        while let Some(id) = next.pop() {
            if id == *asking {
                return Err(Failure::cycle("deadlock: the target is (indirectly) waiting for the sender"));
            }
            let open = self.actors.get(&id).into_iter().flat_map(|actor| actor.open.values());
            for pending in open.map_while(|request| {
                looks = looks.checked_sub(1)?;
                Some(self.requests.get(request))
            }) {
                if let Some(Route::Actor(on)) = pending.and_then(|pending| pending.answerer)
                    && seen.insert(on, ()).is_none()
                {
                    next.push(on);
                }
            }
        }
        #[cfg(test)]
        {
            self.touches += self.cycle_looks - looks;
        }
        self.cycle_looks = looks;
        Ok(())
    }

    /// Ends a request: its requester gets the outcome. Later outcomes are dropped.
    pub(crate) fn finish(&mut self, now: u64, request: RequestId, outcome: Outcome) {
        let Some(pending) = self.take_request(request) else { return };
        let began = pending.deadline.saturating_sub(u64::from(pending.timeout_ms));
        self.stats.ended(now.saturating_sub(began), outcome.is_err());
        let outcome = outcome.and_then(|payload| match payload.check() {
            Ok(()) => Ok(payload),
            Err(broken) => Err(Failure::guest_failed(format!("the answer cannot be forwarded: {}", broken.message))),
        });
        let outcome = outcome.map_err(|failure| failure.checked().at(&pending.to));
        if let (Some(stream), Err(failure)) = (pending.stream, &outcome) {
            self.end_stream(now, stream, failure);
        }
        match pending.asker {
            Asker::Host => {
                let stream = outcome.as_ref().ok().and_then(|payload| payload.stream.as_ref()).map(|stream| stream.id);
                self.effects.push_back(Effect::Settle { request, outcome });
                if let Some(stream) = stream {
                    self.attach_stream(now, stream, End::Host);
                }
            }
            Asker::Guest(actor, id) => {
                self.settle_guest(now, actor, Settled { request: id, outcome, trace: pending.trace });
            }
            Asker::Link(key, id) => {
                self.has_asked(key, id);
                let responder = Some(pending.to.clone());
                let response = Parcel::Response { id, outcome, responder };
                if let Err(failure) = self.send_with_stream(now, key, response, None) {
                    // The answer does not fit the link, but this failure does. The target has handled the request.
                    self.refuse_request(key, id, failure.at(&pending.to).sent(true));
                }
            }
        }
    }

    /// Refuses a request of a peer.
    pub(crate) fn refuse_request(&mut self, key: LinkKey, id: u64, failure: Failure) {
        let _ = self.send(key, Parcel::Response { id, outcome: Err(failure), responder: None }, None);
    }

    /// The requester gave up: forgets the request and cancels it at its responder.
    pub(crate) fn drop_request(&mut self, now: u64, request: RequestId) {
        let Some(pending) = self.take_request(request) else { return };
        if let Asker::Link(key, id) = pending.asker {
            self.has_asked(key, id);
        }
        if let Some(stream) = pending.stream {
            self.end_stream(now, stream, &Failure::cancelled("the request was cancelled"));
        }
        if let Some(answerer) = pending.answerer {
            self.abandon(now, request, answerer);
        }
    }

    /// A request of a peer has ended.
    fn has_asked(&mut self, key: LinkKey, id: u64) {
        if let Some(link) = self.links.get_mut(&key) {
            link.session.asking.remove(&id);
        }
    }

    fn take_request(&mut self, request: RequestId) -> Option<Box<Pending>> {
        let pending = self.requests.remove(&request)?;
        self.timers.remove((pending.deadline, request.0));
        self.usage.release(&pending.held.0, pending.held.1);
        if let Some(answerer) = pending.answerer {
            self.asked.remove(&answerer.number(), &request);
        }
        Some(pending)
    }

    /// Cancels a request at its responder. Returns whether a peer may have got it, if that is where it went.
    fn abandon(&mut self, now: u64, request: RequestId, answerer: Route) -> Option<bool> {
        match answerer {
            Route::Handler(_) => self.effects.push_back(Effect::Abandon(request)),
            Route::Actor(actor) => self.withdraw_letter(now, actor, request),
            Route::Link(key) => {
                let is_sent = self.links.get_mut(&key)?.cancel(request.0);
                self.touched(key);
                return Some(is_sent);
            }
        }
        None
    }

    /// The time of a request begins anew with what moved last on its stream, at `moved`.
    pub(crate) fn extend_request(&mut self, request: RequestId, moved: u64) {
        let Some(pending) = self.requests.get_mut(&request) else { return };
        let later = moved + u64::from(pending.timeout_ms);
        if later > pending.deadline {
            self.timers.remove((pending.deadline, request.0));
            pending.deadline = later;
            self.timers.insert((later, request.0), Timer::Deadline(request));
        }
    }

    /// When a request may have waited long enough, by what moved last on its stream.
    pub(crate) fn deadline_of(&self, request: RequestId) -> Option<u64> {
        let pending = self.requests.get(&request)?;
        let moved = pending.stream.and_then(|stream| self.flows.get(&stream)).map(|flow| flow.moved());
        Some(pending.deadline.max(moved.map_or(0, |at| at + u64::from(pending.timeout_ms))))
    }

    pub(crate) fn deadline_passed(&mut self, now: u64, request: RequestId) {
        let Some(pending) = self.requests.get_mut(&request) else { return };
        let moved = pending.stream.and_then(|stream| self.flows.get(&stream)).map(|flow| flow.moved());
        if let Some(moved) = moved.filter(|at| at + u64::from(pending.timeout_ms) > now) {
            return self.extend_request(request, moved);
        }
        let (timeout, answerer) = (pending.timeout_ms, pending.answerer);
        let failure = match answerer {
            Some(Route::Link(key)) if self.links.get(&key).is_none_or(|link| !link.is_up()) => {
                Failure::unreachable(format!(
                    "the link to the server did not come up within {timeout} ms: check the network and that the server runs"
                ))
            }
            _ => Failure::deadline(format!("no answer within {timeout} ms")),
        };
        let sent = answerer.and_then(|answerer| self.abandon(now, request, answerer));
        self.finish(now, request, Err(Failure { sent, ..failure }));
    }

    /// Fails all requests that wait for `answerer`, the oldest first.
    pub(crate) fn fail_asked(&mut self, now: u64, answerer: Route, why: impl Fn() -> Failure) {
        for request in self.asked_of(answerer) {
            self.finish(now, request, Err(why()));
        }
    }

    /// The requests that wait for `answerer`, the oldest first.
    pub(crate) fn asked_of(&self, answerer: Route) -> Vec<RequestId> {
        self.asked.of(&answerer.number())
    }
}

/// Checks the parts of a message beside its body, from any source, so that it cannot break a link on its way. Reads its
/// trace from a header if only that has it. Errors with 413 and 400.
fn check(message: &mut Message) -> Result<(), Failure> {
    check_operation(&message.operation)?;
    let (caller, most) = (message.caller.name().len(), MAX_PRINCIPAL_BYTES);
    if caller > most {
        return Err(Failure::too_large(format!("the principal's name is {caller} bytes; the maximum is {most}")));
    }
    if message.trace.is_none() {
        message.trace = message.payload.header(TRACEPARENT).and_then(Trace::parse);
    }
    message.payload.check()
}

#[cfg(test)]
mod tests {
    use super::MAX_CYCLE_LOOKS;
    use crate::{
        ActorLimits,
        drive::{ask, node},
    };

    #[test]
    fn requests_of_a_batch_share_the_cycle_checks() {
        let mut node = node(ActorLimits::default(), 2_000, &["acme:app"]);
        ask(&mut node, 1, "acme:app:keyed:b", "spread");
        assert_eq!(node.requests.len(), 1_001, "it waits for a thousand actors");
        node.touches = 0;
        ask(&mut node, 2, "acme:app:keyed:a", "storm");
        assert!((1_000..=MAX_CYCLE_LOOKS).contains(&node.touches), "{} looks for a thousand requests", node.touches);
    }
}
