//! NATS: its server, and the responder behind it.

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

/// The subject that the responder answers.
const SUBJECT: &str = "bench.echo";
/// The time limit for the server to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A NATS server. Dropping it ends the server.
pub(crate) struct Nats {
    /// Its addresses for clients and browsers.
    pub(crate) address: String,
    pub(crate) websocket: String,
    _running: Started,
}

impl Nats {
    /// Starts the server. Its configuration and log go to `folder`.
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
            ensure!(start.elapsed() < START_LIMIT, "the NATS server did not listen within 10 s\n{}", said());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, websocket, _running: running })
    }
}

/// Echoes requests forever. Prints a line when it is ready. Implements the protocol itself, because no library is faster.
pub(crate) async fn respond(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let hello =
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}\r\n";
    stream.write_all(format!("{hello}SUB {SUBJECT} 1\r\nPING\r\n").as_bytes()).await?;
    let (mut input, mut output, mut is_ready) = (Vec::with_capacity(1 << 20), Vec::new(), false);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the NATS server closed the connection");
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

/// The bytes before the end of the first line.
fn line_in(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    bytes.get(..end)
}
