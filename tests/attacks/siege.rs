//! All attacks at once, on a server with limits, beside a neighbour that uses it normally.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use starlane_testkit::{cage::Cage, figure::figure};

use crate::{
    guests::hand_written,
    hostile_modules,
    world::{Server, echo_bundle},
};

/// The memory of the server and its child processes, in bytes.
const MEMORY: u64 = 2 << 30;
/// The descriptors of the server.
const DESCRIPTORS: u64 = 1_024;
/// The duration of all attacks.
const LAST: Duration = Duration::from_secs(20);
/// The size of the file that is requested but not read, in bytes.
const FILE: usize = 8 << 20;
/// The pause between two requests of the neighbour.
const PAUSE: Duration = Duration::from_millis(20);

/// The end of the attacks, and their counts.
struct Siege {
    over: AtomicBool,
    tried: AtomicUsize,
    server: SocketAddr,
    token: String,
}

impl Siege {
    /// A connection from its own loopback address, so that the limits of one address do not limit all.
    fn connect(&self, from: u8) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 1, from), 0)).into())?;
        socket.connect_timeout(&self.server.into(), Duration::from_secs(5))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        self.tried.fetch_add(1, Relaxed);
        Ok(stream)
    }

    /// Sends bytes on its own connection, and returns the connection. Errors are ignored, because the server can refuse
    /// it.
    fn begin(&self, from: u8, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect(from).ok()?;
        let _ = stream.write_all(bytes);
        Some(stream)
    }

    /// The head of an attacker's request, without `content-length` and the empty line.
    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n", self.server, self.token)
    }

    /// Posts JSON as the attacker, and reads at most 64 KiB of the answer.
    fn post(&self, from: u8, path: &str, body: &Value) {
        let (body, head) = (body.to_string(), self.head(&format!("POST {path}")));
        let request = format!(
            "{head}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if let Some(mut stream) = self.begin(from, request.as_bytes()) {
            let _ = stream.read(&mut vec![0; 65_536]);
        }
    }

    /// Sends the same bytes on many connections, and holds them for a while.
    fn hold(&self, from: u8, count: usize, bytes: &[u8]) {
        let held: Vec<_> = (0..count).map_while(|_| self.begin(from, bytes)).collect();
        thread::sleep(Duration::from_secs(1));
        drop(held);
    }
}

/// An attack from its own address, which is repeated.
type Attack = fn(&Siege, u8);

const ATTACKS: [Attack; 10] = [
    // Heads that never end.
    |siege, from| siege.hold(from, 200, b"GET / HTTP/1.1\r\nhost: "),
    // Bodies that lack one byte.
    |siege, from| {
        let length = 4 << 20;
        let head = siege.head("POST /messages/mallory:n:echo/echo");
        let request = [format!("{head}content-length: {length}\r\n\r\n").as_bytes(), &vec![b'x'; length - 1]].concat();
        siege.hold(from, 20, &request);
    },
    // Answers that nobody reads, on connections that send more requests.
    |siege, from| siege.hold(from, 40, format!("{}\r\n", siege.head("GET /big")).repeat(20).as_bytes()),
    // Too many header lines.
    |siege, from| {
        let request = format!("{}{}\r\n", siege.head("GET /"), "a: b\r\n".repeat(150_000));
        drop(siege.begin(from, request.as_bytes()));
    },
    // Statements that take memory and time.
    |siege, from| {
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
        for statement in [
            format!("{endless} SELECT count(*) FROM n"),
            format!("{endless} SELECT randomblob(1000000) FROM n"),
            format!("SELECT {}", vec!["randomblob(100000000)"; 20].join(", ")),
            "SELECT instr(replace(hex(zeroblob(40000000)), '0', 'ab'), 'bb')".to_owned(),
            format!("{endless} SELECT group_concat(i) FROM n"),
        ] {
            siege.post(from, "/messages/mallory:n:db/query", &json!({ "sql": statement }));
        }
    },
    // Many actors that compute forever.
    |siege, from| {
        let key = siege.tried.load(Relaxed) % 200;
        siege.post(from, &format!("/messages/mallory:n:many:key{key}/spin"), &Value::Null);
    },
    // Actors that set wakes and send messages to themselves endlessly.
    |siege, from| {
        siege.post(from, "/messages/mallory:wakes:wat/act", &Value::Null);
        siege.post(from, "/messages/mallory:notes:wat/act", &Value::Null);
    },
    // Refusals and texts that try to fill the log or to forge its lines.
    |siege, from| {
        let forged = format!("x\n{}ERROR forged\u{1b}[2J\u{202e}", "y".repeat(8_000));
        let failure = json!({ "status": 500, "code": "x", "message": forged });
        siege.post(from, "/messages/mallory:n:echo/fail", &failure);
        siege.post(from, "/messages/bob:n:echo/no-such-operation", &json!({ "text": forged }));
    },
    // Long lists of blobs that do not exist.
    |siege, from| {
        let digests: Vec<String> = (0..20_000).map(|n| format!("{n:064x}")).collect();
        siege.post(from, "/blobs/missing", &json!(digests));
    },
    // Apps that are created repeatedly from a bundle with a costly module.
    |siege, from| {
        let app = siege.tried.load(Relaxed) % 50;
        let about = json!({ "app": format!("mallory:costly{app}"), "bundle": "mallory:repo:costly:1.0.0" });
        siege.post(from, "/messages/starlane:apps/create", &about);
    },
];

/// The attacker's apps.
fn move_in(server: &Server, token: &str) {
    let app = "allow = []\n[mechtrons.\"many:{key}\"]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n\
               [resources.db]\nkind = \"database\"\n[http]\n\"GET /big\" = { file = \"site/big.bin\" }\n";
    let bundle = echo_bundle(app);
    fs::write(bundle.path().join("site/big.bin"), vec![7; FILE]).unwrap();
    let install = |bundle: &Path, name: &str, app: &str| {
        let address = format!("mallory:repo:{name}:1.0.0");
        server.publish(token, 7, bundle, &address);
        let answer = server.create(token, app, &address);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    install(bundle.path(), "echoes", "mallory:n");
    let wakes = "(loop $again (call $wake_after (i32.const 0) (i64.const 1)) \
                 (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))";
    install(hand_written(&format!("{wakes} (i32.const 1)"), "", wakes).path(), "wakes", "mallory:wakes");
    install(hand_written(&format!("{wakes} (i32.const 0)"), "", wakes).path(), "notes", "mallory:notes");
    let (_, costly) = hostile_modules::within_bounds().swap_remove(0);
    let bundle = hand_written("(i32.const 1)", "", "");
    fs::write(bundle.path().join("wasm/wat.wasm"), costly).unwrap();
    server.publish(token, 7, bundle.path(), "mallory:repo:costly:1.0.0");
}

#[test]
fn a_neighbour_is_answered_during_all_attacks_at_once() {
    let server = Server::start_by(&format!("ulimit -n {DESCRIPTORS}; exec \"$@\""), "");
    let cage = Cage::around(server.pid(), MEMORY);
    let mallory = server.token_for("mallory", &["deploy mallory:**", "request ~*::**", "notify ~*::**"]);
    let bob = server.token_for("bob", &["deploy bob:**", "request bob:**"]);
    server.publish(&bob, 8, echo_bundle("").path(), "bob:repo:echoes:1.0.0");
    assert_eq!(server.create(&bob, "bob:n", "bob:repo:echoes:1.0.0").status, 200);
    move_in(&server, &mallory);

    let siege = Siege {
        over: AtomicBool::new(false),
        tried: AtomicUsize::new(0),
        server: server.address().parse().unwrap(),
        token: mallory,
    };
    let (mut asked, mut unanswered, mut most) = (0, 0, 0);
    thread::scope(|scope| {
        for (from, attack) in (2..).zip(ATTACKS) {
            let siege = &siege;
            scope.spawn(move || {
                while !siege.over.load(Relaxed) {
                    attack(siege, from);
                }
            });
        }
        let begin = Instant::now();
        while begin.elapsed() < LAST {
            let said = json!({ "n": asked });
            let answer = server.try_ask(&bob, "bob:n:echo", "echo", &said);
            asked += 1;
            if !answer.as_ref().is_ok_and(|answer| answer.status == 200 && answer.json() == said) {
                unanswered += 1;
                println!("request {asked} was not answered: {answer:?}");
            }
            most = most.max(cage.resident());
            thread::sleep(PAUSE);
        }
        siege.over.store(true, Relaxed);
    });
    let tried = siege.tried.load(Relaxed);
    println!("{tried} connections of {} attacks, beside {asked} requests of the neighbour", ATTACKS.len());
    figure("server.rss-max", most.div_ceil(1 << 20) as f64, "MiB");
    figure("neighbour.asked", f64::from(asked), "requests");
    figure("neighbour.unanswered", f64::from(unanswered), "requests");
    assert!(tried > ATTACKS.len() && asked > 10, "{tried} connections, {asked} requests");
    assert_eq!(cage.ended_for_memory().unwrap(), 0, "the memory limit was exceeded");
    assert!(most < MEMORY, "{most} bytes");
    assert_eq!(unanswered, 0, "of {asked}");
    // The server still accepts other clients, and has counted its refusals.
    assert_eq!(server.get("/healthz").status, 200);
}
