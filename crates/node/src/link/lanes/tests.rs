use starlane_protocol::{Address, Message, Payload, Principal};

use super::*;

const ALL: May = May { urgent: true, messages: true, bodies: true };

/// A peer that gives enough credit at once.
fn config() -> LinkConfig {
    LinkConfig { first_credit: 1 << 20, ..LinkConfig::default() }
}

fn request(id: u64, to: &str, body: usize) -> Parcel {
    let (from, to) = (Address::parse("acme:app:one").unwrap(), Address::parse(to).unwrap());
    let payload = Payload::new("text/plain", vec![b'x'; body]);
    let message = Message::new(from, Principal::named("ada"), to, "echo".to_owned(), payload);
    Parcel::Request { id, message }
}

/// What leaves next: `+` and the id of a request or of its body's chunk, or `!` and that of a cancel.
fn next(lanes: &mut Lanes, may: May) -> Option<String> {
    Some(match lanes.next(1, may)? {
        Next::Chunk(frame, _) => match *frame {
            Frame::Chunk { of, ref part, .. } if !part.0.is_empty() => format!("{of}"),
            other => panic!("{other:?}"),
        },
        Next::Message(waiting) => match waiting.parcel {
            Parcel::Cancel { id } => format!("!{id}"),
            Parcel::End { of, .. } => format!("!{of}"),
            Parcel::Request { id, ref message } => {
                let lane = LaneKey::of(&waiting.parcel);
                if message.payload.body.len() > frame::CHUNK {
                    lanes.follow(lane, id, message.payload.body.clone());
                }
                format!("+{id}")
            }
            other => panic!("{other:?}"),
        },
    })
}

fn all(lanes: &mut Lanes) -> Vec<String> {
    std::iter::from_fn(|| next(lanes, ALL)).collect()
}

#[test]
fn orders_leave_first_and_lanes_keep_their_order() {
    let mut lanes = Lanes::new(&config());
    for (id, to) in [(1, "acme:a"), (2, "acme:b"), (3, "acme:a"), (4, "acme:b")] {
        lanes.add(request(id, to, 20_000), None);
    }
    lanes.add(Parcel::Cancel { id: 9 }, None);
    assert!(lanes.has(3) && lanes.remove(2) && !lanes.has(2) && !lanes.remove(2));
    assert_eq!((lanes.len(), all(&mut lanes)), (4, ["!9", "+1", "+4", "+3"].map(str::to_owned).into()));
    assert_eq!((lanes.len(), lanes.bytes(), lanes.is_empty()), (0, 0, true));
}

#[test]
fn long_body_holds_up_only_its_own_lane() {
    let mut lanes = Lanes::new(&config());
    lanes.add(request(1, "acme:a", 4 * frame::CHUNK), None);
    lanes.add(request(2, "acme:a", 1), None);
    (3..6).for_each(|id| lanes.add(request(id, "acme:b", 30_000), None));
    let order = all(&mut lanes);
    let at = |what: &str| order.iter().position(|step| step == what).unwrap();
    assert!(at("+5") < order.iter().rposition(|step| step == "1").unwrap(), "{order:?}");
    assert_eq!((order.last().unwrap().as_str(), order.iter().filter(|step| *step == "1").count()), ("+2", 4));
    assert_eq!((lanes.bytes(), lanes.is_empty()), (0, true));
}

#[test]
fn bodies_take_turns_and_those_without_room_wait_apart() {
    const MOST: usize = 8;
    let mut lanes = Lanes::new(&LinkConfig { open_streams: MOST, ..config() });
    let count = MOST as u64 + 2;
    (1..=count).for_each(|id| lanes.add(request(id, &format!("acme:a{id}"), 2 * frame::CHUNK), None));
    lanes.add(request(50, "acme:small", 1), None);
    let messages = May { bodies: false, ..ALL };
    let left: Vec<_> = std::iter::from_fn(|| next(&mut lanes, messages)).collect();
    assert_eq!(left.len(), MOST + 1, "{left:?}");
    assert!(left.contains(&"+50".to_owned()) && !lanes.has_output(messages));
    let first: Vec<_> = (0..MOST).filter_map(|_| next(&mut lanes, ALL)).collect();
    assert_eq!(first, (1..=MOST).map(|id| id.to_string()).collect::<Vec<_>>(), "each sends one part");
    let rest = all(&mut lanes);
    assert_eq!((rest.len(), lanes.bytes(), lanes.is_empty()), (MOST + 2 + 4, 0, true));
}

#[test]
fn body_that_ends_before_its_turn_leaves_no_empty_part() {
    let mut lanes = Lanes::new(&LinkConfig { first_credit: frame::CHUNK, ..config() });
    lanes.add(request(1, "acme:a", 4 * frame::CHUNK), None);
    lanes.add(request(2, "acme:a", 2 * frame::CHUNK), None);
    assert_eq!([next(&mut lanes, ALL), next(&mut lanes, ALL)].map(Option::unwrap), ["+1", "1"]);
    let step = lanes.flows().credit(1, 4 * frame::CHUNK as u64);
    lanes.go_on(step);
    let key = lanes.flows().announced_by(1).unwrap();
    let step = lanes.flows().fail(key, starlane_protocol::Failure::cancelled("enough"));
    lanes.go_on(step);
    assert_eq!(all(&mut lanes), ["!1", "+2", "2"]);
    let step = lanes.flows().credit(2, 2 * frame::CHUNK as u64);
    lanes.go_on(step);
    assert_eq!((all(&mut lanes), lanes.bytes(), lanes.is_empty()), (vec!["2".to_owned()], 0, true));
}

#[test]
fn lane_without_its_long_message_needs_no_room() {
    let mut lanes = Lanes::new(&LinkConfig { open_streams: 1, ..config() });
    lanes.add(request(1, "acme:a", 2 * frame::CHUNK), None);
    lanes.add(request(2, "acme:b", 2 * frame::CHUNK), None);
    lanes.add(request(3, "acme:b", 1), None);
    let messages = May { bodies: false, ..ALL };
    assert_eq!(next(&mut lanes, messages).as_deref(), Some("+1"));
    assert_eq!(next(&mut lanes, messages), None, "there is room for one body");
    assert!(lanes.remove(2));
    assert_eq!(next(&mut lanes, messages).as_deref(), Some("+3"));
}

#[test]
fn what_is_taken_comes_in_the_order_in_which_it_was_added() {
    let mut lanes = Lanes::new(&config());
    lanes.add(request(1, "acme:long", 2 * frame::CHUNK), None);
    next(&mut lanes, May { bodies: false, ..ALL });
    for id in 2..20 {
        lanes.add(request(id, &format!("acme:a{}", id % 5), 1), None);
    }
    let ids = |taken: VecDeque<Box<Waiting>>| -> Vec<u64> {
        let id = |waiting: &Waiting| match waiting.parcel {
            Parcel::Request { id, .. } => id,
            _ => 0,
        };
        taken.iter().map(|waiting| id(waiting)).collect()
    };
    let odd = |waiting: &Waiting| matches!(waiting.parcel, Parcel::Request { id, .. } if id % 2 == 1);
    assert_eq!(ids(lanes.take(&odd)), (3..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(
        (lanes.len(), lanes.flows().body_bytes() / frame::CHUNK, lanes.has(4), lanes.has(5)),
        (9, 2, true, false)
    );
    assert_eq!(ids(lanes.take(&|_| true)), (2..20).step_by(2).collect::<Vec<_>>());
    assert_eq!((lanes.bytes(), lanes.len()), (2 * frame::CHUNK, 0));
}

#[test]
fn refused_topic_has_no_events_any_more_and_others_keep_theirs() {
    let topic = |name: &str| starlane_protocol::Topic::parse(&format!("acme:app:one#{name}")).unwrap();
    let event =
        |name: &str| Parcel::Event { topic: topic(name), payload: Payload::new("text/plain", "x"), trace: None };
    let mut lanes = Lanes::new(&config());
    for name in ["a", "b", "a"] {
        lanes.add(event(name), None);
    }
    let failure = starlane_protocol::Failure::no_grant("not yours");
    lanes.remove_events(&Parcel::Refused { topic: topic("a"), failure });
    assert_eq!((lanes.len(), lanes.bytes()), (1, event("b").weight()));
    assert!(matches!(lanes.next(1, ALL), Some(Next::Message(waiting)) if waiting.parcel == event("b")));
    assert_eq!((lanes.bytes(), lanes.is_empty(), lanes.has_output(ALL)), (0, true, false));
}
