//! Bodies that follow their messages in chunks: they count before they are complete, and only as long as they may take.

use starlane_node::{LinkConfig, SocketId};
use starlane_protocol::{
    HostSecret,
    frame::{Frame, encode_frame, encode_message},
};

use crate::peers::Peers;

const BODY: u64 = 400_000;

/// Peers of one principal that has room for two bodies.
fn peers() -> Peers {
    let mut peers = Peers::under(LinkConfig::default(), 1_000_000);
    peers.hold = true;
    (1..=9).for_each(|peer| peers.admit(peer));
    peers
}

/// The status of a failure that comes at once for a request with a body; 0 without one.
fn announced(peers: &mut Peers, peer: u64) -> u16 {
    peers.announce(peer, 1, BODY);
    peers.read_all(peer).first().map_or(0, |(_, status)| *status)
}

#[test]
fn announced_bodies_count_for_their_principal_on_all_links() {
    let mut peers = peers();
    assert_eq!([1, 2, 3, 4].map(|peer| announced(&mut peers, peer)), [0, 0, 429, 429]);
    peers.chunk(3, 1, 0, 60_000);
    let failure = Some(starlane_protocol::Failure::cancelled("it was refused"));
    peers.tell(3, |seq| Frame::End { seq, of: 1, total: 60_000, failure });
    assert_eq!(peers.end(), None, "what was under way of a refused body is dropped");

    peers.tell(1, |seq| Frame::Cancel { seq, id: 1 });
    assert_eq!([5, 6].map(|peer| announced(&mut peers, peer)), [0, 429], "a cancelled request releases its bytes");
    peers.leave(2);
    assert_eq!([7, 8].map(|peer| announced(&mut peers, peer)), [0, 429], "the end of a link releases its bytes");

    for offset in (0..BODY).step_by(50_000) {
        peers.chunk(5, 1, offset, 50_000);
    }
    assert_eq!((peers.held.len(), announced(&mut peers, 9)), (1, 429), "it is a request now, and counts once");
    peers.reply(Ok(Default::default()));
    assert_eq!(peers.read_all(5), [(1, 200)]);
    peers.announce(9, 2, BODY);
    assert_eq!(peers.read_all(9), [], "an answered request releases its bytes");
}

#[test]
fn slow_body_is_dropped() {
    let config = LinkConfig { body_ms: 10_000, body_bytes_per_second: 100_000, ..LinkConfig::default() };
    let mut peers = Peers::under(config, 1_000_000);
    peers.admit(1);
    peers.announce(1, 1, BODY);
    peers.chunk(1, 1, 0, 60_000);
    peers.pass(13_900, 1);
    assert_eq!(peers.read_all(1), []);
    peers.pass(200, 1);
    assert_eq!(peers.read_all(1), [(1, 408)]);
    for offset in (60_000..BODY).step_by(20_000) {
        peers.chunk(1, 1, offset, 20_000);
    }
    assert_eq!((peers.end(), peers.node.open_requests()), (None, 0), "the rest of it is dropped");
    peers.ask(1, 2, 10);
    assert_eq!(peers.read_all(1), [(2, 200)]);
}

#[test]
fn body_gets_credit_when_there_is_room_for_all_of_it() {
    let config = LinkConfig { reserved_bytes: 1_000_000, ..LinkConfig::default() };
    let mut peers = Peers::under(config, 100_000_000);
    peers.hold = true;
    peers.admit(1);
    let credits = |peers: &mut Peers| -> Vec<(u64, u64)> {
        let frames = peers.read(1);
        let credit = |frame: &Frame| match frame {
            Frame::Credit { of, limit, .. } => Some((*of, *limit)),
            _ => None,
        };
        frames.iter().filter_map(credit).collect()
    };
    let of = [1, 2, 3].map(|id| peers.announce(1, id, BODY));
    assert_eq!(credits(&mut peers), [(of[0], BODY), (of[1], BODY)], "the third waits");
    for offset in (0..BODY).step_by(50_000) {
        peers.chunk(1, of[1], offset, 50_000);
    }
    assert_eq!((credits(&mut peers), peers.held.len()), (vec![(of[2], BODY)], 1));
    peers.chunk(1, of[0], 0, 60_000);
    peers.tell(1, |seq| Frame::Cancel { seq, id: 1 });
    let four = peers.announce(1, 4, BODY);
    assert_eq!(credits(&mut peers), [(four, BODY)], "a cancelled request gives its room back");
    let five = peers.announce(1, 5, BODY);
    peers.chunk(1, five, 0, 60_000);
    assert_eq!(peers.end(), None);
    peers.chunk(1, five, 60_000, 10_000);
    assert_eq!(peers.end(), Some("malformed"), "it has no more than the first credit");
}

#[test]
fn body_without_reserved_room_gives_none_back() {
    let config = LinkConfig { reserved_bytes: 1_000_000, ..LinkConfig::default() };
    let mut peers = Peers::under(config, 100_000_000);
    peers.hold = true;
    peers.admit(1);
    let credits = |peers: &mut Peers| -> Vec<u64> {
        let credit = |frame: &Frame| match frame {
            Frame::Credit { of, .. } => Some(*of),
            _ => None,
        };
        peers.read(1).iter().filter_map(credit).collect()
    };
    let of = [1, 2, 3].map(|id| peers.announce(1, id, BODY));
    assert_eq!(credits(&mut peers), of[..2]);
    // It is complete with its first credit, while the third waits for room.
    let small = peers.announce(1, 4, 60_000);
    peers.chunk(1, small, 0, 60_000);
    assert_eq!((peers.held.len(), credits(&mut peers)), (1, vec![]));
    peers.tell(1, |seq| Frame::Cancel { seq, id: 1 });
    assert_eq!(credits(&mut peers), [of[2]]);
    peers.announce(1, 5, 250_000);
    assert_eq!((credits(&mut peers), peers.end()), (vec![], None), "800,000 bytes are reserved");
}

#[test]
fn peers_that_break_a_rule_of_streams_lose_their_link() {
    type Breaks = fn(&mut Peers);
    let ways: [(&str, Breaks); 8] = [
        ("a part above the limit", |peers| peers.chunk(1, 1, 0, 65_537)),
        ("a part at another place", |peers| peers.chunk(1, 1, 5, 10)),
        ("an empty part", |peers| peers.chunk(1, 1, 0, 0)),
        ("a part of an unknown stream", |peers| peers.chunk(1, 77, 0, 10)),
        ("a part after the end", |peers| {
            peers.tell(1, |seq| Frame::End { seq, of: 1, total: 0, failure: None });
            peers.chunk(1, 1, 0, 10);
        }),
        ("an end with another total", |peers| {
            peers.tell(1, |seq| Frame::End { seq, of: 1, total: 3, failure: None });
        }),
        ("a credit for a frame that was never sent", |peers| {
            peers.tell(1, |seq| Frame::Credit { seq, of: 1_000, limit: u64::MAX });
        }),
        ("a stop for a frame that was never sent", |peers| {
            let failure = starlane_protocol::Failure::cancelled("enough");
            peers.tell(1, |seq| Frame::Stop { seq, of: 1_000, failure });
        }),
    ];
    for (name, breaks) in ways {
        let mut peers = Peers::new(LinkConfig::default());
        peers.hold = true;
        peers.admit(1);
        peers.admit(2);
        assert_eq!(peers.announce_stream(1, 1), 1);
        assert_eq!((peers.held.len(), peers.node.open_streams()), (1, 1), "{name}");
        breaks(&mut peers);
        assert_eq!(peers.end(), Some("malformed"), "{name}");
        peers.run();
        assert_eq!(peers.node.open_streams(), 0, "{name}");
        peers.ask(2, 1, 10);
        assert_eq!(peers.held.len(), 2, "others are not affected");
    }
    let mut peers = Peers::new(LinkConfig::default());
    peers.hold = true;
    peers.admit(1);
    for id in 1..=64 {
        peers.announce_stream(1, id);
    }
    assert_eq!(peers.end(), None);
    peers.announce_stream(1, 65);
    assert_eq!(peers.end(), Some("malformed"), "more streams than allowed");
}

#[test]
fn body_of_a_sender_without_grant_is_refused_before_it_comes() {
    let mut peers = Peers::new(LinkConfig::default());
    peers.grant = "request bob:**";
    peers.admit(1);
    assert_eq!(announced(&mut peers, 1), 403);
}

#[test]
fn first_message_of_a_link_must_not_exceed_a_hello() {
    let mut peers = Peers::new(LinkConfig::default());
    peers.accept(1);
    let (token, secret) = (Some("x".repeat(16_000)), HostSecret([2; 32]));
    let hello = encode_frame(&Frame::hello(secret, token, 1));
    let (code, reason) = ("x".to_owned(), "y".repeat(1_000));
    let goodbye = encode_frame(&Frame::Goodbye { code, reason, keep: false, retry_ms: None, dial: None });
    let goodbyes = vec![goodbye; 100];
    let frames = std::iter::once(hello).chain(goodbyes).collect::<Vec<_>>();
    let message = encode_message(0, frames.iter().map(Vec::as_slice));
    peers.node.handle_message(1, SocketId(1), &message);
    peers.say(1, &[]);
    assert_eq!(peers.end(), Some("too-large"));
}
