//! CBOR forms of the values in frames, where they differ from the derived forms.

use bytes::Bytes;
use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error,
    encode::{self, Write},
};

use crate::{Address, Failure, Outcome, Payload};

/// A payload on the wire. Its body is included, or announced by its length and sent later in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WirePayload {
    /// The type, the headers and, unless chunks follow, the body.
    pub payload: Payload,
    /// The length of the whole body, in bytes.
    pub length: u64,
}

impl WirePayload {
    /// Returns whether chunks follow.
    pub fn is_announced(&self) -> bool {
        self.length != self.payload.body.len() as u64
    }
}

impl From<Payload> for WirePayload {
    fn from(payload: Payload) -> Self {
        Self { length: payload.body.len() as u64, payload }
    }
}

impl<C> Encode<C> for WirePayload {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(4)?.str(&self.payload.content_type)?;
        self.payload.headers.encode(e, ctx)?;
        e.u64(self.length)?.bytes(&self.payload.body)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for WirePayload {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, Error> {
        let fields = fields(d, 4)?;
        let content_type = d.str()?.to_owned();
        let headers = Decode::decode(d, ctx)?;
        let length = d.u64()?;
        let body = Bytes::copy_from_slice(d.bytes()?);
        skip_rest(d, fields, 4)?;
        if body.len() as u64 != length && !body.is_empty() {
            return Err(wrong("a payload must have its whole body or none of it"));
        }
        Ok(Self { payload: Payload { content_type, headers, body }, length })
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
        let count = if self.sent.is_some() { 5 } else { 4 };
        e.array(count)?.u16(self.status)?.str(&self.code)?.str(&self.message)?;
        self.address.encode(e, ctx)?;
        self.sent.map_or(Ok(()), |sent| e.bool(sent)?.ok())
    }
}

impl<'b, C> Decode<'b, C> for Failure {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, Error> {
        let count = fields(d, 4)?;
        let (status, code, message) = (d.u16()?, d.str()?.to_owned(), d.str()?.to_owned());
        let address = Option::<Address>::decode(d, ctx)?;
        let sent = if count > 4 { Option::<bool>::decode(d, ctx)? } else { None };
        skip_rest(d, count, 5)?;
        Ok(Self { status, code, message, address, sent })
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
