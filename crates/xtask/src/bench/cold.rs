//! How long `cargo xtask run` takes where nothing of the checkout was built yet.
//!
//! It runs in a clone of the last commit, with a target folder, npm packages and tools of its own. What cargo and npm have downloaded is
//! used again, and so are the system's packages and the Rust toolchain: those depend on the network and not on this project.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::judge::{Measure, Row};
use crate::files;
use crate::process;
use crate::report;
use crate::workshop::Workshop;

/// After so long it is given up.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long what ran may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// Clones, runs, and ends what runs as soon as the demo is served.
pub(super) fn run(workshop: &Workshop) -> Result<Vec<Row>> {
    let folder = std::env::temp_dir().join(format!("starlane-cold-{}", std::process::id()));
    let seconds = report::step("cargo xtask run, in a clone of the last commit", || time(workshop, &folder));
    remove(&folder)?;
    let rounds = json!([{ "ours": seconds? }]);
    Measure::read(&json!({ "id": "run.cold", "engine": "machine", "unit": "s", "rounds": rounds }))?.rows()
}

/// Removes what was cloned and built; what ran there may need a moment to end.
fn remove(folder: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match files::remove_folder(folder) {
            Err(_) if start.elapsed() < GRACE => std::thread::sleep(Duration::from_millis(200)),
            result => return result,
        }
    }
}

fn time(workshop: &Workshop, folder: &Path) -> Result<f64> {
    let checkout = folder.join("checkout");
    workshop.program("git").args(["clone", "--quiet", "."]).arg(&checkout).run()?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string();
    let start = Instant::now();
    let program = workshop.program("cargo").within(&checkout).args(["xtask", "run", "--port", &port]);
    let mut program = program.env("XDG_CACHE_HOME", folder.join("cache")).without_env("CARGO_TARGET_DIR").serve()?;
    loop {
        if process::interrupted() {
            bail!("interrupted");
        }
        // It writes this when the demo can be opened.
        let figures = std::fs::read_to_string(checkout.join("target/figures.json")).unwrap_or_default();
        if has_run(&figures) {
            return Ok(start.elapsed().as_secs_f64());
        }
        if let Some(status) = program.ended()? {
            bail!("it ended before the demo was served ({status}); what it said is above");
        }
        if start.elapsed() > LIMIT {
            bail!("the demo was not served within {} minutes", LIMIT.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the figures say that the command has come to its end.
fn has_run(figures: &str) -> bool {
    let figures: Vec<Value> = serde_json::from_str(figures).unwrap_or_default();
    figures.iter().any(|figure| figure.get("name").and_then(Value::as_str) == Some("run.cold"))
}

#[cfg(test)]
mod tests {
    use super::has_run;

    #[test]
    fn the_end_of_a_cold_run_is_seen_in_its_figures() {
        assert!(has_run(r#"[{ "name": "first-load.gzip", "value": 1 }, { "name": "run.cold", "value": 400 }]"#));
        assert!(!has_run(r#"[{ "name": "run.warm", "value": 4 }]"#));
        assert!(!has_run("") && !has_run("[{"));
    }
}
