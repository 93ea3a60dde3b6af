//! Traces: the `traceparent` of an HTTP request continues in all messages that it causes.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starlane_protocol::frame::Frame;
use starlane_server::{LogGuard, LogLayer, LogLines, LogShape, ServerLimits};
use starlane_testkit::figure::figure;
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    peer::Peer,
    world::{LONG, Server, echo_bundle},
};

const BUNDLE: &str = "acme:repo:echoes:1.0.0";
const ECHO: &str = "acme:echoes:echo";
const OTHER: &str = "acme:others:echo";

/// The log lines of this process.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects the log of all servers of this process from now on.
fn log() -> &'static Written {
    static LOG: OnceLock<(Written, LogGuard)> = OnceLock::new();
    let (written, _) = LOG.get_or_init(|| {
        let written = Written::default();
        let (layer, guard) =
            LogLayer::new(LogShape::Json, &ServerLimits::default(), LogLines::default(), written.clone());
        // Finer levels would make the tests too slow.
        tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO)).init();
        (written, guard)
    });
    written
}

/// The fields of the line that contains a text.
fn line(log: &Written, text: &str) -> Value {
    let began = Instant::now();
    while began.elapsed() < LONG {
        let written = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        if let Some(line) = written.lines().find(|line| line.contains(text) && line.ends_with("}}")) {
            return serde_json::from_str::<Value>(line).unwrap()["fields"].clone();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the log has no line with `{text}`");
}

fn traceparent(id: &str) -> String {
    format!("00-{id}-00f067aa0ba902b7-01")
}

/// A request to the first actor, which asks the second one to log a text.
fn ask_to_log(server: &Server, text: &str, traceparent: &str) {
    let forward = json!({ "target": OTHER, "operation": "log", "body": { "text": text } });
    let headers = [("content-type", "application/json"), ("traceparent", traceparent)];
    let answer = server.send("POST", &format!("/messages/{ECHO}/call"), &headers, forward.to_string().as_bytes());
    assert!(answer.status < 300, "{}", answer.text());
}

#[tokio::test]
async fn a_trace_reaches_the_log_of_the_second_actor() {
    let log = log();
    let server = Server::start();
    server.run_app(echo_bundle("").path(), BUNDLE, "acme:echoes");
    assert_eq!(server.create("acme:others", BUNDLE).status, 200);

    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    ask_to_log(&server, "said behind two actors", &traceparent(id));
    let fields = line(log, "said behind two actors");
    assert_eq!((&fields["address"], &fields["trace"]), (&json!(OTHER), &json!(id)));

    // An event takes the trace of the message that caused it to the linked hosts.
    let mut peer = Peer::link(&server, 1, None).await;
    peer.subscribe(&format!("{ECHO}#said")).await;
    let emit = json!({ "event": "said", "body": { "number": 1 } });
    let headers = [("content-type", "application/json"), ("traceparent", &*traceparent(id))];
    server.send("POST", &format!("/messages/{ECHO}/emit"), &headers, emit.to_string().as_bytes());
    let told = loop {
        if let Frame::Event { trace, .. } = peer.next().await.unwrap() {
            break trace;
        }
    };
    let told = told.as_deref().and_then(|trace| trace.split('-').nth(1)).unwrap_or_default();
    let seen = BTreeSet::from([id, fields["trace"].as_str().unwrap(), told]);

    // Each request has its own trace, in any order of arrival.
    std::thread::scope(|scope| {
        for n in 1..=8 {
            let server = &server;
            scope.spawn(move || ask_to_log(server, &format!("said by {n} of 8"), &traceparent(&format!("{n:032x}"))));
        }
    });
    for n in 1..=8 {
        assert_eq!(line(log, &format!("said by {n} of 8"))["trace"], json!(format!("{n:032x}")));
    }

    // The log line of a refused one-way message contains its trace.
    let trap = [("content-type", "application/json"), ("traceparent", &*traceparent(id))];
    server.send("POST", &format!("/messages/{ECHO}/trap"), &trap, b"null").fails(500, "guest-failed");
    assert_eq!(line(log, "the mechtron crashed")["trace"], json!(id));

    for (n, bad) in ["00-1-2-01", "nonsense", &traceparent(&"0".repeat(32))].into_iter().enumerate() {
        ask_to_log(&server, &format!("said without a trace {n}"), bad);
        assert_eq!(line(log, &format!("said without a trace {n}"))["trace"], Value::Null, "{bad}");
    }
    figure("trace.hops", seen.len() as f64, "ids");
    assert_eq!(seen.len(), 1, "{seen:?}");
}
