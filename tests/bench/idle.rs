//! The cost of idle links: the memory of each, and the time of messages on another link.

use std::thread;

use anyhow::{Context, Result, anyhow};
use tokio::{
    runtime::Builder,
    sync::{Mutex, oneshot},
    time::{Duration, sleep},
};

use crate::{
    link::block,
    memory, path,
    peer::Peer,
    rounds::{Contender, Rounds, print},
    world::Server,
};

/// The number of idle links, and of the steps in which they are opened.
const LINKS: u64 = 2_000;
const STEPS: u64 = 5;
/// The time until the memory of handshakes is released.
const SETTLE: Duration = Duration::from_millis(500);
const LIMITS: &str = "links = 10000\nconnections = 10000\nconnections-per-address = 10000\n";

pub(crate) async fn run(rounds: &Rounds) -> Result<()> {
    memory::allow_open_files()?;
    let binary = path("STARLANE_BIN")?;
    let (busy, quiet) = (Server::start_with(&binary, LIMITS).await?, Server::start_with(&binary, LIMITS).await?);
    let ours = Mutex::new(Peer::link(&busy.address, 1).await?);
    let none = Mutex::new(Peer::link(&quiet.address, 1).await?);
    // Opens the first links before it measures, so that one-time allocations do not count.
    for peer in [&ours, &none] {
        block(&mut *peer.lock().await, 1, rounds.block, 64).await?;
    }
    let mut idle = Vec::new();
    let mut results = Vec::new();
    for step in 0..STEPS {
        let before = memory::of_process(busy.process()?)?;
        idle.push(Idle::open(&busy.address, 1_000 + step * LINKS / STEPS, LINKS / STEPS).await?);
        sleep(SETTLE).await;
        let grown = memory::of_process(busy.process()?)?.saturating_sub(before);
        results.push(vec![("ours", grown as f64 / (LINKS / STEPS) as f64)]);
    }
    print("links.idle-bytes", "bytes", &results);
    let contenders = [
        Contender::new("ours", async || one_at_a_time(&ours, rounds.block).await),
        Contender::new("none", async || one_at_a_time(&none, rounds.block).await),
    ];
    rounds.compare("links.idle-cost", "µs", &contenders).await?;
    idle.iter_mut().try_for_each(Idle::check)
}

/// Microseconds per message, one at a time.
pub(crate) async fn one_at_a_time(peer: &Mutex<Peer>, length: Duration) -> Result<f64> {
    Ok(1e6 / block(&mut *peer.lock().await, 1, length, 64).await?)
}

/// Links that only answer pings, on their own thread.
struct Idle {
    ended: oneshot::Receiver<anyhow::Error>,
}

impl Idle {
    /// Opens `count` links, as hosts from number `first` on.
    async fn open(address: &str, first: u64, count: u64) -> Result<Self> {
        let (is_open, opened) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let address = address.to_owned();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let done: Result<()> = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
                runtime.block_on(async {
                    let mut links = tokio::task::JoinSet::new();
                    for host in first..first + count {
                        let link = Peer::link(&address, host).await.with_context(|| format!("link {host}"))?;
                        links.spawn(link.idle());
                    }
                    let _ = is_open.send(());
                    match links.join_next().await {
                        Some(Ok(Err(error))) => Err(error),
                        _ => Err(anyhow!("an idle link ended")),
                    }
                })
            });
            let _ = ends.send(done.err().unwrap_or_else(|| anyhow!("the idle links ended")));
        });
        let mut idle = Self { ended };
        if opened.await.is_err() {
            return Err((&mut idle.ended).await?);
        }
        Ok(idle)
    }

    /// Fails if one of the links has ended, because then fewer were idle than reported.
    fn check(&mut self) -> Result<()> {
        match self.ended.try_recv() {
            Ok(error) => Err(error.context("an idle link ended")),
            Err(_) => Ok(()),
        }
    }
}
