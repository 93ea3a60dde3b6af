//! Streams over HTTP: bodies that pass through a guest as they come.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;
use starlane_testkit::figure::{Sizes, figure};

use crate::world::{LONG, Server, echo_bundle};

const ROUTES: &str = r#"
[http]
"POST /upload" = { to = ".:echo", operation = "upload", access = "public" }
"POST /mirror" = { to = ".:echo", operation = "mirror", access = "public" }
"POST /lines" = { to = ".:echo", operation = "lines", access = "public" }
"POST /echo" = { to = ".:echo", operation = "echo", access = "public" }
"POST /download" = { to = ".:echo", operation = "download", access = "public" }
"#;

const MIB: usize = 1 << 20;
const BODY: Sizes = Sizes { ci: 24 * MIB, full: 100 * MIB };

fn site() -> Server {
    let server = Server::start();
    server.run_app(echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    server
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// FNV-1a, as the guest computes it.
fn checksum(length: usize) -> String {
    let hash = (0..length)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, at| (hash ^ u64::from(pattern(at))).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Begins a request whose body comes in chunks.
fn begin(server: &Server, path: &str, content_type: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

/// Reads the head of an answer. Returns its status and its header lines.
fn head(stream: &mut BufReader<TcpStream>) -> (u16, Vec<String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_ascii_lowercase()),
        }
    }
    (lines[0].split(' ').nth(1).unwrap().parse().unwrap(), lines)
}

/// Reads the next chunk of an answer. None at the last one; errors if the connection ends before it.
fn next(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok((length > 0).then_some(bytes))
}

#[test]
fn upload_of_any_length_reaches_a_guest() {
    let (server, length) = (site(), BODY.of_this_run());
    let mut stream = begin(&server, "/upload", "application/octet-stream");
    let bytes: Vec<u8> = (0..length).map(pattern).collect();
    for part in bytes.chunks(100_000) {
        chunk(&mut stream, part).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let (status, lines) = head(&mut stream);
    assert_eq!(status, 200, "{lines:?}");
    let length_line = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length_line.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let receipt: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (receipt["bytes"].as_u64(), receipt["checksum"].as_str()),
        (Some(length as u64), Some(&*checksum(length)))
    );
    figure("stream.bytes", length as f64, "bytes");
}

#[test]
fn download_of_any_length_leaves_as_it_is_made() {
    let (server, length) = (site(), BODY.of_this_run());
    let body = format!("{{\"bytes\":{length}}}");
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = format!(
        "POST /download HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept-encoding: gzip\r\ncontent-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let (status, lines) = head(&mut stream);
    assert_eq!(status, 200, "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("content-encoding")), "parts are not held back by compression");
    assert!(lines.contains(&"x-accel-buffering: no".to_owned()), "nor by a proxy: {lines:?}");
    let mut received = 0;
    while let Some(bytes) = next(&mut stream).unwrap() {
        for byte in bytes {
            assert_eq!(byte, pattern(received), "at {received}");
            received += 1;
        }
    }
    assert_eq!(received, length);
}

#[test]
fn each_part_passes_through_a_guest_before_the_next_one_is_sent() {
    let server = site();
    let mut writer = begin(&server, "/mirror", "text/plain");
    writer.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    chunk(&mut writer, b"one").unwrap();
    let (status, lines) = head(&mut reader);
    assert_eq!((status, next(&mut reader).unwrap()), (200, Some(b"one".to_vec())), "{lines:?}");
    for n in 0..50 {
        let text = format!("part {n}");
        chunk(&mut writer, text.as_bytes()).unwrap();
        assert_eq!(next(&mut reader).unwrap(), Some(text.into_bytes()));
    }
    writer.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(next(&mut reader).unwrap(), None);
}

#[test]
fn reader_that_stops_reading_stops_the_writer_and_no_other() {
    let server = site();
    let mut writer = begin(&server, "/mirror", "application/octet-stream");
    writer.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let (part, mut written) = (vec![7; 64 * 1024], 0);
    while written < 200 * MIB && chunk(&mut writer, &part).is_ok() {
        written += part.len();
    }
    // What the sockets of both directions hold, and the credit of each hop.
    assert!(written < 48 * MIB, "{written} bytes were taken");
    let begun = Instant::now();
    for n in 0..20 {
        let answer = server.send("POST", "/echo", &[("content-type", "text/plain")], format!("{n}").as_bytes());
        assert_eq!((answer.status, answer.text()), (200, n.to_string()));
    }
    assert!(begun.elapsed() < LONG, "neighbours are served");
}

#[test]
fn stream_that_fails_never_looks_complete() {
    let server = site();
    // A line that is not JSON ends the stream of lines behind those before it.
    let mut writer = begin(&server, "/lines", "application/x-ndjson");
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    chunk(&mut writer, b"1\n{\"a\":2}\n").unwrap();
    assert_eq!(head(&mut reader).0, 200);
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < 2 {
        text.extend(next(&mut reader).unwrap().expect("it goes on"));
    }
    chunk(&mut writer, b"not json\n").unwrap();
    let end = next(&mut reader).map(|part| part.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    assert!(end.is_err(), "the connection breaks, instead of a last chunk: {end:?}");
    // A client that goes away in the middle of its upload.
    let mut writer = begin(&server, "/upload", "text/plain");
    chunk(&mut writer, b"half").unwrap();
    drop(writer);
    // A client that sends nothing that is a chunk.
    let mut writer = begin(&server, "/upload", "text/plain");
    writer.write_all(b"no length\r\n").unwrap();
    let mut reader = BufReader::new(writer);
    assert_eq!(head(&mut reader).0, 400);
    assert_eq!(server.send("POST", "/echo", &[("content-type", "text/plain")], b"on").status, 200);
}

#[test]
fn parameters_of_an_operation_with_streams_are_headers_for_every_length() {
    let server = site();
    for length in [10, 200_000] {
        let answer =
            server.send("POST", "/mirror?name=a.csv", &[("content-type", "application/json")], &vec![b'7'; length]);
        assert_eq!((answer.status, answer.body.len()), (200, length), "the body is unchanged");
    }
}

#[test]
fn body_of_an_operation_without_streams_is_read_whole() {
    let server = site();
    let mut stream = begin(&server, "/echo", "text/plain");
    for _ in 0..4 {
        chunk(&mut stream, &vec![b'x'; 50_000]).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let (status, lines) = head(&mut BufReader::new(stream));
    assert_eq!(status, 200);
    assert!(lines.contains(&"content-length: 200000".to_owned()), "{lines:?}");
}
