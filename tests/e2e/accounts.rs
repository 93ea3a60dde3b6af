//! Accounts: pages of other origins, signing in, tokens that expire. These facts come last, because creating the first token turns
//! anonymous access off.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::page::Page;
use tokio::time::{Duration, sleep};

use crate::{
    demo::{APP, Demo},
    report::Report,
};

/// The paths that a stranger's page posts to.
const TARGETS: [&str; 3] = ["/messages/acme:profiles:directory/save", "/mesh", "/bundles/acme:repo:x:1.0.0"];

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    report.fact("a page of another origin posts with `no-cors`, and nothing happens", stranger(demo)).await;
    report.fact("with the first token, a page without one is refused and asks for it", refused(demo)).await;
    report.fact("ada signs in, changes her page, and can't change grace's", signed_in(demo)).await;
    report.fact("a token is renewed on the live link before it ends, and a revoked one closes it", renewed(demo)).await;
}

/// Sends what any page can send without a preflight: forms, and `fetch` in the mode `no-cors`. The proxy proves that the requests leave
/// the browser: a policy of the page could hold them back.
async fn stranger(demo: &Demo) -> Result<String> {
    let page = Page::serve("<!doctype html><title>Somebody else's page</title>").await?;
    demo.browser.goto(&page.origin).await?;
    demo.proxy.take_seen();
    let script = "const body = JSON.stringify({ name: 'mallory', markdown: 'x' });
        const { origin, targets } = argument;
        const types = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'];
        let sent = 0;
        for (const target of targets) for (const type of types) {
            await fetch(origin + target, { method: 'POST', mode: 'no-cors', body, headers: { 'content-type': type } }).catch(() => {});
            sent += 1;
            if (navigator.sendBeacon(origin + target, new Blob([body], { type }))) sent += 1;
        }
        return sent";
    let argument = json!({ "origin": demo.proxy.origin, "targets": TARGETS });
    let sent = demo.browser.run(script, argument).await?;
    let sent = sent.as_u64().context("the number of requests is not a number")?;
    ensure!(sent >= 9, "the page sent only {sent} requests; at least 9 are expected");
    let mut arrived = 0;
    for _ in 0..100 {
        // The demo's page before this one may still have sent a request of its own.
        arrived += demo.proxy.take_seen().iter().filter(|path| TARGETS.contains(&path.as_str())).count() as u64;
        if arrived >= sent {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(arrived >= sent, "only {arrived} of {sent} sent requests arrived");
    let body = json!({ "name": "mallory" }).to_string();
    let found = demo.server.starlane(&["send", &format!("{APP}:directory"), "get", "--json", &body]).await;
    ensure!(found.as_ref().is_err_and(|error| error.to_string().contains("not-found")), "mallory was saved: {found:?}");
    Ok(format!("{arrived} of {sent} requests arrived at the server, and there is no page of mallory"))
}

/// Creates a token of ada with this lifetime.
async fn token(demo: &Demo, ttl: &str) -> Result<String> {
    let words = ["token", "create", "--subject", "ada", "--ttl", ttl, "--output", "json"];
    let made: Value = serde_json::from_str(&demo.server.starlane(&words).await?)?;
    Ok(made.get("token").and_then(Value::as_str).context("no token was made")?.to_owned())
}

async fn refused(demo: &Demo) -> Result<String> {
    demo.open().await?;
    demo.link_is("up").await?;
    token(demo, "1h").await?;
    demo.link_is("refused").await?;
    let open = "return document.querySelector('[data-testid=account]').open";
    demo.browser.until("the page asks for a token", open, Value::Null).await?;
    demo.browser.screenshot(&demo.picture("sign-in")).await?;
    demo.browser.text("link-text").await
}

async fn signed_in(demo: &Demo) -> Result<String> {
    for grant in ["launch acme:profiles", "request acme:profiles:**", "subscribe acme:profiles:**#*"] {
        demo.server.starlane(&["grant", "ada", grant]).await?;
    }
    let made = token(demo, "1h").await?;
    demo.browser.element("token").await?.send_keys(&made).await?;
    demo.browser.click("sign-in-button").await?;
    demo.link_is("up").await?;
    demo.ready().await?;
    demo.choose("ada").await?;
    demo.type_text("# Hers alone\n").await?;
    demo.save().await?;
    demo.choose("grace").await?;
    demo.type_text("# Not hers\n").await?;
    demo.browser.click("save").await?;
    let problem = "return document.querySelector('[data-testid=problem][data-code=forbidden]')?.textContent";
    let said = demo.browser.until("the page says whose page it is", problem, Value::Null).await?;
    demo.browser.screenshot(&demo.picture("signed-in")).await?;
    let who = demo.browser.text("who").await?;
    ensure!(who == "Signed in as ada", "the page says {who}");
    Ok(format!("{who}; {said}"))
}

async fn renewed(demo: &Demo) -> Result<String> {
    // Creates the short-lived token last, because its time runs.
    let (long, short) = (token(demo, "1h").await?, token(demo, "8s").await?);
    let script = "const { host, options } = window.starlaneDemo;
        await host.close();
        const given = [];
        const token = async () => { given.push(argument[given.length] ?? argument[1]); return given.at(-1); };
        const own = await host.constructor.open({ ...options, cache: 'renewed', token });
        window.renewed = own;
        await own.connected({ timeout: 10_000 });
        const states = [];
        own.on('link', ({ state }) => states.push(state));
        await new Promise((resolve) => setTimeout(resolve, 10_000));
        return { asked: given.length, states, link: own.link.state, principal: own.inspect().links[0].principal }";
    let seen = demo.browser.run(script, json!([short, long])).await?;
    let expected = json!({ "asked": 2, "states": [], "link": "up", "principal": "ada" });
    ensure!(seen == expected, "the page reports {seen}");
    demo.server.starlane(&["token", "revoke", "--subject", "ada"]).await?;
    let closed = "return window.renewed.link.state === 'refused'";
    demo.browser.until("the revoked token closes the link", closed, Value::Null).await?;
    let failed =
        "const failed = await window.renewed.request('acme:profiles:directory', 'list', {}).catch((error) => error);
        return `${failed.status} ${failed.code}`";
    let failed = demo.browser.run(failed, Value::Null).await?;
    ensure!(failed == json!("401 auth-refused"), "a request then gives {failed}");
    Ok("two tokens for one link of 10 s; after the revocation 401 auth-refused".to_owned())
}
