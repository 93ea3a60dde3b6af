//! The facts of the main job, which `cargo xtask run --check` prints.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pulldown_cmark::{Options, Parser, html};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starlane_testkit::{
    server::{from_environment, get},
    workspace,
};

use crate::{
    demo::{APP, BUNDLE, Demo},
    report::Report,
};

/// The typed text, and the expected HTML, which is written down instead of computed.
const TYPED: &str = "# Ada Lovelace\n\nShe wrote **Note G**: a *program*.\n\n| Note | Treats |\n|---|---|\n| G | Bernoulli numbers |\n\n- [x] translated\n- [ ] built\n";
const RENDERED: &str = concat!(
    "<h1>Ada Lovelace</h1>\n<p>She wrote <strong>Note G</strong>: a <em>program</em>.</p>\n",
    "<table><thead><tr><th>Note</th><th>Treats</th></tr></thead><tbody>\n",
    "<tr><td>G</td><td>Bernoulli numbers</td></tr>\n</tbody></table>\n",
    "<ul>\n<li><input disabled=\"\" type=\"checkbox\" checked=\"\"/>\ntranslated</li>\n",
    "<li><input disabled=\"\" type=\"checkbox\"/>\nbuilt</li>\n</ul>\n",
);
/// The number of calls in a timed block: the clocks of browsers are too coarse for one call.
const BLOCK: u32 = 200;
const BLOCKS: u32 = 15;

/// Opens the demo and checks each fact. Stops if later facts cannot be checked.
pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) -> Result<()> {
    let opened = demo.open().await;
    let ready = opened.context("the page's mechtron did not answer")?;
    report.figure("demo.ready", ready.round(), "ms");

    report.fact("a mechtron in the page answers with the expected HTML", answers(demo)).await;
    report.fact("the server's page has the same HTML from the same Wasm file", same_on_the_server(demo)).await;
    report.fact("the row is in SQLite", in_sqlite(demo)).await;
    report.fact("a second page gets the event", second_page(demo)).await;
    let mut fetched = None;
    report
        .fact("a second load fetches no blob, and starts with the blob route off", second_load(demo, &mut fetched))
        .await;
    if let Some(fetched) = fetched {
        report.figure("second-load.blobs", fetched, "blobs");
    }
    report.fact("the server calls into the page", server_calls(demo)).await;
    let mut p50 = None;
    report.fact("requests to a worker are quick enough to type by", quick(demo, &mut p50)).await;
    if let Some(p50) = p50 {
        report.figure("request.worker.p50", p50, "µs");
    }
    Ok(())
}

/// Reads a sample document of the repository.
fn document(name: &str) -> PathBuf {
    workspace().join("www/public/samples").join(format!("{name}.md"))
}

/// The expected HTML of a document, by the same library, built for this machine and without a mechtron.
pub(crate) fn rendered(markdown: &str) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut out = String::new();
    html::push_html(&mut out, Parser::new_ext(markdown, options));
    // The page's policy forbids inline styles.
    out.replace(" style=\"text-align: ", " align=\"")
}

async fn answers(demo: &Demo) -> Result<String> {
    demo.choose("ada").await?;
    demo.type_text(TYPED).await?;
    demo.preview_is(RENDERED).await?;
    let file = document("ada");
    let text = std::fs::read_to_string(&file)?;
    demo.open_file(&file).await?;
    demo.preview_is(&rendered(&text)).await?;
    let place = place(demo).await?;
    Ok(format!(
        "{} characters typed and {} bytes from ada.md, rendered as expected in {place}",
        TYPED.chars().count(),
        text.len()
    ))
}

/// The entry of `inspect()` for the actor that renders Ada's page.
async fn actor(demo: &Demo) -> Result<Value> {
    let inspection = demo.inspect().await?;
    let actors = inspection.get("actors").and_then(Value::as_array).context("inspect() lists no actors")?;
    let address = format!("{APP}:profile:ada");
    let actor = actors.iter().find(|actor| actor.get("address").and_then(Value::as_str) == Some(&address));
    actor.cloned().with_context(|| format!("inspect() does not list {address}: {inspection}"))
}

async fn place(demo: &Demo) -> Result<String> {
    let actor = actor(demo).await?;
    let place = actor.get("place").and_then(Value::as_str).context("the actor runs nowhere")?;
    Ok(place.to_owned())
}

async fn same_on_the_server(demo: &Demo) -> Result<String> {
    demo.save().await?;
    let (status, page) = get(&format!("{}/people/ada", demo.server.origin())).await?;
    let page = String::from_utf8(page)?;
    ensure!(status == 200, "GET /people/ada answers {status}: {page}");
    let article = page.split_once("<article>").and_then(|(_, rest)| rest.split_once("</article>"));
    let (served, _) = article.context("the page has no <article>")?;
    let expected = rendered(&std::fs::read_to_string(document("ada"))?);
    ensure!(served == expected, "the server's page says\n{served}\nbut the preview\n{expected}");

    let actor = actor(demo).await?;
    let in_page = actor.get("wasm").and_then(Value::as_str).context("the actor has no digest")?;
    let in_page = in_page.trim_start_matches("sha256:").to_owned();
    let (status, manifest) = get(&format!("{}/bundles/{BUNDLE}", demo.server.origin())).await?;
    ensure!(status == 200, "GET /bundles/{BUNDLE} answers {status}");
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let listed = manifest
        .pointer("/files/~1wasm~1profile.wasm/sha256")
        .or_else(|| manifest.pointer("/files/wasm~1profile.wasm/sha256"));
    let on_server =
        listed.and_then(Value::as_str).with_context(|| format!("the manifest has no wasm/profile.wasm: {manifest}"))?;
    let built =
        hex::encode(Sha256::digest(std::fs::read(from_environment("STARLANE_BUNDLE")?.join("wasm/profile.wasm"))?));
    ensure!(on_server.trim_start_matches("sha256:") == in_page, "the page runs {in_page}, the server {on_server}");
    ensure!(built == in_page, "the page runs {in_page}, but {built} was built");
    Ok(format!("{} bytes of HTML, from {}… here and there", served.len(), in_page.get(..12).unwrap_or(&in_page)))
}

async fn in_sqlite(demo: &Demo) -> Result<String> {
    let mut files = Vec::new();
    sqlite_files(&demo.server.data(), &mut files)?;
    let expected = std::fs::read_to_string(document("ada"))?;
    for file in &files {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let row = Connection::open_with_flags(file, flags)?.query_row(
            "SELECT title, markdown, revision FROM people WHERE name = 'ada'",
            [],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)),
        );
        let Ok((title, markdown, revision)) = row else { continue };
        ensure!(markdown == expected, "the row has another text: {markdown}");
        let file = file.strip_prefix(demo.server.data())?;
        return Ok(format!("“{title}”, revision {revision}, {} bytes, in {}", markdown.len(), file.display()));
    }
    bail!("no row of ada in any of {files:?}")
}

/// Finds the SQLite databases below a folder, by their contents.
fn sqlite_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sqlite_files(&path, found)?;
        } else if std::fs::read(&path)?.starts_with(b"SQLite format 3\0") {
            found.push(path);
        }
    }
    Ok(())
}

async fn second_page(demo: &Demo) -> Result<String> {
    let browser = &demo.browser;
    let first = browser.client.window().await?;
    browser.new_window().await?;
    let second = browser.client.window().await?;
    demo.open().await?;
    demo.choose("ada").await?;
    demo.link_is("up").await?;

    browser.client.switch_to_window(first).await?;
    demo.type_text("# Ada, changed in the first page\n").await?;
    let revision = demo.save().await?;

    browser.client.switch_to_window(second).await?;
    let listed = "return document.querySelector('[data-testid=person-ada]').dataset.revision === String(argument)";
    browser.until("the list of the second page has the new revision", listed, json!(revision)).await?;
    demo.preview_is("<h1>Ada, changed in the first page</h1>\n").await?;
    let told = browser.text("state").await?;

    browser.client.close_window().await?;
    let windows = browser.client.windows().await?;
    browser.client.switch_to_window(windows.into_iter().next().context("no window is left")?).await?;
    Ok(format!("it shows the new text, “{told}”"))
}

async fn second_load(demo: &Demo, count: &mut Option<f64>) -> Result<String> {
    demo.proxy.take_seen();
    demo.open().await?;
    let (fetched, cached, _) = demo.blobs().await?;
    let asked = demo.proxy.take_seen().iter().filter(|path| path.starts_with("/blobs/")).count();
    *count = Some(fetched.max(asked as u64) as f64);
    ensure!(fetched == 0 && asked == 0, "{fetched} were fetched, and the server was asked for {asked}");
    ensure!(cached > 0, "none came from the cache");

    demo.proxy.add_fault(starlane_testkit::proxy::ProxyFault::Refuse("/blobs/"));
    let without = demo.open().await;
    demo.proxy.clear_faults();
    without.context("with the blob route off")?;
    Ok(format!("0 fetched, {cached} from the cache; with the blob route off the mechtron answers too"))
}

async fn server_calls(demo: &Demo) -> Result<String> {
    demo.choose("ada").await?;
    demo.link_is("up").await?;
    demo.browser.click("compare").await?;
    let same = "return document.querySelector('[data-testid=comparison]').dataset.same ?? null";
    let same = demo.browser.until("the server has compared", same, Value::Null).await;
    let Ok(same) = same else { bail!("the server has not compared\n{}", demo.what_went_wrong().await) };
    let told = demo.browser.text("comparison").await?;
    ensure!(same == json!("true"), "{told}");
    Ok(told)
}

async fn quick(demo: &Demo, p50: &mut Option<f64>) -> Result<String> {
    let script = "const { host } = window.starlaneDemo;
        const call = () => host.request(argument.to, 'render', { markdown: argument.markdown });
        for (let i = 0; i < argument.block; i++) await call();
        const blocks = [];
        for (let b = 0; b < argument.blocks; b++) {
            const start = performance.now();
            for (let i = 0; i < argument.block; i++) await call();
            blocks.push((performance.now() - start) / argument.block * 1000);
        }
        return blocks.sort((a, b) => a - b)";
    let to = format!("{APP}:profile:ada");
    let argument = json!({ "to": to, "markdown": "Some *words*.", "block": BLOCK, "blocks": BLOCKS });
    let blocks = demo.browser.run(script, argument).await?;
    let median = blocks.get(BLOCKS as usize / 2).and_then(Value::as_f64).context("no times")?;
    *p50 = Some((median * 10.0).round() / 10.0);
    // A generous limit, which only a broken build exceeds. The figure records the speed.
    ensure!(median < 16_000.0, "one takes {median:.0} µs, longer than a frame");
    Ok(format!("{median:.0} µs each, the median of {BLOCKS} blocks of {BLOCK}"))
}
