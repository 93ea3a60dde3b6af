//! Measures `cargo xtask run` in a checkout that was never built.
//!
//! It runs in a clone of the last commit, with its own target folder, npm packages and tools. It reuses downloads of cargo and npm,
//! system packages, and the Rust toolchain: those depend on the network and not on this project.

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

/// The time limit of the whole measurement.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long ended programs may keep their files.
const GRACE: Duration = Duration::from_secs(20);

/// Clones, runs, and stops as soon as the demo is served.
pub(super) fn run(workshop: &Workshop) -> Result<Vec<Row>> {
    let folder = std::env::temp_dir().join(format!("starlane-cold-{}", std::process::id()));
    let seconds = report::step("cargo xtask run, in a clone of the last commit", || time(workshop, &folder));
    remove(&folder)?;
    let rounds = json!([{ "ours": seconds? }]);
    Measure::read(&json!({ "id": "run.cold", "engine": "machine", "unit": "s", "rounds": rounds }))?.rows()
}

/// Removes the clone and its builds. Programs that ran there may need a moment to end.
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
        // `cargo xtask run` writes this figure when the demo is served.
        let figures = std::fs::read_to_string(checkout.join("target/figures.json")).unwrap_or_default();
        if has_run(&figures) {
            return Ok(start.elapsed().as_secs_f64());
        }
        if let Some(status) = program.ended()? {
            bail!("`cargo xtask run` ended before the demo was served ({status}); see its output above");
        }
        if start.elapsed() > LIMIT {
            bail!("the demo was not served within {} minutes", LIMIT.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the figures show that the demo is served.
fn has_run(figures: &str) -> bool {
    let figures: Vec<Value> = serde_json::from_str(figures).unwrap_or_default();
    figures.iter().any(|figure| figure.get("name").and_then(Value::as_str) == Some("run.cold"))
}

#[cfg(test)]
mod tests {
    use super::has_run;

    #[test]
    fn a_served_demo_is_recognised_by_its_figure() {
        assert!(has_run(r#"[{ "name": "first-load.gzip", "value": 1 }, { "name": "run.cold", "value": 400 }]"#));
        assert!(!has_run(r#"[{ "name": "run.warm", "value": 4 }]"#));
        assert!(!has_run("") && !has_run("[{"));
    }
}
