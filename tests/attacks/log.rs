//! The log: floods, forged lines, and a reader that does not read.

use std::{fs, time::Duration};

use serde_json::json;
use starlane_testkit::attack;

use crate::world::{Server, echo_bundle};

/// A server with the app `acme:echoes`, whose mechtron logs the texts that it gets.
fn with_echoes(server: &Server) {
    let bundle = echo_bundle("[http]\n\"GET /\" = { file = \"site/index.html\" }\n");
    let bind = bundle.path().join("binds/echo.toml");
    let with_log = fs::read_to_string(&bind).unwrap() + "[operations.log]\nrequest = {}\nresponse = {}\n";
    fs::write(&bind, with_log).unwrap();
    server.publish(&server.token, 1, bundle.path(), "acme:repo:echoes:1.0.0");
    assert_eq!(server.create(&server.token, "acme:echoes", "acme:repo:echoes:1.0.0").status, 200);
}

/// Whether the mechtron logged a text.
fn log(server: &Server, text: &str) -> bool {
    server.command("acme:echoes:echo", "log", &json!({ "text": text })).status == 204
}

#[test]
fn a_flood_of_lines_is_bounded_and_counted() {
    let server = Server::start_with("[limits]\nlog-lines-per-second = 20\n");
    with_echoes(&server);
    let long = "x".repeat(60_000);
    let tried = 2_000;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..tried / 4).for_each(|_| assert!(log(&server, &long))));
        }
    });
    let suppressed = |text: &str| text.contains("suppressed") && text.contains("app acme:echoes");
    let told = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        suppressed(&server.log())
    });
    let text = server.log();
    assert!(told, "{text}");
    let through = text.lines().filter(|line| line.len() > 1_024).count();
    // 120 MB were logged. With 20 lines per second and a burst of 40, at most 1 MiB is written in the minute that this
    // can take.
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
    let metrics = server.get("/metrics").text();
    let counted = metrics.lines().find(|line| line.contains("refused_total{name=\"log-lines-per-second\"}")).unwrap();
    assert!(!counted.ends_with(" 0"), "{counted}");
    attack("B10", tried, through);
}

#[test]
fn a_log_line_cannot_be_forged() {
    for format in ["text", "json"] {
        let server = Server::start_with(&format!("log-format = \"{format}\"\n"));
        with_echoes(&server);
        let forged = "2030-01-01T00:00:00Z ERROR forged";
        let texts = [
            format!("a\n{forged}"),
            format!("a\r{forged}"),
            format!("a\u{2028}{forged}\u{85}{forged}"),
            format!("a\u{1b}[2K\u{1b}[1G{forged}"),
            format!("a\u{9b}2K{forged}\u{202e}{forged}\u{2066}"),
            "done address=starlane:server principal=admin".to_owned(),
            "\",\"level\":\"ERROR\",\"x\":\"".to_owned(),
            "\\\"}}\n{\"level\":\"ERROR\"}".to_owned(),
        ];
        texts.iter().for_each(|text| assert!(log(&server, text)));
        // A stranger also chooses paths and tokens.
        server.raw(b"GET /a%0Ab%1B[31m HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert!(log(&server, "the last line of this test"));
        let written = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            server.log().contains("the last line of this test")
        });
        let text = server.log();
        assert!(written, "{text}");
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let through = text.lines().filter(|line| {
            let foreign = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line).map_or(true, |line| line["level"] == "ERROR"),
                _ => line.starts_with("2030") || line.contains(" ERROR ") && !line.contains("address=acme:echoes"),
            };
            foreign || line.contains(obeyed)
        });
        let through: Vec<&str> = through.collect();
        assert!(through.is_empty(), "{through:?}");
        let spoofed = text.lines().any(|line| line.contains(" address=starlane:server") && !line.contains("\"done"));
        attack("B10", texts.len(), usize::from(spoofed && format == "text"));
    }
}

/// Nobody reads standard error, and the pipe is full. The server and its neighbours continue.
#[test]
fn a_full_pipe_blocks_nothing() {
    // Both ends of the pipe are open, and nothing reads from it.
    let script = "mkfifo pipe; exec \"$@\" 2<> pipe";
    let server = Server::start_by(script, "[limits]\nlog-lines-per-second = 1000000\n");
    with_echoes(&server);
    let long = "x".repeat(1_000);
    let mut unanswered = 0;
    for n in 0..1_000 {
        unanswered += usize::from(!log(&server, &long));
        if n % 10 == 0 {
            unanswered += usize::from(server.get("/").status != 200);
        }
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.command("starlane:server", "logs", &json!({ "last": 1 })).status, 200);
    attack("B10", 1_100, unanswered);
}
