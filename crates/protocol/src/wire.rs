//! CBOR forms of the values in frames, where they differ from the derived forms.

use bytes::Bytes;
use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error,
    encode::{self, Write},
};

use crate::{Address, Failure, FailureOrigin, Outcome, Payload, StreamId, StreamRef};

/// A payload on the wire. A host makes it of a payload whose body is short enough for one frame; a longer body, and a stream,
/// follow in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WirePayload {
    /// The type, the headers and, unless parts follow, the body. Of a stream the body may be the first part.
    pub payload: Payload,
    /// The length of the whole body, in bytes; 0 for a stream.
    pub length: u64,
    /// What follows.
    pub follows: Follows,
}

/// What follows a payload on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: the body is complete.
    #[default]
    Nothing,
    /// The whole body, in parts.
    Body,
    /// A stream.
    Stream,
}

impl WirePayload {
    /// Announces a body of `length` bytes that follows in parts.
    pub fn announcing(payload: Payload, length: u64) -> Self {
        Self { payload, length, follows: Follows::Body }
    }

    /// Returns whether the body follows in parts.
    pub fn is_announced(&self) -> bool {
        self.follows == Follows::Body
    }
}

impl From<Payload> for WirePayload {
    fn from(payload: Payload) -> Self {
        let follows = if payload.stream.is_some() { Follows::Stream } else { Follows::Nothing };
        Self { length: payload.body.len() as u64, payload, follows }
    }
}

impl<C> Encode<C> for WirePayload {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let count = if self.follows == Follows::Nothing { 4 } else { 5 };
        e.array(count)?.str(&self.payload.content_type)?;
        self.payload.headers.encode(e, ctx)?;
        match self.follows {
            Follows::Stream => e.null()?,
            _ => e.u64(self.length)?,
        };
        e.bytes(&self.payload.body)?;
        match self.follows {
            Follows::Nothing => Ok(()),
            Follows::Body => e.u8(1)?.ok(),
            Follows::Stream => e.u8(2)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for WirePayload {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, Error> {
        let count = fields(d, 4)?;
        let content_type = d.str()?.to_owned();
        let headers = Decode::decode(d, ctx)?;
        let length = Option::<u64>::decode(d, ctx)?;
        let body = Bytes::copy_from_slice(d.bytes()?);
        let follows = match if count > 4 { d.u8()? } else { 0 } {
            0 => Follows::Nothing,
            1 => Follows::Body,
            2 => Follows::Stream,
            other => return Err(Error::unknown_variant(i64::from(other))),
        };
        skip_rest(d, count, 5)?;
        let here = body.len() as u64;
        let fits = match (follows, length) {
            (Follows::Nothing, Some(length)) => length == here,
            (Follows::Body, Some(length)) => length > 0 && here == 0,
            (Follows::Stream, None) => true,
            _ => false,
        };
        if !fits {
            return Err(wrong("the length of a payload does not match what follows it"));
        }
        // The number of a stream is that of its frame, which the payload does not know.
        let stream = (follows == Follows::Stream).then(|| StreamRef::loose(StreamId(0)));
        Ok(Self {
            payload: Payload { content_type, headers, body, stream },
            length: length.unwrap_or_default(),
            follows,
        })
    }
}

/// An outcome on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireOutcome(pub Result<WirePayload, Failure>);

impl From<Outcome> for WireOutcome {
    fn from(outcome: Outcome) -> Self {
        Self(outcome.map(WirePayload::from))
    }
}

impl<C> Encode<C> for WireOutcome {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?;
        match &self.0 {
            Ok(payload) => payload.encode(e.u8(0)?, ctx),
            Err(failure) => failure.encode(e.u8(1)?, ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for WireOutcome {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, Error> {
        let outer = fields(d, 2)?;
        let outcome = match d.u8()? {
            0 => Ok(WirePayload::decode(d, ctx)?),
            1 => Err(Failure::decode(d, ctx)?),
            other => return Err(Error::unknown_variant(i64::from(other))),
        };
        skip_rest(d, outer, 2)?;
        Ok(Self(outcome))
    }
}

impl<C> Encode<C> for Failure {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let is_answer = self.origin == FailureOrigin::Resource;
        let count = if is_answer { 6 } else { 4 + u64::from(self.sent.is_some()) };
        e.array(count)?.u16(self.status)?.str(&self.code)?.str(&self.message)?;
        self.address.encode(e, ctx)?;
        if is_answer {
            self.sent.encode(e, ctx)?;
            return e.u8(1)?.ok();
        }
        self.sent.map_or(Ok(()), |sent| e.bool(sent)?.ok())
    }
}

impl<'b, C> Decode<'b, C> for Failure {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, Error> {
        let count = fields(d, 4)?;
        let (status, code, message) = (d.u16()?, d.str()?.to_owned(), d.str()?.to_owned());
        let address = Option::<Address>::decode(d, ctx)?;
        let sent = if count > 4 { Option::<bool>::decode(d, ctx)? } else { None };
        let origin = match if count > 5 { d.u8()? } else { 0 } {
            0 => FailureOrigin::Host,
            1 => FailureOrigin::Resource,
            other => return Err(Error::unknown_variant(i64::from(other))),
        };
        skip_rest(d, count, 6)?;
        Ok(Self { status, code, message, address, sent, origin })
    }
}

/// The error for bytes that are CBOR, but not a frame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(&'static str);

pub(crate) fn wrong(what: &'static str) -> Error {
    Error::custom(Wrong(what))
}

/// Returns the text of an error. minicbor's own texts, with and without a position for each kind, would be much more
/// code.
pub(crate) fn reason(error: &Error) -> String {
    if let Some(said) = std::error::Error::source(error) {
        return said.to_string();
    }
    let said = match () {
        () if error.is_end_of_input() => "the bytes end too early",
        () if error.is_type_mismatch() => "a value has a wrong type",
        () if error.is_unknown_variant() => "a number stands for an unknown kind",
        () if error.is_missing_value() => "a value is missing",
        () => "a value is not allowed here",
    };
    said.to_owned()
}

/// Returns the number of fields of a definite array, which must be at least `least`.
pub(crate) fn fields(d: &mut Decoder<'_>, least: u64) -> Result<u64, Error> {
    let at = d.position();
    match d.array()? {
        Some(count) if count >= least => Ok(count),
        Some(_) => Err(wrong("an array is shorter than its fields").at(at)),
        None => Err(wrong("arrays have a definite length").at(at)),
    }
}

/// Skips fields of a newer peer after the known ones.
pub(crate) fn skip_rest(d: &mut Decoder<'_>, count: u64, known: u64) -> Result<(), Error> {
    (known..count).try_for_each(|_| d.skip())
}
