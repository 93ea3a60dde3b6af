//! `GET /events/TOPIC`, for `curl` and `EventSource`.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::world::{LONG, Server, echo_bundle};

/// The lines of an event stream, after its head was checked.
fn listen(server: &Server, topic: &str) -> BufReader<TcpStream> {
    listen_after(server, topic, "")
}

/// The same for a reader that reconnects; `more` are additional header lines.
fn listen_after(server: &Server, topic: &str, more: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let host = server.address();
    write!(stream, "GET /events/{topic} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{more}\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    assert!(head.contains("x-accel-buffering: no"), "{head}");
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

/// Makes the guest emit a number.
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
    // When a reader leaves, the others still get their events.
    let [gone, mut stays] = streams;
    drop(gone);
    assert!(server.ask("acme:echoes:echo", "emit", &said(3)).status < 300);
    assert_eq!(next_data(&mut stays)["body"]["number"], 3);
}

#[test]
fn invalid_topics_and_unknown_callers_are_refused() {
    let server = Server::start();
    let told = server.get("/events/acme:echoes:echo").fails(400, "malformed");
    assert!(told.contains('#'), "{told}");
    let guessed = [("authorization", "Bearer guessed")];
    server.send("GET", "/events/acme:a%23b", &guessed, b"").fails(401, "auth-refused");
}

#[test]
fn a_reconnecting_reader_gets_a_gap() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let topic = "acme:echoes:echo%23said";
    // The lines of one event: `id`, `event`, `data`.
    let next = |stream: &mut BufReader<TcpStream>| {
        let (mut id, mut event, mut data) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
            let value = |name: &str| line.strip_prefix(name).map(|rest| rest.trim().to_owned());
            id = value("id:").unwrap_or(id);
            event = value("event:").unwrap_or(event);
            data = value("data:").unwrap_or(data);
            if line.trim().is_empty() && !(id.is_empty() && data.is_empty()) {
                return (id, event, data);
            }
        }
    };
    let mut first = listen(&server, topic);
    let (id, event, data) = next(&mut first);
    let mut failing = usize::from(id.is_empty() || !event.is_empty() || !data.is_empty());
    assert!(server.ask("acme:echoes:echo", "emit", &said(1)).status < 300);
    let (second, event, data) = next(&mut first);
    failing += usize::from(second == id || second.is_empty() || !event.is_empty() || !data.contains("\"number\":1"));
    drop(first);
    assert!(server.ask("acme:echoes:echo", "emit", &said(2)).status < 300);
    for last in [&id, &second] {
        let mut back = listen_after(&server, topic, &format!("Last-Event-ID: {last}\r\n"));
        let (gap, event, _) = next(&mut back);
        failing += usize::from(event != "gap" || gap == *last);
        assert!(server.ask("acme:echoes:echo", "emit", &said(3)).status < 300);
        failing += usize::from(!next(&mut back).2.contains("\"number\":3"));
    }
    starlane_testkit::field_fault("F15", 6, failing);
    assert_eq!(failing, 0);
}
