//! `starlane serve`.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use serde_json::json;
use starlane_server::{LogLines, Ready, ServeConfig};
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    output::Output,
    settings::{LogFormat, Settings},
};

pub(crate) fn run(settings: Settings, output: Output) -> Result<()> {
    let logs = start_log(&settings.log, settings.log_format)?;
    let config = ServeConfig { logs, ..settings.serve };
    starlane_server::serve(&config, |ready| announce(&ready, output), asked_to_stop())?;
    output.remark("Stopped.");
    Ok(())
}

/// Writes log lines to standard error, and keeps the last ones for whoever asks the server for them.
pub(crate) fn start_log(filter: &str, format: LogFormat) -> Result<LogLines> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is no log filter: try `debug`"))?;
    let lines = LogLines::default();
    let own = lines.clone();
    let kept = fmt::layer().with_target(false).with_ansi(false).with_writer(move || Keeper(own.clone()));
    let shown = fmt::layer().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let shown = match format {
        LogFormat::Text => shown.boxed(),
        LogFormat::Json => shown.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(kept).with(shown).init();
    Ok(lines)
}

/// Takes one line of the log.
struct Keeper(LogLines);

impl io::Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
