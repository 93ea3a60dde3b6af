//! Peers that send too much, or read too little.

use starlane_node::{LinkConfig, PrincipalLimits, SocketId};
use starlane_protocol::frame::Frame;

use crate::{
    peers::{ECHO, Peers},
    world::{address, text, topic},
};

#[test]
fn ping_before_hello_ends_the_link() {
    let mut peers = Peers::new(LinkConfig::default());
    peers.accept(1);
    peers.say(1, &[Frame::Ping { nonce: 1 }]);
    assert_eq!(peers.end(), Some("malformed"));
}

#[test]
fn of_many_pings_the_last_is_answered() {
    let mut peers = Peers::one(LinkConfig::default());
    for at in 0..100 {
        let pings: Vec<_> = (0..1_000).map(|n| Frame::Ping { nonce: at * 1_000 + n }).collect();
        peers.say(1, &pings);
    }
    assert_eq!(peers.read(1), [Frame::Pong { nonce: 99_999 }]);
}

#[test]
fn peer_above_the_rate_of_frames_or_bytes_loses_its_link() {
    let config = || LinkConfig { frames_per_second: 1_000, ..LinkConfig::default() };
    let pings = |count: u64| (0..count).map(|nonce| Frame::Ping { nonce }).collect::<Vec<_>>();
    let mut peers = Peers::one(config());
    for _ in 0..5 {
        peers.say(1, &pings(900));
        peers.pass(1_000, 1);
    }
    assert_eq!(peers.end(), None, "it keeps to the rate");
    peers.say(1, &pings(900));
    peers.say(1, &pings(900));
    assert_eq!(peers.end(), Some("too-many"));

    let mut peers = Peers::one(LinkConfig { frames_per_second: 100, ..LinkConfig::default() });
    peers.pass(1_000, 1);
    let lasted = (0..100).find(|_| {
        peers.say(1, &[Frame::Renew { token: "x".repeat(16_000) }]);
        peers.read(1);
        !peers.hangups.is_empty()
    });
    assert_eq!((lasted, peers.end()), (Some(16), Some("too-many")), "each of them counts as 6");
}

#[test]
fn messages_without_frames_count_for_the_rate() {
    let mut peers = Peers::one(LinkConfig { frames_per_second: 100, ..LinkConfig::default() });
    peers.pass(1_000, 1);
    let lasted = (0..1_000).find(|_| {
        peers.say(1, &[]);
        !peers.hangups.is_empty()
    });
    assert_eq!((lasted, peers.end()), (Some(100), Some("too-many")));
}

#[test]
fn first_message_without_frames_ends_the_link() {
    let mut peers = Peers::new(LinkConfig::default());
    peers.accept(1);
    peers.say(1, &[]);
    assert_eq!(peers.end(), Some("malformed"));
}

#[test]
fn every_frame_counts_as_a_message_of_its_principal() {
    let subscribe = |seq| Frame::Subscribe { seq, topic: topic(&format!("{ECHO}#e{}", seq % 8)) };
    let unsubscribe = |seq| Frame::Unsubscribe { seq, topic: topic(&format!("{ECHO}#e")) };
    let serve = |seq| Frame::Serve { seq, address: address("acme:s"), operations: Vec::new() };
    let release = |seq| Frame::Release { seq, address: address("acme:s") };
    let cancel = |seq| Frame::Cancel { seq, id: seq };
    for (what, can_be_refused) in [
        (&subscribe as &dyn Fn(u64) -> Frame, true),
        (&unsubscribe, false),
        (&serve, false),
        (&release, false),
        (&cancel, false),
    ] {
        let limits = PrincipalLimits { messages_per_second: 10, ..PrincipalLimits::default() };
        let mut peers = Peers::limited(LinkConfig::default(), limits);
        peers.admit(1);
        peers.admit(2);
        (0..10).for_each(|_| peers.tell(1, what));
        assert_eq!(peers.end(), None, "{}", what(0).name());
        peers.ask(2, 1, 1);
        assert_eq!(peers.read_all(2), [(1, 429)], "{} counts", what(0).name());
        (0..11).for_each(|_| peers.tell(1, what));
        assert_eq!(peers.end(), if can_be_refused { None } else { Some("too-many") }, "{}", what(0).name());
        let refused = peers.read(1).iter().filter(|frame| matches!(frame, Frame::Refused { .. })).count();
        assert_eq!(refused, if can_be_refused { 11 } else { 0 });
    }
}

#[test]
fn peer_that_renews_tokens_and_does_not_read_loses_its_link() {
    let mut peers = Peers::one(LinkConfig::default());
    for n in 0..1_000 {
        peers.say(1, &[Frame::Renew { token: n.to_string() }]);
    }
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn unread_answers_become_failures_and_then_end_the_link() {
    let mut peers = Peers::one(LinkConfig { held_bytes: 1 << 20, window_bytes: 1_000, ..LinkConfig::default() });
    (0..40).for_each(|id| peers.ask(1, id, 60_000));
    let ended = peers.read_all(1);
    let good = ended.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(ended.len(), 40, "each request ends");
    assert!((16..=18).contains(&good) && ended.iter().all(|(_, status)| [200, 429].contains(status)), "{ended:?}");
    assert_eq!((peers.end(), peers.node.open_requests()), (None, 0));
    // A peer that has read gets answers again.
    peers.ask(1, 40, 60_000);
    assert_eq!(peers.read_all(1), [(40, 200)]);
    let lasted = (41..10_000).find(|id| {
        peers.ask(1, *id, 60_000);
        peers.pass(0, 1);
        !peers.hangups.is_empty()
    });
    assert_eq!(peers.end(), Some("slow-consumer"));
    assert!(lasted.unwrap() < 1_000, "{lasted:?}");
}

#[test]
fn bytes_that_wait_for_all_links_of_a_principal_are_bounded() {
    let mut peers = Peers::under(LinkConfig { window_bytes: 1_000, ..LinkConfig::default() }, 1 << 20);
    for peer in 1..=4 {
        peers.admit(peer);
        (0..10).for_each(|id| peers.ask(peer, id, 60_000));
    }
    let good = |peers: &mut Peers, peer| peers.read_all(peer).iter().filter(|(_, status)| *status == 200).count();
    assert_eq!([1, 2, 3, 4].map(|peer| good(&mut peers, peer)), [10, 7, 0, 0]);
    peers.ask(4, 10, 60_000);
    peers.ask(3, 10, 60_000);
    peers.node.handle_closed(1, SocketId(3));
    assert_eq!(good(&mut peers, 4), 1, "a peer that has read gets answers again");
    (11..27).for_each(|id| peers.ask(4, id, 60_000));
    assert_eq!(good(&mut peers, 4), 16, "bytes for a closed link do not count");
}

#[test]
fn open_requests_of_a_link_are_bounded() {
    let mut peers = Peers::one(LinkConfig { open_requests: 10, ..LinkConfig::default() });
    peers.hold = true;
    (0..15).for_each(|id| peers.ask(1, id, 1));
    assert_eq!(peers.read_all(1), (10..15).map(|id| (id, 429)).collect::<Vec<_>>());
    peers.reply(Ok(text("done")));
    peers.ask(1, 20, 1);
    assert_eq!((peers.read_all(1), peers.held.len()), (vec![(9, 200)], 10));
}

#[test]
fn topics_and_served_addresses_of_a_link_are_bounded() {
    let mut peers = Peers::one(LinkConfig { topics: 3, served: 2, ..LinkConfig::default() });
    for n in [0, 1, 2, 1, 3] {
        peers.subscribe(1, &format!("{ECHO}#e{n}"));
        peers.tell(1, |seq| Frame::Serve { seq, address: address(&format!("acme:s{n}")), operations: Vec::new() });
    }
    match &peers.read(1)[..] {
        [Frame::Ack { .. }, Frame::Refused { topic, failure, .. }] => {
            assert_eq!((&*topic.event, failure.status, &*failure.code), ("e3", 429, "too-many"));
            assert!(failure.message.contains("`topics`"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(peers.node.links()[0].serves.len(), 2);
    let unsubscribed = topic(&format!("{ECHO}#e0"));
    peers.tell(1, |seq| Frame::Unsubscribe { seq, topic: unsubscribed });
    peers.subscribe(1, &format!("{ECHO}#e3"));
    assert!(peers.read(1).iter().all(|frame| matches!(frame, Frame::Ack { .. })));
}

#[test]
fn kept_names_of_links_count_for_their_principal() {
    let mut peers = Peers::under(LinkConfig::default(), 80_000);
    (1..=3).for_each(|peer| peers.admit(peer));
    let refused = |peers: &mut Peers, peer: u64| {
        let refused = |frame: &Frame| matches!(frame, Frame::Refused { failure, .. } if failure.code == "too-many");
        let frames = peers.read(peer);
        let received = frames.iter().filter_map(|frame| frame.sequence()).max();
        peers.say(peer, &[Frame::Ack { received: received.unwrap_or_default() }]);
        frames.iter().filter(|frame| refused(frame)).count()
    };
    for peer in 1..=2 {
        (0..200).for_each(|n| peers.subscribe(peer, &format!("{ECHO}#e{n}")));
    }
    let all = refused(&mut peers, 1) + refused(&mut peers, 2);
    assert!((115..=125).contains(&all), "{all} of 400 subscriptions of some 286 bytes are refused");

    let fits = |peers: &mut Peers| {
        peers.subscribe(3, &format!("{ECHO}#e"));
        refused(peers, 3) == 0
    };
    (0..10).for_each(|n| {
        peers.tell(3, |seq| Frame::Serve { seq, address: address(&format!("acme:s{n}")), operations: Vec::new() })
    });
    assert!(!fits(&mut peers) && peers.node.links()[2].serves.len() <= 3, "served addresses count too");
    for n in 0..2 {
        let topic = topic(&format!("{ECHO}#e{n}"));
        peers.tell(1, |seq| Frame::Unsubscribe { seq, topic });
    }
    assert!(fits(&mut peers));
    peers.leave(1);
    peers.leave(2);
    (0..180).for_each(|n| peers.subscribe(3, &format!("{ECHO}#e{n}")));
    assert_eq!(refused(&mut peers, 3), 0, "names of closed links do not count");
}

#[test]
fn unread_refusals_of_subscriptions_end_the_link() {
    let mut peers = Peers::one(LinkConfig { held_bytes: 100_000, ..LinkConfig::default() });
    let lasted = (0..10_000).find(|n| {
        peers.subscribe(1, &format!("acme:nothing{n}#e"));
        peers.pass(0, 1);
        !peers.hangups.is_empty()
    });
    assert!(lasted.is_some_and(|lasted| lasted < 1_000), "{lasted:?}");
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn peer_that_acknowledges_nothing_loses_its_link() {
    let mut peers = Peers::one(LinkConfig { window_frames: 2, ..LinkConfig::default() });
    (0..3).for_each(|id| peers.ask(1, id, 1));
    assert!(peers.read(1).len() >= 2);
    peers.pass(120_000, 1);
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn links_take_turns_and_one_without_room_blocks_no_other() {
    let mut peers = Peers::new(LinkConfig::default());
    for peer in 1..=3 {
        peers.admit(peer);
        (0..20).for_each(|id| peers.ask(peer, id, 60_000));
    }
    peers.node.handle_room(SocketId(1));
    let turns: Vec<_> = std::iter::from_fn(|| peers.node.poll_transmit(1, |socket| socket.0 != 2))
        .map(|(socket, _)| socket.0)
        .collect();
    assert_eq!(turns[..4], [3, 1, 3, 1]);
    assert!(!peers.read(2).is_empty(), "it has room now");
}
