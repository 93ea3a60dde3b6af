//! Reads values from a guest's memory, and checks each: bounds, alignment, UTF-8, cases.

use bytes::Bytes;
use starlane_abi::{
    layout::{HEADER_ALIGN, HEADER_SIZE, option, outcome},
    limits,
};
use starlane_protocol::{Failure, Outcome, Payload, StreamId, StreamRef};

use super::{fault::GuestFault, streams::Streams};

/// A pointer and a length from the guest, unchecked.
pub(super) type Span = (u32, u32);

/// Reads values, up to a total number of bytes.
pub(super) struct Lift<'a> {
    memory: &'a [u8],
    /// The remaining number of bytes that can be copied.
    pub(super) room: usize,
}

impl<'a> Lift<'a> {
    pub(super) fn new(memory: &'a [u8], room: usize) -> Self {
        Self { memory, room }
    }

    /// A slice of the memory, not copied.
    pub(super) fn slice(&self, what: &str, (pointer, length): Span) -> Result<&'a [u8], GuestFault> {
        // Neither sum can overflow: both are below 2^32 and this code runs on 64 bits.
        let (start, end) = (pointer as usize, pointer as usize + length as usize);
        self.memory.get(start..end).ok_or_else(|| {
            let size = self.memory.len();
            GuestFault::Broken(format!(
                "{what} is outside of memory: {length} bytes at {pointer}; the memory has {size}"
            ))
        })
    }

    fn taken(&mut self, what: &str, span: Span) -> Result<&'a [u8], GuestFault> {
        let slice = self.slice(what, span)?;
        self.room = self.room.checked_sub(slice.len()).ok_or_else(|| {
            GuestFault::Broken(format!(
                "{what} exceeds the maximum of {} queued bytes for one call",
                limits::CALL_BYTES
            ))
        })?;
        Ok(slice)
    }

    pub(super) fn bytes(&mut self, what: &str, span: Span) -> Result<Bytes, GuestFault> {
        self.taken(what, span).map(Bytes::copy_from_slice)
    }

    pub(super) fn text(&mut self, what: &str, span: Span) -> Result<String, GuestFault> {
        let slice = self.taken(what, span)?;
        std::str::from_utf8(slice).map(str::to_owned).map_err(|error| {
            GuestFault::Broken(format!("{what} is not UTF-8 from its byte {} on", error.valid_up_to()))
        })
    }

    /// A text, cut at a maximum number of bytes. The bytes after it are neither read nor checked.
    pub(super) fn text_cut(&self, what: &str, span: Span, most: usize) -> Result<String, GuestFault> {
        let slice = self.slice(what, span)?;
        let head = slice.get(..most).unwrap_or(slice);
        match std::str::from_utf8(head) {
            Ok(text) => Ok(text.to_owned()),
            // The cut is inside a character.
            Err(error) if error.error_len().is_none() && head.len() < slice.len() => {
                let whole = head.get(..error.valid_up_to()).unwrap_or_default();
                Ok(String::from_utf8_lossy(whole).into_owned())
            }
            Err(error) => {
                Err(GuestFault::Broken(format!("{what} is not UTF-8 from its byte {} on", error.valid_up_to())))
            }
        }
    }

    /// A number at an offset that was checked to be in memory.
    pub(super) fn u32_at(&self, what: &str, pointer: u32) -> Result<u32, GuestFault> {
        let slice = self.slice(what, (pointer, 4))?;
        Ok(slice.try_into().map(u32::from_le_bytes).unwrap_or_default())
    }

    /// A pointer and a length at an offset in memory.
    pub(super) fn span_at(&self, what: &str, pointer: u32) -> Result<Span, GuestFault> {
        Ok((self.u32_at(what, pointer)?, self.u32_at(what, pointer.wrapping_add(4))?))
    }

    /// Checks the offset of a record.
    pub(super) fn record(&self, what: &str, pointer: u32, size: u32) -> Result<u32, GuestFault> {
        aligned(what, pointer)?;
        self.slice(what, (pointer, size)).map(|_| pointer)
    }

    fn headers(&mut self, (pointer, count): Span) -> Result<Vec<(String, String)>, GuestFault> {
        if count as usize > limits::HEADERS {
            return Err(GuestFault::Broken(format!("{count} headers; the maximum is {}", limits::HEADERS)));
        }
        aligned("the list of headers", pointer)?;
        self.slice("the list of headers", (pointer, count * HEADER_SIZE))?;
        (0..count)
            .map(|index| {
                let at = pointer + index * HEADER_SIZE;
                let name = self.span_at("a header", at)?;
                let value = self.span_at("a header", at + 8)?;
                Ok((self.text("the name of a header", name)?, self.text("the value of a header", value)?))
            })
            .collect()
    }

    /// Content type, headers and body, flattened, and the number of the stream, which is attached.
    pub(super) fn payload(&mut self, flat: [u32; 6], id: u64, streams: &mut Streams) -> Result<Payload, GuestFault> {
        let [type_at, type_length, headers_at, headers_count, body_at, body_length] = flat;
        let content_type = self.text("the content type", (type_at, type_length))?;
        let headers = self.headers((headers_at, headers_count))?;
        let body = self.bytes("the body", (body_at, body_length))?;
        if id == 0 {
            return Ok(Payload { content_type, headers, body, stream: None });
        }
        if !body.is_empty() {
            let what =
                format!("a payload has stream {id} and a body of {body_length} bytes; it can have only one of them");
            return Err(GuestFault::Broken(what));
        }
        streams.attach(id)?;
        Ok(Payload { content_type, headers, body, stream: Some(StreamRef::loose(StreamId(id))) })
    }

    /// An outcome: its case, and a flattened payload or failure.
    pub(super) fn outcome(
        &mut self,
        case: i32,
        flat: [u32; 6],
        stream: u64,
        streams: &mut Streams,
    ) -> Result<Outcome, GuestFault> {
        match case {
            outcome::SUCCESS => self.payload(flat, stream, streams).map(Ok),
            outcome::FAILURE => {
                let [a, b, c, d, e, _] = flat;
                self.failure([a, b, c, d, e]).map(Err)
            }
            other => Err(GuestFault::Broken(format!("an outcome has no case {other}"))),
        }
    }

    /// The error of a stream: its case, and a flattened failure.
    pub(super) fn error(&mut self, case: i32, flat: [u32; 5]) -> Result<Option<Failure>, GuestFault> {
        match case {
            option::NONE => Ok(None),
            option::SOME => self.failure(flat).map(Some),
            other => Err(GuestFault::Broken(format!("an option has no case {other}"))),
        }
    }

    fn failure(&mut self, flat: [u32; 5]) -> Result<Failure, GuestFault> {
        let [status, code_at, code_length, message_at, message_length] = flat;
        let code = self.text("the code of a failure", (code_at, code_length))?;
        let message = self.text("the message of a failure", (message_at, message_length))?;
        // The canonical ABI ignores the upper bits of a narrow number.
        Ok(Failure::new(status as u16, &code, message))
    }
}

/// All records of the interface contain words, and so have the same alignment.
fn aligned(what: &str, pointer: u32) -> Result<(), GuestFault> {
    if pointer.is_multiple_of(HEADER_ALIGN) {
        return Ok(());
    }
    Err(GuestFault::Broken(format!("{what} is at {pointer}, which is not a multiple of {HEADER_ALIGN}")))
}
