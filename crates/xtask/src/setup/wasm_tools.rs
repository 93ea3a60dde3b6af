//! Tools that cargo installs: wasm-bindgen, wasm-pack, geckodriver.

use std::fs;

use anyhow::{Context, Result, bail};

use super::{Piece, ensure, version_in};
use crate::report;
use crate::workshop::Workshop;

/// The oldest version that supports `--mode no-install` with the runner of the present wasm-bindgen.
const MIN_WASM_PACK: (u64, u64, u64) = (0, 13, 0);
/// The oldest version that supports the present Firefox.
const MIN_GECKODRIVER: (u64, u64, u64) = (0, 36, 0);

/// Installs wasm-bindgen and its test runner in exactly the version that Cargo.lock has for the library.
pub(crate) fn ensure_wasm_bindgen(workshop: &Workshop) -> Result<()> {
    let wanted = wasm_bindgen_version(workshop)?;
    let has = |name| said_version(workshop, name).is_some_and(|said| said.contains(&wanted));
    if has("wasm-bindgen") && has("wasm-bindgen-test-runner") {
        report::note(format_args!("wasm-bindgen {wanted}"));
        return Ok(());
    }
    // Not `--locked`: its lock file has named versions that were withdrawn later.
    install(workshop, "wasm-bindgen-cli", &["--version", &format!("={wanted}")])
}

/// The version of the wasm-bindgen library in Cargo.lock.
pub(crate) fn wasm_bindgen_version(workshop: &Workshop) -> Result<String> {
    let lock = fs::read_to_string(workshop.path("Cargo.lock")).context("cannot read Cargo.lock")?;
    locked_version(&lock, "wasm-bindgen").context("Cargo.lock has no package wasm-bindgen")
}

/// Installs wasm-pack, which runs the Chromium tests.
pub(crate) fn ensure_wasm_pack(workshop: &Workshop) -> Result<()> {
    at_least(workshop, "wasm-pack", MIN_WASM_PACK)
}

/// Installs geckodriver, which drives Firefox. Debian has no package of it.
pub(crate) fn ensure_geckodriver(workshop: &Workshop) -> Result<()> {
    at_least(workshop, "geckodriver", MIN_GECKODRIVER)
}

fn at_least(workshop: &Workshop, name: &str, wanted: (u64, u64, u64)) -> Result<()> {
    match said_version(workshop, name) {
        Some(said) if version_in(&said).is_some_and(|there| there >= wanted) => {
            report::note(said);
            Ok(())
        }
        _ => install(workshop, name, &["--locked"]),
    }
}

/// The first line of `name --version`.
fn said_version(workshop: &Workshop, name: &str) -> Option<String> {
    let path = workshop.find(name)?;
    let said = workshop.program(path).arg("--version").output().ok()?;
    said.lines().next().map(|line| line.trim().trim_end_matches(['(', ')', ' ']).to_owned())
}

fn install(workshop: &Workshop, package: &str, options: &[&str]) -> Result<()> {
    ensure(workshop, Piece::Rust)?;
    report::step(&format!("cargo install {package} (takes some minutes, only once)"), || {
        workshop.installed.set(true);
        let root = workshop.tools.to_string_lossy().into_owned();
        workshop
            // One target folder for all tools, because they share many dependencies.
            .cargo(["install", "--quiet", "--force", package, "--root", &root, "--target-dir", "target/setup/tools"])
            .args(options)
            .run()
    })?;
    match package {
        "wasm-bindgen-cli" if workshop.tool("wasm-bindgen").exists() => Ok(()),
        name if workshop.tool(name).exists() => Ok(()),
        name => bail!("{name} was installed, but is not in {}", workshop.tools.display()),
    }
}

/// The version of `package` in the text of a Cargo.lock.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| line.trim() != name);
    lines.nth(1)?.trim().strip_prefix("version = \"")?.strip_suffix('"').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn the_locked_version_belongs_to_the_exact_package() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"registry\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }
}
