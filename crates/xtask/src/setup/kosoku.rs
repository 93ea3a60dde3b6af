//! kosoku, which runs the Autobahn cases: a Python package.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::python::{self, Environment};
use crate::report;
use crate::workshop::Workshop;

/// The version that the reports of `tests/conformance` are read from.
const PACKAGE: &str = "kosoku==0.1.0";

/// Where its program is, once it is installed.
pub(crate) fn program(workshop: &Workshop) -> PathBuf {
    environment(workshop).program("kosoku")
}

/// The Debian packages that are missing to install it.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    if program(workshop).exists() { Vec::new() } else { python::missing_packages(workshop) }
}

/// Installs it beside our other tools.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    let python = environment(workshop);
    if !program(workshop).exists() {
        workshop.installed.set(true);
        report::step(PACKAGE, || python.pip(workshop)?.args(["install", PACKAGE]).run())?;
    }
    if !program(workshop).exists() {
        bail!("{PACKAGE} has no program: delete {} and try again", python.folder.display());
    }
    report::note(PACKAGE);
    Ok(())
}

fn environment(workshop: &Workshop) -> Environment {
    Environment::at(workshop, "kosoku")
}
