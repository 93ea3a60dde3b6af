//! `starlane serve`.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;
use starlane_server::{Ready, ServeConfig};
use tracing_subscriber::EnvFilter;

use crate::{arguments::Serve, output::Output};

/// Which lines are logged, unless `STARLANE_LOG` says otherwise.
const LOG: &str = "info";

pub(crate) fn run(given: &Serve, data: &Path, output: Output) -> Result<()> {
    let filter = match std::env::var("STARLANE_LOG") {
        Ok(text) => EnvFilter::try_new(&text).with_context(|| format!("STARLANE_LOG=`{text}` is no log filter"))?,
        Err(_) => EnvFilter::new(LOG),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let config = ServeConfig {
        data: data.to_owned(),
        listen: given.listen,
        allow_hosts: given.allow_hosts.clone(),
        allow_origins: given.allow_origins.clone(),
        ..ServeConfig::default()
    };
    starlane_server::serve(&config, |ready| announce(&ready, output), asked_to_stop())?;
    output.remark("Stopped.");
    Ok(())
}

fn announce(ready: &Ready, output: Output) {
    let version = env!("CARGO_PKG_VERSION");
    let facts = [
        ("url", ready.url.clone()),
        ("data", ready.data.display().to_string()),
        ("admin token", ready.admin_token.display().to_string()),
        ("stop", "Ctrl-C".to_owned()),
    ];
    let json = json!({ "url": ready.url, "data": ready.data, "adminToken": ready.admin_token, "version": version });
    output.done(&format!("Starlane {version} is serving"), &facts, Some("starlane publish DIR ADDRESS"), &json);
}

/// Ready on Ctrl-C, or when the system asks.
async fn asked_to_stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system's own ends the process.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
