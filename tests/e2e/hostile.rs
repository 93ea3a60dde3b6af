//! Hostile values, arguments and texts: each is passed on unchanged or refused by name, in every engine.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::{
    engine::Engine,
    proxy::{Proxy, ProxyFault},
};

use crate::{demo::Demo, report::Report};

/// The rows, which the tests of the package run too. The file imports nothing.
const ROWS: &str = include_str!("../npm/fixtures/static/hostile.js");

/// The path to which browsers report violations of a policy.
const REPORTS: &str = "/policy-report";

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    for (row, fact, call) in [
        ("F22", "a body is sent exactly, or refused", "values({ host })"),
        ("F23", "a bound address sends nothing for names that JavaScript asks for", "bound({ host })"),
        ("F29", "functions refuse hostile arguments by name", "functions({ host, Host: host.constructor, options })"),
        (
            "F31",
            "unknown options and servers without a URL are refused",
            "misspelt({ host, Host: host.constructor, options })",
        ),
    ] {
        let seen = tried(demo, call).await;
        let numbers = seen.as_ref().map_or((0, 1), |tried| *tried);
        report.field_fault(row, fact, numbers.0, numbers.1);
        report.fact(fact, async { seen.map(|(tried, _)| format!("{tried} tried")) }).await;
    }
    let fact = "the preview keeps the page's policy, and the alignment of columns";
    let seen = policy(demo).await;
    report.field_fault("F28", fact, MARKDOWN.lines().count(), usize::from(seen.is_err()));
    report.fact(fact, async { seen }).await;
}

/// Runs a row in the demo's page. Returns the number of inputs; failed inputs are an error.
async fn tried(demo: &Demo, call: &str) -> Result<(usize, usize)> {
    demo.open().await?;
    let rows = ROWS.replace("export async function", "async function");
    let script = format!("const {{ host, options }} = window.starlaneDemo; {rows}\n return await {call}",);
    let found = demo.browser.run(&script, Value::Null).await?;
    let tried = found.get("tried").and_then(Value::as_u64).context("the row did not report `tried`")?;
    let failing = found.get("failing").and_then(Value::as_array).context("the row did not report `failing`")?;
    ensure!(failing.is_empty(), "{} of {tried} fail: {failing:#?}", failing.len());
    Ok((tried as usize, failing.len()))
}

/// A text with aligned columns, images from everywhere, and all other features that are on.
const MARKDOWN: &str = "# A page

| left | centre | right | none |
|:-----|:------:|------:|------|
| 1 | 2 | 3 | 4 |
| *5* | `6` | **7** | [8](/people/ada) |

![plain](http://127.0.0.1:9/a.png) ![relative](//127.0.0.1:9/a.png) ![own](/missing.png)
![in the text](data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==)

<p style=\"color: red\" onclick=\"alert(1)\">raw</p> <style>p { color: red }</style> <script>alert(1)</script>

- [x] done
- [ ] open

Text[^1] ~~struck~~ <https://example.org/>

[^1]: A note.

```rust
fn main() {}
```
";

async fn policy(demo: &Demo) -> Result<String> {
    // Another origin, which no service worker serves. Browsers report violations to it: frames inherit the policy.
    let proxy = Proxy::start(&demo.server.address).await?;
    proxy.add_fault(ProxyFault::Alter(
        "/",
        Arc::new(|headers, body| {
            let text = String::from_utf8_lossy(&body);
            let policy = text.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1);
            if let Some(policy) = policy.and_then(|rest| rest.split('"').next())
                && let Ok(value) = format!("{policy}; report-uri {REPORTS}").parse()
            {
                headers.insert("content-security-policy", value);
            }
            body
        }),
    ));
    demo.open_at(&proxy.origin).await?;
    demo.choose("policy").await?;
    let write = "const editor = document.querySelector('[data-testid=editor]'); editor.value = argument;
        editor.dispatchEvent(new Event('input'))";
    demo.browser.run(write, json!(MARKDOWN)).await?;
    let shows = "const body = document.querySelector('[data-testid=preview]')?.contentDocument;
        if (!body?.querySelector('table') || !body.body.textContent.includes('A note.')) return null;
        const cells = [...body.querySelectorAll('th, td')].map((cell) => getComputedStyle(cell).textAlign);
        const styled = body.querySelectorAll('[style], style, script').length;
        return { cells, styled, pictures: [...body.querySelectorAll('img')].map((image) => image.getAttribute('src').slice(0, 12)) }";
    let shown = demo.browser.until("the preview shows the table", shows, Value::Null).await?;
    let cells = shown.get("cells").and_then(Value::as_array).cloned().unwrap_or_default();
    // Engines use different names for the same alignment: `-webkit-left`.
    let is = |cell: Option<&Value>, ends: &[&str]| {
        let text = cell.and_then(Value::as_str).unwrap_or_default();
        ends.iter().any(|end| text.ends_with(end))
    };
    for row in cells.chunks(4) {
        let aligned = is(row.first(), &["left"])
            && is(row.get(1), &["center"])
            && is(row.get(2), &["right"])
            && is(row.get(3), &["left", "start", "auto"]);
        ensure!(aligned, "the columns are aligned {row:?}");
    }
    ensure!(cells.len() == 12 && shown.get("styled") == Some(&json!(0)), "the preview has {shown}");
    ensure!(shown.get("pictures") == Some(&json!(["/missing.png", "data:image/g"])), "the preview has {shown}");

    let before = proxy.take_seen().iter().filter(|path| path.starts_with(REPORTS)).count();
    // Proves that violations are reported: reports arrive in order.
    let violate = "document.querySelector('[data-testid=preview]').contentDocument.querySelector('p').setAttribute('style', 'color: red')";
    demo.browser.run(violate, Value::Null).await?;
    let colour = "const preview = document.querySelector('[data-testid=preview]').contentDocument;
        return getComputedStyle(preview.querySelector('p')).color";
    let colour = demo.browser.run(colour, Value::Null).await?;
    ensure!(colour != json!("rgb(255, 0, 0)"), "the policy does not hold in the preview");
    if demo.browser.engine() == Engine::Webkit {
        ensure!(before == 0, "{before} violations were reported");
        return Ok("12 cells aligned, and the policy holds; WebKit reports no violations in frames".to_owned());
    }
    let start = std::time::Instant::now();
    let mut seen = 0;
    while seen == 0 {
        ensure!(
            start.elapsed().as_secs() < 20,
            "the deliberate violation was not reported: the test cannot see violations"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        seen = proxy.take_seen().iter().filter(|path| path.starts_with(REPORTS)).count();
    }
    ensure!(before == 0 && seen == 1, "{before} violations were reported, and {seen} including the deliberate one");
    Ok("12 cells aligned; 0 violations reported beside the deliberate one".to_owned())
}
