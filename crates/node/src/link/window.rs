//! The numbered frames of a link. Each is kept until the peer has acknowledged it, so that the next socket can replay it.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::frame::{self, Frame, LinkLimits};

use super::{CloseCode, Goodbye, LinkConfig, lanes::May};

/// The memory of a kept frame in addition to its bytes.
const OVERHEAD: usize = 64;
/// The last sequence of a link. It is exact in every language whose numbers are 64-bit floats.
const LAST_SEQUENCE: u64 = (1 << 53) - 1;

/// A frame that may have to be sent again.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    is_body: bool,
}

/// A part of the window.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    frames: usize,
    bytes: usize,
}

/// The frames between the last acknowledged one and the last numbered one.
#[derive(Debug)]
pub(super) struct Window {
    /// The frames that were numbered and not acknowledged, oldest first.
    frames: VecDeque<Kept>,
    /// How much of them is bodies, and how much everything else.
    bodies: Share,
    others: Share,
    acked: u64,
    last: u64,
    /// The last frame that the present socket got. Later frames are replayed before any new one is numbered.
    given: u64,
    /// The last frame that was numbered before the present socket.
    before: u64,
    max_frames: usize,
    max_bytes: usize,
}

impl Window {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            frames: VecDeque::new(),
            bodies: Share::default(),
            others: Share::default(),
            acked: 0,
            last: 0,
            given: 0,
            before: 0,
            max_frames: config.window_frames,
            max_bytes: config.window_bytes,
        }
    }

    /// Sets the limits of the peer.
    pub(super) fn limit(&mut self, limits: &LinkLimits) {
        self.max_frames = self.max_frames.min(limits.unacked_frames as usize).max(1);
        self.max_bytes = self.max_bytes.min(limits.unacked_bytes as usize).max(1);
    }

    /// Which new frames may be numbered: bodies get at most half of the window, messages seven eighths, so that each finds room
    /// beside the other, and orders beside both. If nothing is unacknowledged, one frame always may.
    pub(super) fn may(&self) -> May {
        let is_below = |share: Share, part: usize, of: usize| {
            of * share.frames < part * self.max_frames && of * share.bytes < part * self.max_bytes
        };
        let all = Share { frames: self.frames.len(), bytes: self.bytes() };
        let (is_free, has_room) = (self.frames.is_empty(), is_below(all, 1, 1));
        let may = |is_open: bool| !self.has_replay() && (is_free || (has_room && is_open));
        May { urgent: may(true), messages: may(is_below(self.others, 7, 8)), bodies: may(is_below(self.bodies, 1, 2)) }
    }

    /// The sequence of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Whether all sequence numbers are used.
    pub(super) fn is_exhausted(&self) -> bool {
        self.last >= LAST_SEQUENCE
    }

    /// Adds the frame with the next sequence. The caller gives it to the socket.
    pub(super) fn add(&mut self, frame: Bytes, is_body: bool) {
        let share = if is_body { &mut self.bodies } else { &mut self.others };
        share.frames += 1;
        share.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(Kept { bytes: frame, is_body });
        self.last += 1;
        self.given = self.last;
    }

    /// Whether the present socket lacks frames of an earlier one.
    pub(super) fn has_replay(&self) -> bool {
        self.given < self.last
    }

    /// The next frame of an earlier socket.
    pub(super) fn replay(&mut self) -> Option<Bytes> {
        let frame = self.frames.get((self.given - self.acked) as usize)?.bytes.clone();
        self.given += 1;
        Some(frame)
    }

    /// Handles an acknowledgement: the peer has everything up to `received`.
    pub(super) fn acknowledge(&mut self, received: u64) -> Result<(), Goodbye> {
        if received > self.last {
            let (sent, code) = (self.last, CloseCode::Malformed);
            let reason = format!("frame {received} was acknowledged, but only {sent} were sent");
            return Err(Goodbye::new(code, reason));
        }
        while self.acked < received {
            self.acked += 1;
            let Some(frame) = self.frames.pop_front() else { continue };
            let share = if frame.is_body { &mut self.bodies } else { &mut self.others };
            share.frames -= 1;
            share.bytes -= frame.bytes.len() + OVERHEAD;
        }
        // The peer may have got frames from the earlier socket.
        self.given = self.given.max(received);
        Ok(())
    }

    /// Whether the peer can go on after the frame `received`: all later frames are kept.
    pub(super) fn can_resume(&self, received: u64) -> bool {
        (self.acked..=self.last).contains(&received)
    }

    /// Begins to replay on a new socket what the peer did not receive.
    pub(super) fn resume(&mut self, received: u64) -> Result<(), Goodbye> {
        self.acknowledge(received)?;
        (self.given, self.before) = (received, self.last);
        Ok(())
    }

    /// The last acknowledged sequence.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// The last sequence.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether the peer acknowledged a frame that was numbered on the present socket.
    pub(super) fn makes_progress(&self) -> bool {
        self.acked > self.before
    }

    /// The bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bodies.bytes + self.others.bytes
    }

    /// The frames that the peer may not have received, except parts of bodies.
    pub(super) fn unacked(&self) -> impl Iterator<Item = Frame> {
        self.frames.iter().filter(|frame| !frame.is_body).filter_map(|frame| frame::decode_frame(&frame.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(frames: u8) -> Window {
        let mut window = Window::new(&LinkConfig { window_frames: 4, ..LinkConfig::default() });
        (1..=frames).for_each(|n| window.add(Bytes::from(vec![n]), false));
        window
    }

    fn replayed(window: &mut Window) -> Vec<u8> {
        std::iter::from_fn(|| window.has_replay().then(|| window.replay().unwrap()[0])).collect()
    }

    #[test]
    fn frames_that_the_peer_lacks_are_replayed_in_order_before_new_ones() {
        let mut window = window(3);
        assert!(window.may().urgent && replayed(&mut window).is_empty());
        window.resume(1).unwrap();
        assert!(!window.may().urgent, "old frames go first");
        assert_eq!(replayed(&mut window), [2, 3]);
        window.add(Bytes::from(vec![4]), false);
        window.resume(1).unwrap();
        assert_eq!((window.replay().unwrap()[0], window.acknowledge(3)), (2, Ok(())));
        assert_eq!(replayed(&mut window), [4], "an acknowledgement during the replay moves it forward");
        assert!(!window.makes_progress());
        window.add(Bytes::from(vec![5]), false);
        window.acknowledge(5).unwrap();
        assert!(window.makes_progress() && window.bytes() == 0);
    }

    #[test]
    fn the_peer_can_go_on_only_within_what_is_kept() {
        let mut window = window(4);
        assert!(!window.may().urgent, "four frames are the maximum");
        window.acknowledge(2).unwrap();
        let verdicts = [1, 2, 3, 4, 5].map(|received| window.can_resume(received));
        assert_eq!(verdicts, [false, true, true, true, false]);
        assert!(window.acknowledge(5).is_err() && window.resume(5).is_err(), "the fifth was not sent");
        assert_eq!((window.acked(), window.last(), window.next()), (2, 4, 5));
    }

    #[test]
    fn bodies_and_messages_leave_room_for_each_other() {
        let mut window = Window::new(&LinkConfig { window_frames: 16, ..LinkConfig::default() });
        let fill = |window: &mut Window, is_body: bool, may: fn(May) -> bool| {
            let mut count = 0;
            while may(window.may()) {
                window.add(Bytes::from_static(b"x"), is_body);
                count += 1;
            }
            count
        };
        assert_eq!(fill(&mut window, false, |may| may.messages), 14, "seven eighths");
        assert_eq!(fill(&mut window, true, |may| may.bodies), 2, "the rest");
        assert!(!window.may().urgent);
        window.acknowledge(12).unwrap();
        assert_eq!(fill(&mut window, true, |may| may.bodies), 6, "half of the window");
        assert!(window.may().messages && window.may().urgent);
    }

    #[test]
    fn sequences_end_before_they_become_inexact() {
        let mut window = window(0);
        (window.last, window.acked, window.given) = (LAST_SEQUENCE - 1, LAST_SEQUENCE - 1, LAST_SEQUENCE - 1);
        assert!(!window.is_exhausted());
        window.add(Bytes::new(), false);
        assert!(window.is_exhausted());
    }
}
