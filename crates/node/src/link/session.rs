//! The shared state of two hosts on a link, whatever socket carries it: who the peer is, its served addresses and open requests,
//! the received frames, and the acknowledgements that it is owed.

use starlane_protocol::{
    Address, HostName, StreamId,
    frame::{Frame, LinkId, LinkSecret, Resume},
    wire::WireOutcome,
};

use super::{CloseCode, Goodbye, LinkConfig, LinkEvent, assembly::Assembly, notices::Notice};
use crate::{effect::RequestId, maps::Map, principal::Principal};

/// What both hosts know of a link from its welcome on, so that another socket can carry it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: LinkId,
    pub(crate) key: LinkSecret,
    /// How long the link is kept without a socket, in milliseconds.
    pub(crate) window_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// None before welcome.
    pub(crate) identity: Option<Identity>,
    /// On the dialled side the dial number of the last accepted hello.
    pub(crate) dial: u64,
    /// The other host, once known.
    pub(crate) peer: Option<HostName>,
    /// On the dialled side the peer's principal; on the dialling side our own.
    pub(crate) principal: Principal,
    /// On the dialled side the last token of the peer.
    pub(crate) token: Option<String>,
    /// The addresses that the peer serves. The peer checks their operations, so they are not kept.
    pub(crate) served: Map<Address, ()>,
    /// The bytes of those addresses and of its subscriptions.
    pub(crate) names: usize,
    /// The bytes that the peer's streams may have in addition to their first credit.
    pub(crate) extra_credit: usize,
    /// The requests of the peer that have not ended, by its own id.
    pub(crate) asking: Map<u64, RequestId>,
    pub(super) assembly: Assembly,
    received: u64,
    /// Received frames and bytes that were not acknowledged.
    owed: (u32, usize),
    ack_due: Option<u64>,
    ack_now: bool,
}

impl Session {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            identity: None,
            dial: 0,
            peer: None,
            principal: Principal::default(),
            token: None,
            served: Map::new(),
            names: 0,
            extra_credit: 0,
            asking: Map::new(),
            assembly: Assembly::new(config),
            received: 0,
            owed: (0, 0),
            ack_due: None,
            ack_now: false,
        }
    }

    /// What the next hello shows to get this link again.
    pub(super) fn resume(&self) -> Option<Resume> {
        let Identity { id, key, .. } = self.identity.clone()?;
        Some(Resume { link: id, key, received: self.received })
    }

    /// The last sequence that was received in order.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next numbered frame. Returns its event. A frame that was taken before is only acknowledged again.
    pub(super) fn take(&mut self, now: u64, frame: Frame, config: &LinkConfig) -> Result<Option<LinkEvent>, Goodbye> {
        let (sequence, expected) = (frame.sequence().unwrap_or_default(), self.received + 1);
        if sequence < expected {
            self.ack_now = true;
            return Ok(None);
        }
        if sequence != expected {
            let reason = format!("sequence {sequence}, but {expected} was expected");
            return Err(Goodbye::new(CloseCode::Malformed, reason));
        }
        self.received = sequence;
        let (frames, bytes) = &mut self.owed;
        *frames += 1;
        *bytes += weight(&frame);
        if *frames >= config.ack_frames || *bytes >= config.ack_bytes {
            self.ack_now = true;
        } else if self.ack_due.is_none() {
            self.ack_due = Some(now + config.ack_after_ms);
        }
        self.assembly.take(now, frame)
    }

    /// The bytes that this host keeps for the peer.
    pub(super) fn bytes(&self) -> usize {
        self.assembly.bytes() + self.names
    }

    /// When an acknowledgement is due, if not now, or when a body has to be complete.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        let ack = self.ack_due.filter(|_| !self.ack_now);
        ack.into_iter().chain(self.assembly.next_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: u64) {
        self.ack_now |= self.ack_due.is_some_and(|due| due <= now);
    }

    /// Whether an acknowledgement is due now.
    pub(super) fn owes_ack(&self) -> bool {
        self.ack_now
    }

    /// The acknowledgement to send now. `riding`: other frames leave, so a pending one leaves with them.
    pub(super) fn ack(&mut self, riding: bool) -> Option<Frame> {
        let rides = riding && self.owed.0 > 0;
        if !(self.ack_now || rides) {
            return None;
        }
        (self.owed, self.ack_due, self.ack_now) = ((0, 0), None, false);
        Some(Frame::Ack { received: self.received })
    }
}

/// What a link had when it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether welcome was sent or received.
    pub(crate) was_up: bool,
    pub(crate) peer: Option<HostName>,
    pub(crate) principal: Principal,
    /// The requests of the peer.
    pub(crate) asking: Vec<RequestId>,
    /// The one-way messages that the peer may not have received completely.
    pub(crate) unsure: Vec<Notice>,
    /// The streams of which the peer knew, in both directions.
    pub(crate) streams: Vec<StreamId>,
    /// The bytes that were counted for its principal.
    pub(crate) counted: usize,
}

/// The weight of a received frame for the next acknowledgement: its body, and a little for the rest.
fn weight(frame: &Frame) -> usize {
    64 + match frame {
        Frame::Request { payload, .. } | Frame::Notify { payload, .. } | Frame::Event { payload, .. } => {
            payload.payload.weight()
        }
        Frame::Response { outcome: WireOutcome(Ok(payload)), .. } => payload.payload.weight(),
        Frame::Chunk { part, .. } => part.0.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Parcel;

    #[test]
    fn frames_are_taken_in_order_and_acked_in_time() {
        let config = LinkConfig { ack_frames: 3, ..LinkConfig::default() };
        let mut session = Session::new(&config);
        let cancel = |seq| Frame::Cancel { seq, id: 7 };
        assert_eq!(
            session.take(10, cancel(1), &config),
            Ok(Some(LinkEvent::Parcel(Box::new(Parcel::Cancel { id: 7 }))))
        );
        assert_eq!((session.next_timeout(), session.ack(false)), (Some(10 + config.ack_after_ms), None));
        assert_eq!(session.ack(true), Some(Frame::Ack { received: 1 }), "it leaves with other frames");
        assert_eq!((session.next_timeout(), session.ack(true)), (None, None));
        session.take(20, cancel(2), &config).unwrap();
        session.handle_timeout(20 + config.ack_after_ms);
        assert!(session.owes_ack() && session.next_timeout().is_none());
        assert_eq!(session.ack(false), Some(Frame::Ack { received: 2 }));
        for seq in 3..=5 {
            assert!(!session.owes_ack());
            session.take(30, cancel(seq), &config).unwrap();
        }
        assert!(session.owes_ack(), "three frames are owed at once");
        assert_eq!(session.ack(false), Some(Frame::Ack { received: 5 }));
        assert_eq!((session.take(30, cancel(4), &config), session.owes_ack()), (Ok(None), true), "it was taken before");
        assert_eq!(session.ack(false), Some(Frame::Ack { received: 5 }));
        assert_eq!(session.take(30, cancel(7), &config).unwrap_err().code, CloseCode::Malformed);
    }
}
