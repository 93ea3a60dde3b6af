//! P11: the throughput of one link to a mechtron on the server, beside the raw WebSocket.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use starlane_protocol::Address;
use tokio::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    peer::Peer,
    raw::Raw,
    role::Player,
    rounds::{Contender, Rounds},
    world::Server,
};

/// The number of requests in flight.
const IN_FLIGHT: usize = 256;
pub(crate) const SPEAKER: &str = "bench:mesh:speaker";

pub(crate) async fn run(server: &Server, rounds: &Rounds) -> Result<()> {
    let echo = Player::start(&["raw"]).await?;
    let ours = Mutex::new(Peer::link(&server.address, 1).await?);
    let raw = Mutex::new(Raw::open(&echo.said).await?);
    for (name, size) in [("64B", 64), ("4KiB", 4 << 10)] {
        let contenders = [
            Contender::new("ours", async || block(&mut *ours.lock().await, IN_FLIGHT, rounds.block, size).await),
            Contender::new("raw", async || {
                raw.lock().await.block(IN_FLIGHT, rounds.block, |number| body(size, number)).await
            }),
        ];
        rounds.compare(&format!("P11/{name}"), "requests/s", &contenders).await?;
    }
    Ok(())
}

/// Runs a block with this many requests in flight. Returns the answers per second. A failed request is an error.
pub(crate) async fn block(peer: &mut Peer, many: usize, length: Duration, size: usize) -> Result<f64> {
    let to = Address::parse(SPEAKER).map_err(|error| anyhow!("{error}"))?;
    let start = Instant::now();
    let (mut sent, mut answers, mut open) = (0, 0_u64, 0);
    loop {
        while open < many && start.elapsed() < length {
            (sent, open) = (sent + 1, open + 1);
            peer.ask(&to, body(size, sent))?;
        }
        if open == 0 {
            return Ok(answers as f64 / start.elapsed().as_secs_f64());
        }
        peer.flush().await?;
        let came = peer.answers().await?;
        ensure!(peer.failures.is_empty(), "a request failed: {:?}", peer.failures);
        answers += came as u64;
        open -= came;
    }
}

/// The body of a request: its number, and unique contents.
pub(crate) fn body(size: usize, number: u64) -> Bytes {
    let mut body = vec![number as u8; size];
    if let Some(head) = body.get_mut(..8) {
        head.copy_from_slice(&number.to_le_bytes());
    }
    body.into()
}
