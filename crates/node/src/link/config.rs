//! The sizes, windows and times of links.

/// The limits and times of a link, with the protocol's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// The maximum payload, in bytes.
    pub payload: usize,
    /// The time within which the body of a message must arrive in chunks, in milliseconds; `body_bytes_per_second` extends it.
    /// Later chunks are dropped, and the message fails.
    pub body_ms: u64,
    /// A body gets one more second for each so many bytes of its length.
    pub body_bytes_per_second: u64,
    /// The maximum of unacknowledged numbered frames.
    pub window_frames: usize,
    /// The maximum of unacknowledged bytes of numbered frames.
    pub window_bytes: usize,
    /// The maximum of bytes that wait behind the window.
    pub queue_bytes: usize,
    /// The maximum delay of an acknowledgement, in milliseconds.
    pub ack_after_ms: u64,
    /// The maximum delay of an acknowledgement, in frames.
    pub ack_frames: u32,
    /// The maximum delay of an acknowledgement, in bytes.
    pub ack_bytes: usize,
    /// The interval of the dialled side's pings, in milliseconds.
    pub ping_every_ms: u64,
    /// A side that hears nothing for this long closes the socket, in milliseconds.
    pub silence_ms: u64,
    /// The time within which the first frame must come, in milliseconds.
    pub first_frame_ms: u64,
    /// The time within which a socket must open, in milliseconds.
    pub dial_ms: u64,
    /// How long a link without a socket is kept, in milliseconds. The dialled side sets it.
    pub resume_ms: u64,
    /// A timer that fires so much too late proves that the clock stood still, in milliseconds. Then the peer is asked for a sign of
    /// life before anything else is concluded.
    pub frozen_ms: u64,
    /// The least time for such a sign of life, in milliseconds.
    pub probe_ms: u64,
    /// The maximum pause before the first dial after a link broke, in milliseconds.
    pub redial_first_ms: u64,
    /// The maximum pause between two dials, in milliseconds.
    pub redial_most_ms: u64,
    /// A link that was up for so long counts as stable: the next pause is the first one again. In milliseconds.
    pub stable_ms: u64,
    /// The least time between two wake-ups that shorten a pause, in milliseconds.
    pub wake_every_ms: u64,
    /// The pause before a token is requested again when no fresh one came, in milliseconds.
    pub renew_again_ms: u64,
    /// The maximum of messages that wait for a link to come up.
    pub waiting_messages: usize,
    /// The maximum of bytes of such messages.
    pub waiting_bytes: usize,
    /// The maximum of bytes that wait for a peer whose link has no socket, on the dialled side.
    pub detached_queue_bytes: usize,
    /// The maximum of links without a socket that a principal may have.
    pub detached_links: usize,
    /// The maximum of bytes that are kept for all links without a socket of a principal.
    pub detached_principal_bytes: usize,
    /// The maximum of bytes that are kept for all links without a socket.
    pub detached_bytes: usize,
    /// The maximum of bytes that wait for a peer in total. An answer above it becomes a short failure. If even those exceed their
    /// reserve, the peer does not read, and the link ends.
    pub held_bytes: usize,
    /// The link ends if the peer acknowledges nothing for this long while the window is closed, in milliseconds.
    pub stalled_ms: u64,
    /// The maximum work that a peer may cause per second, in frames; each WebSocket message, and each 4 KiB of it, count as one
    /// more. A burst may have as much at once.
    pub frames_per_second: u32,
    /// The maximum of open requests of a peer.
    pub open_requests: usize,
    /// The maximum of open streams of a peer, and of bodies that it sends in parts at a time.
    pub open_streams: usize,
    /// The maximum of bytes for which room is kept at a time, for bodies that arrive in parts. Others wait for their credit.
    pub reserved_bytes: usize,
    /// The bytes of a stream or of a long body that a peer may send before its first credit.
    pub first_credit: usize,
    /// The maximum credit of a stream, in bytes. The credit of a quick reader doubles up to it.
    pub most_credit: usize,
    /// The maximum of bytes that all streams of a peer may have in addition to their first credit.
    pub extra_credit: usize,
    /// A stream ends if nothing moves for this long, in milliseconds.
    pub stream_idle_ms: u64,
    /// A stream ends after this long, in milliseconds.
    pub stream_longest_ms: u64,
    /// The maximum of topics to which a peer is subscribed.
    pub topics: usize,
    /// The maximum of addresses that a peer serves.
    pub served: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            payload: 16 * 1024 * 1024,
            body_ms: 60_000,
            body_bytes_per_second: 32 * 1024,
            window_frames: 1024,
            window_bytes: 1024 * 1024,
            queue_bytes: 4 * 1024 * 1024,
            ack_after_ms: 1000,
            ack_frames: 32,
            ack_bytes: 64 * 1024,
            ping_every_ms: 15_000,
            silence_ms: 45_000,
            first_frame_ms: 5_000,
            dial_ms: 10_000,
            resume_ms: 120_000,
            frozen_ms: 5_000,
            probe_ms: 2_000,
            redial_first_ms: 500,
            redial_most_ms: 10_000,
            stable_ms: 10_000,
            wake_every_ms: 5_000,
            renew_again_ms: 10_000,
            waiting_messages: 1024,
            waiting_bytes: 4 * 1024 * 1024,
            detached_queue_bytes: 256 * 1024,
            detached_links: 64,
            detached_principal_bytes: 16 * 1024 * 1024,
            detached_bytes: 256 * 1024 * 1024,
            held_bytes: 64 * 1024 * 1024,
            stalled_ms: 60_000,
            frames_per_second: 250_000,
            open_requests: 8_192,
            open_streams: 64,
            reserved_bytes: 32 * 1024 * 1024,
            first_credit: 64 * 1024,
            most_credit: 1024 * 1024,
            extra_credit: 4 * 1024 * 1024,
            stream_idle_ms: 150_000,
            stream_longest_ms: 24 * 3_600_000,
            topics: 256,
            served: 1_024,
        }
    }
}
