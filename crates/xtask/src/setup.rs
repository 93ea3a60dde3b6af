//! Installs the prerequisites of the commands, each piece once.

pub(crate) mod browsers;
pub(crate) mod node;
pub(crate) mod open_files;
pub(crate) mod python;
pub(crate) mod rust;
pub(crate) mod schema_suite;
pub(crate) mod system;
pub(crate) mod wasm_tools;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;

use self::python::{CLIENT, KOSOKU, NATS};
use crate::process;
use crate::report;
use crate::workshop::Workshop;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install only this piece. Repeatable.
    #[arg(long, value_name = "PIECE")]
    only: Vec<Piece>,
}

/// A prerequisite that can be installed separately.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Piece {
    /// A C compiler and pkg-config: SQLite is built from source.
    C,
    /// A Rust toolchain that builds for wasm32-unknown-unknown.
    Rust,
    /// clippy and rustfmt of that toolchain.
    Lints,
    /// wasm-bindgen and its test runner, in the version of Cargo.lock.
    WasmBindgen,
    /// wasm-pack, which runs the Chromium tests.
    WasmPack,
    /// Node 20 or newer, and npm.
    Node,
    /// The tools in crates/npm/package.json, such as TypeScript and wasm-opt.
    NpmTools,
    /// Chromium and its driver.
    Chromium,
    /// Firefox and geckodriver.
    Firefox,
    /// WebKitGTK, its driver and a virtual display.
    Webkit,
    /// kosoku, which runs the Autobahn cases against a WebSocket server.
    Kosoku,
    /// The packages of the client in Python.
    PythonClient,
    /// The NATS server, a peer of the benchmark.
    Nats,
    /// nginx: a proxy in front of the server, and a peer of the benchmark.
    Nginx,
    /// curl, which the documents send requests with.
    Curl,
    /// git, which clones the checkout to measure a first run.
    Git,
    /// A limit of open files that is high enough for many connections.
    OpenFiles,
    /// The official JSON Schema Test Suite.
    SchemaSuite,
}

impl Piece {
    /// The prerequisites of building and running the demo.
    pub(crate) const BUILD: [Piece; 5] = [Piece::C, Piece::Rust, Piece::WasmBindgen, Piece::Node, Piece::NpmTools];

    /// The missing Debian packages of this piece.
    fn missing_packages(self, workshop: &Workshop) -> Result<Vec<String>> {
        match self {
            Piece::C => Ok(system::missing_c(workshop)),
            Piece::Rust => rust::missing_packages(workshop),
            Piece::Node => Ok(node::missing_packages(workshop)),
            Piece::Lints | Piece::NpmTools | Piece::OpenFiles | Piece::WasmBindgen | Piece::WasmPack => Ok(Vec::new()),
            Piece::Curl => Ok(system::missing_program(workshop, "curl")),
            Piece::Git => Ok(system::missing_program(workshop, "git")),
            Piece::Kosoku => Ok(KOSOKU.missing_packages(workshop)),
            Piece::PythonClient => Ok(CLIENT.missing_packages(workshop)),
            Piece::Nats => Ok(NATS.missing_packages(workshop)),
            Piece::Nginx => Ok(system::missing_program(workshop, "nginx")),
            Piece::SchemaSuite => Ok(schema_suite::missing_packages(workshop)),
            Piece::Chromium | Piece::Firefox | Piece::Webkit => Ok(browsers::missing_packages(workshop, self)),
        }
    }

    fn install(self, workshop: &Workshop) -> Result<()> {
        let packages = self.missing_packages(workshop)?;
        if !packages.is_empty() {
            system::install(workshop, &packages)?;
        }
        match self {
            Piece::C => system::check_c(workshop),
            Piece::Rust => rust::ensure_toolchain(workshop),
            Piece::Lints => rust::ensure_lints(workshop),
            Piece::WasmBindgen => wasm_tools::ensure_wasm_bindgen(workshop),
            Piece::WasmPack => wasm_tools::ensure_wasm_pack(workshop),
            Piece::Node => node::check(workshop),
            Piece::NpmTools => node::ensure_tools(workshop),
            Piece::Chromium | Piece::Webkit => browsers::check(workshop, self),
            Piece::Kosoku => KOSOKU.ensure(workshop),
            Piece::PythonClient => CLIENT.ensure(workshop),
            Piece::Nats => NATS.ensure(workshop),
            Piece::Nginx => system::check_program(workshop, "nginx"),
            Piece::Curl => system::check_program(workshop, "curl"),
            Piece::Git => system::check_program(workshop, "git"),
            Piece::OpenFiles => open_files::ensure(),
            Piece::SchemaSuite => schema_suite::ensure(workshop),
            Piece::Firefox => {
                wasm_tools::ensure_geckodriver(workshop)?;
                browsers::check(workshop, self)
            }
        }
    }
}

/// `cargo xtask setup`
pub(crate) fn command(workshop: &Workshop, options: &Options) -> Result<ExitCode> {
    let pieces = if options.only.is_empty() { Piece::value_variants() } else { options.only.as_slice() };
    prepare(workshop, pieces)?;
    let mut failed = 0;
    for &piece in pieces {
        if let Err(error) = ensure(workshop, piece) {
            println!("{} {error:#}", report::bad("✗"));
            failed += 1;
        }
        if process::interrupted() {
            bail!("interrupted");
        }
    }
    if failed > 0 {
        bail!("{failed} of {} pieces could not be installed; see the errors above", pieces.len());
    }
    println!("All prerequisites are installed.");
    Ok(ExitCode::SUCCESS)
}

/// Installs the system packages of all `pieces` at once, or stops with the command that does.
///
/// A failure of apt is reported, but not an error yet: each piece tries again and names its missing packages.
pub(crate) fn prepare(workshop: &Workshop, pieces: &[Piece]) -> Result<()> {
    let mut packages = Vec::new();
    for piece in pieces {
        for package in piece.missing_packages(workshop).unwrap_or_default() {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    system::may_install(workshop, &packages)?;
    if let Err(error) = system::install(workshop, &packages) {
        report::remark(format!("{error:#}"));
    }
    Ok(())
}

/// Installs `piece`, unless it is there.
pub(crate) fn ensure(workshop: &Workshop, piece: Piece) -> Result<()> {
    workshop.piece(piece, || piece.install(workshop))
}

/// [`ensure`] for several pieces. Stops at the first error.
pub(crate) fn ensure_all(workshop: &Workshop, pieces: &[Piece]) -> Result<()> {
    pieces.iter().try_for_each(|&piece| ensure(workshop, piece))
}

/// The first version in a program's output of `--version`, as numbers.
fn version_in(text: &str) -> Option<(u64, u64, u64)> {
    text.split(|c: char| c.is_whitespace() || c == '(').find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u64>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_read_from_the_output_of_programs() {
        assert_eq!(version_in("v20.20.2\n"), Some((20, 20, 2)));
        assert_eq!(version_in("wasm-bindgen 0.2.130"), Some((0, 2, 130)));
        assert_eq!(version_in("cargo 1.96.0 (30a34c682 2026-05-25) (built from a source tarball)"), Some((1, 96, 0)));
        assert_eq!(version_in("rustc 1.97.0-nightly (abc 2026-05-01)"), Some((1, 97, 0)));
        assert_eq!(version_in("geckodriver 0.37.1 (  )\n\nThe source code"), Some((0, 37, 1)));
        assert_eq!(version_in("Google Chrome 141.0.7390.54"), Some((141, 0, 7390)));
        assert_eq!(version_in("no version here"), None);
    }
}
