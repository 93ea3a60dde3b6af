//! System packages: with apt on Debian, elsewhere only by saying what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::process::Program;
use crate::report;
use crate::workshop::Workshop;

/// Package lists older than this are fetched anew before anything is installed.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether packages come from Debian (or what is built on it).
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// The packages of a C compiler, if there is none. SQLite is built from its source.
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

/// Says where the C compiler is, or what to do.
pub(crate) fn check_c(workshop: &Workshop) -> Result<()> {
    match workshop.find("cc").or_else(|| workshop.find("clang")).or_else(|| workshop.find("cl")) {
        Some(path) => {
            report::note(format_args!("C compiler: {}", path.display()));
            Ok(())
        }
        None => bail!("there is no C compiler: install gcc or clang, and pkg-config"),
    }
}

/// Where nginx is. Debian puts it where only root looks.
pub(crate) fn nginx(workshop: &Workshop) -> Option<PathBuf> {
    let beside = Path::new("/usr/sbin/nginx");
    workshop.find("nginx").or_else(|| beside.is_file().then(|| beside.to_owned()))
}

/// The package of nginx, if there is none.
pub(crate) fn missing_nginx(workshop: &Workshop) -> Vec<String> {
    if is_debian() && nginx(workshop).is_none() { vec!["nginx".to_owned()] } else { Vec::new() }
}

/// Says where nginx is, or what to do.
pub(crate) fn check_nginx(workshop: &Workshop) -> Result<()> {
    let path = nginx(workshop).context("nginx is not installed: install it")?;
    report::note(format_args!("nginx: {}", path.display()));
    Ok(())
}

/// Stops with the line to type if packages can't be installed from here.
pub(crate) fn may_install(workshop: &Workshop, packages: &[String]) -> Result<()> {
    if is_root() || workshop.yes {
        return Ok(());
    }
    bail!(
        "these system packages are missing; install them, then start again (or add `--yes` to let this command use sudo):\n\n    \
         sudo apt-get install -y --no-install-recommends {}\n",
        packages.join(" ")
    )
}

/// Installs Debian packages, after fetching the package lists if those are missing, old, or lack one of them.
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
            // The lists name a version that the mirror no longer has.
            Err(_) if fresh => {
                apt(workshop, &["update"])?;
                install()
            }
            result => result,
        }
    })
}

/// A command that needs root, through sudo if we are not; `None` if we may not.
pub(crate) fn as_root(workshop: &Workshop, command: &str) -> Option<Program> {
    if is_root() {
        Some(workshop.program(command))
    } else {
        workshop.yes.then(|| workshop.program("sudo").may_ask().arg(command))
    }
}

fn apt(workshop: &Workshop, words: &[&str]) -> Result<()> {
    let program = as_root(workshop, "env").context("system packages are installed as root or with --yes")?;
    let quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"];
    program.args(quiet).args(words).run()
}

/// Whether the package lists are there and were fetched lately.
fn lists_are_fresh(folder: &Path) -> bool {
    let filled = fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().contains("_Packages")))
    });
    let changed = fs::metadata(folder).and_then(|about| about.modified()).ok();
    let age = changed.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    filled && age < STALE
}

/// The newest version of a package that apt offers, if it offers one.
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

/// Fetches the package lists if they are missing or old, so that [`candidate`] and [`newest_lld`] tell the truth.
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
    fn the_newest_lld_is_the_one_with_the_greatest_number() {
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
