//! A server to measure, with the bundle that it is asked for.

use std::{fs, path::Path};

use anyhow::Result;
use starlane_testkit::{guest, server};
use tempfile::TempDir;

/// Limits that no load here comes near.
const CONFIGURATION: &str = "[limits]\nmessages-per-second = 10000000\n";
const BUNDLE: &str = "bench:repo:echoes:1.0.0";
const APP: &str = "bench:echoes";

pub(crate) struct Server {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    /// The admin token.
    pub(crate) token: String,
    _running: server::Server,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("starlane.toml");
        fs::write(&configuration, CONFIGURATION)?;
        let running = server::Server::start_binary(binary, &configuration).await?;
        let bundle = folder.path().join("bundle");
        write_bundle(&bundle)?;
        running.publish(&bundle, BUNDLE, APP).await?;
        let token = fs::read_to_string(running.data().join("admin.token"))?.trim().to_owned();
        Ok(Self { address: running.address.clone(), token, _running: running, _folder: folder })
    }
}

fn write_bundle(folder: &Path) -> Result<()> {
    let bundle = "[bundle]\nname = \"echoes\"\ndescription = \"What is said comes back.\"\nlicence = \"MIT\"\n\
                  public = true\ninclude = [\"site/**\"]\n";
    let app = "[app]\nname = \"echoes\"\n\
               [mechtrons.echo]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n\
               [http]\n\"GET /assets/{*path}\" = { files = \"site/\" }\n\
               \"GET /echo/{name}\" = { to = \".:echo\", operation = \"echo\", access = \"public\" }\n";
    let bind = "[bind]\nname = \"echo\"\n[operations.echo]\nrequest = {}\nresponse = {}\n";
    let mechtron = "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/echo.toml\"\n";
    for (name, text) in
        [("bundle.toml", bundle), ("app.toml", app), ("binds/echo.toml", bind), ("mechtrons/echo.toml", mechtron)]
    {
        write(&folder.join(name), text.as_bytes())?;
    }
    // Bytes that gzip makes nothing of.
    let file: Vec<u8> = (0..4_096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    write(&folder.join("site/file.bin"), &file)?;
    write(&folder.join("wasm/echo.wasm"), &fs::read(guest("echo"))?)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    Ok(fs::write(file, bytes)?)
}
