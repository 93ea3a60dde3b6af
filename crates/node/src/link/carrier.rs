//! What belongs to the socket that carries a link, and goes with it: the handshake, pings, silence, the time of the token, and
//! the frames that are not numbered.

use bytes::Bytes;
use starlane_protocol::frame::{self, Frame};

use super::{CloseCode, Goodbye, LinkConfig};
use crate::bucket::Bucket;

/// So many bytes of a message are as much to do as one frame more.
const BYTES_A_FRAME: usize = 4 * 1024;
/// More frames that are not numbered never wait for a peer that takes them.
const MOST_CONTROL: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dialled side: nothing has arrived yet.
    AwaitHello,
    /// Dialled side: the token is being looked at.
    Admitting,
    /// Dialling side: hello has been sent.
    AwaitWelcome,
    Up,
    Over,
}

/// What time has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    End(Goodbye),
    /// Our token is good for not much longer.
    Renew,
}

#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) phase: Phase,
    /// When the token ends; on the dialling side, when to have a fresh one.
    pub(super) expires: Option<u64>,
    control: Vec<Bytes>,
    /// The pong that waits: of many pings only the last is answered.
    pong: Option<u64>,
    opened: u64,
    heard: u64,
    received: Bucket,
    ping_due: u64,
    nonce: u64,
    /// What the peer had acked when the window was found closed, and since when.
    stalled: Option<(u64, u64)>,
}

impl Carrier {
    pub(super) fn new(phase: Phase, now: u64, config: &LinkConfig) -> Self {
        Self {
            phase,
            expires: None,
            control: Vec::new(),
            pong: None,
            opened: now,
            heard: now,
            received: Bucket::default(),
            ping_due: now + config.ping_every_ms,
            nonce: 0,
            stalled: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(super) fn heard(&mut self, now: u64) {
        self.heard = now;
    }

    /// Counts what a WebSocket message gives to do. Errors when the peer sends too much a second.
    pub(super) fn receive(
        &mut self,
        now: u64,
        frames: usize,
        bytes: usize,
        config: &LinkConfig,
    ) -> Result<(), Goodbye> {
        let (work, rate) = (1 + frames + bytes / BYTES_A_FRAME, config.frames_per_second);
        if self.received.take(now, work as u64, rate.into()) {
            return Ok(());
        }
        let reason = format!(
            "more than {rate} frames a second came, each message and {BYTES_A_FRAME} bytes counted as one: send slower"
        );
        Err(Goodbye::new(CloseCode::TooMany, reason))
    }

    pub(super) fn control(&mut self, frame: &Frame) {
        self.control.push(frame::encode_frame(frame).into());
    }

    /// The last frame: nothing follows it.
    pub(super) fn end(&mut self, goodbye: &Frame) {
        self.phase = Phase::Over;
        self.pong = None;
        self.control(goodbye);
    }

    pub(super) fn pinged(&mut self, nonce: u64) {
        self.pong = Some(nonce);
    }

    /// Whether so many frames wait that the peer takes none.
    pub(super) fn is_full(&self) -> bool {
        self.control.len() > MOST_CONTROL
    }

    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty() || self.pong.is_some()
    }

    /// The frames that leave before all others.
    pub(super) fn take_control(&mut self) -> Vec<Bytes> {
        if let Some(nonce) = self.pong.take() {
            self.control(&Frame::Pong { nonce });
        }
        std::mem::take(&mut self.control)
    }

    /// Time passed. `stalled_at` is what the peer has acked if more than that waits for it.
    pub(super) fn handle_timeout(
        &mut self,
        now: u64,
        is_dialled: bool,
        stalled_at: Option<u64>,
        config: &LinkConfig,
    ) -> Option<Due> {
        let silent =
            |text: &str, waited: u64| Some(Due::End(Goodbye::new(CloseCode::Silent, format!("{text} {waited} ms"))));
        match self.phase {
            Phase::Over => None,
            Phase::AwaitHello | Phase::AwaitWelcome if now >= self.opened + config.first_frame_ms => {
                silent("no first frame within", config.first_frame_ms)
            }
            _ if now >= self.heard + config.silence_ms => silent("nothing was heard for", config.silence_ms),
            Phase::Up if self.expires.is_some_and(|expires| now >= expires) => {
                // The dialled side ends the link; the other asks for a fresh token, and after a while again, until there is one.
                if is_dialled {
                    let reason = "the token is no longer good: dial again with a fresh one";
                    return Some(Due::End(Goodbye::new(CloseCode::Expired, reason)));
                }
                self.expires = Some(now + config.renew_again_ms);
                Some(Due::Renew)
            }
            Phase::Up if now >= self.ping_due => {
                self.ping_due = now + config.ping_every_ms;
                if is_dialled {
                    self.nonce += 1;
                    self.control(&Frame::Ping { nonce: self.nonce });
                }
                self.stalled = stalled_at.map(|acked| match self.stalled {
                    Some((before, since)) if before == acked => (acked, since),
                    _ => (acked, now),
                });
                let (_, since) = self.stalled.filter(|(_, since)| now >= since + config.stalled_ms)?;
                let reason = format!("nothing was acknowledged for {} ms", now - since);
                Some(Due::End(Goodbye::new(CloseCode::SlowConsumer, reason)))
            }
            _ => None,
        }
    }

    /// When `handle_timeout` has something to do next.
    pub(super) fn next_timeout(&self, config: &LinkConfig) -> Option<u64> {
        match self.phase {
            Phase::AwaitHello | Phase::AwaitWelcome => Some(self.opened + config.first_frame_ms),
            Phase::Admitting => Some(self.heard + config.silence_ms),
            Phase::Up => {
                let due = (self.heard + config.silence_ms).min(self.ping_due);
                Some(self.expires.map_or(due, |expires| expires.min(due)))
            }
            Phase::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(config: &LinkConfig) -> Carrier {
        Carrier::new(Phase::Up, 0, config)
    }

    #[test]
    fn of_many_pings_the_last_is_answered() {
        let config = LinkConfig::default();
        let mut carrier = up(&config);
        (0..100_000).for_each(|nonce| carrier.pinged(nonce));
        assert!(carrier.has_control() && !carrier.is_full());
        assert_eq!(carrier.take_control(), [frame::encode_frame(&Frame::Pong { nonce: 99_999 })]);
        carrier.pinged(1);
        carrier.end(&Frame::Pong { nonce: 2 });
        assert_eq!(carrier.take_control().len(), 1, "nothing follows the last");
        (0..=MOST_CONTROL as u64).for_each(|nonce| carrier.control(&Frame::Ping { nonce }));
        assert!(carrier.is_full());
    }

    #[test]
    fn a_peer_that_acks_nothing_while_something_waits_is_too_slow() {
        let config = LinkConfig::default();
        let mut carrier = up(&config);
        let ends = |carrier: &mut Carrier, acked: fn(u64) -> Option<u64>| {
            (1..100).map(|n| n * config.ping_every_ms).find_map(|now| {
                carrier.heard(now);
                carrier.handle_timeout(now, true, acked(now), &config).map(|due| (now, due))
            })
        };
        assert_eq!(ends(&mut carrier, |_| None), None);
        assert_eq!(ends(&mut up(&config), Some), None, "it takes something");
        let (now, due) = ends(&mut up(&config), |_| Some(7)).unwrap();
        assert!(matches!(due, Due::End(goodbye) if goodbye.code == CloseCode::SlowConsumer));
        assert_eq!(now, config.ping_every_ms + config.stalled_ms);
    }

    #[test]
    fn silence_is_noticed_before_and_after_the_handshake() {
        let config = LinkConfig::default();
        for (phase, after) in [
            (Phase::AwaitHello, config.first_frame_ms),
            (Phase::AwaitWelcome, config.first_frame_ms),
            (Phase::Admitting, config.silence_ms),
        ] {
            let mut carrier = Carrier::new(phase, 0, &config);
            assert_eq!(carrier.next_timeout(&config), Some(after));
            assert_eq!(carrier.handle_timeout(after - 1, true, None, &config), None);
            let due = carrier.handle_timeout(after, true, None, &config);
            assert!(matches!(due, Some(Due::End(goodbye)) if goodbye.code == CloseCode::Silent));
        }
    }
}
