//! A mechtron in a real page, and the same one on the server, with all that a mechtron can ask of its host.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::server::from_environment;

use crate::{demo::Demo, report::Report};

const BUNDLE: &str = "acme:repo:echo:0.1.0";
const APP: &str = "acme:echo";
/// The echo guest in the page.
pub(crate) const NEAR: &str = "acme:echo:near";
/// The echo guest on the server.
pub(crate) const FAR: &str = "acme:echo:far";
/// A file of the bundle.
const FILE: &str = "A file of the bundle: größer.\n";

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    if let Err(error) = publish(demo).await {
        return report.failed("the echo guest is published", &error);
    }
    report.fact("a mechtron in the page sends a request, sleeps and reads its bundle", asks(demo)).await;
    report.fact("a one-way message of the server reaches a mechtron in the page, once", one_way(demo)).await;
    report.fact("an event of the server reaches a mechtron in the page", event(demo)).await;
}

async fn publish(demo: &Demo) -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_bundle(folder.path())?;
    demo.server.publish(folder.path(), BUNDLE, APP).await
}

/// Launches the app in a new page.
pub(crate) async fn launch(demo: &Demo) -> Result<()> {
    demo.open().await?;
    demo.link_is("up").await?;
    demo.browser.run("await window.starlaneDemo.host.launch(argument)", json!(APP)).await?;
    Ok(())
}

/// Sends a request as the page's code does.
async fn ask(demo: &Demo, to: &str, operation: &str, body: Value) -> Result<Value> {
    let script =
        "return await window.starlaneDemo.host.request(argument.to, argument.operation, argument.body) ?? null";
    let asked = demo.browser.run(script, json!({ "to": to, "operation": operation, "body": body })).await;
    asked.with_context(|| format!("{to} {operation}"))
}

/// Lets the mechtron on the server send a request with a JSON string to the one in the page. A page's own strings are sent as plain
/// text.
async fn far_asks(demo: &Demo, operation: &str, text: &str) -> Result<Value> {
    let host = demo.inspect().await?;
    let host = host.get("host").and_then(Value::as_str).context("inspect() has no host")?;
    let call = json!({ "target": format!("{host}::{NEAR}"), "operation": operation, "body": text });
    ask(demo, FAR, "call", call).await
}

/// Waits until an operation of the mechtron in the page answers with a value.
async fn until(demo: &Demo, operation: &str, wanted: &str) -> Result<()> {
    let script = "const { to, operation, wanted } = argument;
        const end = Date.now() + 20_000;
        for (;;) {
            const answer = JSON.stringify(await window.starlaneDemo.host.request(to, operation, null));
            if (answer === wanted || Date.now() > end) return answer;
            await new Promise((resolve) => setTimeout(resolve, 25));
        }";
    let argument = json!({ "to": NEAR, "operation": operation, "wanted": wanted });
    let answer = demo.browser.run(script, argument).await?;
    ensure!(answer == wanted, "`{operation}` answers {answer}, not {wanted}");
    Ok(())
}

async fn asks(demo: &Demo) -> Result<String> {
    launch(demo).await?;
    let place = demo.inspect().await?;
    let sent = json!({ "größe": [1, 2.5, null] });
    let forward = json!({ "target": FAR, "operation": "echo", "body": sent });
    let echoed = ask(demo, NEAR, "call", forward).await?;
    ensure!(echoed == sent, "the server's mechtron answered {echoed}");
    let about = ask(demo, NEAR, "call", json!({ "target": FAR, "operation": "about" })).await?;
    let sender = about.get("sender").and_then(Value::as_str).unwrap_or_default();
    ensure!(sender.ends_with(&format!("::{NEAR}")), "the request came from {sender}");
    let slept = ask(demo, NEAR, "sleep", json!({ "ms": 30 })).await?;
    ensure!(slept.as_u64() >= Some(29), "it slept {slept} of 30 ms");
    let file = far_asks(demo, "read", "/texts/file.txt").await?;
    ensure!(file == json!(FILE), "the file is {file}");
    let refused = far_asks(demo, "read", "/texts/none.txt").await;
    ensure!(refused.is_err(), "a file that is not in the bundle: {refused:?}");
    let host = place.get("host").and_then(Value::as_str).context("inspect() has no host")?;
    Ok(format!("to the server as {sender}, {slept} ms, {} bytes, in {host}", FILE.len()))
}

async fn one_way(demo: &Demo) -> Result<String> {
    let host = demo.inspect().await?;
    let host = host.get("host").and_then(Value::as_str).context("inspect() has no host")?.to_owned();
    for ms in [5, 6] {
        let tell = json!({ "target": format!("{host}::{NEAR}"), "operation": "wake-me", "body": { "ms": ms } });
        ask(demo, FAR, "tell", tell).await?;
    }
    // Each made the mechtron set a timer of its own.
    until(demo, "woken", "[5,6]").await?;
    Ok("twice told, and twice woken by its own timer".to_owned())
}

async fn event(demo: &Demo) -> Result<String> {
    far_asks(demo, "subscribe", &format!("{FAR}#said")).await?;
    ask(demo, FAR, "emit", json!({ "event": "said", "body": { "n": 1 } })).await?;
    let seen = format!("{{\"from\":\"{FAR}\",\"event\":\"said\",\"body\":{{\"n\":1}}}}");
    until(demo, "last-event", &seen).await?;
    Ok(format!("{FAR}#said"))
}

/// Writes the echo guest as a bundle: a mechtron in the page, and one on the server.
fn write_bundle(folder: &Path) -> Result<()> {
    let guest = from_environment("STARLANE_GUESTS")?.join("echo.wasm");
    let wasm = std::fs::read(&guest)
        .with_context(|| format!("{} is missing: run `cargo xtask test`, which builds it", guest.display()))?;
    let answered =
        ["echo", "trap", "call", "tell", "sleep", "read", "about", "woken", "subscribe", "emit", "last-event"];
    let answered = answered.map(|name| format!("[operations.{name}]\nrequest = {{}}\nresponse = {{}}\n"));
    let bind = format!(
        "[bind]\nname = \"echo\"\ndescription = \"Echo, and a trap.\"\n{}[operations.wake-me]\nrequest = {{}}\n\
         [operations.upload]\nrequest = {{ stream = true }}\nresponse = {{}}\n\
         [operations.download]\nrequest = {{}}\nresponse = {{ stream = true }}\n\
         [operations.mirror]\nrequest = {{ stream = true }}\nresponse = {{ stream = true }}\n\
         [events.said]\npayload = {{}}\n",
        answered.concat()
    );
    let mechtron = |name: &str, placement: &str| {
        format!(
            "[mechtrons.{name}]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"{placement}\"\n\
             allow = [\"request **\", \"request ~*::**\", \"notify ~*::**\", \"subscribe **#*\"]\n"
        )
    };
    let app = format!("[app]\nname = \"echo\"\n{}{}", mechtron("near", "browser"), mechtron("far", "server"));
    for (name, text) in [
        (
            "bundle.toml",
            "[bundle]\nname = \"echo\"\ndescription = \"Echo.\"\nlicence = \"MIT OR Apache-2.0\"\npublic = true\ninclude = [\"**\"]\n",
        ),
        ("app.toml", &app),
        ("mechtrons/echo.toml", "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/echo.toml\"\n"),
        ("binds/echo.toml", &bind),
        ("texts/file.txt", FILE),
    ] {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
        std::fs::write(file, text)?;
    }
    std::fs::create_dir_all(folder.join("wasm"))?;
    Ok(std::fs::write(folder.join("wasm/echo.wasm"), wasm)?)
}
