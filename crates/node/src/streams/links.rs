//! The streams of links: those that come, those that have left, and those that are lost.

use bytes::Bytes;
use starlane_protocol::{Failure, StreamId};

use super::End;
use crate::{
    link::{LinkKey, Parcel},
    node::Node,
};

impl Node {
    /// A message of a peer came whose stream follows.
    pub(crate) fn streaming(&mut self, now: u64, key: LinkKey, of: u64, mut parcel: Parcel, first: Bytes) {
        let stream = self.open_stream(now, End::Link(key), 0);
        let (id, limits, credit) = (stream.id, self.config.limits, self.config.link.first_credit);
        let Some(link) = self.links.get_mut(&key) else { return };
        link.name_stream(of, id);
        let payer = link.is_dialled().then(|| link.session.principal.clone());
        if let Some(payload) = parcel.payload_mut() {
            payload.stream = Some(stream);
        }
        let admitted = self.count_parcel(now, key, &parcel).and_then(|()| match &payer {
            Some(payer) => self.usage.hold(payer, credit, &limits),
            None => Ok(()),
        });
        match admitted {
            Ok(()) => {
                if let (Some(flow), Some(payer)) = (self.flows.get_mut(&id), payer) {
                    flow.held = Some((payer, credit));
                }
                self.parcel(now, key, parcel);
            }
            Err(failure) => self.refuse_parcel(now, key, parcel, failure),
        }
        if !first.is_empty() {
            self.flow(now, id, End::Link(key), first);
        }
    }

    /// Handles what a link has sent of its streams.
    pub(crate) fn streams_left(&mut self, now: u64, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        for (id, bytes, is_end) in link.take_left() {
            self.consumed(now, id, End::Link(key), bytes);
            if is_end {
                self.forget_stream(id);
            }
        }
    }

    /// Ends streams of a link that is gone.
    pub(crate) fn lose_streams(&mut self, now: u64, key: LinkKey, lost: &[StreamId], reason: &str) {
        let failure = Failure::link_lost(format!("the link of the stream broke ({reason})")).sent(true);
        for id in lost {
            if self.flows.get(id).is_some_and(|flow| flow.reader == Some(End::Link(key))) {
                self.stop_stream(now, *id, failure.clone());
            } else {
                self.flow_end(now, *id, End::Link(key), Some(failure.clone()));
            }
        }
    }

    /// Ends the streams whose messages were dropped before they reached a receiver. Returns whether there were any.
    pub(crate) fn sweep_streams(&mut self, now: u64) -> bool {
        let dropped = self.stream_drops.take();
        for id in &dropped {
            let reader = self.flows.get(id).map(|flow| flow.reader);
            let is_lost = match reader {
                Some(None) => true,
                Some(Some(End::Link(key))) => self.links.get_mut(&key).is_none_or(|link| link.forget_stream(*id)),
                Some(Some(End::Host | End::Guest(_))) | None => false,
            };
            if is_lost {
                self.stop_stream(now, *id, Failure::cancelled("the message of the stream was not delivered"));
            }
        }
        !dropped.is_empty()
    }
}
