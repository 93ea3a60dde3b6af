//! `starlane config check|show`: what `starlane serve` would run with.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{output::Output, settings::Settings};

/// Says whether a server could be started like this.
pub(crate) fn check(settings: &Settings, output: Output) -> Result<()> {
    settings.serve.check()?;
    let listen = settings.serve.listen.to_string();
    let facts = [("listen", listen.clone()), ("data", settings.serve.data.display().to_string())];
    output.done(
        "The configuration is good",
        &facts,
        Some("starlane serve"),
        &json!({ "good": true, "listen": listen }),
    );
    Ok(())
}

/// Shows each setting, and where it came from.
pub(crate) fn show(settings: &Settings, output: Output) {
    let json: Vec<Value> = settings
        .origins
        .iter()
        .map(|[name, value, origin]| json!({ "name": name, "value": value, "from": origin }))
        .collect();
    output.table(["SETTING", "VALUE", "FROM"], &settings.origins, &json!({ "settings": json }));
}
