//! P10: the size of the npm package's first load, beside its peers, and of its checker of modules.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::judge::{Measure, Row};
use crate::workshop::Workshop;

/// Packages of the benchmark's page, and the folder that a page loads of each.
const PACKAGES: [(&str, &str); 3] = [
    ("ours", "@starlane/mesh/dist"),
    ("extism", "@extism/extism/dist/browser"),
    ("nats-core", "@nats-io/nats-core/lib"),
];

/// Weighs the installed packages of the benchmark's page.
pub(super) fn run(workshop: &Workshop) -> Result<Vec<Row>> {
    let folders = PACKAGES.map(|(_, folder)| workshop.path("tests/bench/page/node_modules").join(folder));
    let said = workshop.program("node").arg("tests/npm/weigh.mjs").args(folders).output()?;
    let sizes: Vec<Value> = serde_json::from_str(&said)
        .with_context(|| format!("tests/npm/weigh.mjs did not print a list of sizes, but: {said}"))?;
    let round = PACKAGES.iter().zip(&sizes).map(|((name, _), size)| ((*name).to_owned(), size.get("first").cloned()));
    let round: serde_json::Map<String, Value> = round.map(|(name, size)| (name, size.unwrap_or_default())).collect();
    let meter = sizes.first().and_then(|ours| ours.get("meter")?.as_u64()).filter(|bytes| *bytes > 0);
    let meter = meter.context("the npm package has no `meter.wasm`")?;
    let measures = [("P10/first-load", Value::Object(round)), ("P10/meter", json!({ "ours": meter }))];
    let mut rows = Vec::new();
    for (id, round) in measures {
        rows.extend(Measure::read(&json!({ "id": id, "engine": "npm", "unit": "bytes", "rounds": [round] }))?.rows()?);
    }
    Ok(rows)
}
