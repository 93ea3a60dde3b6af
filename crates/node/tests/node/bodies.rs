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
    peers.chunk(3, 1, 60_000, 60_000);
    assert_eq!(peers.end(), None, "chunks of a refused body are dropped");

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
