//! Streams from a page through guests and back: over cuts, beside small messages, and with every early end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::{figure::Sizes, line::Cut};

use crate::{
    demo::Demo,
    guests::{FAR, NEAR, launch},
    report::Report,
};

const MIB: usize = 1 << 20;
/// The size of a stream through a server's guest and back.
const LONG: Sizes = Sizes { ci: 16 * MIB, full: 100 * MIB };
/// The size of a stream through a guest in the page.
const NEAR_LONG: usize = 8 * MIB;
/// The number of cuts while a stream is on its way.
const CUTS: Sizes = Sizes { ci: 12, full: 500 };
/// The bytes of a source that may be read while nobody reads the stream: the credit of each hop, and the parts between them.
const MAX_AHEAD: u64 = 4 << 20;

/// What the facts of the page share: a source of a known pattern that counts what is read of it, and a reader that compares.
const SHARED: &str = "
    const { host } = window.starlaneDemo;
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const byte = (at) => (at * 31 + (at >> 8)) & 255;
    const source = (total, { part = 40_000, failAt = Infinity } = {}) => {
        const state = { read: 0, cancelled: null };
        state.stream = new ReadableStream({
            pull(controller) {
                if (state.read >= failAt) { controller.error(new Error('the disk is gone')); return; }
                const length = Math.min(part, total - state.read);
                const bytes = new Uint8Array(length);
                for (let n = 0; n < length; n += 1) bytes[n] = byte(state.read + n);
                state.read += length;
                if (length > 0) controller.enqueue(bytes);
                if (state.read === total) controller.close();
            },
            cancel(reason) { state.cancelled = String(reason?.code ?? reason); },
        }, { highWaterMark: 0 });
        return state;
    };
    const drain = async (response, { most = Infinity } = {}) => {
        let received = 0;
        for await (const part of response.body) {
            for (const one of part) {
                if (one !== byte(received)) throw new Error(`byte ${received} is ${one}`);
                received += 1;
            }
            if (received >= most) break;
        }
        return received;
    };
    const rest = async () => {
        for (let n = 0; n < 200 && host.inspect().openStreams > 0; n += 1) await sleep(25);
        return host.inspect().openStreams;
    };
";

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    report.fact("a stream passes through a guest on the server and back", passes(demo, FAR, LONG.of_this_run())).await;
    report.fact("a stream passes through a guest in the page and back", passes(demo, NEAR, NEAR_LONG)).await;
    report.fact("cuts in the middle of a stream lose and double nothing", cuts(demo)).await;
    report.fact("a reader that does not read stops the writer and no other", slow(demo)).await;
    report.fact("every early end of a stream is told to both ends", endings(demo)).await;
}

async fn run(demo: &Demo, script: &str, argument: Value) -> Result<Value> {
    demo.browser.run(&format!("{SHARED}{script}"), argument).await
}

async fn passes(demo: &Demo, to: &str, bytes: usize) -> Result<String> {
    launch(demo).await?;
    let script = "
        const file = source(argument.bytes);
        const answer = await host.fetch(argument.to, 'mirror', { body: file.stream });
        return { status: answer.status, received: await drain(answer), left: await rest() }";
    let seen = run(demo, script, json!({ "to": to, "bytes": bytes })).await?;
    ensure!(seen == json!({ "status": 200, "received": bytes, "left": 0 }), "{seen}");
    Ok(format!("{bytes} bytes there and back, equal"))
}

async fn cuts(demo: &Demo) -> Result<String> {
    launch(demo).await?;
    let script = "
        window.cutStream = null;
        (async () => {
            const file = source(argument.bytes, { part: 10_000 });
            const answer = await host.fetch(argument.to, 'mirror', { body: file.stream });
            let received = 0;
            for await (const part of answer.body) {
                for (const one of part) {
                    if (one !== byte(received)) throw new Error(`byte ${received} is ${one}`);
                    received += 1;
                }
                await sleep(argument.pause);
            }
            return { received, left: await rest() };
        })().then((value) => (window.cutStream = { value }), (error) => (window.cutStream = { error: String(error) }));
        return true";
    let (cuts, bytes) = (CUTS.of_this_run(), 6 * MIB);
    let pause = cuts * 400 / (bytes / 10_000);
    run(demo, script, json!({ "to": FAR, "bytes": bytes, "pause": pause })).await?;
    let ways = [Cut::End, Cut::Reset, Cut::Hole(Duration::from_millis(400))];
    let mut made = 0;
    let ended = loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ended = demo.browser.run("return window.cutStream", Value::Null).await?;
        if !ended.is_null() {
            break ended;
        }
        if made < cuts
            && let Some(way) = ways.iter().cycle().nth(made)
        {
            demo.proxy.cut(*way);
            made += 1;
        }
    };
    ensure!(ended == json!({ "value": { "received": bytes, "left": 0 } }), "{made} cuts: {ended}");
    ensure!(made >= cuts / 2, "only {made} cuts while the stream was on its way");
    Ok(format!("{made} cuts during {bytes} bytes there and back: 0 lost, 0 doubled"))
}

async fn slow(demo: &Demo) -> Result<String> {
    launch(demo).await?;
    let script = "
        const file = source(100_000_000);
        const answer = await host.fetch(argument.far, 'mirror', { body: file.stream });
        // Until the writer has stopped.
        let ahead = -1;
        for (let n = 0; n < 40 && ahead !== file.read; n += 1) { ahead = file.read; await sleep(500); }
        const more = file.read - ahead;
        for (let n = 0; n < 20; n += 1) await host.request(argument.far, 'echo', { n });
        const received = await drain(answer, { most: 1_000_000 });
        return { ahead, more, received: received >= 1_000_000, left: await rest(), cancelled: file.cancelled }";
    let seen = run(demo, script, json!({ "far": FAR })).await?;
    let ahead = seen.get("ahead").and_then(Value::as_u64).context("no count")?;
    ensure!((1..=MAX_AHEAD).contains(&ahead), "{ahead} bytes were read ahead");
    let expected = json!({ "ahead": ahead, "more": 0, "received": true, "left": 0, "cancelled": "cancelled" });
    ensure!(seen == expected, "{seen}");
    Ok(format!("{ahead} bytes ahead of a reader that reads nothing; 20 requests beside it"))
}

/// Each way of ending early. The page's end of it, and what the other end heard where the page sees that too.
async fn endings(demo: &mut Demo) -> Result<String> {
    launch(demo).await?;
    let script = "
        const { far } = argument;
        const code = async (promise) => promise.then(() => 'complete', (error) => (error instanceof DOMException ? error.name : error.code ?? String(error)));
        const seen = {};
        const page = await host.serve('acme:tests:files', {
            fails: async () => new Response(source(1_000_000, { failAt: 200_000 }).stream),
            late: { stream: true, handle: async () => { await sleep(60_000); return null; } },
        });
        const own = `${host.inspect().host}::acme:tests:files`;
        {
            const file = source(10_000_000, { failAt: 200_000 });
            const answer = await host.fetch(far, 'mirror', { body: file.stream });
            seen['the source fails'] = await code(drain(answer));
        }
        {
            const answer = await host.fetch(own, 'fails');
            seen['the answer fails'] = await code(drain(answer));
        }
        {
            const file = source(10_000_000);
            const answer = await host.fetch(far, 'mirror', { body: file.stream });
            await answer.body.cancel();
            for (let n = 0; n < 100 && file.cancelled === null; n += 1) await sleep(20);
            seen['the reader cancels'] = file.cancelled;
        }
        {
            const file = source(10_000_000);
            const answer = await host.fetch(far, 'mirror', { body: file.stream });
            for await (const part of answer.body) break;
            for (let n = 0; n < 100 && file.cancelled === null; n += 1) await sleep(20);
            seen['the reader breaks off'] = file.cancelled;
        }
        {
            const [file, stop] = [source(10_000_000), new AbortController()];
            const asked = host.fetch(own, 'late', { body: file.stream, signal: stop.signal });
            stop.abort();
            seen['aborted before the answer'] = await code(asked);
        }
        {
            const [file, stop] = [source(100_000_000), new AbortController()];
            const answer = await host.fetch(far, 'mirror', { body: file.stream, signal: stop.signal });
            setTimeout(() => stop.abort(), 50);
            seen['aborted after the answer'] = await code(drain(answer));
        }
        for (const [name, to, operation] of [
            ['no such resource', 'acme:nothing', 'x'],
            ['no such operation', far, 'x'],
            ['an operation without streams', far, 'echo'],
        ]) {
            const file = source(10_000_000);
            const answer = await host.fetch(to, operation, { body: file.stream }).catch((error) => error);
            for (let n = 0; n < 100 && file.cancelled === null; n += 1) await sleep(20);
            seen[name] = `${answer.code ?? answer.status} ${file.cancelled}`;
        }
        {
            const file = source(100_000_000);
            const answer = await host.fetch(far, 'mirror', { body: file.stream });
            await host.request(far, 'trap', {}).catch(() => {});
            seen['the guest crashes'] = await code(drain(answer));
        }
        {
            const late = host.fetch(own, 'late', { body: source(10).stream, timeout: 300 });
            seen['no answer in time'] = await code(late);
        }
        await page.release?.();
        seen.left = await rest();
        return seen";
    let seen = run(demo, script, json!({ "far": FAR })).await?;
    let expected = json!({
        "the source fails": "internal",
        "the answer fails": "internal",
        "the reader cancels": "cancelled",
        "the reader breaks off": "cancelled",
        "aborted before the answer": "AbortError",
        "aborted after the answer": "AbortError",
        "no such resource": "no-resource no-resource",
        "no such operation": "no-operation no-operation",
        "an operation without streams": "no-streams no-streams",
        "the guest crashes": "guest-failed",
        "no answer in time": "deadline",
        "left": 0,
    });
    ensure!(seen == expected, "{seen:#}");
    Ok("11 ways, and nothing left behind".to_owned())
}
