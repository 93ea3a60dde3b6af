//! A guest that does to streams what its messages ask, and logs what it hears of them.

use bytes::Bytes;
use starlane_abi::limits;
use starlane_node::guest::{CallReport, GuestCall, GuestEffect, GuestLimits, Returned};
use starlane_protocol::{Failure, Payload, StreamId, StreamRef};

use super::{
    fixture::{Guest, LIMITS, MIB, logged, reply},
    wat::Module,
};

/// Limits for parts and messages of some megabytes, which the guest never frees.
pub(super) const ROOMY: GuestLimits = GuestLimits { memory: 128 * MIB, concurrency: 4, ..LIMITS };

/// The guest. Its operations, which it tells apart by the lengths of their names:
///
/// | operation | what it does |
/// |---|---|
/// | `open` | opens a stream and replies with it |
/// | `write` | writes its body to that stream and replies with the result, 4 bytes |
/// | `finish` | finishes that stream |
/// | `fail-it` | finishes that stream with the failure 418 `a:b` |
/// | `grant-it` | grants 7 bytes of the stream that it last got |
/// | `cancel-it` | cancels the stream that it last got |
/// | `only-opens` | opens a stream |
/// | `replies-now` | replies with the stream that it opened |
/// | `notifies-now` | sends the stream that it opened to `a:b` |
/// | `write-and-trap` | writes its body, and traps |
///
/// It is done with all others without a reply, and remembers their streams. It logs the bytes of parts, `complete` or the
/// message of an error, and `a:b` when it may write more.
pub(super) fn scribe() -> Bytes {
    let nothing = "(i32.const 0)".repeat(6);
    let done = format!("(call $reply (local.get 0) (i32.const 0) {nothing} (i64.const 0))");
    let with = "(i32.const 64) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (global.get $own)";
    let reply = format!("(call $reply (local.get 0) (i32.const 0) {with})");
    let open = "(global.set $own (call $open_stream))";
    let write = "(call $write (global.get $own) (local.get 12) (local.get 13))";
    let operations = [
        ("open", format!("{open} {reply}")),
        (
            "write",
            format!(
                "(i32.store (i32.const 128) {write}) (call $reply (local.get 0) (i32.const 0) (i32.const 0) (i32.const 0) \
                 (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 4) (i64.const 0))"
            ),
        ),
        ("finish", format!("(call $finish (global.get $own) {nothing}) {done}")),
        (
            "fail-it",
            format!(
                "(call $finish (global.get $own) (i32.const 1) (i32.const 418) (i32.const 64) (i32.const 3) (i32.const 64) \
                 (i32.const 3)) {done}"
            ),
        ),
        ("grant-it", format!("(call $grant (global.get $got) (i32.const 7)) {done}")),
        ("cancel-it", format!("(call $cancel_stream (global.get $got)) {done}")),
        ("only-opens", format!("{open} {done}")),
        ("replies-now", reply),
        (
            "notifies-now",
            format!("(call $notify (i32.const 64) (i32.const 3) (i32.const 64) (i32.const 3) {with}) {done}"),
        ),
        ("write-and-trap", format!("(drop {write}) unreachable")),
    ];
    let cases: String = operations
        .iter()
        .map(|(name, code)| {
            format!("(if (i32.eq (local.get 7) (i32.const {})) (then {code} (return (i32.const 1))))", name.len())
        })
        .collect();
    let remember = |stream: u32| {
        format!("(if (i64.ne (local.get {stream}) (i64.const 0)) (then (global.set $got (local.get {stream}))))")
    };
    let log = |at: &str, length: &str| format!("(call $log (i32.const 2) {at} {length})");
    let part = log("(local.get 1)", "(local.get 2)");
    let complete = log("(i32.const 136)", "(i32.const 8)");
    let failed = log("(local.get 5)", "(local.get 6)");
    let ended = format!("(if (local.get 1) (then {failed}) (else {complete}))");
    let ready = log("(i32.const 64)", "(i32.const 3)");
    let more = "(global $own (mut i64) (i64.const 0)) (global $got (mut i64) (i64.const 0)) (data (i32.const 136) \"complete\")";
    Module {
        receive: &format!("{cases} {} (i32.const 1)", remember(14)),
        settle: &remember(8),
        streams: Some([&part, &ended, &ready]),
        more,
        memory: "1000",
        ..Module::default()
    }
    .wasm()
}

/// The payload of a stream.
pub(super) fn streamed(stream: u64) -> Payload {
    Payload::of_stream("application/x-ndjson", StreamRef::loose(StreamId(stream)))
}

pub(super) fn part(stream: u64, bytes: impl Into<Bytes>) -> GuestCall {
    GuestCall::Part { stream, bytes: bytes.into() }
}

pub(super) fn complete(stream: u64) -> GuestCall {
    GuestCall::Ended { stream, error: None }
}

pub(super) fn cancelled(stream: u64) -> GuestCall {
    GuestCall::Ended { stream, error: Some(Failure::cancelled("gone")) }
}

impl Guest {
    /// Sends a message of the scribe, and returns what it did beside its reply.
    pub(super) async fn does(&self, operation: &str, body: impl Into<Bytes>) -> Vec<GuestEffect> {
        let (mut effects, _) = self.says(operation, body).await;
        effects.retain(
            |effect| !matches!(effect, GuestEffect::Reply { outcome: Ok(payload), .. } if payload.stream.is_none()),
        );
        effects
    }

    /// Writes to the stream that the scribe opened. Returns what happened, and the credit that it was told.
    pub(super) async fn writes(&self, body: impl Into<Bytes>) -> (Vec<GuestEffect>, u32) {
        let (mut effects, answer) = self.says("write", body).await;
        effects.pop();
        (effects, u32::from_le_bytes(answer.body[..].try_into().unwrap()))
    }

    async fn says(&self, operation: &str, body: impl Into<Bytes>) -> (Vec<GuestEffect>, Payload) {
        let report = self.run(vec![self.message(operation, Payload::new("text/plain", body))]).await;
        assert_eq!((report.crash, report.done.len()), (None, 1), "{operation}");
        let CallReport { returned, effects } = report.done.into_iter().next().unwrap();
        assert_eq!(returned, Returned::Received(true), "{operation}");
        let is_reply = |effect: &GuestEffect| matches!(effect, GuestEffect::Reply { .. });
        let answer = if effects.iter().any(is_reply) { reply(&effects).unwrap() } else { Payload::nothing() };
        (effects, answer)
    }

    /// Gives the guest a message with a stream.
    pub(super) async fn gets(&self, stream: u64) {
        let report = self.run(vec![self.message("x", streamed(stream))]).await;
        assert_eq!((report.crash, report.done.len()), (None, 1));
        assert_eq!(report.done[0].returned, Returned::Received(true));
    }

    /// Runs calls about streams. Returns their results, and what the guest logged.
    pub(super) async fn hears(&self, calls: Vec<GuestCall>) -> (Vec<Returned>, Vec<String>) {
        let count = calls.len();
        let report = self.run(calls).await;
        assert_eq!((report.crash, report.done.len()), (None, count));
        let logs = logged(&report.logs).into_iter().map(|(_, text)| text).collect();
        (report.done.into_iter().map(|done| done.returned).collect(), logs)
    }
}

/// The credit of a new stream.
pub(super) const FIRST: u32 = limits::FIRST_CREDIT;
