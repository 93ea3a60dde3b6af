//! The server stops and restarts; the page is closed and opened again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    bad_input::works,
    demo::{APP, Demo},
    report::Report,
};

/// The deadline of a request that cannot be answered.
const DEADLINE_MS: u64 = 1_500;

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    report.fact("a typed text survives a reload of the page", draft(demo)).await;
    report.fact("a change by somebody else does not overwrite the text that is being typed", conflict(demo)).await;
    report
        .fact("without the server, typing goes on and a request ends `unreachable` at its deadline", away(demo))
        .await;
    report.fact("when the server is back, so is the link, and the page saves", back(demo)).await;
}

async fn draft(demo: &Demo) -> Result<String> {
    demo.open().await?;
    demo.choose("grace").await?;
    demo.type_text("# Not saved\n").await?;
    demo.preview_is("<h1>Not saved</h1>\n").await?;
    demo.browser.client.refresh().await?;
    demo.ready().await?;
    demo.choose("grace").await?;
    demo.preview_is("<h1>Not saved</h1>\n").await?;
    demo.browser.text("state").await
}

async fn conflict(demo: &Demo) -> Result<String> {
    demo.choose("ada").await?;
    demo.type_text("# Mine\n").await?;
    demo.preview_is("<h1>Mine</h1>\n").await?;
    let body = json!({ "name": "ada", "markdown": "# Theirs\n" }).to_string();
    demo.server.starlane(&["send", &format!("{APP}:directory"), "save", "--json", &body]).await?;
    let notice = "const notice = document.querySelector('[data-testid=notice]'); return notice.hidden ? null : notice.querySelector('p').textContent";
    let notice = demo.browser.until("a notice is shown", notice, Value::Null).await?;
    demo.preview_is("<h1>Mine</h1>\n").await?;
    demo.browser.click("notice-take").await?;
    demo.preview_is("<h1>Theirs</h1>\n").await?;
    Ok(format!("it says {notice}, and takes theirs when asked"))
}

async fn away(demo: &mut Demo) -> Result<String> {
    demo.choose("ada").await?;
    demo.server.kill().await;
    let gone = "return document.querySelector('[data-testid=link]').dataset.state !== 'up'";
    demo.browser.until("the page notices", gone, Value::Null).await?;
    demo.type_text("# Still typing\n").await?;
    demo.preview_is("<h1>Still typing</h1>\n").await?;

    let script =
        "return await window.starlaneDemo.host.request(argument.to, 'list', {}, { timeout: argument.timeout })";
    let argument = json!({ "to": format!("{APP}:directory"), "timeout": DEADLINE_MS });
    let start = Instant::now();
    let thrown = demo.browser.run_to_fail(script, argument).await?;
    let took = start.elapsed();
    ensure!(thrown.code == "unreachable", "{thrown}");
    let least = Duration::from_millis(DEADLINE_MS * 9 / 10);
    ensure!(took > least && took < Duration::from_secs(10), "it failed after {took:?}");
    works(demo).await?;
    Ok(format!("after {} ms: {}", took.as_millis(), thrown.message))
}

async fn back(demo: &mut Demo) -> Result<String> {
    demo.server.start_again().await?;
    let start = Instant::now();
    demo.link_is("up").await?;
    let took = start.elapsed();
    let revision = demo.save().await?;
    demo.preview_is("<h1>Still typing</h1>\n").await?;
    Ok(format!("the link is up {} ms after the server, and revision {revision} is saved", took.as_millis()))
}
