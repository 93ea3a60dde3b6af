//! Builds guests: mechtrons in separate workspaces, for wasm32, with a separate target folder.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{BENCH_GUESTS, GUEST_WORKSPACES, guests_folder};
use crate::files;
use crate::report;
use crate::workshop::Workshop;

/// Builds the demo's mechtrons into www/bundle/wasm.
pub(super) fn build_demo(workshop: &Workshop) -> Result<()> {
    report::step("build the demo's mechtrons", || {
        let [manifest, _] = GUEST_WORKSPACES;
        let modules = build(workshop, manifest)?;
        let folder = workshop.path("www/bundle/wasm");
        files::remove_folder(&folder)?;
        for module in modules {
            files::copy(&module, &folder.join(module.file_name().unwrap_or_default()))?;
        }
        Ok(())
    })
}

/// Builds the mechtrons of tests.
pub(super) fn build_for_tests(workshop: &Workshop) -> Result<()> {
    report::step("build the tests' mechtrons", || {
        let [_, manifest] = GUEST_WORKSPACES;
        build(workshop, manifest).map(|_| ())
    })
}

/// Builds the benchmark's guests.
pub(super) fn build_for_bench(workshop: &Workshop) -> Result<()> {
    report::step("build the benchmark's mechtron and plug-in", || build(workshop, BENCH_GUESTS).map(|_| ()))
}

/// Builds a workspace of guests. Returns the modules of its `cdylib`s.
fn build(workshop: &Workshop, manifest: &str) -> Result<Vec<PathBuf>> {
    if !workshop.path(manifest).exists() {
        bail!("{manifest} is missing: the checkout is incomplete");
    }
    let options = ["--release", "--target", "wasm32-unknown-unknown", "--manifest-path", manifest];
    let target = workshop.path("target/guests");
    workshop.cargo(["build"]).args(options).args(super::portable(workshop)?).env("CARGO_TARGET_DIR", target).run()?;
    let words = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest];
    let metadata = workshop.cargo(words).output()?;
    let names = module_names(&metadata).with_context(|| format!("cannot read cargo's metadata of {manifest}"))?;
    Ok(names.iter().map(|name| guests_folder(workshop).join(name)).collect())
}

/// The file names of the modules that a workspace builds, from `cargo metadata`.
fn module_names(metadata: &str) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = Vec::new();
    for target in list(&metadata, "packages").iter().flat_map(|package| list(package, "targets")) {
        let is_module = list(&target, "crate_types").iter().any(|kind| kind == "cdylib");
        if let Some(name) = target.get("name").and_then(Value::as_str).filter(|_| is_module) {
            names.push(format!("{}.wasm", name.replace('-', "_")));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::module_names;

    #[test]
    fn only_cdylibs_are_modules() {
        let metadata = r#"{"packages":[
            {"targets":[{"name":"my-profile","crate_types":["cdylib","rlib"]},{"name":"tests","crate_types":["bin"]}]},
            {"targets":[{"name":"shared","crate_types":["lib"]}]}]}"#;
        assert_eq!(module_names(metadata).unwrap(), ["my_profile.wasm"]);
    }
}
