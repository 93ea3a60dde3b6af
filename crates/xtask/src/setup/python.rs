//! Python packages: each has an environment of its own beside our other tools, with the installer in it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::system;
use crate::process::Program;
use crate::workshop::Workshop;

/// An environment, whether it is there yet or not.
pub(crate) struct Environment {
    /// Where it is.
    pub(crate) folder: PathBuf,
}

impl Environment {
    /// The environment in a folder of our tools.
    pub(crate) fn at(workshop: &Workshop, folder: &str) -> Self {
        Self { folder: workshop.tools.join(folder) }
    }

    /// One of its programs, once that is installed.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let place = if cfg!(windows) { format!("Scripts/{name}.exe") } else { format!("bin/{name}") };
        self.folder.join(place)
    }

    /// Makes it, and gives its installer, to which the caller says what to do.
    pub(crate) fn pip(&self, workshop: &Workshop) -> Result<Program> {
        let made = workshop.program("python3").args(["-m", "venv"]).arg(&self.folder).run();
        made.context("Python 3.10 or newer is needed")?;
        Ok(workshop.program(self.program("pip")).args(["--quiet", "--disable-pip-version-check"]))
    }
}

/// The Debian packages that are missing to make an environment.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    let can = |code: &str| workshop.program("python3").args(["-c", code]).output().is_ok();
    let missing = system::is_debian() && !can("import venv, ensurepip");
    if missing { vec!["python3".to_owned(), "python3-venv".to_owned()] } else { Vec::new() }
}
