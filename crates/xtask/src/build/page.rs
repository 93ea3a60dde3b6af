//! Builds the pages of the demo and the benchmark with Vite from the packed tarball, as a user of the package would.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tarball;
use crate::files::{self, Stamp};
use crate::report;
use crate::setup::node::{install_locked, npm};
use crate::workshop::Workshop;

const PACKAGE: &str = "@starlane/mesh";

/// Builds www/dist.
pub(super) fn build(workshop: &Workshop) -> Result<()> {
    let www = workshop.path("www");
    install(workshop, "www")?;
    report::step("build the demo page", || {
        npm(workshop, &www, &["exec", "--", "vite", "build", "--logLevel", "warn"]).run()
    })?;
    // The server serves the page from the bundle.
    files::mirror(&workshop.path("www/dist"), &workshop.path("www/bundle/site"))
}

/// Builds the benchmark's page into target/bench/site.
pub(super) fn build_for_bench(workshop: &Workshop) -> Result<()> {
    const FOLDER: &str = "tests/bench/page";
    install(workshop, FOLDER)?;
    report::step("build the benchmark's page", || {
        let program = npm(workshop, &workshop.path(FOLDER), &["exec", "--", "vite", "build", "--logLevel", "warn"]);
        program.args(["--emptyOutDir", "--outDir"]).arg(super::bench_site(workshop)).run()
    })
}

/// Installs a page's packages, including the tarball, if one has changed.
fn install(workshop: &Workshop, folder: &str) -> Result<()> {
    let www = &workshop.path(folder);
    let tarball = tarball(workshop)?;
    let lock = www.join("package-lock.json");
    forget_tarball(&lock)?;
    let inputs = [www.join("package.json"), lock.clone(), tarball.clone()];
    let stamp_path = www.join("node_modules/.starlane-stamp");
    if Stamp::of(stamp_path.clone(), &inputs, &[])?.holds() {
        report::note(format_args!("npm packages of {folder}"));
        return Ok(());
    }
    report::step(&format!("npm packages of {folder}"), || {
        if !www.join("node_modules").exists() {
            workshop.installed.set(true);
        }
        // npm would keep the earlier package, because its name and version are the same.
        files::remove_folder(&www.join("node_modules").join(PACKAGE))?;
        install_locked(workshop, www)?;
        let listed = fs::read_to_string(www.join("package.json"))?.contains(&format!("\"{PACKAGE}\""));
        if !listed {
            let file = tarball.to_string_lossy().into_owned();
            npm(workshop, www, &["install", "--no-save", "--no-audit", "--no-fund", &file]).run()?;
        }
        forget_tarball(&lock)
    })?;
    Stamp::of(stamp_path, &inputs, &[])?.set()
}

/// Removes our own tarball's checksum from the lock file: it changes with every build, and npm would refuse it.
fn forget_tarball(lock: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(lock) else { return Ok(()) };
    match without_integrity(&text).with_context(|| format!("{} is not a lock file of npm", lock.display()))? {
        Some(changed) => files::write(lock, changed),
        None => Ok(()),
    }
}

/// The lock file without our package's checksum. `None` if it has none. Works line by line, so that nothing else changes.
fn without_integrity(text: &str) -> Result<Option<String>> {
    let lock: Value = serde_json::from_str(text)?;
    let entry = lock.get("packages").and_then(|all| all.get(format!("node_modules/{PACKAGE}")));
    let Some(integrity) = entry.and_then(|entry| entry.get("integrity")).and_then(Value::as_str) else {
        return Ok(None);
    };
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("\"integrity\"") && line.contains(integrity) {
            // If the checksum is the last member of its object, the member before it must lose its comma.
            if !line.ends_with(',')
                && let Some(last) = kept.last_mut()
            {
                *last = last.trim_end_matches(',');
            }
        } else {
            kept.push(line);
        }
    }
    Ok(Some(kept.join("\n") + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_checksum_is_removed_from_the_lock_file() {
        let lock = r#"{
  "lockfileVersion": 3,
  "packages": {
    "node_modules/@starlane/mesh": {
      "version": "0.1.0",
      "resolved": "file:../target/dist/starlane-mesh-0.1.0.tgz",
      "integrity": "sha512-ours=="
    },
    "node_modules/vite": {
      "version": "8.0.0",
      "integrity": "sha512-theirs==",
      "dev": true
    }
  }
}
"#;
        let changed = without_integrity(lock).unwrap().unwrap();
        let parsed: Value = serde_json::from_str(&changed).unwrap();
        assert!(!changed.contains("ours") && changed.contains("theirs"), "{changed}");
        assert_eq!(parsed["packages"]["node_modules/@starlane/mesh"]["version"], "0.1.0");
        assert_eq!(changed.lines().count(), lock.lines().count() - 1);
        assert_eq!(without_integrity(&changed).unwrap(), None);
    }
}
