//! The values of frames that have a CBOR form of their own: limits, the identity of a link, and how a link is resumed.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::{fields, skip_rest, wrong};

/// The limits that a host sets for what its peer sends. Later fields may be missing; then they have their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LinkLimits {
    /// The maximum length of a payload, in bytes.
    #[n(0)]
    pub payload: u32,
    /// The maximum number of unacknowledged frames.
    #[n(1)]
    pub unacked_frames: u32,
    /// The maximum number of unacknowledged bytes.
    #[n(2)]
    pub unacked_bytes: u32,
    /// The maximum number of open streams.
    #[n(3)]
    #[cbor(default)]
    pub open_streams: OpenStreams,
    /// The bytes of a stream that may be sent before the first credit.
    #[n(4)]
    #[cbor(default)]
    pub first_credit: FirstCredit,
}

/// A number of open streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct OpenStreams(#[n(0)] pub u32);

/// A number of bytes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct FirstCredit(#[n(0)] pub u32);

impl Default for OpenStreams {
    fn default() -> Self {
        Self(64)
    }
}

impl Default for FirstCredit {
    fn default() -> Self {
        Self(64 * 1024)
    }
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            payload: 16 * 1024 * 1024,
            unacked_frames: 1_024,
            unacked_bytes: 1024 * 1024,
            open_streams: OpenStreams::default(),
            first_credit: FirstCredit::default(),
        }
    }
}

/// The identity of a link: 128 random bits. It is not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId(pub [u8; 16]);

/// The secret of a link: 256 random bits, which prove that a socket belongs to the host that had the link. Its `Debug`
/// form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret(pub [u8; 32]);

/// The part of a hello that asks for an earlier link again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The link.
    pub link: LinkId,
    /// Its secret.
    pub key: LinkSecret,
    /// The last sequence that the sender of hello received in order.
    pub received: u64,
}

/// The part of a welcome that says which link it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutcome {
    /// A new link, because none was asked for.
    Fresh,
    /// The link that was asked for.
    Resumed {
        /// The last sequence that the sender of welcome received in order.
        received: u64,
    },
    /// A new link, because the one that was asked for has ended.
    Gap {
        /// Why it has ended, for people.
        reason: String,
    },
}

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkBytes(pub bytes::Bytes);

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// Implements CBOR byte strings of a fixed length.
macro_rules! byte_string {
    ($($name:ident $expected:literal)*) => {
        $(impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.bytes()?.try_into().map(Self).map_err(|_| wrong($expected))
            }
        })*
    };
}

byte_string! {
    LinkId "a link id has 16 bytes"
    LinkSecret "the key of a link has 32 bytes"
}

impl<C> Encode<C> for ChunkBytes {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ChunkBytes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Ok(Self(bytes::Bytes::copy_from_slice(d.bytes()?)))
    }
}

impl<C> Encode<C> for Resume {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?;
        self.link.encode(e, ctx)?;
        self.key.encode(e, ctx)?;
        e.u64(self.received)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Resume {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let count = fields(d, 3)?;
        let (link, key) = (LinkId::decode(d, ctx)?, LinkSecret::decode(d, ctx)?);
        let received = d.u64()?;
        skip_rest(d, count, 3)?;
        Ok(Self { link, key, received })
    }
}

impl<C> Encode<C> for LinkOutcome {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Fresh => e.array(1)?.u8(0)?.ok(),
            Self::Resumed { received } => e.array(2)?.u8(1)?.u64(*received)?.ok(),
            Self::Gap { reason } => e.array(2)?.u8(2)?.str(reason)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for LinkOutcome {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let count = fields(d, 1)?;
        let (outcome, known) = match (d.u8()?, count) {
            (0, _) => (Self::Fresh, 1),
            (1, 2..) => (Self::Resumed { received: d.u64()? }, 2),
            (2, 2..) => (Self::Gap { reason: d.str()?.to_owned() }, 2),
            (1 | 2, _) => return Err(wrong("an outcome is shorter than its fields")),
            (other, _) => return Err(decode::Error::unknown_variant(i64::from(other))),
        };
        skip_rest(d, count, known)?;
        Ok(outcome)
    }
}
