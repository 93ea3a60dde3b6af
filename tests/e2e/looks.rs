//! The layout of the page: wide and narrow, light and dark. Measures it, and takes pictures for people.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::{browser::Browser, engine::Engine};

use crate::{demo::Demo, report::Report};

/// A narrow phone, in CSS pixels.
const PHONE: (u32, u32) = (375, 812);
const DESK: (u32, u32) = (1280, 900);
/// `light` if the text of `body` is darker than its background, else `dark`.
const COLOURS: &str = "
    const brightness = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
    const { color, backgroundColor } = getComputedStyle(body);
    return brightness(color) < brightness(backgroundColor) ? 'light' : 'dark'";

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    report.fact("the page fits a desk and a phone, in light and dark", fits(demo)).await;
    report.fact("everything that can be used has a name", named(demo)).await;
    let used = match used(demo).await {
        Ok(violations) => {
            report.figure("csp.violations", violations.len() as f64, "violations");
            violations
        }
        Err(error) => return report.failed("the page can be used while its policy is watched", &error),
    };
    report.fact("the page keeps its own policy and logs nothing while it is used", async { quiet(&used) }).await;
}

async fn fits(demo: &mut Demo) -> Result<String> {
    let in_light = fits_in(demo, "light").await?;
    let dark = Browser::open_dark(demo.browser.engine()).await?;
    let light = std::mem::replace(&mut demo.browser, dark);
    let in_dark = fits_in(demo, "dark").await;
    std::mem::replace(&mut demo.browser, light).close().await?;
    Ok(format!("{in_light}, {}; no sideways scrolling", in_dark?))
}

/// Looks at the page in the colours that a browser prefers.
async fn fits_in(demo: &Demo, scheme: &str) -> Result<String> {
    demo.open().await?;
    demo.choose("alan").await?;
    let mut seen = Vec::new();
    for (name, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
        resize(demo, width, height).await?;
        // Not every engine allows a window as narrow as a phone, but the page in it can be.
        let size = "document.documentElement.style.maxWidth = `${argument}px`;
            await new Promise((next) => requestAnimationFrame(() => setTimeout(next, 250)));
            return { width: argument, content: document.body.scrollWidth }";
        let size = demo.browser.run(size, json!(width)).await?;
        ensure!(
            size.get("content").and_then(Value::as_u64) <= size.get("width").and_then(Value::as_u64),
            "{name}: {size} scrolls sideways"
        );
        let frame = "document.querySelector('[data-testid=preview]').contentDocument.body";
        for (place, body) in [("page", "document.body"), ("preview", frame)] {
            let shown = demo.browser.run(&format!("const body = {body}; {COLOURS}"), Value::Null).await?;
            ensure!(shown == json!(scheme), "the {place} is {shown}, and the browser prefers {scheme}");
        }
        demo.browser.screenshot(&demo.picture(&format!("{name}-{scheme}"))).await?;
        seen.push(format!("{name} {scheme} {}", size.get("width").unwrap_or(&Value::Null)));
    }
    resize(demo, DESK.0, DESK.1).await?;
    Ok(seen.join(", "))
}

/// Sets the size of the page. Chromium's driver can set any; the others set the window's size, within what the window allows.
async fn resize(demo: &Demo, width: u32, height: u32) -> Result<()> {
    let browser = &demo.browser;
    if browser.engine() != Engine::Chromium {
        return Ok(browser.client.set_window_size(width, height).await?);
    }
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
    Ok(())
}

async fn named(demo: &Demo) -> Result<String> {
    let script = "const all = [...document.querySelectorAll('button, a, input, textarea, iframe, [role=group]')];
        const named = (e) => e.labels?.length || e.ariaLabel || e.title || e.getAttribute('aria-labelledby') || e.textContent.trim();
        return { all: all.length, nameless: all.filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80)) }";
    let found = demo.browser.run(script, Value::Null).await?;
    ensure!(found.get("nameless") == Some(&json!([])), "{found}");
    Ok(format!("{} elements", found.get("all").unwrap_or(&Value::Null)))
}

/// Uses the page as a person does. Returns each line that its console logged, which only Chromium's driver reads, and each
/// violation of its own policy.
async fn used(demo: &Demo) -> Result<Vec<String>> {
    demo.browser.console().await;
    demo.open().await?;
    let listen = "window.violations = [];
        addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`))";
    demo.browser.run(listen, Value::Null).await?;
    demo.choose("alan").await?;
    demo.type_text("# Alan\n\n*Machines* take me by surprise with great frequency.\n").await?;
    demo.save().await?;
    demo.choose("grace").await?;
    let seen = demo.browser.run("return window.violations", Value::Null).await?;
    let mut seen: Vec<String> = serde_json::from_value(seen)?;
    seen.extend(demo.browser.console().await.lines().map(str::to_owned));
    Ok(seen)
}

fn quiet(seen: &[String]) -> Result<String> {
    ensure!(seen.is_empty(), "it says\n{}", seen.join("\n"));
    Ok("from the start over typing and saving to another person".to_owned())
}
