//! `starlane serve`.

use std::io::{self, IsTerminal};

use anyhow::Result;
use serde_json::json;
use starlane_server::{LogGuard, LogLayer, LogLines, LogShape, Ready, ServeConfig, ServerLimits};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    log_filter::LogFilter,
    output::Output,
    settings::{LogFormat, Settings},
};

pub(crate) fn run(settings: Settings, output: Output) -> Result<()> {
    let shape = match settings.log_format {
        LogFormat::Text if io::stderr().is_terminal() => LogShape::Coloured,
        LogFormat::Text => LogShape::Text,
        LogFormat::Json => LogShape::Json,
    };
    let (logs, _guard) = start_log(&settings.log, shape, &settings.serve.limits)?;
    let config = ServeConfig { logs, compiler: Some(starlane_server::own_program()?), ..settings.serve };
    starlane_server::serve(&config, |ready| announce(&ready, output), asked_to_stop())?;
    output.remark("Stopped.");
    Ok(())
}

/// Writes log lines to standard error, and keeps the last ones for `starlane logs`.
pub(crate) fn start_log(filter: &LogFilter, shape: LogShape, limits: &ServerLimits) -> Result<(LogLines, LogGuard)> {
    let lines = LogLines::default();
    let (layer, guard) = LogLayer::new(shape, limits, lines.clone(), io::stderr());
    tracing_subscriber::registry().with(filter.build()?).with(layer).init();
    Ok((lines, guard))
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

/// Completes on Ctrl-C, or when the system terminates the process.
async fn asked_to_stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler, the system's default ends the process.
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
