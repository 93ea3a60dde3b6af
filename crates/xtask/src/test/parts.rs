//! The parts of the tests: prerequisites, and how to run each.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::outcome::Outcome;
use super::tidy;
use crate::build::{self, Artifact, BENCH_GUESTS, GUEST_WORKSPACES};
use crate::dist::{self, Profile};
use crate::process::Program;
use crate::run::demo_environment;
use crate::setup::{
    Piece,
    browsers::Engine,
    python::{CLIENT, KOSOKU},
};
use crate::workshop::Workshop;

/// The time limit of each program of a part, including builds.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// One part of the tests.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Format,
    Lints,
    Tidy,
    Native,
    Guests,
    Browser(Engine),
    Page(Engine),
    Package,
    Conformance,
    Tutorial,
}

/// All parts, the quick ones first.
pub(super) fn all() -> Vec<Part> {
    let engines = Engine::value_variants();
    let mut parts = vec![Part::Format, Part::Tidy, Part::Lints, Part::Guests, Part::Native];
    parts.extend(engines.iter().map(|&engine| Part::Browser(engine)));
    parts.extend(engines.iter().map(|&engine| Part::Page(engine)));
    parts.extend([Part::Package, Part::Conformance, Part::Tutorial]);
    parts
}

/// Checks a value of `--only`: a part, or a part in one engine.
pub(super) fn name_of_part(given: &str) -> Result<String, String> {
    let mut names: Vec<String> = all().into_iter().flat_map(|part| [part.kind().to_owned(), part.name()]).collect();
    if names.iter().any(|name| name == given) {
        return Ok(given.to_owned());
    }
    names.sort();
    names.dedup();
    Err(format!("expected one of these parts: {}", names.join(", ")))
}

impl Part {
    fn kind(self) -> &'static str {
        match self {
            Part::Format => "format",
            Part::Lints => "lints",
            Part::Tidy => "tidy",
            Part::Native => "native",
            Part::Guests => "guests",
            Part::Browser(_) => "browser",
            Part::Page(_) => "page",
            Part::Package => "package",
            Part::Conformance => "conformance",
            Part::Tutorial => "tutorial",
        }
    }

    /// Its name, including the engine if it has one.
    pub(super) fn name(self) -> String {
        match self.engine() {
            Some(engine) => format!("{}-{}", self.kind(), engine.name()),
            None => self.kind().to_owned(),
        }
    }

    /// Whether `--only` selects it. Without `--only`, all parts are selected.
    pub(super) fn is_asked_for(self, only: &[String]) -> bool {
        only.is_empty() || only.iter().any(|name| *name == self.kind() || *name == self.name())
    }

    /// The browser engine that it runs in, if any.
    pub(super) fn engine(self) -> Option<Engine> {
        match self {
            Part::Browser(engine) | Part::Page(engine) => Some(engine),
            _ => None,
        }
    }

    /// Pieces that must be installed, besides those that its artifacts need.
    pub(super) fn pieces(self) -> Vec<Piece> {
        match self {
            Part::Format => vec![Piece::Rust, Piece::Lints],
            Part::Lints => vec![Piece::C, Piece::Rust, Piece::Lints, Piece::SchemaSuite],
            Part::Tidy => vec![],
            Part::Native => {
                let programs = [Piece::Curl, Piece::Nginx, Piece::Node, Piece::PythonClient];
                [[Piece::C, Piece::Rust, Piece::SchemaSuite, Piece::OpenFiles].as_slice(), &programs].concat()
            }
            Part::Guests => vec![Piece::Rust],
            Part::Browser(engine) => {
                let mut pieces = vec![Piece::Rust, Piece::WasmBindgen, Piece::SchemaSuite, engine.piece()];
                pieces.extend((engine == Engine::Chromium).then_some(Piece::WasmPack));
                pieces
            }
            Part::Page(engine) => vec![Piece::C, Piece::Rust, engine.piece()],
            Part::Package => vec![Piece::Node, Piece::NpmTools, Piece::Chromium],
            Part::Conformance => vec![Piece::C, Piece::Rust, Piece::Kosoku],
            Part::Tutorial => [Piece::BUILD.as_slice(), &[Piece::Curl]].concat(),
        }
    }

    /// Artifacts that must be built first.
    pub(super) fn artifacts(self) -> Vec<Artifact> {
        match self {
            Part::Format | Part::Tidy | Part::Guests => vec![],
            // The browser tests include the bytes of a guest and a file of the npm package. Building the tarball builds the scripts.
            Part::Lints => vec![Artifact::TestGuests, Artifact::Tarball],
            // A test in Node compares the server's check of bodies with the pages' check.
            Part::Native => vec![Artifact::DemoGuests, Artifact::TestGuests, Artifact::Scripts],
            Part::Browser(_) => vec![Artifact::DemoGuests, Artifact::TestGuests, Artifact::Tarball],
            Part::Page(_) => [Artifact::DEMO.as_slice(), &[Artifact::TestGuests]].concat(),
            Part::Package => Artifact::DEMO.to_vec(),
            Part::Conformance => vec![],
            Part::Tutorial => Artifact::DEMO.to_vec(),
        }
    }

    /// Runs it.
    pub(super) fn run(self, workshop: &Workshop, size: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let guests = build::guests_folder(workshop);
        let prepared =
            |program: Program| program.env("STARLANE_SIZE", size).env("STARLANE_GUESTS", &guests).limit(LIMIT);
        match self {
            Part::Format => {
                check(&mut outcome, workshop.cargo(["fmt", "--all", "--check"]))?;
                for manifest in GUEST_WORKSPACES.into_iter().chain([BENCH_GUESTS]) {
                    check(&mut outcome, workshop.cargo(["fmt", "--check", "--all", "--manifest-path", manifest]))?;
                }
            }
            Part::Lints => {
                for program in lints(workshop) {
                    check(&mut outcome, program)?;
                }
            }
            Part::Tidy => tidy::check(workshop, &mut outcome)?,
            Part::Native => {
                let show = ["--no-fail-fast", "--", "--show-output"];
                let program = workshop.cargo(["test"]).args(build::NATIVE).args(show);
                let program = program.env("STARLANE_PYTHON", CLIENT.python(workshop));
                tests(&mut outcome, "cargo test", prepared(program))?;
            }
            Part::Guests => {
                for manifest in GUEST_WORKSPACES {
                    let words =
                        ["test", "--workspace", "--no-fail-fast", "--manifest-path", manifest, "--", "--show-output"];
                    let target = workshop.path("target/guests");
                    let program = workshop.cargo(words).env("CARGO_TARGET_DIR", target);
                    tests(&mut outcome, &format!("cargo test of {manifest}"), prepared(program))?;
                }
            }
            Part::Browser(engine) => {
                for name in ["browser", "npm"] {
                    let program = browser_tests(workshop, engine, name)?;
                    tests(&mut outcome, &format!("crates/{name} in {}", engine.name()), prepared(program))?;
                }
            }
            Part::Page(engine) => {
                let words =
                    [["test"].as_slice(), &build::NATIVE, &["--test", "e2e", "--", "--engine", engine.name()]].concat();
                let program = displayed(workshop, engine, workshop.cargo(&words), "cargo", &words);
                let program = program.envs(engine.environment(workshop)?).envs(demo_environment(workshop));
                tests(&mut outcome, &format!("the page in {}", engine.name()), prepared(program))?;
            }
            Part::Conformance => {
                let words = [["test"].as_slice(), &build::NATIVE, &["--test", "conformance"]].concat();
                let program = workshop.cargo(words).env("STARLANE_KOSOKU", KOSOKU.program(workshop));
                tests(&mut outcome, "the Autobahn cases", prepared(program))?;
            }
            Part::Tutorial => {
                let dist = workshop.path("target/dist-to-test");
                dist::assemble(workshop, Profile::Dev, &dist)?;
                let words = [["test"].as_slice(), &build::NATIVE, &["--test", "tutorial"]].concat();
                let program = workshop.cargo(words).env("STARLANE_PRODUCT", dist);
                tests(&mut outcome, "the tutorial", prepared(program))?;
            }
            Part::Package => {
                let program = workshop.program("node").arg("tests/npm/run.mjs");
                let program = program.envs(Engine::Chromium.environment(workshop)?).envs(demo_environment(workshop));
                let program = program.env("STARLANE_TARBALL", build::tarball(workshop)?);
                tests(&mut outcome, "tests/npm/run.mjs", prepared(program))?;
            }
        }
        Ok(outcome)
    }
}

/// Runs clippy for each target of a crate, and for the guests.
fn lints(workshop: &Workshop) -> Vec<Program> {
    let deny = ["--all-targets", "--", "-D", "warnings"];
    let browser = [
        "-p",
        "starlane-browser",
        "-p",
        "starlane-npm",
        "-p",
        "starlane-verifier",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let mut programs = vec![
        workshop.cargo(["clippy"]).args(build::NATIVE).args(deny),
        workshop.cargo(["clippy"]).args(browser).args(deny),
    ];
    // Without `--all-targets`: the meter's tests are native.
    let meter = ["-p", "starlane-meter", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings"];
    programs.push(workshop.cargo(["clippy"]).args(meter));
    // `--all-targets` leaves out tests that `cargo test` does not run by default.
    programs.push(
        workshop
            .cargo(["clippy"])
            .args(build::NATIVE)
            .args(["--test", "e2e", "--test", "conformance", "--test", "tutorial", "--test", "bench"])
            .args(["--", "-D", "warnings"]),
    );
    for manifest in GUEST_WORKSPACES.into_iter().chain([BENCH_GUESTS]) {
        let target = workshop.path("target/guests");
        let program = workshop.cargo(["clippy", "--workspace", "--manifest-path", manifest]).args(deny);
        programs.push(program.env("CARGO_TARGET_DIR", target));
    }
    programs
}

/// The browser tests of a crate. wasm-pack runs them in Chromium. It cannot set up the other engines, so cargo runs them there, with
/// the same runner.
fn browser_tests(workshop: &Workshop, engine: Engine, name: &str) -> Result<Program> {
    let environment = engine.environment(workshop)?;
    let program = if engine == Engine::Chromium {
        let driver = engine.driver(workshop).unwrap_or_default();
        let options = ["test", "--headless", "--chrome", "--mode", "no-install", "--chromedriver"];
        let program = workshop.program("wasm-pack").args(options).arg(driver).arg(format!("crates/{name}"));
        // Not `--no-fail-fast`: wasm-pack passes its options to `cargo build` too, which does not know it.
        program.args(["--", "--nocapture"]).env("CARGO_TARGET_DIR", workshop.path("target"))
    } else {
        let package = format!("starlane-{name}");
        let target = ["--target", "wasm32-unknown-unknown", "--no-fail-fast", "--", "--nocapture"];
        let words = [["test", "-p", &package].as_slice(), &target].concat();
        displayed(workshop, engine, workshop.cargo(&words), "cargo", &words)
    };
    // The runner's default limit of 20 s for a whole test binary is too short for a slow machine.
    Ok(program.envs(environment).env("WASM_BINDGEN_TEST_ONLY_WEB", "1").env("WASM_BINDGEN_TEST_TIMEOUT", "300"))
}

/// Gives WebKitGTK a virtual display, because it has no headless mode.
fn displayed(workshop: &Workshop, engine: Engine, program: Program, name: &str, words: &[&str]) -> Program {
    if engine == Engine::Webkit {
        let target = workshop.path("target");
        workshop.program("xvfb-run").args(["-a", name]).args(words).env("CARGO_TARGET_DIR", target)
    } else {
        program
    }
}

/// Runs a program that passes or fails as a whole, as one test.
fn check(outcome: &mut Outcome, program: Program) -> Result<()> {
    let line = program.line();
    println!("$ {line}");
    let finished = program.limit(LIMIT).stream()?;
    outcome.add_check(finished.success());
    if !finished.success() {
        outcome.note(format!("`{line}` failed"));
    }
    Ok(())
}

/// Runs a program that counts its tests.
fn tests(outcome: &mut Outcome, what: &str, program: Program) -> Result<()> {
    println!("$ {}", program.line());
    let finished = program.stream()?;
    outcome.add_tests(what, &finished);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_selects_a_part_in_all_engines_or_in_one() {
        let asked = |only: &str| {
            let only = [only.to_owned()];
            all().into_iter().filter(|part| part.is_asked_for(&only)).map(Part::name).collect::<Vec<_>>()
        };
        assert_eq!(asked("browser"), ["browser-chromium", "browser-firefox", "browser-webkit"]);
        assert_eq!(asked("page-webkit"), ["page-webkit"]);
        assert_eq!(asked("native"), ["native"]);
        assert!(all().into_iter().all(|part| part.is_asked_for(&[])));
    }
}
