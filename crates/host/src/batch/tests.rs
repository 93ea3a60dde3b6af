use proptest::prelude::*;
use starlane_node::guest::Context;
use starlane_protocol::{Address, Message, Principal};

use super::*;

fn payload() -> Payload {
    Payload { headers: vec![("n".into(), "v".into())], ..Payload::new("t", "b") }
}

fn streamed() -> Payload {
    Payload::of_stream("t", StreamRef::loose(StreamId(2)))
}

/// The frozen format. The JavaScript of `crates/browser` reads exactly these bytes.
#[test]
fn calls_have_their_golden_bytes() {
    let address = Address::parse("s").unwrap();
    let message = Message::new(address.clone(), Principal::default(), address, "o".into(), payload());
    let calls = [
        GuestCall::Start(Context {
            address: "a".into(),
            mechtron: "m".into(),
            settings: "{}".into(),
            state: Some(Saved { format: 7, data: Bytes::from_static(b"s") }),
        }),
        GuestCall::Receive { id: 258, message: Message { kind: Kind::Event, remaining_ms: 9, ..message } },
        GuestCall::Settle { request: 3, outcome: Err(Failure::new(404, "c", "m")) },
        GuestCall::Settle { request: 4, outcome: Ok(payload()) },
        GuestCall::Wake { token: 5 },
        GuestCall::Save,
        GuestCall::Settle { request: 6, outcome: Ok(streamed()) },
        GuestCall::Part { stream: 2, bytes: Bytes::from_static(b"b") },
        GuestCall::Ended { stream: 2, error: None },
        GuestCall::Ended { stream: 1, error: Some(Failure::new(404, "c", "m")) },
        GuestCall::Ready { stream: 1, credit: 258 },
    ];
    let golden = [
        "0b000000",
        "000100000061010000006d020000007b7d01070000000100000073",
        "01020100000000000002010000007300000000010000006f0100000074010000000100\
         00006e010000007601000000620000000000000000 09000000",
        "02030000000000000001940101000000630100 00006d",
        "0204000000000000000001000000740100000001000000 6e01000000760100000062 0000000000000000",
        "030500000000000000",
        "04",
        "02060000000000000000010000007400000000000000000200000000000000",
        "0502000000000000000100000062",
        "06020000000000000000",
        "06010000000000000001940101000000630100 00006d",
        "07010000000000000002010000",
    ];
    let golden = golden.concat().replace(' ', "");
    assert_eq!(hex::encode(encode_calls(&calls)), golden);
}

#[test]
fn a_report_is_decoded_into_results_with_effects() {
    let mut out = Writer(Vec::new());
    out.u8(1);
    out.u64(1);
    out.text("acme:x");
    out.text("op");
    out.payload(&payload());
    out.u32(500);
    out.u8(7);
    out.u32(10);
    out.u64(11);
    out.u8(18);
    out.u8(0);
    out.u8(3);
    out.u64(2);
    out.outcome(&Ok(payload()));
    out.u8(16);
    out.u8(25);
    out.u8(2);
    out.text("said");
    out.u8(24);
    out.text("unreachable");
    out.u8(25);
    out.u8(4);
    out.text("panicked");
    let report = decode_report(out.0.into()).unwrap();
    let request = GuestEffect::Request {
        id: 1,
        target: "acme:x".into(),
        operation: "op".into(),
        payload: payload(),
        timeout_ms: 500,
    };
    let wake = GuestEffect::WakeAfter { delay_ms: 10, token: 11 };
    let reply = GuestEffect::Reply { id: 2, outcome: Ok(payload()) };
    assert_eq!(
        report,
        BatchReport {
            done: vec![
                CallReport { returned: Returned::Received(false), effects: vec![request, wake] },
                CallReport { returned: Returned::Done, effects: vec![reply] },
            ],
            crash: Some("unreachable".into()),
            logs: vec![
                Logged { call: 1, level: Level::Info, text: "said".into() },
                Logged { call: 2, level: Level::Error, text: "panicked".into() },
            ],
        }
    );
}

#[test]
fn streams_are_decoded() {
    let failure = Failure::new(422, "c", "m");
    let mut out = Writer(Vec::new());
    out.u8(record::OPEN_STREAM);
    out.u64(1);
    out.u8(record::NOTIFY);
    out.text("acme:x");
    out.text("op");
    out.payload(&streamed());
    out.u8(record::WRITE);
    out.u64(1);
    out.bytes(b"ab");
    for error in [None, Some(&failure)] {
        out.u8(record::FINISH);
        out.u64(1);
        out.u8(u8::from(error.is_some()));
        error.into_iter().for_each(|failure| out.failure(failure));
    }
    out.u8(record::GRANT);
    out.u64(2);
    out.u32(9);
    out.u8(record::CANCEL_STREAM);
    out.u64(2);
    out.u8(record::WAKE_AT);
    out.u64(10);
    out.u64(11);
    out.u8(record::NO_STREAMS);
    out.u8(record::BAD_LINE);
    out.u64(2);
    out.failure(&failure);
    let report = decode_report(out.0.into()).unwrap();
    let effects = vec![
        GuestEffect::OpenStream { stream: 1 },
        GuestEffect::Notify { target: "acme:x".into(), operation: "op".into(), payload: streamed() },
        GuestEffect::Write { stream: 1, bytes: Bytes::from_static(b"ab") },
        GuestEffect::Finish { stream: 1, error: None },
        GuestEffect::Finish { stream: 1, error: Some(failure.clone()) },
        GuestEffect::Grant { stream: 2, bytes: 9 },
        GuestEffect::CancelStream { stream: 2 },
        GuestEffect::WakeAt { unix_ms: 10, token: 11 },
    ];
    let bad_line = Returned::BadLine { stream: 2, failure };
    let done = [(Returned::NoStreams, effects), (bad_line, Vec::new())];
    assert_eq!(report.done, done.map(|(returned, effects)| CallReport { returned, effects }));
}

#[test]
fn an_invalid_report_is_refused_with_the_byte() {
    for (bytes, at) in [(vec![99], 0), (vec![16, 17, 1, 0, 0, 0], 6), (vec![17, 1, 0, 0, 0, 0xff], 5), (vec![18], 1)] {
        assert_eq!(decode_report(bytes.into()).unwrap_err(), ReportError(at));
    }
}

proptest! {
    #[test]
    fn no_report_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode_report(bytes.into());
    }
}
