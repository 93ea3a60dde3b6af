//! A server to measure, with the benchmark's apps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use starlane_testkit::{guest, server, workspace};
use tempfile::TempDir;

use crate::optional_path;

/// Limits far above any load here.
const CONFIGURATION: &str = "[limits]\nmessages-per-second = 10000000\n";
/// Each bundle, and the apps that are created from it.
const BUNDLES: [(&str, &str, &[&str]); 2] = [
    ("mesh", "bench:repo:mesh:1.0.0", &["bench:mesh"]),
    ("tab", "bench:repo:tab:1.0.0", &["bench:inline", "bench:worker", "bench:launched"]),
];
/// The path of a file of 4 KiB.
pub(crate) const FILE: &str = "/bench/file.bin";

pub(crate) struct Server {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    /// The admin token.
    pub(crate) token: String,
    running: server::Server,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with fresh data, and creates the apps.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, "").await
    }

    /// The same, with further lines in the configuration's `[limits]`.
    pub(crate) async fn start_with(binary: &Path, limits: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("starlane.toml");
        fs::write(&configuration, format!("{CONFIGURATION}{limits}"))?;
        let running = server::Server::start_binary(binary, &configuration).await?;
        for (name, address, apps) in BUNDLES {
            let bundle = folder.path().join(name);
            write_bundle(name, &bundle).with_context(|| format!("the bundle {name}"))?;
            let (first, more) = apps.split_first().context("a bundle has an app")?;
            running.publish(&bundle, address, first).await?;
            for app in more {
                running.starlane(&["app", "create", app, "--bundle", address]).await?;
            }
        }
        let token = fs::read_to_string(running.data().join("admin.token"))?.trim().to_owned();
        Ok(Self { address: running.address.clone(), token, running, _folder: folder })
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> Result<u32> {
        self.running.process().context("the server has ended")
    }

    /// Sends a message with the command line. Returns the answer.
    pub(crate) async fn send(&self, to: &str, operation: &str, body: &str) -> Result<String> {
        self.running.starlane(&["send", to, operation, "--json", body]).await
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Writes a copy of the bundle in the checkout, with the built guest, and for `mesh` the built page.
fn write_bundle(name: &str, folder: &Path) -> Result<()> {
    for part in ["shared", name] {
        copy_all(&workspace().join("tests/bench/bundles").join(part), folder)?;
    }
    copy(&guest("speaker"), &folder.join("wasm/speaker.wasm"))?;
    if name != "mesh" {
        return Ok(());
    }
    if let Some(site) = optional_path("STARLANE_SITE")? {
        copy_all(&site, &folder.join("site"))?;
    }
    for module in ["speaker", "extism_echo"] {
        copy(&guest(module), &folder.join(format!("site/guests/{module}.wasm")))?;
    }
    write(&folder.join("site/file.bin"), &file())
}

/// The contents of [`FILE`]: bytes that gzip cannot compress.
pub(crate) fn file() -> Vec<u8> {
    (0..4_096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_all(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, &fs::read(from).with_context(|| format!("cannot read {}", from.display()))?)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    Ok(fs::write(file, bytes)?)
}
