//! The parts of a link that belong to its present socket: the handshake, pings, silence, the expiry of the token, and control
//! frames (frames without a sequence number).

use bytes::Bytes;
use starlane_protocol::frame::{self, Frame};

use super::{CloseCode, Goodbye, LinkConfig};
use crate::bucket::Bucket;

/// This many bytes of a message count as one more frame in the rate limit.
const BYTES_A_FRAME: usize = 4 * 1024;
/// The maximum of renewed tokens of a peer that sends nothing else.
const RENEWALS_PER_SECOND: u32 = 100;
/// The maximum of waiting control frames. A peer that reads never has more.
const MAX_CONTROL_FRAMES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Dialled side: no frame has arrived yet.
    AwaitHello,
    /// Dialled side: the token is being checked.
    Admitting,
    /// Dialling side: hello has been sent.
    AwaitWelcome,
    Up,
    Over,
}

/// An action that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    End(Goodbye),
    /// Our token expires soon.
    Renew,
    /// The clock stood still for so long, in milliseconds: what is late may not be late.
    Frozen(u64),
}

#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) phase: Phase,
    /// When the token expires; on the dialling side, when to renew it.
    pub(super) expires: Option<u64>,
    control: Vec<Bytes>,
    /// The waiting pong: of many pings only the last is answered.
    pong: Option<u64>,
    opened: u64,
    heard: u64,
    received: Bucket,
    ping_due: u64,
    /// The last ping and when it left, until it is answered.
    pinged: Option<(u64, u64)>,
    nonce: u64,
    round_trip_ms: u64,
    /// When the socket counts as dead unless something is heard: the peer was asked for a sign of life.
    probe: Option<u64>,
    /// The last acknowledged sequence when the window was found closed, and since when.
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
            pinged: None,
            nonce: 0,
            round_trip_ms: 0,
            probe: None,
            stalled: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(super) fn heard(&mut self, now: u64) {
        (self.heard, self.probe) = (now, None);
    }

    /// Asks the peer for a sign of life. Without one in time, the socket is dead. Asking again does not give it more time.
    pub(super) fn probe(&mut self, now: u64, config: &LinkConfig) {
        if self.phase == Phase::Up && self.probe.is_none() {
            self.ping(now);
            self.probe = Some(now + config.probe_ms.max(3 * self.round_trip_ms));
        }
    }

    /// The clock stood still, so nothing that the timers say is true: asks for a sign of life, and begins all times anew.
    fn thaw(&mut self, now: u64, config: &LinkConfig) {
        self.probe(now, config);
        (self.heard, self.ping_due, self.opened) = (now, now + config.ping_every_ms, now);
    }

    fn ping(&mut self, now: u64) {
        self.nonce += 1;
        self.pinged = Some((self.nonce, now));
        self.control(&Frame::Ping { nonce: self.nonce });
    }

    /// The peer answered a ping.
    pub(super) fn ponged(&mut self, now: u64, nonce: u64) {
        if let Some((_, left)) = self.pinged.take_if(|(asked, _)| *asked == nonce) {
            self.round_trip_ms = now - left;
        }
    }

    /// Counts a WebSocket message against the rate limit. Errors when the peer sends too much per second.
    pub(super) fn receive(
        &mut self,
        now: u64,
        frames: usize,
        bytes: usize,
        config: &LinkConfig,
    ) -> Result<(), Goodbye> {
        let (work, rate) = (frames.saturating_add(1 + bytes / BYTES_A_FRAME), config.frames_per_second);
        if self.received.take(now, work as u64, rate.into()) {
            return Ok(());
        }
        let reason = format!(
            "more than {rate} frames per second (a message and each {BYTES_A_FRAME} bytes count as one): send slower"
        );
        Err(Goodbye::new(CloseCode::TooMany, reason))
    }

    /// Counts a renewed token, which takes the host some time to check. Errors when the peer sends too many.
    pub(super) fn renews(&mut self, now: u64, config: &LinkConfig) -> Result<(), Goodbye> {
        let rate = config.frames_per_second;
        if self.received.take(now, u64::from(rate / RENEWALS_PER_SECOND), rate.into()) {
            return Ok(());
        }
        let reason = format!("more than {RENEWALS_PER_SECOND} renewed tokens per second: send slower");
        Err(Goodbye::new(CloseCode::TooMany, reason))
    }

    pub(super) fn control(&mut self, frame: &Frame) {
        self.control.push(frame::encode_frame(frame).into());
    }

    /// Queues the last frame; nothing follows it.
    pub(super) fn end(&mut self, goodbye: &Goodbye) {
        self.phase = Phase::Over;
        self.pong = None;
        self.control(&goodbye.frame());
    }

    pub(super) fn asked(&mut self, nonce: u64) {
        self.pong = Some(nonce);
    }

    /// Whether a pong leaves next. An acknowledgement leaves beside it, because timers of hidden pages run once a minute.
    pub(super) fn answers(&self) -> bool {
        self.pong.is_some()
    }

    /// Whether too many control frames wait, because the peer does not read.
    pub(super) fn is_full(&self) -> bool {
        self.control.len() > MAX_CONTROL_FRAMES
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

    /// The action that is due at `now`. `stalled_at` is the last acknowledged sequence if frames wait for an acknowledgement.
    pub(super) fn handle_timeout(
        &mut self,
        now: u64,
        is_dialled: bool,
        stalled_at: Option<u64>,
        config: &LinkConfig,
    ) -> Option<Due> {
        let silent =
            |text: &str, waited: u64| Some(Due::End(Goodbye::new(CloseCode::Silent, format!("{text} {waited} ms"))));
        // A probe that nobody answered before the clock stood still again is judged.
        let due = self.life_due(config).filter(|_| self.probe.is_none());
        if let Some(due) = due.filter(|due| now > due + config.frozen_ms) {
            self.thaw(now, config);
            return Some(Due::Frozen(now - due));
        }
        match self.phase {
            Phase::Over => None,
            _ if self.probe.is_some_and(|until| now >= until) => {
                silent("nothing was heard after a ping, for", config.probe_ms.max(3 * self.round_trip_ms))
            }
            Phase::AwaitHello | Phase::AwaitWelcome if now >= self.opened + config.first_frame_ms => {
                silent("no first frame within", config.first_frame_ms)
            }
            _ if now >= self.heard + config.silence_ms => silent("nothing was heard for", config.silence_ms),
            Phase::Up if self.expires.is_some_and(|expires| now >= expires) => {
                // The dialled side ends the link; the other asks for a fresh token, and after a while again, until it gets one.
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
                    self.ping(now);
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
        let expires = self.expires.filter(|_| self.is_up());
        Some(self.life_due(config)?.min(expires.unwrap_or(u64::MAX)))
    }

    /// When the life of the socket is looked at next.
    fn life_due(&self, config: &LinkConfig) -> Option<u64> {
        let due = match self.phase {
            Phase::AwaitHello | Phase::AwaitWelcome => self.opened + config.first_frame_ms,
            Phase::Admitting => self.heard + config.silence_ms,
            Phase::Up => (self.heard + config.silence_ms).min(self.ping_due),
            Phase::Over => return None,
        };
        Some(self.probe.map_or(due, |probe| probe.min(due)))
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
        (0..100_000).for_each(|nonce| carrier.asked(nonce));
        assert!(carrier.has_control() && !carrier.is_full());
        assert_eq!(carrier.take_control(), [frame::encode_frame(&Frame::Pong { nonce: 99_999 })]);
        carrier.asked(1);
        carrier.end(&Goodbye::new(CloseCode::Closed, ""));
        assert_eq!(carrier.take_control().len(), 1, "nothing follows the last");
        (0..=MAX_CONTROL_FRAMES as u64).for_each(|nonce| carrier.control(&Frame::Ping { nonce }));
        assert!(carrier.is_full());
    }

    #[test]
    fn peer_that_acknowledges_nothing_is_too_slow() {
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
    fn clock_that_stood_still_proves_nothing_about_the_peer() {
        let config = LinkConfig::default();
        let (mut carrier, late) = (up(&config), 10 * config.silence_ms);
        let frozen = |due: Option<Due>| matches!(due, Some(Due::Frozen(_)));
        assert!(frozen(carrier.handle_timeout(late, true, None, &config)), "it asks first");
        assert!(carrier.has_control());
        assert_eq!(carrier.next_timeout(&config), Some(late + config.probe_ms));
        let mut answered = up(&config);
        answered.handle_timeout(late, true, None, &config);
        answered.heard(late + 1);
        answered.ponged(late + 1, 1);
        assert_eq!((answered.round_trip_ms, answered.probe), (1, None));
        assert_eq!(answered.handle_timeout(late + config.probe_ms, true, None, &config), None);
        let due = carrier.handle_timeout(late + config.probe_ms, true, None, &config);
        assert!(matches!(due, Some(Due::End(goodbye)) if goodbye.code == CloseCode::Silent && goodbye.keep));
        // The clock stands still again, and nothing was heard meanwhile.
        let mut again = up(&config);
        again.handle_timeout(late, true, None, &config);
        let due = again.handle_timeout(2 * late, true, None, &config);
        assert!(matches!(due, Some(Due::End(goodbye)) if goodbye.code == CloseCode::Silent));
        // Asking again and again does not give the peer more time.
        let mut asked = up(&config);
        (0..3).for_each(|n| asked.probe(n * 1_000, &config));
        assert_eq!(asked.next_timeout(&config), Some(config.probe_ms));
        // A token that ended meanwhile is looked at next, once.
        let mut expired = up(&config);
        expired.expires = Some(1);
        assert!(frozen(expired.handle_timeout(late, false, None, &config)));
        assert_eq!(expired.handle_timeout(late, false, None, &config), Some(Due::Renew));
        assert!(expired.next_timeout(&config) > Some(late));
        let mut waiting = Carrier::new(Phase::AwaitWelcome, 0, &config);
        assert!(frozen(waiting.handle_timeout(late, false, None, &config)));
        assert_eq!(waiting.next_timeout(&config), Some(late + config.first_frame_ms), "its time begins again");
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
