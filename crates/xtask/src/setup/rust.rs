//! A Rust toolchain that builds for `wasm32-unknown-unknown`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Piece, ensure, system, version_in};
use crate::files;
use crate::report;
use crate::workshop::Workshop;

const TARGET: &str = "wasm32-unknown-unknown";
/// The time limit of rustup if Debian's toolchain is an alternative.
const SHORT_LIMIT: Duration = Duration::from_secs(20);
/// The time limit of rustup if there is no alternative.
const LONG_LIMIT: Duration = Duration::from_secs(600);
/// Debian's toolchain for its web browsers, which is recent in every release: packages, each with one of its files.
const PACKAGES: [(&str, &str); 5] = [
    ("rustc-web", "/usr/bin/rustc"),
    ("cargo-web", "/usr/bin/cargo"),
    ("rust-web-src", "/usr/lib/rustlib/src/rust/library/std/Cargo.toml"),
    ("rust-web-clippy", "/usr/bin/cargo-clippy"),
    ("rustfmt-web", "/usr/bin/rustfmt"),
];

/// The toolchain that builds everything.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Toolchain {
    /// The one that runs `cargo xtask`.
    Current,
    /// /usr, linked as a rustup toolchain.
    Linked,
    /// /usr, on a machine without rustup.
    System,
}

impl Toolchain {
    /// The name under which set-up links /usr.
    pub(crate) const NAME: &str = "starlane";
}

/// What to do about the toolchain.
enum Way {
    Ready(Toolchain, &'static str),
    /// Debian's packages, of which these are missing.
    Debian(Vec<String>),
}

/// Finds or installs a toolchain, and makes [`Workshop::program`] use it.
pub(crate) fn ensure_toolchain(workshop: &Workshop) -> Result<()> {
    match way(workshop)? {
        Way::Ready(toolchain, how) => {
            report::note(format_args!("Rust to WebAssembly: {how}"));
            workshop.toolchain.replace(Some(toolchain));
        }
        Way::Debian(missing) if missing.is_empty() => {
            let toolchain =
                report::step("Rust to WebAssembly: Debian's toolchain, its library built for wasm32", || {
                    workshop.installed.set(true);
                    check_version(workshop)?;
                    link_linker(workshop)?;
                    build_library(workshop)?;
                    link_toolchain(workshop)
                })?;
            workshop.toolchain.replace(Some(toolchain));
        }
        Way::Debian(missing) => bail!("Rust to WebAssembly needs these packages: {}", missing.join(" ")),
    }
    Ok(())
}

/// Adds clippy and rustfmt to the toolchain, if they are missing.
pub(crate) fn ensure_lints(workshop: &Workshop) -> Result<()> {
    ensure(workshop, Piece::Rust)?;
    for (command, component, package) in [("clippy", "clippy", "rust-web-clippy"), ("fmt", "rustfmt", "rustfmt-web")] {
        let version = || workshop.cargo([command, "--version"]).output();
        if version().is_err() {
            if workshop.find("rustup").is_some() {
                report::step(&format!("rustup component add {component}"), || {
                    workshop.installed.set(true);
                    workshop.program("rustup").args(["component", "add", component]).limit(LONG_LIMIT).output()
                })?;
            }
            version().with_context(|| {
                format!("the Rust toolchain has no {component}: install it (Debian's package: {package})")
            })?;
        }
    }
    report::note("clippy and rustfmt");
    Ok(())
}

/// The missing Debian packages, if Debian's toolchain is used.
pub(crate) fn missing_packages(workshop: &Workshop) -> Result<Vec<String>> {
    match way(workshop)? {
        Way::Ready(..) => Ok(Vec::new()),
        Way::Debian(missing) => Ok(missing),
    }
}

fn way(workshop: &Workshop) -> Result<Way> {
    let sysroot = workshop.program("rustc").args(["--print", "sysroot"]).output().ok();
    if sysroot.is_some_and(|path| has_library(Path::new(path.trim()))) {
        return Ok(Way::Ready(Toolchain::Current, "the toolchain in use has it"));
    }
    let rustup = workshop.find("rustup").is_some();
    if has_library(Path::new("/usr")) {
        if !rustup {
            return Ok(Way::Ready(Toolchain::System, "Debian's toolchain has it"));
        }
        if is_linked(workshop) {
            return Ok(Way::Ready(Toolchain::Linked, "Debian's toolchain, linked as `starlane`, has it"));
        }
    }
    let debian = system::is_debian();
    // Both `prepare` and `ensure` call this. A failed try is not repeated within an hour.
    let tried = workshop.tools.join("rustup-failed");
    let lately = fs::metadata(&tried).and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
    if rustup && lately.is_none_or(|age| age > Duration::from_secs(3600)) {
        let limit = if debian { SHORT_LIMIT } else { LONG_LIMIT };
        let add = || workshop.program("rustup").args(["target", "add", TARGET]).limit(limit).output();
        match report::step("rustup target add wasm32-unknown-unknown", add) {
            Ok(_) => {
                workshop.installed.set(true);
                return Ok(Way::Ready(Toolchain::Current, "rustup has added it"));
            }
            Err(error) => report::remark(reason(&format!("{error:#}"))),
        }
        files::write(&tried, "")?;
    }
    if debian { debian_way(workshop) } else { bail!("{}", remedy(rustup)) }
}

fn debian_way(workshop: &Workshop) -> Result<Way> {
    let mut missing: Vec<String> = PACKAGES
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| (*package).to_owned())
        .collect();
    if !missing.is_empty() || !Path::new("/usr/bin/rust-lld").exists() {
        system::refresh_lists(workshop)?;
    }
    if let Some(first) = missing.first() {
        match system::candidate(workshop, first) {
            Some(_) => {}
            None => bail!("apt offers no `{first}`. {}", remedy(workshop.find("rustup").is_some())),
        }
    }
    if !Path::new("/usr/bin/rust-lld").exists() && installed_lld().is_none() {
        missing.push(system::newest_lld(workshop).context("apt offers no package lld-NN, which links WebAssembly")?);
    }
    Ok(Way::Debian(missing))
}

fn remedy(rustup: bool) -> &'static str {
    if rustup {
        "Rust cannot build for WebAssembly: `rustup target add wasm32-unknown-unknown` failed. Run it to see why; when it \
         succeeds, run this command again."
    } else {
        "Rust cannot build for WebAssembly: this toolchain lacks wasm32-unknown-unknown, and rustup is not installed. Install \
         Rust from https://rustup.rs, run `rustup target add wasm32-unknown-unknown`, and run this command again."
    }
}

fn library_folder(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

/// Whether a sysroot has the standard library for wasm32.
fn has_library(sysroot: &Path) -> bool {
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    fs::read_dir(library_folder(sysroot))
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| is_std(&e.file_name().to_string_lossy()))))
}

fn is_linked(workshop: &Workshop) -> bool {
    let list = workshop.program("rustup").args(["toolchain", "list"]).output().unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().next() == Some(Toolchain::NAME))
}

/// Checks Debian's toolchain against `rust-version` of the workspace.
fn check_version(workshop: &Workshop) -> Result<()> {
    let manifest = fs::read_to_string(workshop.path("Cargo.toml"))?;
    let needed = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version"))
        .and_then(|rest| version_in(rest.trim_matches([' ', '=', '"'])))
        .unwrap_or_default();
    let answer = workshop.program("/usr/bin/rustc").arg("--version").output()?;
    match version_in(&answer) {
        Some(there) if there >= needed => Ok(()),
        _ => bail!(
            "Debian's toolchain is {}; {}.{} or newer is required: run `sudo apt-get update && sudo apt-get install {}`, or \
             install Rust from https://rustup.rs",
            answer.trim(),
            needed.0,
            needed.1,
            PACKAGES.map(|(package, _)| package).join(" ")
        ),
    }
}

/// The newest installed lld.
fn installed_lld() -> Option<PathBuf> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("lld-")?.parse::<u32>().ok();
    let all = fs::read_dir("/usr/bin").ok()?.flatten().map(|entry| entry.path());
    all.filter(|path| number(path).is_some()).max_by_key(number)
}

/// rustc looks for the linker of wasm32 under the name `rust-lld`.
fn link_linker(workshop: &Workshop) -> Result<()> {
    if Path::new("/usr/bin/rust-lld").exists() {
        return Ok(());
    }
    let lld = installed_lld().context("/usr/bin has no lld-NN")?;
    let lld = lld.to_string_lossy().into_owned();
    root_command(workshop, "ln", &["-s", &lld, "/usr/bin/rust-lld"])
}

/// Builds std for wasm32 from its sources and puts it where rustc looks.
fn build_library(workshop: &Workshop) -> Result<()> {
    if has_library(Path::new("/usr")) {
        return Ok(());
    }
    let folder = workshop.path("target/setup/std");
    // An empty crate, because cargo builds std only for a crate.
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[lib]\n\n[workspace]\n";
    files::write(&folder.join("Cargo.toml"), manifest)?;
    files::write(&folder.join("src/lib.rs"), "#![no_std]\n")?;
    workshop
        .program("/usr/bin/cargo")
        .within(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("RUSTC", "/usr/bin/rustc")
        // Allows -Zbuild-std on a stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        // Without bitcode a later `lto = true` finds nothing to optimise and fails.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .args(["build", "--quiet", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort,test"])
        .run()?;
    let built = folder.join("target").join(TARGET).join("release/deps");
    let to = library_folder(Path::new("/usr"));
    let mut words = vec!["-m".to_owned(), "644".to_owned(), "-D".to_owned(), "-t".to_owned()];
    words.push(to.to_string_lossy().into_owned());
    for file in fs::read_dir(&built)?.flatten().map(|entry| entry.path()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty") {
            words.push(file.to_string_lossy().into_owned());
        }
    }
    root_command(workshop, "install", &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn link_toolchain(workshop: &Workshop) -> Result<Toolchain> {
    if workshop.find("rustup").is_none() {
        return Ok(Toolchain::System);
    }
    workshop.program("rustup").args(["toolchain", "link", Toolchain::NAME, "/usr"]).output()?;
    Ok(Toolchain::Linked)
}

fn root_command(workshop: &Workshop, command: &str, words: &[&str]) -> Result<()> {
    match system::as_root(workshop, command) {
        Some(program) => program.args(words).run(),
        None => bail!(
            "run this command, then try again (or add `--yes` to use sudo):\n\n    sudo {command} {}\n",
            words.join(" ")
        ),
    }
}

/// The line of a program's output that names the reason: the first error, or else the first line.
fn reason(text: &str) -> &str {
    let is_error = |line: &&str| line.trim_start().starts_with("error");
    text.lines().find(is_error).or_else(|| text.lines().next()).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_line_is_the_reason() {
        let told = "`rustup target add x` failed (exit status: 1)\ninfo: downloading\nerror: could not download file";
        assert_eq!(reason(told), "error: could not download file");
        assert_eq!(reason("`rustup` exceeded its limit of 20 s"), "`rustup` exceeded its limit of 20 s");
    }

    #[test]
    fn a_sysroot_without_std_has_no_library() {
        let sysroot = tempfile::tempdir().unwrap();
        assert!(!has_library(sysroot.path()));
        let folder = library_folder(sysroot.path());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libcore-1.rlib"), "").unwrap();
        assert!(!has_library(sysroot.path()), "std is missing");
        fs::write(folder.join("libstd-0f.rlib"), "").unwrap();
        assert!(has_library(sysroot.path()));
    }
}
