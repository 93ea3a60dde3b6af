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
//! payload = content-type count:u32 (name value)* body
//! outcome = 0 payload | 1 status:u16 code message
//! report  = record*                      effects of a call precede its result; a crashed call has none
//! record  = 1 id:u64 target operation payload timeout:u32                  request
//!         | 2 target operation payload                                     notify
//!         | 3 id:u64 outcome                                               reply
//!         | 4 event payload                                                emit
//!         | 5 topic | 6 topic                                              subscribe, unsubscribe
//!         | 7 delay:u32 token:u64                                          wake-after
//!         | 16 | 17 reason | 18 finished:u8 | 19 format:u32 data           the result of the call
//!         | 20 reason                                                      instead: a message does not match its schema
//!         | 21 reason                                                      instead: the guest has no memory for a message or outcome
//!         | 24 reason                                                      a crash, which ends the batch
//!         | 25 level:u8 text                                               a log line of the call with the preceding result
//! ```

use bytes::Bytes;
use starlane_abi::{
    batch::{call, record},
    layout::{kind, level, outcome as case},
};
use starlane_node::guest::{BatchReport, CallReport, GuestCall, GuestEffect, Kind, Level, Logged, Returned, Saved};
use starlane_protocol::{Failure, Outcome, Payload};

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
        }
    }
    out.0
}

fn call_weight(call: &GuestCall) -> usize {
    match call {
        GuestCall::Start(context) => context.settings.len() + context.state.as_ref().map_or(0, |s| s.data.len()) + 256,
        GuestCall::Receive { message, .. } => message.payload.weight() + 256,
        GuestCall::Settle { outcome, .. } => outcome.as_ref().map_or(256, Payload::weight) + 64,
        GuestCall::Wake { .. } | GuestCall::Save => 16,
    }
}

/// Decodes a worker's report.
pub fn decode_report(bytes: Bytes) -> Result<BatchReport, ReportError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut report = BatchReport::default();
    let mut effects = Vec::new();
    while reader.at < reader.bytes.len() {
        let start = reader.at;
        let returned = match reader.u8()? {
            record::REQUEST => {
                effects.push(GuestEffect::Request {
                    id: reader.u64()?,
                    target: reader.text()?,
                    operation: reader.text()?,
                    payload: reader.payload()?,
                    timeout_ms: reader.u32()?,
                });
                continue;
            }
            record::NOTIFY => {
                let (target, operation) = (reader.text()?, reader.text()?);
                effects.push(GuestEffect::Notify { target, operation, payload: reader.payload()? });
                continue;
            }
            record::REPLY => {
                effects.push(GuestEffect::Reply { id: reader.u64()?, outcome: reader.outcome()? });
                continue;
            }
            record::EMIT => {
                effects.push(GuestEffect::Emit { event: reader.text()?, payload: reader.payload()? });
                continue;
            }
            record::SUBSCRIBE => {
                effects.push(GuestEffect::Subscribe { topic: reader.text()? });
                continue;
            }
            record::UNSUBSCRIBE => {
                effects.push(GuestEffect::Unsubscribe { topic: reader.text()? });
                continue;
            }
            record::WAKE_AFTER => {
                effects.push(GuestEffect::WakeAfter { delay_ms: reader.u32()?, token: reader.u64()? });
                continue;
            }
            record::DONE => Returned::Done,
            record::REFUSED => Returned::Refused(reader.text()?),
            record::RECEIVED => Returned::Received(reader.u8()? != 0),
            record::SAVED => Returned::Saved(Saved { format: reader.u32()?, data: reader.bytes()? }),
            record::MISFIT => Returned::Misfit(reader.text()?),
            record::TOO_LARGE => Returned::TooLarge(reader.text()?),
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
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(payload) => {
                self.u8(case::SUCCESS as u8);
                self.payload(payload);
            }
            Err(failure) => {
                self.u8(case::FAILURE as u8);
                self.0.extend_from_slice(&failure.status.to_le_bytes());
                self.text(&failure.code);
                self.text(&failure.message);
            }
        }
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
        Ok(Payload { content_type, headers, body: self.bytes()? })
    }

    fn outcome(&mut self) -> Result<Outcome, ReportError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(Ok(self.payload()?)),
            1 => {
                let status = self.u16()?;
                let code = self.text()?;
                Ok(Err(Failure::new(status, &code, self.text()?)))
            }
            _ => Err(ReportError(at)),
        }
    }
}

#[cfg(test)]
mod tests;
