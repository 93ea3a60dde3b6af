//! NATS: its server, and what answers behind it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use starlane_testkit::{child::Started, server::free_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant, sleep},
};

use crate::path;

/// What the responder answers.
const SUBJECT: &str = "bench.echo";
const START: Duration = Duration::from_secs(10);

/// A NATS server that is ended when this is dropped.
pub(crate) struct Nats {
    /// Where clients and browsers reach it.
    pub(crate) address: String,
    pub(crate) websocket: String,
    _running: Started,
}

impl Nats {
    /// Starts it; its configuration and log go to `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let (address, websocket) = (free_address()?, free_address()?);
        let configuration = folder.join("nats.conf");
        let text = format!("listen: \"{address}\"\nwebsocket {{\n  listen: \"{websocket}\"\n  no_tls: true\n}}\n");
        std::fs::write(&configuration, text)?;
        let mut command = Command::new(path("STARLANE_NATS")?);
        command.arg("-c").arg(&configuration);
        let log = folder.join("nats.log");
        let mut running = Started::new(&mut command, &log)?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let start = Instant::now();
        while TcpStream::connect(&websocket).await.is_err() {
            running.still_runs().with_context(said)?;
            ensure!(start.elapsed() < START, "the NATS server does not listen\n{}", said());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, websocket, _running: running })
    }
}

/// Answers requests with what they carry, for ever; says so first. It speaks the protocol itself: nothing answers faster.
pub(crate) async fn respond(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let hello =
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}\r\n";
    stream.write_all(format!("{hello}SUB {SUBJECT} 1\r\nPING\r\n").as_bytes()).await?;
    let (mut input, mut output, mut is_ready) = (Vec::with_capacity(1 << 20), Vec::new(), false);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the NATS server hung up");
        }
        let mut at = 0;
        while let Some(line) = input.get(at..).and_then(line_in) {
            let body = at + line.len() + 2;
            let text = std::str::from_utf8(line)?;
            let words: Vec<&str> = text.split(' ').collect();
            match words.as_slice() {
                ["MSG", _, _, reply, size] => {
                    let end = body + size.parse::<usize>()?;
                    let Some(payload) = input.get(body..end + 2) else { break };
                    output.extend_from_slice(format!("PUB {reply} {size}\r\n").as_bytes());
                    output.extend_from_slice(payload);
                    at = end + 2;
                    continue;
                }
                ["PING"] => output.extend_from_slice(b"PONG\r\n"),
                ["PONG"] if !is_ready => {
                    is_ready = true;
                    println!("ready");
                }
                ["PONG"] | ["+OK"] | ["INFO", ..] => {}
                _ => bail!("the NATS server says {text}"),
            }
            at = body;
        }
        input.drain(..at);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

/// The bytes before the first line end.
fn line_in(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    bytes.get(..end)
}
