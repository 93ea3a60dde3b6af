//! The cost of a page's cache for its user: of a new version with few changes, and of a load.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{demo::Demo, report::Report};

const APP: &str = "acme:thousand";
/// The number of the app's files, beside the large one.
const FILES: usize = 1_000;
/// The size of the large file, in bytes.
const LARGE_FILE_BYTES: usize = 10_000_000;

/// In a page: launches the app and reads all its files by message. Returns the number of files, and of fetched blobs.
const READ_ALL: &str = "const { host } = window.starlaneDemo;
    const before = host.inspect().blobs;
    const app = await host.launch(argument);
    const { files } = await host.request(app.bundle, 'list');
    for (const { path, size } of files) {
        const { length, byteLength } = await host.request(app.bundle, 'read', { path }) ?? '';
        if ((byteLength ?? length) !== size) throw new Error(`${path} has not ${size} bytes`);
    }
    const after = host.inspect().blobs;
    await app.stop();
    return { files: files.length, fetched: after.fetched - before.fetched, cached: after.cached - before.cached }";

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    let (mut delta, mut verify) = (None, None);
    let fact = "of a new version only the one file is fetched that is new, of a thousand";
    report.fact(fact, new_version(demo, &mut delta)).await;
    if let Some((fetched, files)) = delta {
        report.figure("delta.blobs", fetched as f64, "blobs");
        report.figure("delta.files", files as f64, "files");
    }
    report.fact("ten megabytes from the cache are verified before a byte is used", verified(demo, &mut verify)).await;
    if let Some(ms) = verify {
        report.figure("verify.10MB", ms, "ms");
    }
}

async fn new_version(demo: &Demo, delta: &mut Option<(u64, u64)>) -> Result<String> {
    let folder = tempfile::tempdir()?;
    write_bundle(folder.path())?;
    demo.server.publish(folder.path(), "acme:repo:thousand:1.0.0", APP).await?;
    demo.open().await?;
    demo.link_is("up").await?;
    let first = demo.browser.run(READ_ALL, json!(APP)).await?;
    let fetched = |read: &Value| read.get("fetched").and_then(Value::as_u64).context("no count");
    let files = first.get("files").and_then(Value::as_u64).context("no count")?;
    ensure!(fetched(&first)? == files && files > FILES as u64, "at first {first}");

    fs::write(folder.path().join("files/500.txt"), "another\n")?;
    demo.server.starlane(&["app", "delete", APP]).await?;
    demo.server.publish(folder.path(), "acme:repo:thousand:1.0.1", APP).await?;
    demo.open().await?;
    demo.link_is("up").await?;
    demo.proxy.take_seen();
    let second = demo.browser.run(READ_ALL, json!(APP)).await?;
    let asked = demo.proxy.take_seen().iter().filter(|path| path.starts_with("/blobs/")).count();
    let fetched = fetched(&second)?;
    *delta = Some((fetched, files));
    ensure!(fetched == asked as u64, "{fetched} were fetched, and the server was asked for {asked}");
    ensure!(fetched == 1, "{fetched} were fetched");
    Ok(format!("{fetched} of {files}"))
}

fn write_bundle(folder: &Path) -> Result<()> {
    let bundle = "[bundle]\nname = \"thousand\"\npublic = true\ninclude = [\"app.toml\", \"files/*\"]\n";
    fs::write(folder.join("bundle.toml"), bundle)?;
    fs::write(folder.join("app.toml"), "[app]\nname = \"thousand\"\n")?;
    fs::create_dir(folder.join("files"))?;
    for number in 0..FILES {
        fs::write(folder.join(format!("files/{number:03}.txt")), format!("file {number}\n"))?;
    }
    let large: Vec<u8> = (0..LARGE_FILE_BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 16) as u8).collect();
    Ok(fs::write(folder.join("files/large.bin"), large)?)
}

/// Reads the first byte of the large file, which loads and hashes the whole file. Returns the median in milliseconds.
async fn verified(demo: &Demo, verify: &mut Option<f64>) -> Result<String> {
    let script = "const { host } = window.starlaneDemo;
        const app = await host.launch(argument);
        const before = host.inspect().blobs.cached;
        const times = [];
        for (let i = 0; i < 7; i++) {
            const start = performance.now();
            await host.request(app.bundle, 'read', { path: '/files/large.bin', length: 1 });
            times.push(performance.now() - start);
        }
        const loads = host.inspect().blobs.cached - before;
        await app.stop();
        return { loads, median: times.sort((a, b) => a - b)[3] }";
    let seen = demo.browser.run(script, json!(APP)).await?;
    ensure!(seen.get("loads") == Some(&json!(7)), "{seen}");
    let median = seen.get("median").and_then(Value::as_f64).context("no time")?;
    *verify = Some((median * 10.0).round() / 10.0);
    ensure!(median < 2_000.0, "one load takes {median:.0} ms");
    Ok(format!("{median:.0} ms each, with the load from IndexedDB"))
}
