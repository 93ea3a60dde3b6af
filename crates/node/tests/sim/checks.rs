//! The checkers: what must hold after every step, and at rest.

use std::collections::BTreeMap;

use starlane_protocol::frame::{Frame, LinkId, decode_message};

use crate::world::{PAGES, Sim};

/// The numbers of the frames on all links.
#[derive(Default)]
pub(crate) struct Frames {
    /// The link of each socket.
    links: BTreeMap<usize, [u8; 16]>,
    /// The last socket of each link.
    pipes: BTreeMap<[u8; 16], usize>,
    /// The highest number that a host sent on a link, and the highest that a host received without a jump.
    numbered: BTreeMap<([u8; 16], usize), u64>,
    taken: BTreeMap<([u8; 16], usize), u64>,
}

impl Frames {
    /// The server sends welcome on a socket. Returns the earlier socket of the link.
    pub(crate) fn welcome(&mut self, pipe: usize, link: LinkId) -> Option<usize> {
        self.links.insert(pipe, link.0);
        self.pipes.insert(link.0, pipe)
    }

    pub(crate) fn sent(&mut self, pipe: usize, from: usize, bytes: &[u8]) {
        for (_, frame) in decode_message(bytes).unwrap() {
            let Some(link) = self.links.get(&pipe) else { continue };
            if let Some(sequence) = frame.sequence() {
                let highest = self.numbered.entry((*link, from)).or_default();
                assert!(sequence <= *highest + 1, "frame {sequence} follows {highest}");
                *highest = sequence.max(*highest);
            }
            if let Frame::Ack { received } = frame {
                let taken = self.taken.get(&(*link, from)).copied().unwrap_or_default();
                assert!(received <= taken, "{received} is acknowledged, but only {taken} arrived");
            }
        }
    }

    /// Notes what arrives. Returns the principal of a welcome, or none if a goodbye says that it has changed.
    pub(crate) fn arrived(&mut self, pipe: usize, to: usize, bytes: &[u8]) -> Option<Option<String>> {
        let mut welcome = None;
        for (_, frame) in decode_message(bytes).unwrap() {
            if let (Some(sequence), Some(link)) = (frame.sequence(), self.links.get(&pipe)) {
                let taken = self.taken.entry((*link, to)).or_default();
                assert!(sequence <= *taken + 1, "frame {sequence} arrives after {taken}");
                *taken = sequence.max(*taken);
            }
            match frame {
                Frame::Welcome { principal, .. } => welcome = Some(Some(principal)),
                Frame::Goodbye { code, .. } if code == "principal-changed" => welcome = Some(None),
                _ => {}
            }
        }
        welcome
    }
}

impl Sim {
    pub(crate) fn check_step(&self) {
        self.dials_are_bounded();
        self.requests_end_in_time();
    }

    /// At most three dials in any second.
    fn dials_are_bounded(&self) {
        for page in PAGES {
            let dials = &self.sides[page].dials;
            let last = dials.len().saturating_sub(4);
            if let [first, _, _, fourth] = dials[last..] {
                assert!(fourth - first >= 1_000, "page {page} dialled four times within {} ms", fourth - first);
            }
        }
    }

    /// Every request ends at its deadline at the latest.
    fn requests_end_in_time(&self) {
        for (id, sent) in self.record.sent.range(self.oldest_open..) {
            let due = sent.deadline.max(self.sides[sent.from].frozen);
            let is_open = sent.request.is_some() && sent.outcome.is_none();
            assert!(!is_open || self.now <= due + 1, "request {id} is open at {}, due at {due}", self.now);
        }
    }

    /// What must hold when everything is at rest.
    pub(crate) fn check_rest(&self) {
        for (index, side) in self.sides.iter().enumerate() {
            assert_eq!(side.node.open_requests(), 0, "open requests of host {index}");
        }
        self.check_streams();
        let mut untaken = 0;
        let taken: std::collections::BTreeSet<u64> = self.record.taken.iter().map(|(_, id)| *id).collect();
        for (id, sent) in &self.record.sent {
            assert!(sent.request.is_none() || sent.outcome.is_some(), "request {id} was forgotten");
            untaken += u64::from(sent.outcome.is_none() && !sent.excused && !taken.contains(id));
        }
        let dead_letters = self.dead_letters();
        assert!(untaken <= dead_letters, "{untaken} one-way messages are missing, with {dead_letters} dead letters");
        for page in PAGES {
            assert!(self.sides[page].up, "page {page} has no link");
            assert!(self.record.has_all_events(page), "page {page} does not know that it missed events");
        }
    }
}
