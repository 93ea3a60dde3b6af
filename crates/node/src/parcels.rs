//! Messages that come over links, and the announcements of bodies that follow them.

use starlane_protocol::{Failure, Verb};

use crate::{
    effect::RequestId,
    link::{CloseCode, Goodbye, LinkKey, Parcel},
    node::Node,
    requests::{Asker, Route},
    topics::Subscriber,
};

/// The memory of a served address in addition to its text, in bytes.
const SERVED_BYTES: usize = 128;

impl Node {
    /// Handles a message that has arrived completely.
    pub(crate) fn arrived(&mut self, now: u64, key: LinkKey, parcel: Parcel) {
        match self.count_parcel(now, key, &parcel) {
            Ok(()) => self.parcel(now, key, parcel),
            Err(failure) => self.refuse_parcel(now, key, parcel, failure),
        }
    }

    /// Handles a message whose body of `length` bytes follows. Keeps the body if the message may enter and its principal has room
    /// for all of it.
    pub(crate) fn announced(&mut self, now: u64, key: LinkKey, of: u64, parcel: Parcel, length: usize) {
        let counted = self.count_parcel(now, key, &parcel);
        match counted.and_then(|()| self.may_follow(key, &parcel, parcel.weight() + length)) {
            Ok(()) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.keep(now, of, parcel);
                }
                self.count_bytes(key);
            }
            Err(failure) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.refuse_body(of, failure.clone());
                }
                self.refuse_parcel(now, key, parcel, failure);
            }
        }
    }

    /// Counts a message against the rate of a peer's principal. Errors with 429 `too-many`.
    pub(crate) fn count_parcel(&mut self, now: u64, key: LinkKey, parcel: &Parcel) -> Result<(), Failure> {
        let Some(link) = self.links.get(&key).filter(|link| link.is_dialled()) else { return Ok(()) };
        let (who, limits) = (&link.session.principal, &self.config.limits);
        match parcel {
            // The request was counted when it was sent.
            Parcel::Response { .. } => Ok(()),
            Parcel::Request { .. } | Parcel::Notify { .. } | Parcel::Subscribe { .. } => {
                self.usage.message(now, who, limits)
            }
            _ => self.usage.order(now, who, limits),
        }
    }

    /// Checks whether a message may come with its body, `bytes` in total. Errors when it may not, or when nothing waits for it.
    fn may_follow(&self, key: LinkKey, parcel: &Parcel, bytes: usize) -> Result<(), Failure> {
        let Some(link) = self.links.get(&key) else { return Err(Failure::link_lost("the link broke")) };
        match parcel {
            Parcel::Request { message, .. } => {
                few(link.session.asking.len(), self.config.link.open_requests, "open-requests")?;
                self.enter(key, message.clone(), Verb::Request)?;
            }
            Parcel::Notify { message } => drop(self.enter(key, message.clone(), Verb::Notify)?),
            _ if self.is_awaited(key, parcel) => {}
            _ => return Err(Failure::no_resource("nothing waits for this message")),
        }
        self.may_keep(key, bytes)
    }

    /// Checks whether this host may keep `bytes` more for a peer. Errors with 429 when its principal has no room for them.
    pub(crate) fn may_keep(&self, key: LinkKey, bytes: usize) -> Result<(), Failure> {
        match self.links.get(&key) {
            Some(link) if link.is_dialled() => self.usage.may_hold(&link.session.principal, bytes, &self.config.limits),
            _ => Ok(()),
        }
    }

    /// Whether this host waits for an answer of a peer, or accepts its events.
    fn is_awaited(&self, key: LinkKey, parcel: &Parcel) -> bool {
        match parcel {
            // The answer may come from a host that was not asked, or too late, when the request has ended.
            Parcel::Response { id, .. } => {
                let pending = self.requests.get(&RequestId(*id));
                pending.is_some_and(|pending| pending.answerer == Some(Route::Link(key)))
            }
            // Only the server sends events, and only those of resources on other hosts.
            Parcel::Event { topic, .. } | Parcel::Gap { topic } | Parcel::Refused { topic, .. } => {
                self.uplink.key() == Some(key) && !self.is_here(&topic.address)
            }
            _ => false,
        }
    }

    /// Refuses a message and reports that to its sender. If no frame can report it, the link ends.
    pub(crate) fn refuse_parcel(&mut self, now: u64, key: LinkKey, parcel: Parcel, failure: Failure) {
        if let Some(stream) = parcel.stream() {
            self.end_stream(now, stream, &failure);
        }
        match parcel {
            Parcel::Request { id, .. } => self.refuse_request(key, id, failure),
            Parcel::Notify { message } => {
                self.dead_letter(now, &message.to, &message.operation, message.trace, &failure);
            }
            Parcel::Response { id, .. } if self.is_awaited(key, &parcel) => {
                self.finish(now, RequestId(id), Err(failure));
            }
            Parcel::Event { ref topic, .. } if self.is_awaited(key, &parcel) => self.gap(now, topic),
            // Nothing waits for these.
            Parcel::Response { .. } | Parcel::Event { .. } => {}
            Parcel::Subscribe { topic } => drop(self.send(key, Parcel::Refused { topic, failure }, None)),
            _ => self.end_link(now, key, Goodbye::new(&*failure.code, failure.message)),
        }
    }

    /// Handles a complete message.
    pub(crate) fn parcel(&mut self, now: u64, key: LinkKey, parcel: Parcel) {
        let is_awaited = self.is_awaited(key, &parcel);
        match parcel {
            Parcel::Request { id, message } => {
                let Some(link) = self.links.get(&key) else { return };
                let (open, most) = (link.session.asking.len(), self.config.link.open_requests);
                if link.session.asking.contains_key(&id) {
                    let goodbye =
                        Goodbye::new(CloseCode::Malformed, format!("request {id} is already open: use a new id"));
                    return self.end_link(now, key, goodbye);
                }
                let entered = self.enter(key, message, Verb::Request);
                match entered.and_then(|message| few(open, most, "open-requests").map(|()| message)) {
                    Ok(message) => drop(self.ask(now, Asker::Link(key, id), message)),
                    Err(failure) => self.refuse_request(key, id, failure),
                }
            }
            Parcel::Notify { message } => {
                let (to, operation, trace) = (message.to.clone(), message.operation.clone(), message.trace);
                let stream = message.payload.stream.as_ref().map(|stream| stream.id);
                let told = self.enter(key, message, Verb::Notify).and_then(|message| self.tell(now, message));
                if let Err(failure) = told {
                    if let Some(stream) = stream {
                        self.end_stream(now, stream, &failure);
                    }
                    self.dead_letter(now, &to, &operation, trace, &failure);
                }
            }
            Parcel::Response { id, outcome, .. } if is_awaited => self.finish(now, RequestId(id), outcome),
            Parcel::Event { topic, payload, trace } if is_awaited => {
                if let Err(failure) = self.emit(now, &topic, &payload, trace) {
                    self.dead_letter(now, &topic.address, &topic.event, trace, &failure);
                }
            }
            Parcel::Gap { topic } if is_awaited => self.gap(now, &topic),
            Parcel::Refused { topic, failure } if is_awaited => self.refuse_topic(now, &topic, &failure),
            Parcel::Response { .. } | Parcel::Event { .. } | Parcel::Gap { .. } | Parcel::Refused { .. } => {}
            // The link handles what a peer says of streams.
            Parcel::Credit { .. } | Parcel::End { .. } | Parcel::Stop { .. } => {}
            Parcel::Cancel { id } => {
                if let Some(request) = self.links.get(&key).and_then(|link| link.session.asking.get(&id)).copied() {
                    self.drop_request(now, request);
                }
            }
            Parcel::Subscribe { topic } => self.enter_subscription(key, topic),
            Parcel::Unsubscribe { topic } => self.unsubscribe(topic, Subscriber::Link(key)),
            Parcel::Serve { address, .. } => {
                // Addresses above the limit are not kept: the peer's own host has refused them.
                let (most, bytes) = (self.config.link.served, SERVED_BYTES + address.as_str().len());
                let has_room = self.may_keep(key, bytes).is_ok();
                let Some(link) = self.links.get_mut(&key) else { return };
                let served = &mut link.session.served;
                if has_room && served.len() < most && served.insert(address, ()).is_none() {
                    self.keeps_names(Subscriber::Link(key), 0, bytes);
                }
            }
            Parcel::Release { address } => {
                let bytes = SERVED_BYTES + address.as_str().len();
                let link = self.links.get_mut(&key);
                if link.is_some_and(|link| link.session.served.remove(&address).is_some()) {
                    self.keeps_names(Subscriber::Link(key), bytes, 0);
                }
            }
        }
    }
}

/// Checks a link's limit before it gets one more of something. Errors with 429 `too-many` and the name of the limit.
pub(crate) fn few(count: usize, most: usize, limit: &str) -> Result<(), Failure> {
    if count < most {
        return Ok(());
    }
    Err(Failure::too_many(format!("this link has {count}; the limit `{limit}` is {most}: end some first")))
}
