//! The shared state of commands: folders, the environment of programs, and finished work.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::build::Artifact;
use crate::files;
use crate::process::Program;
use crate::setup::{Piece, rust::Toolchain};

/// The checkout, and everything that this command has found and built so far.
pub(crate) struct Workshop {
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// The folder of tools that are not system packages, outside of the checkout.
    pub(crate) tools: PathBuf,
    /// Whether to use sudo without asking.
    pub(crate) yes: bool,
    /// The toolchain that builds everything, once it was found.
    pub(crate) toolchain: RefCell<Option<Toolchain>>,
    /// Whether this command has installed anything.
    pub(crate) installed: Cell<bool>,
    pieces: RefCell<BTreeMap<Piece, Result<(), String>>>,
    artifacts: RefCell<BTreeMap<Artifact, Result<(), String>>>,
}

impl Workshop {
    /// The workshop of the checkout that this program was built in.
    pub(crate) fn open(yes: bool) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).ok_or_else(|| anyhow!("{} is not inside a workspace", here.display()))?;
        Ok(Self {
            root: root.to_owned(),
            tools: cache_folder()?.join("starlane/tools"),
            yes,
            toolchain: RefCell::default(),
            installed: Cell::default(),
            pieces: RefCell::default(),
            artifacts: RefCell::default(),
        })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        self.root.join(inner)
    }

    /// A tool that set-up has installed.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.tools.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// The PATH of programs, with our tools first.
    pub(crate) fn search_path(&self) -> OsString {
        let given = std::env::var_os("PATH").unwrap_or_default();
        let first = match &*self.toolchain.borrow() {
            Some(Toolchain::System) => vec![self.tools.join("bin"), PathBuf::from("/usr/bin")],
            _ => vec![self.tools.join("bin")],
        };
        std::env::join_paths(first.into_iter().chain(std::env::split_paths(&given))).unwrap_or(given)
    }

    /// Finds the program `name`, if it is installed.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        files::program(name, &self.search_path())
    }

    /// A program that runs at the root of the checkout.
    ///
    /// `cargo run` sets variables for the package and toolchain of this program. The builds that it starts must not see them.
    pub(crate) fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Program {
        let mut program = Program::new(name).within(&self.root).env("PATH", self.search_path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let package = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
            if package || ["CARGO", "RUST_RECURSION_COUNT"].contains(&&*text) {
                program = program.without_env(&name);
            }
        }
        for list in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
            program = match std::env::var_os(list).and_then(|paths| self.without_cargos_own(&paths)) {
                Some(kept) => program.env(list, kept),
                None => program.without_env(list),
            };
        }
        match &*self.toolchain.borrow() {
            Some(Toolchain::Linked) => program.env("RUSTUP_TOOLCHAIN", Toolchain::NAME),
            _ => program,
        }
    }

    /// Cargo, with the toolchain that set-up chose and the checkout's own target folder.
    pub(crate) fn cargo<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.program("cargo").env("CARGO_TARGET_DIR", self.path("target")).args(arguments)
    }

    /// Installs a piece once. A second call returns the result of the first.
    pub(crate) fn piece(&self, piece: Piece, work: impl FnOnce() -> Result<()>) -> Result<()> {
        once(&self.pieces, piece, work)
    }

    /// Builds an artifact once. A second call returns the result of the first.
    pub(crate) fn artifact(&self, artifact: Artifact, work: impl FnOnce() -> Result<()>) -> Result<()> {
        once(&self.artifacts, artifact, work)
    }

    fn without_cargos_own(&self, paths: &OsString) -> Option<OsString> {
        let own = |path: &PathBuf| {
            path.starts_with(self.path("target")) || path.join("rustlib").is_dir() || path.ends_with("build")
        };
        let kept: Vec<PathBuf> = std::env::split_paths(paths).filter(|path| !own(path)).collect();
        if kept.is_empty() { None } else { std::env::join_paths(kept).ok() }
    }
}

fn once<K: Ord + Copy>(
    known: &RefCell<BTreeMap<K, Result<(), String>>>,
    key: K,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = known.borrow().get(&key).cloned();
    let result = match before {
        Some(result) => result,
        None => {
            let result = work().map_err(|error| format!("{error:#}"));
            known.borrow_mut().insert(key, result.clone());
            result
        }
    };
    result.map_err(|error| anyhow!(error))
}

/// The user's cache folder, by the XDG base directory specification.
fn cache_folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .or_else(|| set("LOCALAPPDATA"))
        .ok_or_else(|| anyhow!("no folder for tools: set HOME or XDG_CACHE_HOME"))
}
