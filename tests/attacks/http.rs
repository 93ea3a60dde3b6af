//! Attacks of any client over HTTP: holding memory, descriptors and time. Each attack runs beside a neighbour with
//! another address, whose requests are answered throughout.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use starlane_testkit::attack;

use crate::world::{LONG, Server, folder};

/// Short timeouts, so that a test reaches them.
const SHORT: &str = "[limits]\nbody-time = 2000\nhead-time = 1000\nwrite-time = 3000\n";
/// The maximum growth of memory during an attack, in MiB.
const MEMORY: u64 = 200;
const BUNDLE: &str =
    "[bundle]\nname = \"x\"\ndescription = \"x\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n";
const SITE: &str = "[app]\nname = \"x\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n\"GET /big\" = { file = \"site/big.bin\" }\n";

/// Requests a page repeatedly, from its own address.
struct Neighbour {
    stop: Arc<AtomicBool>,
    unanswered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<usize>>,
}

impl Neighbour {
    fn of(server: &Server) -> Self {
        let (stop, unanswered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stops, counts, address) = (Arc::clone(&stop), Arc::clone(&unanswered), server.address().to_owned());
        let thread = std::thread::spawn(move || {
            let mut asked = 0;
            while !stops.load(Relaxed) {
                let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
                if !ask_from("127.0.0.9:0", &address, &request).starts_with("HTTP/1.1 200") {
                    counts.fetch_add(1, Relaxed);
                }
                asked += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            asked
        });
        Self { stop, unanswered, thread: Some(thread) }
    }

    /// Checks that each of its requests was answered.
    fn was_answered(mut self) {
        self.stop.store(true, Relaxed);
        let asked = self.thread.take().unwrap().join().unwrap();
        assert_eq!(self.unanswered.load(Relaxed), 0, "of {asked} requests");
        assert!(asked > 0);
    }
}

/// A connection from the given loopback address.
fn connect_from(from: &str, to: &str) -> std::io::Result<TcpStream> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), LONG)?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(LONG))?;
    Ok(stream)
}

pub(crate) fn ask_from(from: &str, to: &str, request: &str) -> String {
    let answered = || -> std::io::Result<Vec<u8>> {
        let mut stream = connect_from(from, to)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    answered().map_or_else(|error| error.to_string(), |answer| String::from_utf8_lossy(&answer).into_owned())
}

/// Writes as much as the server reads.
fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// The bytes that arrive until the connection ends; none if it does not end.
fn rest(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        _ => Some(String::from_utf8_lossy(&answer).into_owned()),
    }
}

/// Whether an answer is a failure from this server's own code.
fn is_ours(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 4") && answer.contains("starlane-code: ") && answer.contains("\"code\":")
}

/// Waits until the server has at most this many descriptors.
fn settles(server: &Server, descriptors: usize) {
    let begin = Instant::now();
    while server.descriptors() > descriptors {
        assert!(begin.elapsed() < LONG, "{} descriptors are open", server.descriptors());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server with a large file, and its resource use while it is idle.
fn site() -> (Server, u64, usize) {
    let server = Server::start_with(SHORT);
    let files = folder(&[("bundle.toml", BUNDLE), ("app.toml", SITE), ("site/index.html", "<p>x</p>")]);
    let noise: Vec<u8> = (0..40_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(files.path().join("site/big.bin"), noise).unwrap();
    server.publish(&server.token, 1, files.path(), "acme:repo:x:1.0.0");
    assert_eq!(server.create(&server.token, "acme:x", "acme:repo:x:1.0.0").status, 200);
    assert_eq!(server.get("/").status, 200);
    // Each keep-alive connection of the set-up has a descriptor.
    let (memory, descriptors) = (server.rss_mib(), server.descriptors() + 8);
    (server, memory, descriptors)
}

#[test]
fn endless_bodies_do_not_hold_memory_or_descriptors() {
    const BODY: usize = 16 << 20;
    let (server, before, descriptors) = site();
    let neighbour = Neighbour::of(&server);
    let own = server.address();
    let head = |length: usize| {
        format!(
            "POST /messages/acme:x:y/z HTTP/1.1\r\nHost: {own}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let body = vec![b' '; BODY - 1];
    let mut large: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = server.connect();
            pour(&mut stream, head(BODY).as_bytes());
            pour(&mut stream, &body);
            stream
        })
        .collect();
    let mut idle: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = server.connect();
            pour(&mut stream, head(100).as_bytes());
            stream
        })
        .collect();
    let answers: Vec<Option<String>> = large.iter_mut().chain(&mut idle).map(rest).collect();
    let through = answers
        .iter()
        .filter(|answer| !answer.as_deref().is_some_and(|answer| is_ours(answer) || answer.is_empty()))
        .count();
    let grown = server.peak_rss_mib().saturating_sub(before);
    drop((large, idle));
    settles(&server, descriptors);
    neighbour.was_answered();
    assert!(grown < MEMORY, "{grown} MiB more");
    assert!(answers.iter().flatten().any(|answer| answer.contains("\"too-slow\"")), "{:?}", answers.last());
    attack("B2", 340, through);
    assert_eq!(through, 0);
}

#[test]
fn anonymous_callers_are_refused_before_their_body_is_read() {
    let server = Server::start();
    server.token_for("ada", &[]);
    let own = server.address();
    let lines = [
        "POST /messages/acme:x:y/z".to_owned(),
        "POST /blobs/missing".to_owned(),
        format!("PUT /blobs/sha256/{}", "0".repeat(64)),
        "PUT /bundles/acme:repo:x:1.0.0".to_owned(),
    ];
    let mut through = 0;
    for line in &lines {
        for more in ["", "Authorization: Bearer guessed\r\n", "Expect: 100-continue\r\n"] {
            let mut stream = server.connect();
            pour(
                &mut stream,
                format!("{line} HTTP/1.1\r\nHost: {own}\r\n{more}Content-Length: 10000000\r\n\r\n").as_bytes(),
            );
            // The client sends no byte of the body, and the answer does not wait for one.
            let answer = rest(&mut stream).unwrap_or_default();
            through += usize::from(!(answer.starts_with("HTTP/1.1 401") && is_ours(&answer)));
        }
    }
    attack("B2", lines.len() * 3, through);
    assert_eq!(through, 0);
}

#[test]
fn unread_answers_do_not_hold_memory_and_end() {
    let (server, before, descriptors) = site();
    let neighbour = Neighbour::of(&server);
    let own = server.address();
    let get = format!("GET /big HTTP/1.1\r\nHost: {own}\r\n\r\n");
    // Some send more requests on the same connection, without reading the first answer.
    let readers: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = server.connect();
            pour(&mut stream, get.repeat(if number % 3 == 0 { 50 } else { 1 }).as_bytes());
            stream
        })
        .collect();
    let begin = Instant::now();
    let ended = loop {
        let metrics = server.get("/metrics").text();
        let refused = |name: &str| -> usize {
            let line =
                metrics.lines().find(|line| line.contains(&format!("refused_total{{name=\"{name}\"}}"))).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let ended = refused("write-time") + refused("minimum-rate");
        if ended >= readers.len() || begin.elapsed() > LONG {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    settles(&server, descriptors);
    let grown = server.peak_rss_mib().saturating_sub(before);
    neighbour.was_answered();
    assert!(grown < MEMORY, "{grown} MiB more");
    let through = readers.len().saturating_sub(ended);
    attack("B2", readers.len(), through);
    assert_eq!(through, 0);
}

#[test]
fn a_reader_of_a_few_bytes_at_a_time_is_disconnected() {
    let (server, _, descriptors) = site();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut stream = server.connect();
                pour(&mut stream, format!("GET /big HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).as_bytes());
                let mut few = [0; 64];
                while !stop.load(Relaxed) && stream.read(&mut few).is_ok_and(|length| length > 0) {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        settles(&server, descriptors);
        stop.store(true, Relaxed);
    });
    attack("B2", 10, 0);
}

#[test]
fn slow_long_and_malformed_heads_are_refused_with_a_code() {
    let (server, before, descriptors) = site();
    let neighbour = Neighbour::of(&server);
    let own = server.address();
    let host = format!("Host: {own}\r\n");
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let hostile = [
        (format!("GET / HTTP/1.1\r\n{host}{}\r\n", lines(150_000)), "431"),
        (format!("GET / HTTP/1.1\r\n{host}{}\r\n", lines(200)), "431"),
        (format!("GET / HTTP/1.1\r\n{host}x: {}\r\n\r\n", "y".repeat(1 << 20)), "431"),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "y".repeat(1 << 20)), "4"),
        (format!("GET / HTTP/1.1\r\n{host}"), "408"),
        ("GET".to_owned(), "408"),
        (format!("GET / HTTP/1.1\r\n{host}x y\r\n\r\n"), "400"),
        (format!("GET / HTTP/9.9\r\n{host}\r\n"), "400"),
        (format!("G\0T / HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}content-length: 1\r\ncontent-length: 2\r\n\r\nx"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}content-length: -1\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}transfer-encoding: xyz\r\n\r\n"), "400"),
        ("\x16\x03\x01 hello".to_owned(), "400"),
    ];
    let mut through = Vec::new();
    for (text, status) in &hostile {
        let mut stream = server.connect();
        pour(&mut stream, text.as_bytes());
        let answer = rest(&mut stream);
        let told = answer.as_deref().unwrap_or_default();
        // A peer that is still writing can get a connection reset.
        let reset = told.is_empty() && text.len() > 64 * 1024 && answer.is_some();
        if !(reset || is_ours(told) && told.starts_with(&format!("HTTP/1.1 {status}"))) {
            through.push(format!("{}: {answer:?}", &text[..text.len().min(60)]));
        }
    }
    let trickled = std::thread::scope(|scope| {
        let trickle = |_| {
            scope.spawn(|| {
                let mut stream = server.connect();
                let begin = Instant::now();
                pour(&mut stream, b"GET / HTTP/1.1\r\n");
                while stream.write_all(b"a: b\r\n").is_ok() {
                    if begin.elapsed() > LONG {
                        return false;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                true
            })
        };
        let all: Vec<_> = (0..50).map(trickle).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).filter(|ended| *ended).count()
    });
    settles(&server, descriptors);
    neighbour.was_answered();
    assert!(server.peak_rss_mib().saturating_sub(before) < MEMORY);
    let failed = through.len() + 50 - trickled;
    attack("B2", hostile.len() + 50, failed);
    assert_eq!(failed, 0, "{through:#?}");
}

#[test]
fn chunks_with_endless_extensions_and_trailers_are_refused() {
    let (server, before, _) = site();
    let neighbour = Neighbour::of(&server);
    let own = server.address();
    let head = format!(
        "POST /messages/acme:x:y/z HTTP/1.1\r\nHost: {own}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let bodies = [
        format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1 << 20)),
        format!("{}0\r\n\r\n", format!("1;{}\r\n \r\n", "e".repeat(900)).repeat(4_000)),
        format!("1\r\n \r\n0\r\n{}\r\n", "t: u\r\n".repeat(300_000)),
        format!("1\r\n \r\n0\r\nt: {}\r\n\r\n", "u".repeat(1 << 20)),
        "ffffffffffffffff\r\nx".to_owned(),
        "fffffffffffffffff\r\nx".to_owned(),
        "zz\r\nx\r\n".to_owned(),
        "-1\r\nx\r\n".to_owned(),
    ];
    let mut through = Vec::new();
    for body in &bodies {
        let mut stream = server.connect();
        pour(&mut stream, head.as_bytes());
        pour(&mut stream, body.as_bytes());
        let answer = rest(&mut stream);
        if !answer.as_deref().is_some_and(|answer| is_ours(answer) || answer.is_empty()) {
            through.push(format!("{}: {answer:?}", &body[..body.len().min(40)]));
        }
    }
    neighbour.was_answered();
    assert!(server.peak_rss_mib().saturating_sub(before) < MEMORY);
    attack("B2", bodies.len(), through.len());
    assert!(through.is_empty(), "{through:#?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (server, ..) = site();
    let own = server.address();
    let mut stream = server.connect();
    let last = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
    let all = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\n\r\n").repeat(1_999) + &last;
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(all.as_bytes()));
    let answer = rest(&mut stream).unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2_000);
}

#[test]
fn ten_thousand_connections_from_one_address_leave_room_for_others() {
    const TRIED: usize = 10_000;
    let server = Server::start_with("[limits]\nconnections-per-address = 300\nconnections = 2000\n");
    let before = server.descriptors();
    let neighbour = Neighbour::of(&server);
    let (mut open, mut told, mut most) = (Vec::new(), 0, 0);
    for number in 0..TRIED {
        let mut stream = server.connect();
        // Excess connections get a refusal, or are closed.
        if number >= 300 {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut answer = [0; 512];
            if let Ok(length) = stream.read(&mut answer) {
                told += usize::from(is_ours(&String::from_utf8_lossy(&answer[..length])));
                continue;
            }
        }
        open.push(stream);
        if number % 500 == 0 {
            most = most.max(server.descriptors());
        }
        if open.len() > 600 {
            // The system has accepted it, and the server has not refused it yet.
            open.truncate(300);
        }
    }
    most = most.max(server.descriptors());
    neighbour.was_answered();
    let through = most.saturating_sub(before + 300 + 200);
    attack("B2", TRIED, through);
    assert_eq!(through, 0, "{most} descriptors");
    assert!(told > 0, "some got the reason");
}
