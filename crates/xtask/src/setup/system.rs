//! System packages: installed with apt on Debian. On other systems, errors name what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::process::Program;
use crate::report;
use crate::workshop::Workshop;

/// Package lists older than this are fetched again before an installation.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether the system is Debian, or derived from it.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// The missing Debian packages of a C compiler, which builds SQLite.
pub(crate) fn missing_c(workshop: &Workshop) -> Vec<String> {
    let mut missing = Vec::new();
    if is_debian() {
        if workshop.find("cc").is_none() {
            missing.extend(["gcc".to_owned(), "libc6-dev".to_owned()]);
        }
        if workshop.find("pkg-config").is_none() {
            missing.push("pkg-config".to_owned());
        }
    }
    missing
}

/// Reports where the C compiler is. The error says what to install.
pub(crate) fn check_c(workshop: &Workshop) -> Result<()> {
    match workshop.find("cc").or_else(|| workshop.find("clang")).or_else(|| workshop.find("cl")) {
        Some(path) => {
            report::note(format_args!("C compiler: {}", path.display()));
            Ok(())
        }
        None => bail!("a C compiler is missing: install gcc or clang, and pkg-config"),
    }
}

/// Finds a program, also in /usr/sbin, which may not be on the PATH.
pub(crate) fn program(workshop: &Workshop, name: &str) -> Option<PathBuf> {
    let beside = Path::new("/usr/sbin").join(name);
    workshop.find(name).or_else(|| beside.is_file().then_some(beside))
}

/// The Debian package of a program, which has the same name, if the program is missing. curl needs certificates to trust.
pub(crate) fn missing_program(workshop: &Workshop, name: &str) -> Vec<String> {
    if !is_debian() || program(workshop, name).is_some() {
        return Vec::new();
    }
    let more = (name == "curl").then(|| "ca-certificates".to_owned());
    [name.to_owned()].into_iter().chain(more).collect()
}

/// Reports where a program is. The error says what to install.
pub(crate) fn check_program(workshop: &Workshop, name: &str) -> Result<()> {
    let path = program(workshop, name).with_context(|| format!("{name} is missing: install it"))?;
    report::note(format_args!("{name}: {}", path.display()));
    Ok(())
}

/// Fails with the command to run if this program must not install packages.
pub(crate) fn may_install(workshop: &Workshop, packages: &[String]) -> Result<()> {
    if is_root() || workshop.yes {
        return Ok(());
    }
    bail!(
        "system packages are missing: install them, then try again (or add `--yes` to use sudo):\n\n    \
         sudo apt-get install -y --no-install-recommends {}\n",
        packages.join(" ")
    )
}

/// Installs Debian packages. Fetches the package lists first if they are missing or old, and again if the installation fails.
pub(crate) fn install(workshop: &Workshop, packages: &[String]) -> Result<()> {
    may_install(workshop, packages)?;
    report::step(&format!("apt-get install {}", packages.join(" ")), || {
        workshop.installed.set(true);
        let fresh = lists_are_fresh(Path::new("/var/lib/apt/lists"));
        if !fresh {
            apt(workshop, &["update"])?;
        }
        let install = || {
            let options = ["install", "-y", "--no-install-recommends"];
            let words: Vec<&str> = options.into_iter().chain(packages.iter().map(String::as_str)).collect();
            apt(workshop, &words)
        };
        match install() {
            // The lists may name a version that the mirror no longer has.
            Err(_) if fresh => {
                apt(workshop, &["update"])?;
                install()
            }
            result => result,
        }
    })
}

/// A command that needs root, with sudo if we are not root. `None` without `--yes`.
pub(crate) fn as_root(workshop: &Workshop, command: &str) -> Option<Program> {
    if is_root() {
        Some(workshop.program(command))
    } else {
        workshop.yes.then(|| workshop.program("sudo").may_ask().arg(command))
    }
}

fn apt(workshop: &Workshop, words: &[&str]) -> Result<()> {
    let program = as_root(workshop, "env").context("installing system packages needs root, or `--yes` to use sudo")?;
    let quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"];
    program.args(quiet).args(words).run()
}

/// Whether the package lists exist and are recent.
fn lists_are_fresh(folder: &Path) -> bool {
    let filled = fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().contains("_Packages")))
    });
    let changed = fs::metadata(folder).and_then(|about| about.modified()).ok();
    let age = changed.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    filled && age < STALE
}

/// The version of a package that apt would install, if any.
pub(crate) fn candidate(workshop: &Workshop, package: &str) -> Option<String> {
    let policy = workshop.program("apt-cache").args(["policy", package]).output().ok()?;
    candidate_in(&policy)
}

fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then(|| version.to_owned())
}

/// The newest `lld-NN` that apt offers.
pub(crate) fn newest_lld(workshop: &Workshop) -> Option<String> {
    let names = workshop.program("apt-cache").args(["--names-only", "search", "^lld-[0-9]+$"]).output().ok()?;
    newest_lld_in(&names)
}

fn newest_lld_in(search: &str) -> Option<String> {
    let number = |line: &str| line.split_whitespace().next()?.strip_prefix("lld-")?.parse::<u32>().ok();
    search.lines().filter_map(number).max().map(|number| format!("lld-{number}"))
}

/// Fetches the package lists if they are missing or old, because [`candidate`] and [`newest_lld`] read them.
pub(crate) fn refresh_lists(workshop: &Workshop) -> Result<()> {
    if lists_are_fresh(Path::new("/var/lib/apt/lists")) || !(is_root() || workshop.yes) {
        return Ok(());
    }
    report::step("apt-get update", || apt(workshop, &["update"]))
}

#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
pub(crate) fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lld_has_the_greatest_number() {
        let search = "lld-13 - LLVM-based linker\nlld-9 - LLVM-based linker\nlld-22 - LLVM-based linker\nlld-19 - x\n";
        assert_eq!(newest_lld_in(search).as_deref(), Some("lld-22"));
        assert_eq!(newest_lld_in(""), None);
    }

    #[test]
    fn a_package_without_a_candidate_is_not_offered() {
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate_in(policy).as_deref(), Some("1.96.0+dfsg1-1~deb12u2"));
    }

    #[test]
    fn empty_package_lists_are_not_fresh() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!lists_are_fresh(folder.path()));
        fs::write(folder.path().join("deb.example_main_binary-amd64_Packages.lz4"), "").unwrap();
        assert!(lists_are_fresh(folder.path()));
    }
}
