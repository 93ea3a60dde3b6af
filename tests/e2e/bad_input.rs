//! Bad input is refused with a typed error, and everything else continues.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::{
    browser::Thrown,
    proxy::{Proxy, ProxyFault},
};

use crate::{
    demo::{APP, Demo},
    guests,
    report::Report,
};

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    report.fact("a flipped byte in the cache is noticed and fetched again", flipped_byte(demo)).await;
    report.fact("a wrong signature is refused", refused(demo, spoil_signature, &["bad-signature"])).await;
    report
        .fact("an altered manifest is refused", refused(demo, spoil_manifest, &["bad-signature", "digest-mismatch"]))
        .await;
    report.fact("an unknown operation is `no-operation`", unknown(demo, "profile:ada", "shout", "no-operation")).await;
    report.fact("an unknown address is `no-resource`", unknown(demo, "nobody", "get", "no-resource")).await;
    report.fact("a malformed address is refused before it is sent", malformed_address(demo)).await;
    report.fact("a guest that traps is `guest-failed`, and serves again", trap(demo)).await;
    report.fact("a second `Host.open` is shared, with other options `already-open`", second_open(demo)).await;
}

async fn flipped_byte(demo: &Demo) -> Result<String> {
    demo.open().await?;
    // Flips one bit in each cached value that is large enough for a module, in any database.
    let flip = "const bytesOf = (value) => {
            if (value instanceof ArrayBuffer) return new Uint8Array(value);
            if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
            if (value && typeof value === 'object') for (const inner of Object.values(value)) { const found = bytesOf(inner); if (found) return found; }
            return null;
        };
        const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
        let flipped = 0;
        for (const { name } of await indexedDB.databases()) {
            const db = await done(indexedDB.open(name));
            for (const store of db.objectStoreNames) {
                if (!/blob/i.test(store)) continue;
                const objects = db.transaction(store, 'readwrite').objectStore(store);
                for (const key of await done(objects.getAllKeys())) {
                    const value = await done(objects.get(key));
                    const bytes = bytesOf(value);
                    if (!bytes || bytes.length < 1000) continue;
                    bytes[bytes.length >> 1] ^= 1;
                    await done(objects.keyPath === null ? objects.put(value, key) : objects.put(value));
                    flipped++;
                }
            }
            db.close();
        }
        return flipped";
    let flipped = demo.browser.run(flip, Value::Null).await?.as_u64().unwrap_or_default();
    ensure!(flipped > 0, "no blob was found in IndexedDB");
    demo.open().await?;
    let (fetched, _, healed) = demo.blobs().await?;
    ensure!(healed > 0 && fetched == healed, "{flipped} flipped, but {healed} noticed and {fetched} fetched");
    let shown = demo.browser.text("blobs").await?;
    demo.open().await?;
    let (again, cached, _) = demo.blobs().await?;
    ensure!(again == 0 && cached > 0, "the next load fetched {again}");
    Ok(format!("{flipped} flipped; the page shows “{shown}”; the next load fetched 0"))
}

fn spoil_signature(headers: &mut hyper::HeaderMap, body: Vec<u8>) -> Vec<u8> {
    if let Some(signature) = headers.get_mut("starlane-signature") {
        let mut text = signature.as_bytes().to_vec();
        let middle = text.len() / 2;
        if let Some(byte) = text.get_mut(middle) {
            *byte = if *byte == b'a' { b'b' } else { b'a' };
        }
        if let Ok(spoiled) = hyper::header::HeaderValue::from_bytes(&text) {
            *signature = spoiled;
        }
    }
    body
}

/// Replaces a file by one of another publisher. The manifest is still JSON of the right form.
fn spoil_manifest(_: &mut hyper::HeaderMap, body: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&body);
    text.replacen("\"size\":", "\"size\":1", 1).into_bytes()
}

async fn refused(demo: &Demo, spoil: fn(&mut hyper::HeaderMap, Vec<u8>) -> Vec<u8>, codes: &[&str]) -> Result<String> {
    // Another origin, whose cache is empty.
    let proxy = Proxy::start(&demo.server.address).await?;
    proxy.add_fault(ProxyFault::Alter("/bundles/", Arc::new(spoil)));
    demo.browser.goto(&format!("{}/", proxy.origin)).await?;
    let shown = "const shown = document.querySelector('[data-testid=problem]');
        return shown && { code: shown.dataset.code ?? null, text: shown.querySelector('p').textContent }";
    let shown = demo.browser.until("the page shows a problem", shown, Value::Null).await?;
    let code = shown.get("code").and_then(Value::as_str).unwrap_or_default();
    let text = shown.get("text").and_then(Value::as_str).unwrap_or_default();
    ensure!(codes.contains(&code), "the page shows {shown}");
    let asked = proxy.take_seen().iter().filter(|path| path.starts_with("/blobs/")).count();
    ensure!(asked == 0, "{asked} of its files were fetched nevertheless");

    proxy.clear_faults();
    demo.open_at(&proxy.origin).await.context("and then, with the real one")?;
    Ok(text.to_owned())
}

/// Sends a request that must fail.
async fn fails(demo: &Demo, argument: Value) -> Result<Thrown> {
    let script = "return await window.starlaneDemo.host.request(argument.to, argument.operation, argument.body ?? {}, argument.options ?? {})";
    demo.browser.run_to_fail(script, argument).await
}

async fn unknown(demo: &Demo, name: &str, operation: &str, code: &str) -> Result<String> {
    demo.open().await?;
    let thrown = fails(demo, json!({ "to": format!("{APP}:{name}"), "operation": operation })).await?;
    ensure!(thrown.name == "StarlaneError" && thrown.code == code && thrown.status == 404, "{thrown}");
    ensure!(thrown.address.contains(name), "it does not name the address: {thrown}");
    works(demo).await?;
    Ok(thrown.message)
}

async fn malformed_address(demo: &Demo) -> Result<String> {
    let thrown = fails(demo, json!({ "to": "Acme::", "operation": "get" })).await?;
    ensure!(thrown.name == "StarlaneError" && thrown.code == "malformed" && thrown.status == 400, "{thrown}");
    works(demo).await?;
    Ok(thrown.message)
}

async fn trap(demo: &Demo) -> Result<String> {
    guests::launch(demo).await?;
    let to = guests::NEAR;
    let thrown = fails(demo, json!({ "to": to, "operation": "trap" })).await?;
    ensure!(thrown.code == "guest-failed" && thrown.status == 500, "{thrown}");
    let echo = "return await window.starlaneDemo.host.request(argument, 'echo', { still: 'here' })";
    let back = demo.browser.run(echo, json!(to)).await.context("after the trap")?;
    ensure!(back == json!({ "still": "here" }), "after the trap it answers {back}");
    works(demo).await?;
    Ok(thrown.message)
}

async fn second_open(demo: &Demo) -> Result<String> {
    demo.open().await?;
    let same = "const { host, options } = window.starlaneDemo;
        const again = await host.constructor.open({ ...options });
        const same = again.inspect().host === host.inspect().host;
        await again.close();
        return same";
    ensure!(demo.browser.run(same, Value::Null).await? == json!(true), "it is another host");
    works(demo).await.context("after the second was closed")?;
    let other = "const { host, options } = window.starlaneDemo;
        await host.constructor.open({ ...options, cache: 'another' })";
    let thrown = demo.browser.run_to_fail(other, Value::Null).await?;
    ensure!(thrown.code == "already-open", "{thrown}");
    works(demo).await?;
    Ok(thrown.message)
}

/// The page's own mechtron still answers.
pub(crate) async fn works(demo: &Demo) -> Result<()> {
    let render = "return await window.starlaneDemo.host.request(argument, 'render', { markdown: '*still* here' })";
    let html = demo.browser.run(render, json!(format!("{APP}:profile:ada"))).await?;
    ensure!(html == json!("<p><em>still</em> here</p>\n"), "the page's mechtron answers {html}");
    Ok(())
}
