//! `starlane build`: runs the build command of a bundle, and copies the built files into its folder.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use starlane_bundle::authoring::Build;

use crate::output::{Output, size};

/// Builds the bundle in a folder.
pub(crate) fn run(folder: &Path, output: Output) -> Result<()> {
    let made = build(folder)?;
    let facts: Vec<(&str, String)> = made.iter().map(|(name, bytes)| (name.as_str(), size(*bytes))).collect();
    let next = format!("starlane publish {} acme:repo:NAME:0.1.0", folder.display());
    let json = made.iter().map(|(name, bytes)| json!({ "file": name, "bytes": bytes })).collect::<Vec<_>>();
    output.done(&format!("{} is built", folder.display()), &facts, Some(&next), &json!({ "files": json }));
    Ok(())
}

/// Runs the command, copies the built files, and returns them with their sizes. The command's output goes to standard
/// error.
pub(crate) fn build(folder: &Path) -> Result<Vec<(String, u64)>> {
    let Some(Build { command, output }) = Build::read(folder)? else {
        bail!("bundle.toml of {} has no [build]: there is nothing to build", folder.display());
    };
    let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
    shell.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(&command).current_dir(folder);
    // Standard output is only for the result of `starlane`.
    let ran = shell.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).status();
    let status = ran.with_context(|| format!("`{command}` can't be run in {}", folder.display()))?;
    if !status.success() {
        bail!("`{command}` failed in {} ({status}): see its output above", folder.display());
    }
    let mut made = Vec::new();
    for (name, from) in output {
        let (from, to) = (folder.join(from), folder.join(&name));
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        // Copy, then rename: a `publish` that runs beside `dev` never reads half a file.
        let beside = to.with_extension(format!("{}.part", std::process::id()));
        let copied = fs::copy(&from, &beside).and_then(|bytes| fs::rename(&beside, &to).map(|()| bytes));
        let copied = copied
            .with_context(|| format!("`{command}` did not make {}, which [build.output] needs", from.display()))?;
        made.push((name, copied));
    }
    Ok(made)
}
