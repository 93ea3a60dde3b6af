use starlane_protocol::{Address, Message, Payload, Principal};

use super::*;

fn message(body: usize) -> Message {
    let address = Address::parse("acme:app:one").unwrap();
    let payload = Payload::new("text/plain", vec![b'x'; body]);
    Message::new(address.clone(), Principal::named("ada"), address, "echo".to_owned(), payload)
}

fn request(id: u64, body: usize) -> Parcel {
    Parcel::Request { id, message: message(body) }
}

fn up(queue: &mut SendQueue, parcel: Parcel, config: &LinkConfig) -> Result<(), String> {
    queue.send(parcel, Some(700), Room::Known(config.queue_bytes), config).map_err(|unsent| match unsent {
        Unsent::Failed(failure) => failure.code,
        Unsent::TooSlow(goodbye) => goodbye.code.as_str().to_owned(),
    })
}

fn numbered(queue: &mut SendQueue, now: u64) -> usize {
    let mut frames = Vec::new();
    queue.number(now, &mut frames);
    frames.len()
}

#[test]
fn numbers_are_given_when_frames_leave_and_frames_are_kept_until_they_are_acked() {
    let config = LinkConfig { window_frames: 3, ..LinkConfig::default() };
    let mut queue = SendQueue::new(&config);
    for id in 1..=5 {
        up(&mut queue, request(id, 10), &config).unwrap();
    }
    assert!(queue.cancel(2), "it had not left");
    let mut frames = Vec::new();
    queue.number(200, &mut frames);
    assert_eq!((frames.len(), queue.window.last()), (3, 3));
    let message = frame::encode_message(0, frames.iter().map(|frame| &**frame));
    let frames = frame::decode_message(&message).unwrap();
    let ids: Vec<_> = frames
        .into_iter()
        .map(|(_, frame)| match frame {
            Frame::Request { seq, id, remaining_ms: 500, .. } => (seq, id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [(1, 1), (2, 3), (3, 4)]);
    assert!(!queue.cancel(3), "it has left");
    assert_eq!((numbered(&mut queue, 200), queue.stalled_at()), (0, Some(0)));
    queue.acknowledge(2).unwrap();
    assert_eq!((numbered(&mut queue, 200), queue.lanes.bytes()), (1, 0));
}

#[test]
fn long_body_follows_its_frame_in_chunks_as_the_window_opens() {
    let config = LinkConfig { window_bytes: 100_000, first_credit: 1 << 20, ..LinkConfig::default() };
    let mut queue = SendQueue::new(&config);
    up(&mut queue, request(1, 200_000), &config).unwrap();
    assert_eq!(numbered(&mut queue, 0), 2, "the frame, and a chunk, which fills the half of the window for bodies");
    assert_eq!(queue.lanes.bytes(), 200_000 - frame::CHUNK);
    up(&mut queue, Parcel::Cancel { id: 9 }, &config).unwrap();
    assert_eq!(numbered(&mut queue, 0), 1, "orders have room");
    for received in 3..=5 {
        queue.acknowledge(received).unwrap();
        assert_eq!(numbered(&mut queue, 0), 1);
    }
    assert!(queue.lanes.is_empty());
}

#[test]
fn waiting_bytes_are_bounded_whether_the_link_is_up_or_not() {
    let config = LinkConfig { waiting_messages: 2, queue_bytes: 1_000, held_bytes: 64_000, ..LinkConfig::default() };
    let mut queue = SendQueue::new(&config);
    let down = [1, 2, 3].map(|id| queue.send(request(id, 1), Some(9), Room::New, &config).is_ok());
    assert_eq!(down, [true, true, false]);
    assert_eq!(queue.take_waiting().len(), 2);
    up(&mut queue, request(1, 2_000), &config).unwrap();
    assert_eq!(up(&mut queue, request(2, 1), &config), Err("link-full".to_owned()));
    let answer =
        |body| Parcel::Response { id: 1, outcome: Ok(Payload::new("text/plain", vec![0; body])), responder: None };
    up(&mut queue, answer(60_000), &config).unwrap();
    assert_eq!(up(&mut queue, answer(10_000), &config), Err("too-many".to_owned()));
    let short = || Parcel::Response { id: 1, outcome: Err(Failure::too_many("")), responder: None };
    let ends = (0..100).find_map(|_| up(&mut queue, short(), &config).err());
    assert_eq!(ends.as_deref(), Some("slow-consumer"));
}

#[test]
fn one_way_messages_expire_and_others_wait_for_the_next_link() {
    let config = LinkConfig::default();
    let mut queue = SendQueue::new(&config);
    for deadline in [10, 20] {
        queue.send(Parcel::Notify { message: message(1) }, Some(deadline), Room::New, &config).unwrap();
        queue.send(request(deadline, 1), Some(deadline), Room::New, &config).unwrap();
    }
    assert_eq!((queue.expired(9).len(), queue.expired(10).len(), queue.lanes.len()), (0, 1, 3));
    up(&mut queue, Parcel::Cancel { id: 3 }, &config).unwrap();
    assert_eq!((queue.has(10), queue.has(11), queue.has(20)), (true, false, true));
    queue.restart(&config);
    assert_eq!((queue.lanes.len(), queue.has(20)), (3, true), "the cancel concerned the old link");
    assert_eq!((numbered(&mut queue, 11), queue.has(20), queue.lanes.bytes()), (3, false, 0));
    let notifies = queue.window.unacked().filter(|frame| matches!(frame, Frame::Notify { .. })).count();
    assert_eq!(notifies, 1);
}

#[test]
fn events_without_room_become_one_gap_for_each_topic_in_its_place() {
    let config = LinkConfig { queue_bytes: 100, ..LinkConfig::default() };
    let mut queue = SendQueue::new(&config);
    let topic = |name| Topic::new(Address::parse("acme:app:one").unwrap(), name).unwrap();
    let event = |name, body: usize| {
        let payload = Payload::new("text/plain", vec![b'x'; body]);
        Parcel::Event { topic: topic(name), payload, trace: None }
    };
    for name in ["a", "a", "b", "a", "b"] {
        up(&mut queue, event(name, 60), &config).unwrap();
    }
    let mut frames = Vec::new();
    queue.number(0, &mut frames);
    let frames: Vec<_> = frames.iter().filter_map(|bytes| frame::decode_frame(bytes)).collect();
    assert!(matches!(&frames[..], [Frame::Event { .. }, Frame::Gap { topic: a, .. }, Frame::Gap { topic: b, .. }]
        if *a == topic("a") && *b == topic("b")));
    up(&mut queue, event("a", 1), &config).unwrap();
    assert_eq!(numbered(&mut queue, 0), 1, "the gap has left, so events follow again");
}
