use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{Failure, Payload, StreamId, StreamRef};

const LIMITS: LinkLimits = LinkLimits {
    payload: 1,
    unacked_frames: 2,
    unacked_bytes: 3,
    open_streams: OpenStreams(4),
    first_credit: FirstCredit(5),
};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn payload() -> WirePayload {
    Payload {
        content_type: "text/plain".into(),
        headers: vec![("a".into(), "b".into())],
        body: b"hi".as_slice().into(),
        stream: None,
    }
    .into()
}

/// Every frame once, in the order of their numbers.
fn samples() -> Vec<Frame> {
    let secret = HostSecret([7; 32]);
    let topic = Topic::parse("acme:x#changes").unwrap();
    vec![
        Frame::Hello {
            versions: vec![1],
            token: None,
            secret: secret.clone(),
            capabilities: vec![],
            dial: 1_700_000_000_000,
            resume: Some(Resume { link: LinkId([9; 16]), key: LinkSecret([8; 32]), received: 7 }),
            limits: LIMITS,
        },
        Frame::Welcome {
            version: 1,
            link: LinkId([9; 16]),
            host: secret.name(),
            principal: "ada".into(),
            limits: LIMITS,
            key: LinkSecret([8; 32]),
            outcome: LinkOutcome::Resumed { received: 9 },
            window_ms: 120_000,
            route: None,
        },
        Frame::Ack { received: 300 },
        Frame::Renew { token: "t".into() },
        Frame::Ping { nonce: 1 },
        Frame::Pong { nonce: 1 },
        Frame::Goodbye { code: "malformed".into(), reason: "why".into(), keep: false, retry_ms: None, dial: None },
        Frame::Goodbye {
            code: "stale-dial".into(),
            reason: "why".into(),
            keep: true,
            retry_ms: Some(500),
            dial: Some(9),
        },
        Frame::Expires { remaining_ms: Some(60_000) },
        Frame::Request {
            seq: 1,
            id: 2,
            from: address("acme:a"),
            caller: "ada".into(),
            to: address("acme:b"),
            operation: "render".into(),
            payload: payload(),
            remaining_ms: 30_000,
            hops: 1,
            trace: None,
        },
        Frame::Response { seq: 2, id: 2, outcome: WireOutcome(Ok(payload())) },
        Frame::Response {
            seq: 3,
            id: 3,
            outcome: Err(Failure::no_resource("nothing here").at(&address("acme:b"))).into(),
        },
        Frame::Notify {
            seq: 4,
            from: address("acme:a"),
            caller: "ada".into(),
            to: address("acme:b"),
            operation: "touch".into(),
            payload: Payload::nothing().into(),
            hops: 0,
            trace: Some("00-1-2-01".into()),
        },
        Frame::Event { seq: 5, topic: topic.clone(), payload: payload(), trace: None },
        Frame::Subscribe { seq: 6, topic: topic.clone() },
        Frame::Unsubscribe { seq: 7, topic },
        Frame::Cancel { seq: 8, id: 2 },
        Frame::Serve { seq: 9, address: address("acme:ui"), operations: vec!["confirm".into()] },
        Frame::Release { seq: 10, address: address("acme:ui") },
        Frame::Chunk { seq: 11, of: 7, offset: 65_536, part: ChunkBytes(b"abc".as_slice().into()) },
        Frame::Gap { seq: 12, topic: Topic::parse("acme:x#changes").unwrap() },
        Frame::Refused {
            seq: 13,
            topic: Topic::parse("acme:x#changes").unwrap(),
            failure: Failure::no_grant("not yours").at(&address("acme:x")),
        },
        Frame::Credit { seq: 14, of: 2, limit: 131_072 },
        Frame::End { seq: 15, of: 2, total: 9, failure: None },
        Frame::Stop { seq: 16, of: 2, failure: Failure::cancelled("enough") },
        Frame::Notify {
            seq: 17,
            from: address("acme:a"),
            caller: "ada".into(),
            to: address("acme:b"),
            operation: "upload".into(),
            payload: Payload::of_stream("text/csv", StreamRef::loose(StreamId(0))).into(),
            hops: 0,
            trace: None,
        },
        Frame::Response {
            seq: 18,
            id: 4,
            outcome: WireOutcome(Ok(WirePayload::announcing(Payload::new("text/plain", ""), 70_000))),
        },
        Frame::Response { seq: 19, id: 5, outcome: Err(Failure::conflict("not now").of_resource()).into() },
        Frame::Ignored { number: 96, seq: 20 },
    ]
}

/// The wire, frozen: a changed line in `golden.txt` is a change of the protocol.
#[test]
fn every_frame_has_its_golden_bytes() {
    let lines: Vec<_> = samples().iter().map(|frame| hex::encode(encode_frame(frame))).collect();
    let golden = include_str!("golden.txt");
    assert_eq!(lines.join("\n"), golden.trim_end(), "the wire has changed");
}

#[test]
fn every_frame_comes_back() {
    let frames: Vec<_> = samples();
    let encoded: Vec<_> = frames.iter().map(encode_frame).collect();
    let message = encode_message(3, encoded.iter().map(Vec::as_slice));
    let decoded = decode_message(&message).unwrap();
    assert_eq!(decoded, frames.into_iter().map(|frame| (3, frame)).collect::<Vec<_>>());
}

#[test]
fn fields_that_a_newer_peer_added_are_ignored() {
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.array(2).unwrap().u16(0).unwrap().array(3).unwrap().u8(2).unwrap().u64(300).unwrap().str("new").unwrap();
    assert_eq!(decode_message(&bytes).unwrap(), [(0, Frame::Ack { received: 300 })]);
}

#[test]
fn later_fields_have_defaults_if_an_older_peer_omits_them() {
    let topic = || Topic::parse("acme:x#changes").unwrap();
    let event = |trace: Option<&str>| Frame::Event {
        seq: 5,
        topic: topic(),
        payload: Payload::nothing().into(),
        trace: trace.map(str::to_owned),
    };
    let encoded = |frame: &Frame| encode_message(0, [encode_frame(frame).as_slice()].into_iter());
    let (without, with) = (encoded(&event(None)), encoded(&event(Some("00-1-2-01"))));
    // [channel, [number, seq, topic, payload]]: what has no trace is the same as before there was one.
    assert_eq!((without[2], with[2]), (0x84, 0x85));
    assert_eq!(decode_message(&without).unwrap(), [(0, event(None))]);
    assert_eq!(decode_message(&with).unwrap(), [(0, event(Some("00-1-2-01")))]);
    // A default that is written all the same, and a field of a later version behind it.
    let mut longer = without.clone();
    longer[2] = 0x86;
    longer.extend([0xf6, 0x01]);
    assert_eq!(decode_message(&longer).unwrap(), [(0, event(None))]);
    // One of another type.
    longer[2] = 0x85;
    longer.truncate(without.len());
    longer.push(0x01);
    assert_eq!(decode_message(&longer).unwrap_err().code(), "malformed");
}

#[test]
fn frames_over_a_limit_are_refused() {
    let hello = Frame::Hello {
        versions: vec![1],
        token: Some("x".repeat(MAX_HELLO_BYTES)),
        secret: HostSecret([0; 32]),
        capabilities: vec![],
        dial: 0,
        resume: None,
        limits: LIMITS,
    };
    let reason = "x".repeat(MAX_CONTROL_BYTES);
    let goodbye = Frame::Goodbye { code: "x".into(), reason, keep: false, retry_ms: None, dial: None };
    for frame in [hello, goodbye] {
        let message = encode_message(0, [encode_frame(&frame).as_slice()].into_iter());
        assert_eq!(decode_message(&message).unwrap_err().code(), "too-large");
    }
    assert_eq!(decode_message(&vec![0; MAX_MESSAGE + 1]).unwrap_err().code(), "too-large");
    for bytes in
        ["", "00", "81", "8100", "820081", "8200811863", "82008102", "82008202f6", "8200820218", "9f00820201ff", "80ff"]
    {
        assert_eq!(decode_message(&hex::decode(bytes).unwrap()).unwrap_err().code(), "malformed", "{bytes}");
    }
}

#[test]
fn outcomes_of_a_welcome_and_ignored_frames_survive_encoding() {
    for outcome in
        [LinkOutcome::Fresh, LinkOutcome::Resumed { received: 1 << 40 }, LinkOutcome::Gap { reason: "why".into() }]
    {
        let bytes = minicbor::to_vec(&outcome).unwrap();
        assert_eq!(minicbor::decode::<LinkOutcome>(&bytes).unwrap(), outcome);
    }
    // [0, [number, 7, "a later field"]]
    let frame = |number: u8| {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.array(2).unwrap().u16(0).unwrap().array(3).unwrap().u8(number).unwrap().u64(7).unwrap().str("x").unwrap();
        decode_message(&bytes)
    };
    for number in IGNORED {
        assert_eq!(frame(number), Ok(vec![(0, Frame::Ignored { number, seq: 7 })]));
    }
    for number in [95, 128] {
        assert_eq!(frame(number).unwrap_err().code(), "malformed");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_message(&bytes);
    }

    #[test]
    fn no_changed_byte_panics(which in any::<Index>(), at in any::<Index>(), to in any::<u8>()) {
        let mut message = encode_message(0, [encode_frame(which.get(&samples())).as_slice()].into_iter());
        let at = at.index(message.len());
        message[at] = to;
        let _ = decode_message(&message);
    }
}
