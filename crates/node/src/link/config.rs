//! All sizes, windows and times of links.

/// Bounds and times of a link, with the protocol's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// The longest payload, in bytes.
    pub payload: usize,
    /// A body that follows its message in chunks is whole within this time, in milliseconds, and what `body_bytes_per_second` adds.
    /// Later chunks are dropped, and the message fails.
    pub body_ms: u64,
    /// A body has a second more for each so many bytes of its length.
    pub body_bytes_per_second: u64,
    /// How many numbered frames may be unacked.
    pub window_frames: usize,
    /// How many bytes of numbered frames may be unacked.
    pub window_bytes: usize,
    /// How many bytes may wait behind the window.
    pub queue_bytes: usize,
    /// An ack is at most this late, in milliseconds.
    pub ack_after_ms: u64,
    /// An ack is at most this many frames late.
    pub ack_frames: u32,
    /// An ack is at most this many bytes late.
    pub ack_bytes: usize,
    /// How often the dialled side pings, in milliseconds.
    pub ping_every_ms: u64,
    /// A side that heard nothing for this long drops the socket, in milliseconds.
    pub silence_ms: u64,
    /// The first frame comes within this time, in milliseconds.
    pub first_frame_ms: u64,
    /// A socket that has not opened within this time is given up, in milliseconds.
    pub dial_ms: u64,
    /// The first pause between two dials, in milliseconds; it doubles.
    pub redial_first_ms: u64,
    /// The longest pause between two dials, in milliseconds.
    pub redial_most_ms: u64,
    /// How soon a token is asked for again when no fresh one came, in milliseconds.
    pub renew_again_ms: u64,
    /// How many messages may wait for a link to come up.
    pub waiting_messages: usize,
    /// How many bytes of such messages.
    pub waiting_bytes: usize,
    /// How many bytes may wait for a peer in all. An answer that is too much becomes a failure that says so; a peer for whom more
    /// waits even of those takes nothing, and the link ends.
    pub held_bytes: usize,
    /// A peer that acks nothing for this long while the window is closed takes nothing, in milliseconds.
    pub stalled_ms: u64,
    /// How much a peer may give to do in a second, in frames; each WebSocket message, and 4 KiB of it, count as one more. A burst may
    /// have as much at once.
    pub frames_per_second: u32,
    /// How many requests of a peer may be open.
    pub open_requests: usize,
    /// To how many topics a peer may be subscribed.
    pub topics: usize,
    /// How many addresses a peer is known to serve.
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
            redial_first_ms: 100,
            redial_most_ms: 10_000,
            renew_again_ms: 10_000,
            waiting_messages: 1024,
            waiting_bytes: 4 * 1024 * 1024,
            held_bytes: 64 * 1024 * 1024,
            stalled_ms: 60_000,
            frames_per_second: 250_000,
            open_requests: 8_192,
            topics: 256,
            served: 1_024,
        }
    }
}
