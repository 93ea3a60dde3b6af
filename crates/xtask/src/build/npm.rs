//! The npm package: Rust to Wasm, bindings, optimisation, TypeScript, tarball.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::tarball;
use crate::files::{self, Stamp};
use crate::report;
use crate::setup::node::npm;
use crate::setup::wasm_tools::wasm_bindgen_version;
use crate::workshop::Workshop;

/// The crates that go into the package.
const CRATES: [&str; 9] = ["protocol", "bundle", "abi", "meter", "node", "host", "browser", "npm", "verifier"];
/// The crates among them that are Wasm modules called through wasm-bindgen.
const MODULES: [&str; 2] = ["npm", "verifier"];

/// Cargo's output folder for them.
const BUILT: &str = "target/wasm32-unknown-unknown/wasm";

/// The Wasm features that LLVM uses and all three browser engines have. wasm-opt needs them as flags.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Without inlining the module is a tenth smaller, compressed: LLVM has kept those functions out of line for size.
const NO_INLINING: [&str; 2] = ["--skip-pass=inlining", "--skip-pass=inlining-optimizing"];

/// Builds the tarball, if one of its inputs has changed.
pub(super) fn build(workshop: &Workshop) -> Result<()> {
    let tarball = tarball(workshop)?;
    let stamp = stamp(workshop)?;
    if stamp.holds() && tarball.exists() {
        report::note(format_args!("npm package, unchanged: {}", tarball.display()));
        return Ok(());
    }
    let package = workshop.path("crates/npm");
    let wasm = package.join("dist/wasm");
    report::step("npm package: Rust to Wasm", || {
        let target = ["--target", "wasm32-unknown-unknown", "--profile", "wasm"];
        workshop
            .cargo(["build", "-p", "starlane-npm", "-p", "starlane-verifier", "-p", "starlane-meter"])
            .args(target)
            .args(super::portable(workshop)?)
            .run()
    })?;
    report::step("npm package: bindings and wasm-opt", || {
        files::remove_folder(&wasm)?;
        MODULES.iter().try_for_each(|name| module(workshop, &wasm, name))?;
        // The meter has plain exports and needs no bindings.
        let (built, meter) = (workshop.path(BUILT).join("starlane_meter.wasm"), wasm.join("meter.wasm"));
        workshop.program("node").arg("crates/npm/snip.mjs").arg(&built).arg(&meter).run()?;
        optimise(workshop, &meter)
    })?;
    report::step("npm package: TypeScript and tarball", || {
        npm(workshop, &package, &["run", "build"]).run()?;
        pack(workshop, &tarball)
    })?;
    stamp.set()
}

/// Makes the bindings and the optimised module of a built crate.
fn module(workshop: &Workshop, folder: &Path, name: &str) -> Result<()> {
    workshop
        .program(workshop.find("wasm-bindgen").context("wasm-bindgen is not installed: run `cargo xtask setup`")?)
        .args(["--target", "web", "--out-dir"])
        .arg(folder)
        .arg(workshop.path(BUILT).join(format!("starlane_{name}.wasm")))
        .run()?;
    let module = folder.join(format!("starlane_{name}_bg.wasm"));
    optimise(workshop, &module)
}

/// Optimises a module for size.
fn optimise(workshop: &Workshop, module: &Path) -> Result<()> {
    let wasm_opt = |passes: &[&str]| {
        let program = workshop.program(workshop.path("crates/npm/node_modules/.bin/wasm-opt"));
        program.args(passes).args(FEATURES).arg(module).arg("-o").arg(module).run()
    };
    // Rust keeps nothing below its stack, so an address and a small offset never wrap.
    wasm_opt(&[&["-g", "-Oz", "--converge", "--low-memory-unused"], NO_INLINING.as_slice()].concat())?;
    // Functions of one type or crate next to each other compress better, by a fiftieth, and so do few numbers of locals.
    let order = ["--remove-unused-brs", "--reorder-globals", "--reorder-locals", "--reorder-functions-by-name"];
    wasm_opt(&[order.as_slice(), &["--strip-debug", "--strip-producers"]].concat())
}

fn stamp(workshop: &Workshop) -> Result<Stamp> {
    let mut inputs: Vec<PathBuf> = CRATES.iter().map(|name| workshop.path("crates").join(name)).collect();
    // This file too: it has the build steps.
    inputs.extend(["Cargo.toml", "Cargo.lock", "crates/xtask/src/build/npm.rs"].map(|name| workshop.path(name)));
    Stamp::of(workshop.path("target/stamps/npm"), &inputs, &[&wasm_bindgen_version(workshop)?])
}

/// Packs crates/npm, and removes packages of other versions from target/dist.
fn pack(workshop: &Workshop, tarball: &Path) -> Result<()> {
    let folder = workshop.path("target/dist");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".tgz") {
            fs::remove_file(entry.path())?;
        }
    }
    let to = folder.to_string_lossy().into_owned();
    // Skips the package's scripts, which have run as a step of their own.
    npm(workshop, &workshop.path("crates/npm"), &["pack", "--silent", "--ignore-scripts", "--pack-destination", &to])
        .output()?;
    if !tarball.exists() {
        bail!("npm pack did not write {}", tarball.display());
    }
    Ok(())
}
