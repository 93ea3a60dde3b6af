//! Prints one line for each fact.

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::{Result, anyhow};
use starlane_testkit::{engine::Engine, figure::figure_of};

/// The time limit of a fact.
const LIMIT: Duration = Duration::from_secs(120);
/// The test name of the figures.
const TEST: &str = "e2e";

/// The counts so far.
#[derive(Default)]
pub(crate) struct Report {
    engine: Option<Engine>,
    passed: usize,
    failed: usize,
}

impl Report {
    /// Sets the engine of the next facts.
    pub(crate) fn begin(&mut self, engine: Engine) {
        self.engine = Some(engine);
        println!("in {engine}:");
    }

    /// Checks a fact: `seen` resolves to the observation, or to an error.
    pub(crate) async fn fact(&mut self, fact: &str, seen: impl Future<Output = Result<String>>) -> bool {
        let seen = tokio::time::timeout(LIMIT, seen).await;
        match seen.unwrap_or_else(|_| Err(anyhow!("no result within {} s", LIMIT.as_secs()))) {
            Ok(seen) => {
                self.passed += 1;
                println!("ok  {fact}: {seen}");
                true
            }
            Err(error) => {
                self.failed(fact, &error);
                false
            }
        }
    }

    /// Reports a failed fact.
    pub(crate) fn failed(&mut self, fact: &str, error: &anyhow::Error) {
        self.failed += 1;
        println!("FAIL  {fact}: {error:#}");
    }

    /// Records a number that was measured in this engine.
    pub(crate) fn figure(&self, name: &str, value: f64, unit: &str) {
        figure_of(self.engine.map_or("", Engine::name), TEST, name, value, unit);
    }

    /// Records how many inputs of a field fault were tried in this engine, and how many failed.
    pub(crate) fn field_fault(&self, row: &str, fact: &str, tried: usize, failing: usize) {
        let (engine, test) = (self.engine.map_or("", Engine::name), format!("{row} {fact}"));
        figure_of(engine, &test, "field-faults.tried", tried as f64, "inputs");
        figure_of(engine, &test, "field-faults.failing", failing as f64, "inputs");
    }

    /// Prints the closing line.
    pub(crate) fn close(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
