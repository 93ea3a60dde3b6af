//! `starlane dev`: builds, serves and publishes a bundle, and repeats that after each change of a file.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail};
use notify_debouncer_mini::{DebounceEventResult, new_debouncer, notify::RecursiveMode};
use starlane_bundle::authoring::Build;
use starlane_protocol::Address;
use starlane_server::{LogShape, Origin, Ready, ServeConfig, ServerLimits};
use walkdir::WalkDir;

use crate::{
    app,
    arguments::{Dev, Publish, Reach},
    build,
    client::Client,
    output::Output,
    publish, serve,
};

/// Saving a file is often several writes. Writes within this time are one change.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Folders whose changes are ignored: built files and folders of tools.
const PASSED_OVER: [&str; 4] = ["target", "wasm", "node_modules", "dist"];
/// The log filter: lines of the file watcher do not help an author.
const LOG: &str = "info,notify=warn";
/// The default ports of development servers: Next, Vite and its preview, Angular, Astro, Live Server, Parcel, webpack
/// and others.
const DEVELOPMENT_PORTS: [u16; 14] =
    [1234, 3000, 3001, 4000, 4173, 4200, 4321, 5000, 5173, 5174, 5500, 8000, 8080, 8081];
/// The timeout for the start of the server.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves the bundle in a folder until Ctrl-C.
pub(crate) fn run(given: &Dev, output: Output) -> Result<()> {
    let folder = given.folder.canonicalize().with_context(|| format!("{} can't be read", given.folder.display()))?;
    Build::read(&folder)?;
    let data = folder.join(".starlane/data");
    let ready = start(given.listen, &data, &given.allow_origins)?;
    let reach = Reach { server: Some(ready.url.clone()), data: Some(data), ..Reach::default() };
    let client = Client::new(&reach)?;
    let ((changed, changes), watched) = (mpsc::channel(), folder.clone());
    let mut watcher = new_debouncer(DEBOUNCE, move |events: DebounceEventResult| {
        let events = events.unwrap_or_default();
        if events.iter().any(|event| event.path.strip_prefix(&watched).is_ok_and(matters)) {
            let _ = changed.send(());
        }
    })?;
    watcher.watcher().watch(&folder, RecursiveMode::Recursive)?;
    let mut built = None;
    loop {
        let now = sources(&folder);
        if built.as_ref() == Some(&now) {
            // Only reads, or writes of built files.
            changes.recv().map_err(|_| anyhow!("the folder can't be watched any more"))?;
            continue;
        }
        built = Some(now);
        // A fault in the bundle does not end the command: the next change tries again.
        match deploy(&folder, &client, output) {
            Ok(app) => output.remark(&format!(
                "{app} runs at {}. Each change of a file builds it again; Ctrl-C stops it.",
                ready.url
            )),
            Err(error) => output.failed(&error),
        }
    }
}

/// Builds and publishes the bundle with a new version, and moves the app to it.
fn deploy(folder: &Path, client: &Client, output: Output) -> Result<Address> {
    if Build::read(folder)?.is_some() {
        build::build(folder)?;
    }
    let draft = publish::read(folder, client, Output::Quiet)?;
    let name = draft.app_name().unwrap_or_default();
    if name.is_empty() {
        bail!("{} has no app.toml, which `starlane dev` needs to run an app", folder.display());
    }
    let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let bundle = Address::parse(&format!("dev:repo:{name}:0.0.0-dev.{number}"))?;
    let app = Address::parse(&format!("dev:{name}"))?;
    let publish =
        Publish { folder: folder.to_owned(), address: bundle.clone(), key: None, expires: None, take_over: false };
    publish::run(&publish, client, Output::Quiet)?;
    app::create(client, &app, &bundle, if output == Output::Json { output } else { Output::Quiet })?;
    Ok(app)
}

/// The source files of a bundle, each with its time of modification.
fn sources(folder: &Path) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let walk =
        WalkDir::new(folder).into_iter().filter_entry(|entry| entry.path().strip_prefix(folder).is_ok_and(matters));
    let files = walk.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    files.map(|file| (file.path().to_owned(), file.metadata().ok().and_then(|about| about.modified().ok()))).collect()
}

/// The origins of development servers on this machine at their default ports.
fn usual_origins() -> impl Iterator<Item = Origin> {
    let hosts = ["localhost", "127.0.0.1"];
    let origins = hosts.into_iter().flat_map(|host| DEVELOPMENT_PORTS.map(|port| format!("http://{host}:{port}")));
    origins.filter_map(|origin| origin.parse().ok())
}

/// Runs a server on its own thread. It ends with this process.
fn start(listen: SocketAddr, data: &Path, added: &[Origin]) -> Result<Ready> {
    let filter = LOG.parse().map_err(|error: String| anyhow!(error))?;
    let (logs, guard) = serve::start_log(&filter, LogShape::Text, &ServerLimits::default())?;
    let compiler = Some(starlane_server::own_program()?);
    let allow_origins = usual_origins().chain(added.iter().cloned()).collect();
    let config = ServeConfig { data: data.to_owned(), listen, allow_origins, logs, compiler, ..ServeConfig::default() };
    let (told, ready) = mpsc::channel();
    let failed = told.clone();
    thread::Builder::new().name("starlane-serve".into()).spawn(move || {
        let _guard = guard;
        let served = starlane_server::serve(&config, |ready| drop(told.send(Ok(ready))), std::future::pending());
        if let Err(error) = served {
            let _ = failed.send(Err(error));
        }
    })?;
    Ok(ready
        .recv_timeout(START_TIMEOUT)
        .map_err(|_| anyhow!("the server did not start within {} s", START_TIMEOUT.as_secs()))??)
}

/// Returns whether a change of this file could change the bundle. The path is relative to the bundle's folder.
fn matters(path: &Path) -> bool {
    let passed_over = |part: &OsStr| {
        let part = part.to_string_lossy();
        PASSED_OVER.contains(&&*part) || (part.starts_with('.') && part.len() > 1) || part.ends_with('~')
    };
    !path.components().any(|component| matches!(component, Component::Normal(part) if passed_over(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_built_files_do_not_start_a_build() {
        for (path, means) in [
            ("src/lib.rs", true),
            ("app.toml", true),
            ("target/debug/x", false),
            ("wasm/book.wasm", false),
            (".git/index", false),
            ("src/.lib.rs.swp", false),
            ("src/lib.rs~", false),
        ] {
            assert_eq!(matters(Path::new(path)), means, "{path}");
        }
    }
}
