//! The bytes between a host and a worker: one buffer of calls to the worker, one buffer of records back.
//!
//! `starlane_abi` defines the numbers of calls and records. All numbers are little-endian; a text or byte list is a u32
//! length and its bytes. The other side is JavaScript (`crates/browser/ts`): `abi.ts` has the same numbers, `run.ts`
//! runs calls in a guest, `imports.ts` appends the guest's calls into the mesh, `contract.ts` checks bodies against
//! schemas.
//!
//! ```text
//! calls   = count:u32 call*
//! call    = 0 address mechtron settings (0 | 1 format:u32 data)            start
//!         | 1 id:u64 kind:u8 sender caller operation payload remaining:u32 receive
//!         | 2 request:u64 outcome                                          settle
//!         | 3 token:u64                                                    wake
//!         | 4                                                              save
//!         | 5 stream:u64 bytes                                             part
//!         | 6 stream:u64 error                                             ended
//!         | 7 stream:u64 credit:u32                                        ready
//! payload = content-type count:u32 (name value)* body stream:u64           stream is 0 without one
//! outcome = 0 payload | 1 failure
//! error   = 0 | 1 failure
//! failure = status:u16 code message
//! report  = record*                      effects of a call precede its result; a crashed call has none
//! record  = 1 id:u64 target operation payload timeout:u32                  request
//!         | 2 target operation payload                                     notify
//!         | 3 id:u64 outcome                                               reply
//!         | 4 event payload                                                emit
//!         | 5 topic | 6 topic                                              subscribe, unsubscribe
//!         | 7 delay:u32 token:u64 | 8 unix-ms:u64 token:u64                wake-after, wake-at
//!         | 9 stream:u64 | 10 stream:u64 bytes | 11 stream:u64 error       open-stream, write, finish
//!         | 12 stream:u64 bytes:u32 | 13 stream:u64                        grant, cancel-stream
//!         | 16 | 17 reason | 18 finished:u8 | 19 format:u32 data           the result of the call
//!         | 20 reason                                                      instead: a message does not match its schema
//!         | 21 reason                                                      instead: the guest has no memory for a message or outcome
//!         | 22                                                             instead: the guest does not take the stream of a message
//!         | 23 stream:u64 failure                                          instead: the stream has ended
//!         | 24 reason                                                      a crash, which ends the batch
//!         | 25 level:u8 text                                               a log line of the call with the preceding result
//! ```

use bytes::Bytes;
use starlane_abi::{
    batch::{call, record},
    layout::{kind, level, option, outcome as case},
};
use starlane_node::guest::{BatchReport, CallReport, GuestCall, GuestEffect, Kind, Level, Logged, Returned, Saved};
use starlane_protocol::{Failure, Outcome, Payload, StreamId, StreamRef};

/// The error for a report with an invalid format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the report of a guest's calls can't be read at byte {0}")]
pub struct ReportError(pub usize);

/// Encodes calls for a worker.
pub fn encode_calls(calls: &[GuestCall]) -> Vec<u8> {
    let weight: usize = calls.iter().map(call_weight).sum();
    let mut out = Writer(Vec::with_capacity(weight + 4));
    out.u32(calls.len() as u32);
    for call in calls {
        match call {
            GuestCall::Start(context) => {
                out.u8(call::START);
                out.text(&context.address);
                out.text(&context.mechtron);
                out.text(&context.settings);
                match &context.state {
                    None => out.u8(0),
                    Some(saved) => {
                        out.u8(1);
                        out.u32(saved.format);
                        out.bytes(&saved.data);
                    }
                }
            }
            GuestCall::Receive { id, message } => {
                out.u8(call::RECEIVE);
                out.u64(*id);
                out.u8(match message.kind {
                    Kind::Request => kind::REQUEST,
                    Kind::Notify => kind::NOTIFY,
                    Kind::Event => kind::EVENT,
                } as u8);
                out.text(message.from.as_str());
                out.text(message.caller.name());
                out.text(&message.operation);
                out.payload(&message.payload);
                out.u32(message.remaining_ms);
            }
            GuestCall::Settle { request, outcome } => {
                out.u8(call::SETTLE);
                out.u64(*request);
                out.outcome(outcome);
            }
            GuestCall::Wake { token } => {
                out.u8(call::WAKE);
                out.u64(*token);
            }
            GuestCall::Save => out.u8(call::SAVE),
            GuestCall::Part { stream, bytes } => {
                out.u8(call::PART);
                out.u64(*stream);
                out.bytes(bytes);
            }
            GuestCall::Ended { stream, error } => {
                out.u8(call::ENDED);
                out.u64(*stream);
                match error {
                    None => out.u8(option::NONE as u8),
                    Some(failure) => {
                        out.u8(option::SOME as u8);
                        out.failure(failure);
                    }
                }
            }
            GuestCall::Ready { stream, credit } => {
                out.u8(call::READY);
                out.u64(*stream);
                out.u32(*credit);
            }
        }
    }
    out.0
}

fn call_weight(call: &GuestCall) -> usize {
    match call {
        GuestCall::Start(context) => context.settings.len() + context.state.as_ref().map_or(0, |s| s.data.len()) + 256,
        GuestCall::Receive { message, .. } => message.payload.weight() + 256,
        GuestCall::Settle { outcome, .. } => outcome.as_ref().map_or(256, Payload::weight) + 64,
        GuestCall::Part { bytes, .. } => bytes.len() + 16,
        GuestCall::Ended { error, .. } => error.as_ref().map_or(16, |_| 256),
        GuestCall::Wake { .. } | GuestCall::Save | GuestCall::Ready { .. } => 16,
    }
}

/// Decodes a worker's report.
pub fn decode_report(bytes: Bytes) -> Result<BatchReport, ReportError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut report = BatchReport::default();
    let mut effects = Vec::new();
    while reader.at < reader.bytes.len() {
        let start = reader.at;
        let tag = reader.u8()?;
        if let Some(effect) = reader.effect(tag)? {
            effects.push(effect);
            continue;
        }
        let returned = match tag {
            record::DONE => Returned::Done,
            record::REFUSED => Returned::Refused(reader.text()?),
            record::RECEIVED => Returned::Received(reader.u8()? != 0),
            record::SAVED => Returned::Saved(Saved { format: reader.u32()?, data: reader.bytes()? }),
            record::MISFIT => Returned::Misfit(reader.text()?),
            record::TOO_LARGE => Returned::TooLarge(reader.text()?),
            record::NO_STREAMS => Returned::NoStreams,
            record::BAD_LINE => Returned::BadLine { stream: reader.u64()?, failure: reader.failure()? },
            record::CRASH => {
                report.crash = Some(reader.text()?);
                continue;
            }
            record::LOG => {
                let level = match i32::from(reader.u8()?) {
                    level::TRACE => Level::Trace,
                    level::DEBUG => Level::Debug,
                    level::INFO => Level::Info,
                    level::WARN => Level::Warn,
                    _ => Level::Error,
                };
                // A log line follows the result of its call.
                let call = (report.done.len() + usize::from(report.crash.is_some())).saturating_sub(1);
                report.logs.push(Logged { call, level, text: reader.text()? });
                continue;
            }
            _ => return Err(ReportError(start)),
        };
        report.done.push(CallReport { returned, effects: std::mem::take(&mut effects) });
    }
    Ok(report)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn payload(&mut self, payload: &Payload) {
        self.text(&payload.content_type);
        self.u32(payload.headers.len() as u32);
        for (name, value) in &payload.headers {
            self.text(name);
            self.text(value);
        }
        self.bytes(&payload.body);
        self.u64(payload.stream.as_ref().map_or(0, |stream| stream.id.0));
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(payload) => {
                self.u8(case::SUCCESS as u8);
                self.payload(payload);
            }
            Err(failure) => {
                self.u8(case::FAILURE as u8);
                self.failure(failure);
            }
        }
    }

    fn failure(&mut self, failure: &Failure) {
        self.0.extend_from_slice(&failure.status.to_le_bytes());
        self.text(&failure.code);
        self.text(&failure.message);
    }
}

struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    fn take(&mut self, length: usize) -> Result<&[u8], ReportError> {
        let end = self.at.checked_add(length).ok_or(ReportError(self.at))?;
        let slice = self.bytes.get(self.at..end).ok_or(ReportError(self.at))?;
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReportError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| ReportError(at))
    }

    fn u8(&mut self) -> Result<u8, ReportError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ReportError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ReportError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReportError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns a part of the buffer, which is shared, not copied.
    fn bytes(&mut self) -> Result<Bytes, ReportError> {
        let length = self.u32()? as usize;
        let start = self.at;
        self.take(length)?;
        Ok(self.bytes.slice(start..start + length))
    }

    fn text(&mut self) -> Result<String, ReportError> {
        let length = self.u32()? as usize;
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ReportError(start))
    }

    fn payload(&mut self) -> Result<Payload, ReportError> {
        let content_type = self.text()?;
        let count = self.u32()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((self.text()?, self.text()?));
        }
        let body = self.bytes()?;
        let stream = Some(self.u64()?).filter(|id| *id != 0);
        Ok(Payload { content_type, headers, body, stream: stream.map(|id| StreamRef::loose(StreamId(id))) })
    }

    fn outcome(&mut self) -> Result<Outcome, ReportError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(Ok(self.payload()?)),
            1 => Ok(Err(self.failure()?)),
            _ => Err(ReportError(at)),
        }
    }

    fn failure(&mut self) -> Result<Failure, ReportError> {
        let status = self.u16()?;
        let code = self.text()?;
        Ok(Failure::new(status, &code, self.text()?))
    }

    fn error(&mut self) -> Result<Option<Failure>, ReportError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(self.failure()?)),
            _ => Err(ReportError(at)),
        }
    }

    /// A guest's call into the mesh; `None` if the tag is not one's.
    fn effect(&mut self, tag: u8) -> Result<Option<GuestEffect>, ReportError> {
        Ok(Some(match tag {
            record::REQUEST => GuestEffect::Request {
                id: self.u64()?,
                target: self.text()?,
                operation: self.text()?,
                payload: self.payload()?,
                timeout_ms: self.u32()?,
            },
            record::NOTIFY => {
                let (target, operation) = (self.text()?, self.text()?);
                GuestEffect::Notify { target, operation, payload: self.payload()? }
            }
            record::REPLY => GuestEffect::Reply { id: self.u64()?, outcome: self.outcome()? },
            record::EMIT => GuestEffect::Emit { event: self.text()?, payload: self.payload()? },
            record::SUBSCRIBE => GuestEffect::Subscribe { topic: self.text()? },
            record::UNSUBSCRIBE => GuestEffect::Unsubscribe { topic: self.text()? },
            record::WAKE_AFTER => GuestEffect::WakeAfter { delay_ms: self.u32()?, token: self.u64()? },
            record::WAKE_AT => GuestEffect::WakeAt { unix_ms: self.u64()?, token: self.u64()? },
            record::OPEN_STREAM => GuestEffect::OpenStream { stream: self.u64()? },
            record::WRITE => GuestEffect::Write { stream: self.u64()?, bytes: self.bytes()? },
            record::FINISH => GuestEffect::Finish { stream: self.u64()?, error: self.error()? },
            record::GRANT => GuestEffect::Grant { stream: self.u64()?, bytes: self.u32()? },
            record::CANCEL_STREAM => GuestEffect::CancelStream { stream: self.u64()? },
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests;
