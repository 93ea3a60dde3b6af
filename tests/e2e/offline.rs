//! Opens the page again after the server's process has ended.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::{browser::Browser, engine::Engine};

use crate::{demo::Demo, report::Report};

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    let mut launch = None;
    let fact = "with the server's process ended, the page reloads, launches and renders";
    report.fact(fact, reload(demo, &mut launch)).await;
    if let Some(launch) = launch {
        report.figure("offline.launch", launch, "ms");
    }
    report.fact("the server is there again, and so is the link", back(demo)).await;
    // WebKit's driver does not support profiles.
    if demo.browser.engine() != Engine::Webkit {
        let fact = "with the server's process ended, it does so in a browser that was started again on its profile too";
        report.fact(fact, restarted(demo)).await;
    }
}

async fn reload(demo: &mut Demo, launch: &mut Option<f64>) -> Result<String> {
    // Opens the page from the server itself: no proxy must answer for it.
    let origin = demo.server.origin();
    demo.open_at(&origin).await?;
    demo.choose("ada").await?;
    demo.type_text("# Kept\n").await?;
    demo.save().await?;
    let kept = demo.browser.run("return await window.starlaneDemo.kept", Value::Null).await?;
    let kept = kept.as_u64().context("`starlaneDemo.kept` is not a number")?;
    ensure!(kept > 5, "only {kept} files of the page are cached");
    demo.server.kill().await;
    // Reloads like a person: the driver's own reload bypasses the cache.
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
    Ok(format!("{kept} files of the page are cached; the text that was seen last and the typed text are rendered"))
}

async fn restarted(demo: &mut Demo) -> Result<String> {
    let (engine, origin) = (demo.browser.engine(), demo.server.origin());
    let profile = tempfile::tempdir()?;
    let present = std::mem::replace(&mut demo.browser, Browser::open_on(engine, profile.path()).await?);
    demo.open_at(&origin).await?;
    demo.browser.run("return await window.starlaneDemo.kept", Value::Null).await?;
    let again = async {
        let first = std::mem::replace(&mut demo.browser, present);
        first.close().await?;
        demo.server.kill().await;
        Browser::open_on(engine, profile.path()).await
    };
    let second = again.await?;
    let present = std::mem::replace(&mut demo.browser, second);
    let launched = demo.open_at(&origin).await;
    let second = std::mem::replace(&mut demo.browser, present);
    second.close().await?;
    demo.server.start_again().await?;
    Ok(format!("a mechtron answered after {:.0} ms", launched?))
}

async fn back(demo: &mut Demo) -> Result<String> {
    demo.server.start_again().await?;
    demo.link_is("up").await?;
    demo.browser.run("sessionStorage.clear(); localStorage.clear()", json!(null)).await?;
    Ok("up".to_owned())
}
