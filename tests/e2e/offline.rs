//! The server's process has ended, and the page is opened again.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{demo::Demo, report::Report};

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    let mut launch = None;
    let fact = "with the server's process ended, the page reloads, launches and renders";
    report.fact(fact, reload(demo, &mut launch)).await;
    if let Some(launch) = launch {
        report.figure("offline.launch", launch, "ms");
    }
    report.fact("the server is there again, and so is the link", back(demo)).await;
}

async fn reload(demo: &mut Demo, launch: &mut Option<f64>) -> Result<String> {
    // From the server itself: nothing stands between that could answer for it.
    let origin = demo.server.origin();
    demo.open_at(&origin).await?;
    demo.choose("ada").await?;
    demo.type_text("# Kept\n").await?;
    demo.save().await?;
    let kept = demo.browser.run("return await window.starlaneDemo.kept", Value::Null).await?;
    let kept = kept.as_u64().context("`starlaneDemo.kept` is no number")?;
    ensure!(kept > 5, "only {kept} files of the page are kept");
    demo.server.kill().await;
    // As a person reloads: a driver's own reload passes by what is kept.
    demo.browser.run("window.before = true; setTimeout(() => location.reload())", Value::Null).await?;
    demo.browser.until("the page was reloaded", "return window.before === undefined", Value::Null).await?;
    *launch = Some(demo.ready().await?);
    demo.choose("ada").await?;
    demo.preview_is("<h1>Kept</h1>\n").await?;
    demo.type_text("# Written away\n").await?;
    demo.preview_is("<h1>Written away</h1>\n").await?;
    demo.link_is("down").await?;
    let (fetched, cached, _) = demo.blobs().await?;
    ensure!((fetched, cached) == (0, 1), "{fetched} modules were fetched, {cached} came from the cache");
    Ok(format!("{kept} files of the page are kept; the text that was seen last and what is typed are rendered"))
}

async fn back(demo: &mut Demo) -> Result<String> {
    demo.server.start_again().await?;
    demo.link_is("up").await?;
    demo.browser.run("sessionStorage.clear(); localStorage.clear()", json!(null)).await?;
    Ok("up".to_owned())
}
