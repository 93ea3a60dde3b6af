//! The connection of a page breaks again and again, while numbered messages go both ways.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use starlane_testkit::line::Cut;

use crate::{
    demo::{APP, Demo},
    report::Report,
};

/// The number of saves, each of which makes one revision and one event.
const SAVES: usize = 300;
/// The pause between two saves, in milliseconds.
const PAUSE_MS: u64 = 20;
/// How the connection breaks, in turn.
const CUTS: [Cut; 4] = [Cut::End, Cut::Reset, Cut::End, Cut::Hole(Duration::from_millis(700))];
/// The maximum of cuts: the last saves and events need some time without.
const MAX_CUTS: usize = 12;
/// The time between two cuts.
const BETWEEN: Duration = Duration::from_millis(400);

pub(crate) async fn facts(demo: &Demo, report: &mut Report) {
    report.fact("cuts lose, double and reorder nothing", cut(demo, usize::MAX, 0)).await;
    report.fact("neither do cuts of a line that divides messages into 16 bytes", cut(demo, 16, 0)).await;
    demo.proxy.slow(usize::MAX, 0);
}

/// Saves while the line is cut. What the page sends and gets arrives in parts of at most `bytes`.
async fn cut(demo: &Demo, bytes: usize, delay_ms: u64) -> Result<String> {
    demo.open().await?;
    demo.link_is("up").await?;
    demo.proxy.slow(bytes, delay_ms);
    let script = "const { host } = window.starlaneDemo;
        const { to, name, saves, pause } = argument;
        const revisions = [];
        let gaps = 0;
        (async () => {
            for await (const { gap, lagged, payload } of host.subscribe(`${to}#changes`, { buffer: 10_000 })) {
                if (gap || lagged) gaps += 1;
                else if (payload.name === name) revisions.push(payload.revision);
            }
        })();
        window.cuts = (async () => {
            const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
            const sent = [];
            for (let n = 1; n <= saves; n += 1) {
                // Some are longer than a frame.
                const markdown = n % 50 === 0 ? 'x'.repeat(100_000) : `# ${n}`;
                const saved = host.request(to, 'save', { name, markdown }, { timeout: 60_000 });
                sent.push(saved.then(({ revision }) => revision, ({ code }) => code));
                await sleep(pause);
            }
            const answers = await Promise.all(sent);
            for (let n = 0; n < 100 && revisions.length < saves; n += 1) await sleep(50);
            return { answers, revisions, gaps };
        })().then((result) => (window.cutsEnded = result));
        return host.link.state";
    let (to, name) = (format!("{APP}:directory"), format!("cuts-{bytes}"));
    let argument = json!({ "to": to, "name": name, "saves": SAVES, "pause": PAUSE_MS });
    demo.browser.run(script, argument).await?;
    let mut cuts = 0;
    let ended = loop {
        tokio::time::sleep(BETWEEN).await;
        let ended = demo.browser.run("return window.cutsEnded ?? null", Value::Null).await?;
        if !ended.is_null() {
            break ended;
        }
        if cuts < MAX_CUTS
            && let Some(how) = CUTS.iter().cycle().nth(cuts)
        {
            demo.proxy.cut(*how);
            cuts += 1;
        }
    };
    let all: Vec<usize> = (1..=SAVES).collect();
    let all = json!(all);
    for (name, expected) in [("answers", &all), ("revisions", &all), ("gaps", &json!(0))] {
        let seen = ended.get(name).unwrap_or(&Value::Null);
        ensure!(seen == expected, "{cuts} cuts: the {name} are {seen}");
    }
    ensure!(cuts >= 8, "only {cuts} cuts while {SAVES} saves were on their way");
    Ok(format!("{cuts} cuts during {SAVES} saves: 0 lost, 0 doubled, 0 reordered, 0 gaps"))
}
