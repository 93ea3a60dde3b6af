//! Streams of JSON lines.

use mechtron::{Bytes, Failure, Lines, Payload, Stream};

use crate::{NDJSON, Step, json, streamer};

#[test]
fn lines_are_the_same_however_they_are_split() {
    let text = "{\"add\":1}\n\n{\"add\":\"x\"}\r\n{\"add\":30}\r\nnonsense é\n{\"add\":-4}";
    let mut actor = streamer();
    let bytes = text.as_bytes();
    let mut splits: Vec<Vec<&[u8]>> = (1..=bytes.len()).map(|size| bytes.chunks(size).collect()).collect();
    for first in 0..bytes.len() {
        for second in first..bytes.len() {
            splits.push(vec![&bytes[..first], &bytes[first..second], &bytes[second..]]);
        }
    }
    let expected = [
        "1",
        "400 malformed: line 3 of the stream is not the expected JSON: invalid type: string \"x\", expected i64, at column 10, in \
         `{\"add\":\"x\"}\r`: send one JSON value a line",
        "30",
        "400 malformed: line 5 of the stream is not the expected JSON: expected ident, at column 2, in `nonsense é`: send one JSON \
         value a line",
        "-4",
    ];
    for parts in splits {
        let body = actor.stream(NDJSON);
        let id = actor.deliver("tolerant", body.clone());
        for part in &parts {
            actor.part(&body, part);
        }
        actor.end(&body, Ok(()));
        assert_eq!(json::<Vec<String>>(actor.reply(id).unwrap()), expected, "{parts:?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_refused_and_cancels_the_stream() {
    let long = format!("{{\"add\":1}}\n\"{}\"\n{{\"add\":2}}\n", "x".repeat(1024 * 1024));
    let mut actor = streamer();
    let body = Stream::from_fn(async move |mut writer| writer.write(long).await);
    let seen: Vec<String> = json(actor.request("tolerant", Payload::new(NDJSON, body)));
    assert_eq!(seen.len(), 2);
    assert!(
        seen[1].starts_with("413 too-large: line 2 of the stream is longer than the maximum of 1048576 bytes"),
        "{seen:?}"
    );
}

#[test]
fn lines_that_end_early_are_an_error_and_not_a_last_line() {
    let mut actor = streamer();
    let body = actor.stream(NDJSON);
    let id = actor.deliver("tolerant", body.clone());
    actor.part(&body, "{\"add\":1}\n{\"add\":2");
    actor.end(&body, Err(Failure::new(502, "link-lost", "gone")));
    assert_eq!(json::<Vec<String>>(actor.reply(id).unwrap()), ["1", "502 link-lost: gone"]);
}

#[test]
fn lines_are_read_and_written_as_values() {
    let mut actor = streamer();
    let steps = Lines::from_fn(async |mut steps| {
        for add in 0..10_000 {
            steps.write(&Step { add }).await?;
        }
        Ok(())
    });
    let reply = actor.request("sums", steps).unwrap();
    assert_eq!(reply.content_type, NDJSON);
    let sums = actor.read_lines::<i64>(&reply).unwrap();
    assert_eq!((sums.len(), sums.last()), (10_000, Some(&49_995_000)));
    // A body that is here already is read in the same way. Another content type is refused.
    let reply = actor.request("sums", Payload::new(NDJSON, "{\"add\":5}\n{\"add\":6}\n")).unwrap();
    assert_eq!(actor.read_lines::<i64>(&reply).unwrap(), [5, 11]);
    let failure = actor.request("sums", Bytes(Vec::new())).unwrap_err();
    assert!(failure.message.contains("expected application/x-ndjson"), "{failure}");
}
