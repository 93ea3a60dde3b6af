//! Links between a server and two pages on virtual time, with generated traffic and faults. After every step, and after the network
//! has healed, checkers look for messages that were lost, doubled, reordered or forgotten without a word.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod checks;
mod faults;
mod streams;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use world::Sim;

/// The seeds of schedules that once found a fault.
const NAMED: [u64; 0] = [];
/// How many schedules run besides. `SIM_SCHEDULES` sets another number, and `SIM_SEED` runs a single one.
const SCHEDULES: u64 = 150;

/// Runs one schedule: traffic with faults, then a network without faults until everything is at rest.
fn run(seed: u64) -> Sim {
    let mut sim = Sim::new(seed);
    sim.disturb(40_000);
    sim.heal(400_000);
    sim.check_rest();
    sim
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    let given = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (first, schedules) = (given("SIM_SEED"), given("SIM_SCHEDULES").unwrap_or(SCHEDULES));
    let seeds: Vec<u64> = match first {
        Some(seed) => vec![seed],
        None => NAMED.into_iter().chain(1..=schedules).collect(),
    };
    let (begin, mut taken, mut cuts, mut resumed) = (Instant::now(), 0, 0, 0);
    let (mut bytes, mut complete) = (0, 0);
    for &seed in &seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        let Ok(sim) = result else { panic!("the schedule of seed {seed} failed: run it again with SIM_SEED={seed}") };
        taken += sim.record.taken.len();
        cuts += sim.cuts;
        resumed += sim.resumed;
        bytes += sim.streams.bytes;
        complete += sim.streams.complete;
    }
    let seconds = begin.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    println!("{} schedules, {taken} messages taken, {cuts} cuts, {resumed} links resumed, {seconds:.1} s", seeds.len());
    println!("{complete} complete streams, {bytes} bytes in streams");
    assert!(
        first.is_some() || (taken > 10_000 && cuts > 500 && resumed > 300 && complete > 500),
        "the schedules show too little"
    );
}
