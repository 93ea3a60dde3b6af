//! `starlane ls`, `cat` and `cp`: read the files of resources, by messages to these resources.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use starlane_protocol::{Address, Payload};

use crate::{
    client::Client,
    output::{Output, size},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    path: String,
    size: u64,
    media_type: String,
    #[serde(flatten)]
    more: Value,
}

#[derive(Deserialize)]
struct Listed {
    files: Vec<Entry>,
}

/// Lists the files of the resource at an address; if the address has a path, only those in it.
pub(crate) fn list(client: &Client, address: &Address, output: Output) -> Result<()> {
    let Listed { mut files } = client.ask(address.without_path().as_str(), "list", &json!({}))?;
    let below = address.path().unwrap_or("/").trim_end_matches('/');
    files.retain(|file| file.path == below || file.path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/')));
    if files.is_empty() {
        bail!("there are no files at {address}: `starlane ls {}` lists all files", address.without_path());
    }
    let rows: Vec<[String; 3]> =
        files.iter().map(|file| [file.path.clone(), size(file.size), file.media_type.clone()]).collect();
    output.table(["FILE", "SIZE", "TYPE"], &rows, &json!({ "files": files }));
    Ok(())
}

/// Writes a file's bytes to standard output.
pub(crate) fn cat(client: &Client, address: &Address) -> Result<()> {
    let file = read(client, address)?;
    match io::stdout().write_all(&file.body) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("the file can't be written"),
        _ => Ok(()),
    }
}

/// Copies a file of a resource to this machine. In a folder it gets its own name.
pub(crate) fn copy(client: &Client, address: &Address, to: &Path, output: Output) -> Result<()> {
    let file = read(client, address)?;
    let own_name = address.path().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let to = if to.is_dir() { to.join(own_name) } else { to.to_owned() };
    fs::write(&to, &file.body).with_context(|| format!("{} can't be written", to.display()))?;
    let bytes = file.body.len() as u64;
    let facts = [("file", to.display().to_string()), ("size", size(bytes))];
    output.done(&format!("{address} was copied"), &facts, None, &json!({ "file": to, "bytes": bytes }));
    Ok(())
}

fn read(client: &Client, address: &Address) -> Result<Payload> {
    if address.path().is_none() {
        bail!("{address} has no path of a file: expected an address such as acme:repo:profiles:1.0.0:/site/index.html");
    }
    client.request(address, "read", &Payload::nothing())
}
