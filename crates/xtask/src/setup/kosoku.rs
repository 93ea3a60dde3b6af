//! kosoku, which runs the Autobahn cases: a Python package, in an environment of its own.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::system;
use crate::report;
use crate::workshop::Workshop;

/// The version that the reports of `tests/conformance` are read from.
const PACKAGE: &str = "kosoku==0.1.0";

/// Where its program is, once it is installed.
pub(crate) fn program(workshop: &Workshop) -> PathBuf {
    folder(workshop).join(if cfg!(windows) { "Scripts/kosoku.exe" } else { "bin/kosoku" })
}

/// The package installer of its environment.
pub(crate) fn pip(workshop: &Workshop) -> PathBuf {
    folder(workshop).join(if cfg!(windows) { "Scripts/pip.exe" } else { "bin/pip" })
}

/// The Debian packages that are missing to install it.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    let can = |code: &str| workshop.program("python3").args(["-c", code]).output().is_ok();
    let missing = !program(workshop).exists() && system::is_debian() && !can("import venv, ensurepip");
    if missing { vec!["python3".to_owned(), "python3-venv".to_owned()] } else { Vec::new() }
}

/// Installs it beside our other tools.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    let python = folder(workshop);
    if !program(workshop).exists() {
        workshop.installed.set(true);
        report::step(PACKAGE, || {
            workshop
                .program("python3")
                .args(["-m", "venv"])
                .arg(&python)
                .run()
                .context("Python 3.10 or newer is needed")?;
            workshop.program(pip(workshop)).args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]).run()
        })?;
    }
    if !program(workshop).exists() {
        bail!("{PACKAGE} has no program: delete {} and try again", python.display());
    }
    report::note(PACKAGE);
    Ok(())
}

fn folder(workshop: &Workshop) -> PathBuf {
    workshop.tools.join("kosoku")
}
