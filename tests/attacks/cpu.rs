//! Guests that compute without end, and their neighbours.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use starlane_testkit::attack;

use crate::world::{LONG, Server, echo_bundle};

const SPINNERS: usize = 64;
const MESSAGES: usize = 100;

/// The processor time of an app's guests, in seconds.
fn used(server: &Server, app: &str) -> f64 {
    let text = server.with_token(&server.token, "GET", "/metrics", b"").text();
    let line = text.lines().find(|line| line.starts_with("starlane_app_guest_seconds_total{") && line.contains(app));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// The neighbour is an app of another space, or of the same.
#[test]
fn spinning_actors_of_one_app_do_not_delay_other_apps() {
    for neighbour in ["bob:echoes", "mallory:echoes"] {
        let server = Server::start();
        let token = server.token.clone();
        let spinning = echo_bundle("");
        let app = "[app]\nname = \"spinners\"\n[mechtrons.\"echo:{key}\"]\nconfig = \"mechtrons/echo.toml\"\n\
                   placement = \"server\"\n";
        std::fs::write(spinning.path().join("app.toml"), app).unwrap();
        let mechtron = std::fs::read_to_string(spinning.path().join("mechtrons/echo.toml")).unwrap();
        let mechtron = format!("{mechtron}[limits]\ncall = \"10 s\"\n");
        std::fs::write(spinning.path().join("mechtrons/echo.toml"), mechtron).unwrap();
        server.publish(&token, 1, spinning.path(), "mallory:repo:spinners:1.0.0");
        assert_eq!(server.create(&token, "mallory:spinners", "mallory:repo:spinners:1.0.0").status, 200);
        let space = neighbour.split(':').next().unwrap();
        server.publish(&token, 1, echo_bundle("").path(), &format!("{space}:repo:echoes:1.0.0"));
        assert_eq!(server.create(&token, neighbour, &format!("{space}:repo:echoes:1.0.0")).status, 200);
        let mut spins = Vec::new();
        for number in 0..SPINNERS {
            use std::io::Write;
            let mut spin = server.connect();
            let request = format!(
                "POST /messages/mallory:spinners:echo:k{number}/spin HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\
                 \r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
                server.address()
            );
            spin.write_all(request.as_bytes()).unwrap();
            spins.push(spin);
        }
        let end = Instant::now() + LONG;
        while used(&server, "mallory:spinners") < 1.0 {
            assert!(Instant::now() < end, "they spin within {} s", LONG.as_secs());
            thread::sleep(Duration::from_millis(20));
        }
        let begun = used(&server, "mallory:spinners");
        let mut unanswered = 0;
        for _ in 0..MESSAGES {
            let asked = Instant::now();
            let answer = server.command(&format!("{neighbour}:echo"), "echo", &json!("hi"));
            unanswered += usize::from(answer.status != 200 || asked.elapsed() > Duration::from_secs(10));
        }
        let spun = used(&server, "mallory:spinners") - begun;
        println!("{spun:.1} s of spinning during {MESSAGES} messages to {neighbour}");
        assert!(spun > 0.0, "they spin all the time");
        assert!(used(&server, neighbour) > 0.0);
        // If each other actor had a turn before each message, it would take more than twice as long.
        let held_up = spun > SPINNERS as f64 * 0.005 * MESSAGES as f64 / 2.0;
        attack("B8", MESSAGES, unanswered + usize::from(held_up));
        assert_eq!((unanswered, held_up), (0, false), "{spun} s");
    }
}
