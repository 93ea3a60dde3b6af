//! P12 on a server: the cost of sleeping and awake actors, the time of a wake, and failed requests.

use std::cell::Cell;

use anyhow::{Result, anyhow, ensure};
use starlane_protocol::Address;
use tokio::{
    sync::Mutex,
    time::{Duration, Instant, sleep},
};

use crate::{
    idle::one_at_a_time,
    link::body,
    memory, path,
    peer::Peer,
    rounds::{Contender, Round, Rounds, print},
    world::Server,
};

/// The number of actors, and of the steps in which they are made.
const ACTORS: u64 = 10_000;
const STEPS: u64 = 5;
/// The number of awake actors while most sleep.
const FEW_AWAKE: u64 = 64;
/// The number of actors that are all awake. A server has room for 1,000 instances.
const AWAKE: u64 = 800;
/// The number of requests in flight.
const IN_FLIGHT: usize = 256;
/// The time until temporary memory is released.
const SETTLE: Duration = Duration::from_millis(500);
const LIMITS: &str = "keys = 1000000\nactors = 1000000\nactors-per-app = 1000000\nactors-per-space = 1000000\n";

pub(crate) async fn run(rounds: &Rounds) -> Result<()> {
    asleep(rounds).await?;
    awake().await
}

/// Many sleeping actors: their memory, their wakes, and the time of messages to another actor.
async fn asleep(rounds: &Rounds) -> Result<()> {
    let binary = path("STARLANE_BIN")?;
    let limits = format!("{LIMITS}awake-per-app = {FEW_AWAKE}\nawake-per-space = {FEW_AWAKE}\n");
    let (full, empty) = (Server::start_with(&binary, &limits).await?, Server::start_with(&binary, &limits).await?);
    let ours = Mutex::new(Peer::link(&full.address, 1).await?);
    let none = Mutex::new(Peer::link(&empty.address, 1).await?);
    for peer in [&ours, &none] {
        one_at_a_time(peer, rounds.block).await?;
    }
    // Fills the limit of awake actors, so that later ones sleep.
    wake(&mut *ours.lock().await, 0..FEW_AWAKE).await?;
    let mut results = Vec::new();
    let (mut failed, mut asked) = (0, 0);
    for step in 0..STEPS {
        sleep(SETTLE).await;
        let before = memory::of_process(full.process()?)?;
        let first = FEW_AWAKE + step * ACTORS / STEPS;
        let peer = &mut *ours.lock().await;
        wake(peer, first..first + ACTORS / STEPS).await?;
        failed += peer.failures.len() as u64;
        asked += ACTORS / STEPS;
        report(&mut peer.failures);
        sleep(SETTLE).await;
        let grown = memory::of_process(full.process()?)?.saturating_sub(before);
        results.push(vec![("ours", grown as f64 / (ACTORS / STEPS) as f64)]);
    }
    print("P12/asleep", "bytes", &results);
    print("actors.failed", "‰", &[vec![("ours", 1_000.0 * failed as f64 / asked as f64)]]);

    // Each wake is for the actor that has slept longest.
    let next = Cell::new(0);
    let wakes = Contender::new("ours", async || {
        let peer = &mut *ours.lock().await;
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < rounds.block {
            wake(peer, next.get()..next.get() + 1).await?;
            next.set((next.get() + 1) % ACTORS);
            count += 1;
        }
        let took = start.elapsed().as_secs_f64();
        ensure!(peer.failures.is_empty(), "a request failed: {:?}", peer.failures);
        Ok(1_000.0 * took / f64::from(count))
    });
    rounds.compare("P12/wake", "ms", &[wakes]).await?;
    let contenders = [
        Contender::new("ours", async || one_at_a_time(&ours, rounds.block).await),
        Contender::new("none", async || one_at_a_time(&none, rounds.block).await),
    ];
    rounds.compare("actors.idle-cost", "µs", &contenders).await
}

/// Many awake actors: the memory of each, without the guest's own.
async fn awake() -> Result<()> {
    let limits = format!("{LIMITS}awake-per-app = {}\nawake-per-space = {}\n", 2 * AWAKE, 2 * AWAKE);
    let server = Server::start_with(&path("STARLANE_BIN")?, &limits).await?;
    let mut peer = Peer::link(&server.address, 1).await?;
    wake(&mut peer, 0..FEW_AWAKE).await?;
    let mut results: Vec<Round> = Vec::new();
    for step in 0..STEPS {
        sleep(SETTLE).await;
        let before = memory::without_guests(server.process()?)?;
        let first = FEW_AWAKE + step * AWAKE / STEPS;
        wake(&mut peer, first..first + AWAKE / STEPS).await?;
        ensure!(peer.failures.is_empty(), "a request failed: {:?}", peer.failures);
        sleep(SETTLE).await;
        let grown = memory::without_guests(server.process()?)?.saturating_sub(before);
        results.push(vec![("ours", grown as f64 / (AWAKE / STEPS) as f64)]);
    }
    print("P12/awake", "bytes", &results);
    Ok(())
}

/// Requests an echo from each of these actors, with many requests in flight.
async fn wake(peer: &mut Peer, mut keys: std::ops::Range<u64>) -> Result<()> {
    let mut open = 0;
    loop {
        while open < IN_FLIGHT {
            let Some(key) = keys.next() else { break };
            let to = Address::parse(&format!("bench:mesh:actor:k{key}")).map_err(|error| anyhow!("{error}"))?;
            peer.ask(&to, body(64, key))?;
            open += 1;
        }
        if open == 0 {
            return Ok(());
        }
        peer.flush().await?;
        open -= peer.answers().await?;
    }
}

/// Prints and removes the reasons of failed requests, each once.
fn report(failures: &mut Vec<String>) {
    failures.sort();
    failures.dedup();
    for failure in failures.drain(..).take(3) {
        eprintln!("a request to an actor failed: {failure}");
    }
}
