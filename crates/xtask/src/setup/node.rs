//! Node, and tools from npm.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Piece, ensure, system, version_in};
use crate::process::{self, Program};
use crate::report;
use crate::workshop::Workshop;

/// The oldest major version of Node that our tools support.
const MIN_NODE_MAJOR: u64 = 20;

/// The Debian packages of Node and npm that are missing.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    let missing = ["nodejs", "npm"].into_iter().filter(|name| {
        let program = if *name == "nodejs" { "node" } else { name };
        system::is_debian() && workshop.find(program).is_none()
    });
    missing.map(str::to_owned).collect()
}

/// Checks the version of Node, and that npm is there.
pub(crate) fn check(workshop: &Workshop) -> Result<()> {
    let said =
        workshop.program("node").arg("--version").output().context("Node is missing: install Node 20 or newer")?;
    match version_in(&said) {
        Some((major, ..)) if major >= MIN_NODE_MAJOR => {}
        _ => bail!(
            "Node is {}, but {MIN_NODE_MAJOR} or newer is needed: install it from https://nodejs.org or with your version manager",
            said.trim()
        ),
    }
    if workshop.find("npm").is_none() {
        bail!("npm is missing: install it beside Node");
    }
    report::note(format_args!("Node {}", said.trim()));
    Ok(())
}

/// Installs the development tools of crates/npm: TypeScript, wasm-opt and others.
pub(crate) fn ensure_tools(workshop: &Workshop) -> Result<()> {
    ensure(workshop, Piece::Node)?;
    install(workshop, "crates/npm")
}

/// Installs the packages of the package.json in `folder`, if it has changed since the last time.
pub(crate) fn install(workshop: &Workshop, folder: &str) -> Result<()> {
    let path = workshop.path(folder);
    if !path.join("package.json").exists() {
        bail!("{folder}/package.json is missing: the checkout is incomplete");
    }
    if is_installed(&path) {
        report::note(format_args!("npm packages of {folder}"));
        return Ok(());
    }
    workshop.installed.set(true);
    report::step(&format!("npm packages of {folder}"), || install_locked(workshop, &path))
}

/// Installs the packages of the lock file in `folder`. Without one, installs those of package.json and writes the lock file.
pub(crate) fn install_locked(workshop: &Workshop, folder: &Path) -> Result<()> {
    let quiet = ["--no-audit", "--no-fund"];
    if !folder.join("package-lock.json").exists() {
        return npm(workshop, folder, &["install"]).args(quiet).run();
    }
    if npm(workshop, folder, &["ci"]).args(quiet).output().is_ok() || process::interrupted() {
        return Ok(());
    }
    // A lock file lacks packages for other systems if the registry had none when it was written. `npm ci` then installs nothing.
    // `npm install` installs the same versions.
    report::remark("npm ci refused the lock file; running npm install instead");
    npm(workshop, folder, &["install", "--no-save"]).args(quiet).run()
}

/// npm, in `folder`.
pub(crate) fn npm(workshop: &Workshop, folder: &Path, words: &[&str]) -> Program {
    workshop.program("npm").within(folder).arg("--loglevel=error").args(words)
}

/// Whether node_modules is newer than package.json and the lock file.
fn is_installed(folder: &Path) -> bool {
    let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|about| about.modified()).ok();
    let Some(installed) = changed("node_modules/.package-lock.json") else { return false };
    ["package-lock.json", "package.json"].into_iter().filter_map(changed).all(|input| input <= installed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::write;
    use std::time::{Duration, SystemTime};

    #[test]
    fn npm_packages_are_installed_until_the_lock_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("package-lock.json"), "{}").unwrap();
        assert!(!is_installed(folder.path()));
        write(&folder.path().join("node_modules/.package-lock.json"), "{}").unwrap();
        assert!(is_installed(folder.path()));
        let lock = fs::File::options().write(true).open(folder.path().join("package-lock.json")).unwrap();
        lock.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(!is_installed(folder.path()));
    }
}
