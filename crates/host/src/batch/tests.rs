use proptest::prelude::*;
use starlane_node::guest::Context;
use starlane_protocol::{Address, Message, Principal};

use super::*;

fn payload() -> Payload {
    Payload { content_type: "t".into(), headers: vec![("n".into(), "v".into())], body: Bytes::from_static(b"b") }
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
    ];
    let golden = [
        "06000000",
        "000100000061010000006d020000007b7d01070000000100000073",
        "01020100000000000002010000007300000000010000006f0100000074010000000100\
         00006e01000000760100000062090000 00",
        "02030000000000000001940101000000630100 00006d",
        "0204000000000000000001000000740100000001000000 6e01000000760100000062",
        "030500000000000000",
        "04",
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
