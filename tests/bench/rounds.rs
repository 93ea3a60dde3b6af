//! Measures contenders block by block, in turn.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

/// A measurement of a contender: resolves to its value in one block.
type Block<'a> = Pin<Box<dyn Future<Output = Result<f64>> + 'a>>;

/// The number and the length of blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) rounds: u64,
    pub(crate) block: Duration,
}

/// A contender.
pub(crate) struct Contender<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Block<'a> + 'a>,
}

impl<'a> Contender<'a> {
    /// `run` runs a block and resolves to its value. A wrong reply is an error.
    pub(crate) fn new<F: Future<Output = Result<f64>> + 'a>(name: &'static str, run: impl Fn() -> F + 'a) -> Self {
        Self { name, run: Box::new(move || Box::pin(run())) }
    }

    async fn block(&self, id: &str) -> Result<f64> {
        (self.run)().await.with_context(|| format!("{id}, {}", self.name))
    }
}

impl Rounds {
    /// Measures and prints.
    pub(crate) async fn compare(&self, id: &str, unit: &str, contenders: &[Contender<'_>]) -> Result<()> {
        print(id, unit, &self.measure(id, contenders).await?);
        Ok(())
    }

    /// Measures. Every second round goes backwards, so that a drift affects all contenders equally.
    pub(crate) async fn measure(&self, id: &str, contenders: &[Contender<'_>]) -> Result<Vec<Round>> {
        for contender in contenders {
            // Warms up: modules are compiled, actors wake, caches fill.
            contender.block(id).await?;
        }
        let mut results = Vec::new();
        for round in 0..self.rounds {
            let mut result = Round::new();
            let mut order: Vec<&Contender<'_>> = contenders.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for contender in order {
                result.push((contender.name, contender.block(id).await?));
            }
            results.push(result);
        }
        Ok(results)
    }
}

/// One round: the value of each contender.
pub(crate) type Round = Vec<(&'static str, f64)>;

/// Combines two rounds of the same measure: the geometric mean of the values of each contender.
pub(crate) fn mean(one: &Round, other: &Round) -> Round {
    let of_other: BTreeMap<_, _> = other.iter().copied().collect();
    one.iter().filter_map(|(name, value)| Some((*name, (value * of_other.get(name)?).sqrt()))).collect()
}

/// Prints a measure of a server.
pub(crate) fn print(id: &str, unit: &str, rounds: &[Round]) {
    let rounds: Vec<BTreeMap<_, _>> = rounds.iter().map(|round| round.iter().copied().collect()).collect();
    println!("bench {}", json!({ "id": id, "engine": "server", "unit": unit, "rounds": rounds }));
}
