//! `GET /events/TOPIC`, for `curl` and `EventSource`.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::world::{LONG, Server, echo_bundle};

/// The lines of an event stream, its head read and checked.
fn listen(server: &Server, topic: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let host = server.address();
    write!(stream, "GET /events/{topic} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    stream
}

fn next_data(stream: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// What makes the guest say a number.
fn said(number: u32) -> Value {
    json!({ "event": "said", "body": { "number": number } })
}

#[test]
fn events_are_streamed_over_plain_http() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut streams = [listen(&server, "acme:echoes:echo%23said"), listen(&server, "acme:echoes:echo%23said")];
    for number in 0..3 {
        assert!(server.ask("acme:echoes:echo", "emit", &said(number)).status < 300);
        for stream in &mut streams {
            let event = next_data(stream);
            assert_eq!(
                (&event["from"], &event["contentType"]),
                (&json!("acme:echoes:echo"), &json!("application/json"))
            );
            assert_eq!(event["body"], json!({ "number": number }));
        }
    }
    // A reader that goes away leaves the others what they have.
    let [gone, mut stays] = streams;
    drop(gone);
    assert!(server.ask("acme:echoes:echo", "emit", &said(3)).status < 300);
    assert_eq!(next_data(&mut stays)["body"]["number"], 3);
}

#[test]
fn what_is_no_topic_and_who_is_nobody_known_is_refused() {
    let server = Server::start();
    let told = server.get("/events/acme:echoes:echo").fails(400, "malformed");
    assert!(told.contains('#'), "{told}");
    let guessed = [("authorization", "Bearer guessed")];
    server.send("GET", "/events/acme:a%23b", &guessed, b"").fails(401, "auth-refused");
}
