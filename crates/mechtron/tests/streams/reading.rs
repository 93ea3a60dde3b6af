//! Streams that an actor reads.

use mechtron::{Bytes, Failure, IntoPayload, Stream};

use crate::{BYTES, FIRST, json, streamer};

#[test]
fn an_operation_reads_parts_until_the_end() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    let id = actor.deliver("count", body.clone());
    actor.part(&body, "abc");
    actor.part(&body, "de");
    assert_eq!(actor.reply(id), None);
    actor.end(&body, Ok(()));
    assert_eq!(json::<usize>(actor.reply(id).unwrap()), 5);
    assert!(!actor.is_cancelled(&body));
    // A whole body is a stream too, and a test can write one with a function.
    assert_eq!(json::<usize>(actor.request("count", Bytes(vec![0; 100_000]))), 100_000);
    let made = Stream::from_fn(async |mut writer| {
        for _ in 0..300 {
            writer.write([1; 1000]).await?;
        }
        Ok(())
    });
    assert_eq!(json::<usize>(actor.request("count", made)), 300_000);
}

#[test]
fn reading_grants_in_halves_of_the_first_credit() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    actor.deliver("count", body.clone());
    actor.part(&body, vec![0; FIRST / 2 - 1]);
    assert_eq!(actor.granted(&body), 0);
    actor.part(&body, [0]);
    assert_eq!(actor.granted(&body), FIRST as u64 / 2);
    actor.part(&body, vec![0; FIRST]);
    assert_eq!(actor.granted(&body), FIRST as u64 * 3 / 2);
}

#[test]
#[should_panic = "65537 bytes are more than the actor allows (limit 65536)"]
fn a_test_cannot_deliver_more_than_the_actor_allows() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    actor.deliver("count", body.clone());
    actor.part(&body, vec![0; FIRST + 1]);
}

#[test]
fn a_stream_that_waits_in_the_mailbox_grants_nothing() {
    let mut actor = streamer();
    let first = actor.stream(BYTES);
    actor.deliver("count", first.clone());
    let second = actor.stream(BYTES);
    let id = actor.deliver("count", second.clone());
    actor.part(&second, vec![0; FIRST]);
    actor.end(&second, Ok(()));
    assert_eq!((actor.granted(&second), actor.reply(id)), (0, None));
    actor.end(&first, Ok(()));
    assert_eq!(json::<usize>(actor.reply(id).unwrap()), FIRST);
}

#[test]
fn tiny_parts_that_wait_are_joined() {
    let mut actor = streamer();
    let other = actor.stream(BYTES);
    actor.deliver("count", other.clone());
    let body = actor.stream(BYTES);
    let id = actor.deliver("first", body.clone());
    for byte in 0..200 {
        actor.part(&body, [byte]);
    }
    actor.end(&other, Ok(()));
    assert_eq!(actor.reply(id).unwrap(), Bytes((0..200).collect()).into_payload());
}

#[test]
fn a_failed_stream_fails_the_read_after_its_bytes() {
    let mut actor = streamer();
    let lost = Failure::new(502, "link-lost", "the link was lost");
    let body = actor.stream(BYTES);
    let id = actor.deliver("count", body.clone());
    actor.part(&body, "abc");
    actor.end(&body, Err(lost.clone()));
    assert_eq!(actor.reply(id), Some(Err(lost.clone())));
    // What came before the failure can be used.
    let body = actor.stream(BYTES);
    let id = actor.deliver("first", body.clone());
    actor.part(&body, "abc");
    assert_eq!(actor.reply(id).unwrap(), Bytes(b"abc".to_vec()).into_payload());
    let failing = Stream::from_fn(async move |_| Err(lost));
    assert_eq!(&*actor.request("first", failing).unwrap_err().code, "link-lost");
}

#[test]
fn a_dropped_stream_is_cancelled() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    let id = actor.deliver("first", body.clone());
    actor.part(&body, "abc");
    assert!(actor.reply(id).unwrap().is_ok() && actor.is_cancelled(&body));
    // Also if the method does not take it.
    for operation in ["seen", "nothing"] {
        let body = actor.stream(BYTES);
        actor.deliver(operation, body.clone());
        assert!(actor.is_cancelled(&body), "{operation}");
    }
    // Also in a reply that nobody awaits any more.
    let body = actor.stream(BYTES);
    actor.settle(999, Ok(body.clone()));
    assert!(actor.is_cancelled(&body));
    // Not one that has ended.
    let body = actor.stream(BYTES);
    let id = actor.deliver("mirror", body.clone());
    actor.end(&body, Ok(()));
    assert!(actor.reply(id).is_some() && !actor.is_cancelled(&body));
}

#[test]
fn a_stream_where_a_whole_body_is_expected_is_refused() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    let id = actor.deliver("whole", body.clone());
    let failure = actor.reply(id).unwrap().unwrap_err();
    assert_eq!((failure.status, &*failure.code), (415, "no-streams"));
    assert!(failure.message.contains("the method takes a whole body: take `Stream`"), "{failure}");
    assert!(actor.is_cancelled(&body));
    let failure = actor.request("emit", ()).unwrap_err();
    assert!(failure.message.contains("the event `changed` has a stream"), "{failure}");
}

#[test]
fn the_stream_of_a_payload_is_taken_once() {
    let payload = Stream::from_fn(async |_| Ok(())).into_payload().unwrap();
    assert!(!payload.is_nothing());
    let copy = payload.clone();
    assert!(payload.stream().is_ok());
    let failure = copy.stream().err().unwrap();
    assert!(failure.message.contains("a stream is read once"), "{failure}");
}

#[test]
#[should_panic = "no message has this stream yet: send its payload first"]
fn a_test_cannot_deliver_a_part_before_its_message() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    actor.part(&body, "early");
}
