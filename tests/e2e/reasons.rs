//! Why a link is not up: each reason is produced, and the page names it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use starlane_protocol::frame::{Frame, SUBPROTOCOL, encode_frame, encode_message};
use starlane_testkit::{line::Cut, proxy::ProxyFault};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::HeaderValue,
    },
};

use crate::{demo::Demo, report::Report};

/// The reasons, in the order in which they are produced.
const REASONS: [&str; 13] = [
    "unreachable",
    "overloaded",
    "offline",
    "origin-refused",
    "token-failed",
    "auth-refused",
    "silent",
    "protocol",
    "closing",
    "expired",
    "version",
    "too-many",
    "fenced",
];
/// Those that a server says in its goodbye, and that a well-behaved page does not bring about.
const SAID: [&str; 4] = ["expired", "version", "too-many", "fenced"];

/// A server that answers each hello with a goodbye. Returns its address.
#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn farewell(code: &'static str) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let subprotocol = |_: &Request, mut response: Response| {
                    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
                    Ok(response)
                };
                let Ok(mut socket) = accept_hdr_async(socket, subprotocol).await else { return };
                let _hello = socket.next().await;
                let reason = format!("this server says {code}");
                let (keep, retry_ms, dial) = (false, None, None);
                let goodbye = encode_frame(&Frame::Goodbye { code: code.to_owned(), reason, keep, retry_ms, dial });
                let message = encode_message(0, [goodbye.as_slice()].into_iter());
                let _ = socket.send(Message::Binary(message.into())).await;
                let _ = socket.close(None).await;
            });
        }
    });
    Ok(address)
}

pub(crate) async fn facts(demo: &mut Demo, report: &mut Report) {
    let named = report.fact("the page names each reason why its link is not up", reasons(demo)).await;
    report.figure("link.reasons", if named { REASONS.len() as f64 } else { 0.0 }, "reasons");
    demo.proxy.clear_faults();
}

async fn reasons(demo: &mut Demo) -> Result<String> {
    for reason in REASONS {
        produce(demo, reason).await.with_context(|| format!("the reason `{reason}`"))?;
        demo.proxy.clear_faults();
    }
    Ok(REASONS.join(", "))
}

async fn produce(demo: &mut Demo, reason: &str) -> Result<()> {
    demo.browser.goto(&format!("{}/", demo.proxy.origin)).await?;
    demo.browser.until("the demo has a host", "return window.starlaneDemo !== undefined", Value::Null).await?;
    match reason {
        "unreachable" | "offline" => demo.proxy.add_fault(ProxyFault::Refuse("/mesh")),
        "overloaded" => demo.proxy.add_fault(ProxyFault::Refuse("/")),
        "origin-refused" => demo.proxy.add_fault(ProxyFault::Origin("https://other.example")),
        _ => {}
    }
    if let Some(code) = SAID.into_iter().find(|code| *code == reason) {
        demo.proxy.add_fault(ProxyFault::Elsewhere("/mesh", farewell(code).await?));
    }
    let open = "const { host: own, options } = window.starlaneDemo;
        await own.close();
        if (argument === 'offline') Object.defineProperty(navigator, 'onLine', { get: () => false });
        const tokens = { 'token-failed': () => Promise.reject(new Error('no session')), 'auth-refused': async () => 'guessed' };
        const token = tokens[argument] ?? (async () => undefined);
        const host = await own.constructor.open({ ...options, cache: 'reasons', token });
        window.reasons = { host, isUp: false, seen: null };
        const look = (status) => {
            window.reasons.isUp ||= status.state === 'up';
            if (status.reason === argument) window.reasons.seen = status;
        };
        host.on('link', look);
        look(host.link);";
    demo.browser.run(open, json!(reason)).await?;
    if matches!(reason, "silent" | "protocol" | "closing") {
        demo.browser.until("the link is up", "return window.reasons.isUp", Value::Null).await?;
    }
    match reason {
        "silent" => {
            demo.proxy.cut(Cut::Hole(Duration::from_secs(30)));
            // The host then asks the server for a sign of life.
            demo.browser.run("window.reasons.host.reconnect()", Value::Null).await?;
        }
        "protocol" => {
            demo.proxy.damage();
            let ask = "window.reasons.host.request('acme:profiles:directory', 'list', {}).catch(() => {})";
            demo.browser.run(ask, Value::Null).await?;
        }
        "closing" => demo.server.stop().await,
        _ => {}
    }
    let seen = demo.browser.until("the link has this reason", "return window.reasons.seen", Value::Null).await;
    let Ok(seen) = seen else {
        let is = demo.browser.run("return window.reasons.host.link", Value::Null).await?;
        bail!("the link is {is}");
    };
    ensure!(
        seen.get("message").and_then(Value::as_str).is_some_and(|text| text.len() > 10),
        "it has no message: {seen}"
    );
    demo.browser.run("await window.reasons.host.close()", Value::Null).await?;
    if reason == "closing" {
        demo.server.start_again().await?;
    }
    Ok(())
}
