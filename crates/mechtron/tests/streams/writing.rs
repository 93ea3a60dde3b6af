//! Streams that an actor writes.

use mechtron::{Failure, IntoPayload, Json, Stream, Text};

use crate::{BYTES, FIRST, json, streamer};

#[test]
fn a_writer_stops_at_its_credit_and_goes_on_after_more() {
    let mut actor = streamer();
    let reply = actor.request("pattern", Json((100_000, false))).unwrap();
    assert_eq!(reply.content_type, BYTES);
    let first = actor.written(&reply);
    assert_eq!(first.len(), FIRST);
    actor.credit(&reply, 1);
    assert_eq!(actor.written(&reply).len(), 1);
    assert_eq!(actor.ended(&reply), None);
    actor.credit(&reply, 100_000);
    let rest = actor.written(&reply);
    assert_eq!((FIRST + 1 + rest.len(), actor.ended(&reply)), (100_000, Some(Ok(()))));
    assert_eq!(rest[0], ((FIRST + 1) % 251) as u8);
    // `read` does the same.
    let reply = actor.request("pattern", Json((1_000_000, false))).unwrap();
    assert_eq!(actor.read(&reply).unwrap().len(), 1_000_000);
}

#[test]
fn a_writer_that_fails_ends_its_stream_with_the_failure() {
    let mut actor = streamer();
    let reply = actor.request("pattern", Json((3000, true))).unwrap();
    assert_eq!(actor.written(&reply).len(), 3000);
    assert_eq!(actor.ended(&reply), Some(Err(Failure::conflict("out of pattern"))));
}

#[test]
fn a_writer_whose_reader_went_away_gets_the_reason() {
    let mut actor = streamer();
    for code in ["cancelled", "idle", "link-lost"] {
        let reply = actor.request("pattern", Json((100_000, false))).unwrap();
        actor.stop(&reply, Failure::new(499, code, "nobody reads"));
        assert_eq!(json::<Vec<String>>(actor.request("seen", ())).last().unwrap(), code);
        assert_eq!(actor.written(&reply).len(), FIRST, "nothing more is written");
    }
    // After the last byte, nobody is told.
    let reply = actor.request("pattern", Json((100, false))).unwrap();
    actor.stop(&reply, Failure::new(499, "cancelled", "too late"));
    assert_eq!(actor.ended(&reply), Some(Ok(())));
    assert_eq!(json::<Vec<String>>(actor.request("seen", ())).len(), 3);
}

#[test]
fn a_reply_stream_goes_on_while_the_next_message_is_handled() {
    let mut actor = streamer();
    let reply = actor.request("pattern", Json((200_000, false))).unwrap();
    let body = actor.stream(BYTES);
    let id = actor.deliver("count", body.clone());
    actor.part(&body, "abc");
    assert_eq!(actor.read(&reply).unwrap().len(), 200_000);
    assert_eq!(actor.reply(id), None);
    actor.end(&body, Ok(()));
    assert_eq!(json::<usize>(actor.reply(id).unwrap()), 3);
}

#[test]
fn a_mirrored_stream_passes_on_credit_ends_and_cancels() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    let id = actor.deliver("mirror", body.clone());
    let reply = actor.reply(id).unwrap().unwrap();
    actor.part(&body, vec![1; FIRST]);
    assert_eq!((actor.written(&reply).len(), actor.granted(&body)), (FIRST, FIRST as u64));
    // The reader allows nothing more, so nothing more is read.
    actor.part(&body, vec![2; FIRST]);
    assert_eq!((actor.written(&reply).len(), actor.granted(&body)), (0, FIRST as u64));
    actor.credit(&reply, FIRST as u32 / 2);
    assert_eq!((actor.written(&reply).len(), actor.granted(&body)), (FIRST / 2, FIRST as u64 * 3 / 2));
    actor.end(&body, Err(Failure::conflict("broken")));
    assert_eq!(actor.ended(&reply), None, "bytes wait for credit");
    assert_eq!(actor.read(&reply), Err(Failure::conflict("broken")));

    let body = actor.stream(BYTES);
    let id = actor.deliver("mirror", body.clone());
    let reply = actor.reply(id).unwrap().unwrap();
    actor.stop(&reply, Failure::new(499, "cancelled", "the reader went away"));
    assert!(actor.is_cancelled(&body));
}

#[test]
fn two_streams_are_read_and_written_at_once() {
    let mut actor = streamer();
    actor.answer(|sent| {
        let (byte, parts) = if sent.target == "a:left" { (b'l', 200) } else { (b'r', 100) };
        Stream::from_fn(async move |mut writer| {
            for _ in 0..parts {
                writer.write([byte; 1000]).await?;
            }
            Ok(())
        })
        .into_payload()
    });
    let one = actor.request("zip", ()).unwrap();
    let two = actor.request("zip", ()).unwrap();
    for reply in [two, one] {
        let read = actor.read(&reply).unwrap();
        let of = |byte| read.iter().filter(|other| **other == byte).count();
        assert_eq!((of(b'l'), of(b'r')), (200_000, 100_000));
    }
}

#[test]
fn the_body_of_a_request_is_written_while_its_reply_is_awaited() {
    let mut actor = streamer();
    let id = actor.deliver("send", Json(100_000));
    let sent = actor.open().remove(0);
    assert_eq!((&*sent.operation, actor.written(&sent.payload).len()), ("take", FIRST));
    actor.credit(&sent.payload, 100_000);
    assert_eq!(actor.ended(&sent.payload), Some(Ok(())));
    actor.settle(sent.id, Text("taken".into()).into_payload());
    assert_eq!(actor.reply(id).unwrap().unwrap().text().unwrap(), "taken");
    // A reply can come before the end of the body, which goes on.
    let id = actor.deliver("send", Json(100_000));
    let sent = actor.open().remove(0);
    actor.settle(sent.id, Text("early".into()).into_payload());
    assert!(actor.reply(id).unwrap().is_ok());
    assert_eq!(actor.read(&sent.payload).unwrap().len(), 100_000);
    // Without steps of the test, the stream is read by itself.
    actor.answer(|_| Text("done".into()).into_payload());
    assert_eq!(actor.request("send", Json(1_000_000)).unwrap().text().unwrap(), "done");
    actor.notify("forward", Stream::from_fn(async |mut writer| writer.write(vec![1; 500_000]).await));
    let forwarded = actor.notifies().remove(0).payload;
    assert_eq!((actor.written(&forwarded).len(), actor.ended(&forwarded)), (500_000, Some(Ok(()))));
}

#[test]
fn a_stream_can_sleep_and_send_messages_after_its_method_returned() {
    let mut actor = streamer();
    let reply = actor.request("clock", ()).unwrap();
    let times = actor.read_lines::<u64>(&reply).unwrap();
    assert_eq!([times[1] - times[0], times[2] - times[1]], [1000, 1000]);
}

#[test]
fn a_stream_is_fed_by_later_messages() {
    let mut actor = streamer();
    let (one, other) = (actor.request("tail", ()).unwrap(), actor.request("tail", ()).unwrap());
    assert_eq!(json::<usize>(actor.request("tell", Json(1))), 2);
    assert_eq!((actor.written(&one), actor.written(&other)), (b"1\n".to_vec(), b"1\n".to_vec()));
    actor.stop(&one, Failure::new(499, "cancelled", "closed"));
    actor.request("tell", Json(2)).unwrap();
    assert_eq!((actor.written(&one), actor.written(&other)), (Vec::new(), b"2\n".to_vec()));
    assert_eq!(json::<usize>(actor.request("tell", Json(3))), 1);
}

#[test]
fn a_new_instance_has_no_streams_of_the_last() {
    let mut actor = streamer();
    let body = actor.stream(BYTES);
    let id = actor.deliver("mirror", body.clone());
    let reply = actor.reply(id).unwrap().unwrap();
    actor.restart().unwrap();
    assert!(actor.is_cancelled(&body));
    assert_eq!(&*actor.ended(&reply).unwrap().unwrap_err().code, "swapped");
}

#[test]
fn timers_reach_beyond_49_days() {
    let mut actor = streamer();
    let before = json::<u64>(Json(1_704_067_200_000_u64).into_payload());
    actor.request("later", ()).unwrap();
    let timers: Vec<_> = actor.timers().iter().map(|timer| (timer.at_ms - before, timer.token)).collect();
    assert_eq!(timers, [(1000, 3), (5_000_000_000, 1), (6_000_000_000, 2)]);
}
