//! Builds artifacts, each once per command: guests, the sandbox's JavaScript, npm package, demo page, server.

mod guests;
mod npm;
mod page;
mod scripts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::report;
use crate::setup::{Piece, ensure_all};
use crate::workshop::Workshop;

/// A build result that other steps need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Artifact {
    /// The demo's mechtrons, in www/bundle/wasm.
    DemoGuests,
    /// The mechtrons that only tests use, in target/guests.
    TestGuests,
    /// The JavaScript that the crate `browser` imports, in crates/browser/dist. The crate does not compile without it.
    Scripts,
    /// The npm tarball, in target/dist.
    Tarball,
    /// The demo page, in www/dist and, as `site`, in the bundle.
    Page,
    /// The `starlane` binary, in target/debug.
    Server,
    /// The benchmark's guests, in target/guests.
    BenchGuests,
    /// The benchmark's page with its peers, in target/bench/site.
    BenchPage,
}

impl Artifact {
    /// The artifacts of `cargo xtask run`.
    pub(crate) const DEMO: [Artifact; 4] = [Artifact::Server, Artifact::DemoGuests, Artifact::Tarball, Artifact::Page];

    /// The set-up pieces that the build needs, also for its inputs.
    pub(crate) fn pieces(self) -> &'static [Piece] {
        match self {
            Artifact::DemoGuests | Artifact::TestGuests | Artifact::BenchGuests => &[Piece::Rust],
            Artifact::Scripts => &[Piece::Node, Piece::NpmTools],
            Artifact::Tarball | Artifact::Page | Artifact::BenchPage => {
                &[Piece::Rust, Piece::WasmBindgen, Piece::Node, Piece::NpmTools]
            }
            Artifact::Server => &[Piece::C, Piece::Rust],
        }
    }
}

/// The workspaces of guests: those of the demo, and those of tests.
pub(crate) const GUEST_WORKSPACES: [&str; 2] = ["www/bundle/Cargo.toml", "tests/guests/rust/Cargo.toml"];
/// The workspace of the benchmark's guests. It has no tests.
pub(crate) const BENCH_GUESTS: &str = "tests/bench/guests/Cargo.toml";

/// Builds `artifact` from the present checkout, unless it is up to date.
pub(crate) fn ensure_built(workshop: &Workshop, artifact: Artifact) -> Result<()> {
    workshop.artifact(artifact, || {
        ensure_all(workshop, artifact.pieces())?;
        match artifact {
            Artifact::DemoGuests => guests::build_demo(workshop),
            Artifact::TestGuests => guests::build_for_tests(workshop),
            Artifact::Scripts => scripts::build(workshop),
            Artifact::Tarball => {
                // Also if the tarball is up to date: tests and lints compile the crate, which needs the scripts.
                ensure_built(workshop, Artifact::Scripts)?;
                npm::build(workshop)
            }
            Artifact::Page => {
                ensure_built(workshop, Artifact::Tarball)?;
                page::build(workshop)
            }
            Artifact::BenchGuests => guests::build_for_bench(workshop),
            Artifact::BenchPage => {
                ensure_built(workshop, Artifact::Tarball)?;
                page::build_for_bench(workshop)
            }
            Artifact::Server => report::step("build the server", || {
                workshop.cargo(["build"]).args(NATIVE).args(["--bin", "starlane"]).run()
            }),
        }
    })
}

/// The packages for this machine. Every cargo command names the same ones, so that dependencies get the same features and are
/// compiled once.
pub(crate) const NATIVE: [&str; 7] =
    ["--workspace", "--exclude", "starlane-browser", "--exclude", "starlane-npm", "--exclude", "starlane-verifier"];

/// Cargo's arguments for Wasm that leaves this machine: its modules must not contain paths of this machine.
pub(crate) fn portable(workshop: &Workshop) -> Result<[String; 2]> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registries = cargo.context("cannot find the home folder: set HOME")?.join("registry/src");
    let mut names = vec![(workshop.root.clone(), "starlane")];
    for registry in fs::read_dir(&registries).into_iter().flatten().flatten() {
        names.push((registry.path(), "crates"));
    }
    let flag =
        |(path, name): &(PathBuf, &str)| format!("{:?}", format!("--remap-path-prefix={}={name}", path.display()));
    let flags: Vec<String> = names.iter().map(flag).collect();
    Ok(["--config".to_owned(), format!("target.wasm32-unknown-unknown.rustflags=[{}]", flags.join(","))])
}

/// [`ensure_built`] for several artifacts. Stops at the first error.
pub(crate) fn ensure_all_built(workshop: &Workshop, artifacts: &[Artifact]) -> Result<()> {
    artifacts.iter().try_for_each(|&artifact| ensure_built(workshop, artifact))
}

/// The built `starlane`.
pub(crate) fn server_binary(workshop: &Workshop) -> PathBuf {
    workshop.path("target/debug").join(format!("starlane{}", std::env::consts::EXE_SUFFIX))
}

/// The folder with all built guests.
pub(crate) fn guests_folder(workshop: &Workshop) -> PathBuf {
    workshop.path("target/guests/wasm32-unknown-unknown/release")
}

/// The benchmark's built page.
pub(crate) fn bench_site(workshop: &Workshop) -> PathBuf {
    workshop.path("target/bench/site")
}

/// The file that `npm pack` makes of crates/npm, by npm's naming rule.
pub(crate) fn tarball(workshop: &Workshop) -> Result<PathBuf> {
    let path = workshop.path("crates/npm/package.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let package: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let field = |name: &str| {
        let value = package.get(name).and_then(Value::as_str);
        value.ok_or_else(|| anyhow!("{} has no \"{name}\"", path.display()))
    };
    Ok(workshop.path("target/dist").join(tarball_name(field("name")?, field("version")?)))
}

fn tarball_name(name: &str, version: &str) -> String {
    format!("{}-{version}.tgz", name.trim_start_matches('@').replace('/', "-"))
}

#[cfg(test)]
mod tests {
    use super::tarball_name;

    #[test]
    fn a_scoped_package_is_packed_under_a_flat_name() {
        assert_eq!(tarball_name("@starlane/mesh", "0.1.0"), "starlane-mesh-0.1.0.tgz");
        assert_eq!(tarball_name("mesh", "1.0.0-rc.1"), "mesh-1.0.0-rc.1.tgz");
    }
}
