//! The frames of a link, each with its number, and the WebSocket message, which is a list of frames.

mod values;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

pub use self::values::{ChunkBytes, FirstCredit, LinkId, LinkLimits, LinkOutcome, LinkSecret, OpenStreams, Resume};
use crate::{
    Address, Failure, HostName, HostSecret, Topic,
    bounds::MAX_OPERATIONS,
    wire::{WireOutcome, WirePayload, fields, reason, skip_rest, wrong},
};

/// The numbers of frames that a later version may add and that a host may ignore. They are numbered and acknowledged like others.
pub const IGNORED: std::ops::RangeInclusive<u8> = 96..=127;
/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;
/// The subprotocol of the WebSocket handshake.
pub const SUBPROTOCOL: &str = "starlane.v1";
/// A body that is longer than this, in bytes, is sent in chunks of at most this length.
pub const CHUNK: usize = 64 * 1024;
/// The maximum length of a WebSocket message, in bytes.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The maximum length of a numbered frame that a host sends, in bytes. A message with a longer frame is refused with
/// `too-large`.
pub const MAX_NUMBERED: usize = 256 * 1024;
/// The maximum length of a hello or renew, in bytes.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;
/// The maximum length of any other frame without a number, in bytes.
pub const MAX_CONTROL_BYTES: usize = 4 * 1024;

/// Writes a field, unless an earlier field failed. This and the next functions are not inlined, because many frames
/// have fields of the same types.
#[inline(never)]
fn put<C, T: Encode<C>, W: encode::Write>(
    field: &T,
    e: &mut Encoder<W>,
    ctx: &mut C,
    failed: &mut Option<encode::Error<W::Error>>,
) {
    if failed.is_none() {
        *failed = field.encode(e, ctx).err();
    }
}

/// Reads a field, unless an earlier field failed.
#[inline(never)]
fn take<'b, C, T: Decode<'b, C>>(d: &mut Decoder<'b>, ctx: &mut C, failed: &mut Option<decode::Error>) -> Option<T> {
    if failed.is_some() {
        return None;
    }
    T::decode(d, ctx).map_err(|error| *failed = Some(error)).ok()
}

/// Writes a field that a later version added, unless it and all fields after it are left out.
#[inline(never)]
fn put_later<C, T: Encode<C>, W: encode::Write>(
    field: &T,
    e: &mut Encoder<W>,
    ctx: &mut C,
    left: &mut u64,
    failed: &mut Option<encode::Error<W::Error>>,
) {
    if *left > 0 {
        *left -= 1;
        put(field, e, ctx, failed);
    }
}

/// Reads a field that a later version added. It has its default if an older peer does not send it.
#[inline(never)]
fn take_later<'b, C, T: Decode<'b, C> + Default>(
    d: &mut Decoder<'b>,
    ctx: &mut C,
    left: &mut u64,
    failed: &mut Option<decode::Error>,
) -> T {
    if *left == 0 {
        return T::default();
    }
    *left -= 1;
    take(d, ctx, failed).unwrap_or_default()
}

/// Returns the number of later fields to write: up to the last one without its default.
fn written(given: &[bool]) -> u64 {
    given.iter().rposition(|given| *given).map_or(0, |last| last as u64 + 1)
}

fn is_given<T: Default + PartialEq>(field: &T) -> bool {
    *field != T::default()
}

/// Skips everything after the known fields, unless one of them failed.
#[inline(never)]
fn take_rest(d: &mut Decoder<'_>, left: u64, failed: &mut Option<decode::Error>) {
    if failed.is_none() {
        *failed = skip_rest(d, left, 0).err();
    }
}

fn too_short(at: usize) -> decode::Error {
    wrong("a frame is shorter than its fields").at(at)
}

/// Declares the frames. One enum has every number, and each variant has its fields in their order on the wire. Fields
/// that a later version added are after a semicolon. A trailing field with its default is not written.
macro_rules! frames {
    ($($(#[$doc:meta])* $number:literal $name:ident {
        $($field:ident: $type:ty),* $(,)? $(; $($later:ident: $later_type:ty),* $(,)?)?
    })*) => {
        /// A frame. From number 16 on, frames are numbered: their first field is the sequence.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Frame {
            $($(#[$doc])* $name {
                $(#[allow(missing_docs, reason = "named in the README's table")] $field: $type,)*
                $($(#[allow(missing_docs, reason = "named in the README's table")] $later: $later_type,)*)?
            },)*
            /// A numbered frame of a later version, which this version may ignore.
            Ignored {
                /// Its number, one of [`IGNORED`].
                number: u8,
                /// Its sequence.
                seq: u64,
            },
        }

        impl Frame {
            /// Its name in the README's table.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                    Self::Ignored { .. } => "Ignored",
                }
            }
        }

        impl<C> Encode<C> for Frame {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                ctx: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                let mut failed;
                match self {
                    $(Self::$name { $($field,)* $($($later),*)? } => {
                        let count = 1u64 $(+ { let _ = stringify!($field); 1 })*;
                        #[allow(unused_mut, reason = "most frames have no such fields")]
                        let mut left = written(&[$($(is_given($later)),*)?]);
                        failed = e.array(count + left).and_then(|e| e.u8($number)).err();
                        $(put($field, e, ctx, &mut failed);)*
                        $($(put_later($later, e, ctx, &mut left, &mut failed);)*)?
                    })*
                    Self::Ignored { number, seq } => {
                        failed = e.array(2).and_then(|e| e.u8(*number)?.u64(*seq)).err();
                    }
                }
                failed.map_or(Ok(()), Err)
            }
        }

        impl<'b, C> Decode<'b, C> for Frame {
            fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                let count = fields(d, 1)?;
                let mut failed;
                match d.u8()? {
                    $($number => {
                        let known = 1u64 $(+ { let _ = stringify!($field); 1 })*;
                        failed = (count < known).then(|| too_short(at));
                        $(let $field = take(d, ctx, &mut failed);)*
                        #[allow(unused_mut, reason = "most frames have no such fields")]
                        let mut left = count.saturating_sub(known);
                        $($(let $later = take_later(d, ctx, &mut left, &mut failed);)*)?
                        take_rest(d, left, &mut failed);
                        if let ($(Some($field),)*) = ($($field,)*) && failed.is_none() {
                            return Ok(Self::$name { $($field,)* $($($later),*)? });
                        }
                    })*
                    number if IGNORED.contains(&number) && count > 1 => {
                        let seq = d.u64()?;
                        skip_rest(d, count, 2)?;
                        return Ok(Self::Ignored { number, seq });
                    }
                    other => failed = Some(decode::Error::unknown_variant(i64::from(other)).at(at)),
                }
                Err(failed.unwrap_or_else(|| too_short(at)))
            }
        }
    };
}

frames! {
    /// The first frame of the side that dialled.
    0 Hello {
        versions: Vec<u16>, token: Option<String>, secret: HostSecret, capabilities: Vec<String>, dial: u64,
        resume: Option<Resume>, limits: LinkLimits,
    }
    /// The first frame of the side that was dialled.
    1 Welcome {
        version: u16, link: LinkId, host: HostName, principal: String, limits: LinkLimits, key: LinkSecret,
        outcome: LinkOutcome, window_ms: u32; route: Option<String>,
    }
    /// Acknowledges all numbered frames up to this sequence.
    2 Ack { received: u64 }
    /// A new token for an existing link.
    3 Renew { token: String }
    /// Asks for a pong.
    4 Ping { nonce: u64 }
    /// Answers a ping.
    5 Pong { nonce: u64 }
    /// The last frame of a socket, with the reason. `keep`: the link can be resumed. `retry_ms`: how long not to dial. `dial`: the
    /// highest dial number that was accepted.
    6 Goodbye { code: String, reason: String; keep: bool, retry_ms: Option<u32>, dial: Option<u64> }
    /// How long the token of this link is valid; `None` for unlimited. The link then ends, unless it was renewed.
    7 Expires { remaining_ms: Option<u64> }
    /// A request. It gets exactly one response, unless it is cancelled.
    16 Request {
        seq: u64, id: u64, from: Address, caller: String, to: Address, operation: String, payload: WirePayload,
        remaining_ms: u32, hops: u8, trace: Option<String>,
    }
    /// The outcome of a request.
    17 Response { seq: u64, id: u64, outcome: WireOutcome }
    /// A one-way message.
    18 Notify {
        seq: u64, from: Address, caller: String, to: Address, operation: String, payload: WirePayload, hops: u8,
        trace: Option<String>,
    }
    /// An event for a subscriber.
    19 Event { seq: u64, topic: Topic, payload: WirePayload; trace: Option<String> }
    /// Asks for the events of this topic.
    20 Subscribe { seq: u64, topic: Topic }
    /// Ends the subscription to this topic.
    21 Unsubscribe { seq: u64, topic: Topic }
    /// The sender no longer waits for this request.
    22 Cancel { seq: u64, id: u64 }
    /// This host serves an address.
    23 Serve { seq: u64, address: Address, operations: Vec<String> }
    /// This host no longer serves an address.
    24 Release { seq: u64, address: Address }
    /// A part of the body or stream that the frame with sequence `of` announced.
    25 Chunk { seq: u64, of: u64, offset: u64, part: ChunkBytes }
    /// Events of this topic may have been missed.
    26 Gap { seq: u64, topic: Topic }
    /// A subscription was refused or has ended: no more events of this topic follow.
    27 Refused { seq: u64, topic: Topic, failure: Failure }
    /// The reader of a stream allows `limit` bytes of it in total.
    28 Credit { seq: u64, of: u64, limit: u64 }
    /// A stream has ended after `total` bytes: it is complete, or it failed.
    29 End { seq: u64, of: u64, total: u64, failure: Option<Failure> }
    /// The reader of a stream wants no more of it.
    30 Stop { seq: u64, of: u64, failure: Failure }
}

impl Frame {
    /// The hello of a host that asks for a new link, with the default limits. Each hello of a host needs a higher dial number.
    pub fn hello(secret: HostSecret, token: Option<String>, dial: u64) -> Self {
        let (versions, capabilities, limits) = (vec![VERSION], Vec::new(), LinkLimits::default());
        Self::Hello { versions, token, secret, capabilities, dial, resume: None, limits }
    }

    /// The sequence of a numbered frame.
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Self::Hello { .. }
            | Self::Welcome { .. }
            | Self::Ack { .. }
            | Self::Renew { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Goodbye { .. }
            | Self::Expires { .. } => None,
            Self::Request { seq, .. }
            | Self::Response { seq, .. }
            | Self::Notify { seq, .. }
            | Self::Event { seq, .. }
            | Self::Subscribe { seq, .. }
            | Self::Unsubscribe { seq, .. }
            | Self::Cancel { seq, .. }
            | Self::Serve { seq, .. }
            | Self::Release { seq, .. }
            | Self::Chunk { seq, .. }
            | Self::Gap { seq, .. }
            | Self::Refused { seq, .. }
            | Self::Credit { seq, .. }
            | Self::End { seq, .. }
            | Self::Stop { seq, .. }
            | Self::Ignored { seq, .. } => Some(*seq),
        }
    }

    /// The maximum length of this kind of frame that a receiver accepts, in bytes.
    fn bound(&self) -> usize {
        match self {
            Self::Hello { .. } | Self::Renew { .. } => MAX_HELLO_BYTES,
            _ if self.sequence().is_none() => MAX_CONTROL_BYTES,
            _ => MAX_MESSAGE,
        }
    }
}

/// The error for bytes that are not a WebSocket message of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// They are not the CBOR of this specification.
    #[error("the message can't be read at byte {offset}: {reason}")]
    Malformed {
        /// Where reading stopped.
        offset: usize,
        /// The error there.
        reason: String,
    },
    /// They exceed a limit.
    #[error("a frame or a list in it has the length {length}; the maximum is {bound}")]
    TooLarge {
        /// The length: of a message or frame in bytes, of a list in items.
        length: usize,
        /// The maximum.
        bound: usize,
    },
}

impl FrameError {
    /// Returns the stable code for a goodbye: `malformed` or `too-large`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too-large",
        }
    }
}

/// Encodes one frame.
pub fn encode_frame(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    // Writing to a Vec can't fail.
    let _ = minicbor::encode(frame, &mut bytes);
    bytes
}

/// Decodes one frame that [`encode_frame`] made.
pub fn decode_frame(bytes: &[u8]) -> Option<Frame> {
    minicbor::decode(bytes).ok()
}

/// Returns the number of frames that a WebSocket message claims to have, without decoding them.
pub fn count(message: &[u8]) -> usize {
    let count = Decoder::new(message).array().ok().flatten().unwrap_or_default();
    usize::try_from(count / 2).unwrap_or(usize::MAX)
}

/// Joins encoded frames into one WebSocket message on one channel.
pub fn encode_message<'a>(channel: u16, frames: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let _ = Encoder::new(&mut bytes).array(2 * frames.len() as u64);
    for frame in frames {
        let _ = Encoder::new(&mut bytes).u16(channel);
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// Decodes a WebSocket message: pairs of channel and frame. Refuses the whole message if any part is invalid.
pub fn decode_message(bytes: &[u8]) -> Result<Vec<(u16, Frame)>, FrameError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(FrameError::TooLarge { length: bytes.len(), bound: MAX_MESSAGE });
    }
    let mut d = Decoder::new(bytes);
    let malformed =
        |d: &Decoder<'_>, e: decode::Error| FrameError::Malformed { offset: d.position(), reason: reason(&e) };
    let count = fields(&mut d, 0).map_err(|e| malformed(&d, e))?;
    if count % 2 != 0 {
        return Err(FrameError::Malformed { offset: 0, reason: "expected pairs of channel and frame".into() });
    }
    let mut frames = Vec::new();
    for _ in 0..count / 2 {
        let channel = d.u16().map_err(|e| malformed(&d, e))?;
        let start = d.position();
        let frame: Frame = d.decode().map_err(|e| malformed(&d, e))?;
        let length = d.position() - start;
        if length > frame.bound() {
            return Err(FrameError::TooLarge { length, bound: frame.bound() });
        }
        if let Frame::Serve { operations, .. } = &frame
            && operations.len() > MAX_OPERATIONS
        {
            return Err(FrameError::TooLarge { length: operations.len(), bound: MAX_OPERATIONS });
        }
        frames.push((channel, frame));
    }
    if d.position() != bytes.len() {
        return Err(FrameError::Malformed { offset: d.position(), reason: "expected the end of the message".into() });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests;
