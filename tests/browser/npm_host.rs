//! The Rust layer of the npm package in a real browser, without a server: requests inside the page, and the failures of requests to
//! the server. Belongs to `crates/npm`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows them in tests; it does not know `wasm_bindgen_test`"
)]

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use starlane_npm::{RawHost, RawPayload};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// A port on which nobody listens, and that no browser blocks. WebKit blocks 9, and never reports it.
const NOBODY: &str = "http://127.0.0.1:2";

fn function(parameters: &str, body: &str) -> Function {
    Function::new_with_args(parameters, body)
}

/// Opens a host with its own cache.
async fn open(cache: &str) -> RawHost {
    let cache = format!("npm-test-{cache}-{}", js_sys::Math::random());
    let worker = function("", "throw new Error('no test here runs a guest')");
    let token = function("", "return Promise.resolve(undefined)");
    let quiet = function("", "");
    RawHost::open(
        NOBODY.into(),
        cache,
        1e6,
        worker,
        quiet.clone(),
        quiet.clone(),
        quiet.clone(),
        token,
        quiet.clone(),
        quiet,
    )
    .await
    .unwrap()
}

fn payload(content_type: &str, body: &[u8]) -> RawPayload {
    let object = Object::new();
    Reflect::set(&object, &"contentType".into(), &content_type.into()).unwrap();
    Reflect::set(&object, &"headers".into(), &Array::of2(&"starlane-id".into(), &"7".into())).unwrap();
    Reflect::set(&object, &"body".into(), &Uint8Array::new_from_slice(body)).unwrap();
    object.unchecked_into()
}

fn member(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap()
}

fn text(value: &JsValue, name: &str) -> String {
    member(value, name).as_string().unwrap_or_else(|| panic!("`{name}` is not a string in {value:?}"))
}

async fn settled(promise: Result<Promise, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(promise?).await
}

/// Checks a failure: its status, code and address, and that it has a message.
fn assert_failure(failure: &JsValue, status: f64, code: &str, address: Option<&str>) {
    assert_eq!(text(failure, "code"), code, "{failure:?}");
    assert_eq!(member(failure, "status").as_f64(), Some(status));
    assert!(!text(failure, "message").is_empty());
    assert_eq!(member(failure, "address").as_string().as_deref(), address);
}

/// Returns its payload, in upper case for the operation `shout`.
fn echo() -> Function {
    function(
        "message",
        "if (message.operation === 'fail') return Promise.reject({ status: 409, code: 'conflict', message: 'as asked' });
         if (message.operation === 'throw') throw new Error('thrown');
         if (message.operation === 'nothing') return Promise.resolve(undefined);
         return Promise.resolve(message.payload)",
    )
}

const OPERATIONS: [&str; 4] = ["echo", "fail", "throw", "nothing"];

fn operations() -> Vec<String> {
    OPERATIONS.map(str::to_owned).to_vec()
}

#[wasm_bindgen_test]
async fn a_host_opens_without_a_server_and_its_link_goes_down() {
    let host = open("link").await;
    let state = || host.link().get(0).as_string().unwrap();
    assert!(["connecting", "down"].contains(&&*state()), "{}", state());
    while state() != "down" {
        let changed = Promise::new(&mut |resolve, _| host.watch_link(resolve));
        JsFuture::from(changed).await.unwrap();
    }
    let status = host.link();
    assert_eq!(status.get(1), "unreachable");
    assert!(status.get(2).as_string().unwrap().contains("no WebSocket"), "{status:?}");
    let (since, attempt, next) = (status.get(3), status.get(4), status.get(5));
    let now = js_sys::Date::now();
    assert!((now - 60_000.0..now + 60_000.0).contains(&since.as_f64().unwrap()), "{status:?}");
    assert!(attempt.as_f64().unwrap() >= 1.0 && next.as_f64().unwrap() > since.as_f64().unwrap(), "{status:?}");
    host.close();
}

#[wasm_bindgen_test]
async fn a_request_to_a_remote_address_fails_unreachable_at_its_deadline() {
    let host = open("unreachable").await;
    let start = js_sys::Date::now();
    let to = "acme:profiles:directory";
    let reply = settled(host.request(to, "list".into(), &payload("application/json", b"{}"), 300, 0)).await;
    assert_failure(&reply.unwrap_err(), 503.0, "unreachable", Some(to));
    let took = js_sys::Date::now() - start;
    assert!((250.0..10_000.0).contains(&took), "{took} ms");
}

#[wasm_bindgen_test]
async fn a_page_can_send_requests_to_its_own_handler() {
    let host = open("serve").await;
    let served = host.serve("acme:ui:echo", operations(), echo()).unwrap();
    let sent = payload("image/x-test", &[0, 255, 10]);
    let reply = settled(host.request("acme:ui:echo", "echo".into(), &sent, 5_000, 0)).await.unwrap();
    assert_eq!(text(&reply, "contentType"), "image/x-test");
    assert_eq!(Uint8Array::new(&member(&reply, "body")).to_vec(), [0, 255, 10]);
    assert_eq!(Array::from(&member(&reply, "headers")).join(" "), "starlane-id 7");
    settled(host.notify("acme:ui:echo", "echo".into(), &sent, 0)).await.unwrap();
    let refused = settled(host.notify("acme:ui:echo", "unknown".into(), &sent, 0)).await;
    assert_failure(&refused.unwrap_err(), 404.0, "no-operation", Some("acme:ui:echo"));

    drop(served);
    let reply = settled(host.request("acme:ui:echo", "echo".into(), &sent, 200, 0)).await;
    assert_failure(&reply.unwrap_err(), 503.0, "unreachable", Some("acme:ui:echo"));
}

#[wasm_bindgen_test]
async fn a_failing_handler_fails_only_its_request() {
    let host = open("fail").await;
    let at = "acme:ui:echo";
    let _served = host.serve(at, operations(), echo()).unwrap();
    let ask = |operation: &str| settled(host.request(at, operation.into(), &payload("text/plain", b"x"), 5_000, 0));
    assert_failure(&ask("fail").await.unwrap_err(), 409.0, "conflict", Some(at));
    let thrown = ask("throw").await.unwrap_err();
    assert_failure(&thrown, 500.0, "internal", Some(at));
    assert!(text(&thrown, "message").contains("thrown"));
    // A value that is not a payload is not a reply.
    assert!(ask("nothing").await.is_err());
    assert_failure(&ask("unknown").await.unwrap_err(), 404.0, "no-operation", Some(at));
    assert!(ask("echo").await.is_ok());
    let taken = host.serve(at, operations(), echo()).err().unwrap();
    assert_failure(&taken, 409.0, "conflict", Some(at));
}

#[wasm_bindgen_test]
async fn subscribers_get_events_and_a_full_buffer_reports_the_dropped_ones() {
    let host = open("events").await;
    let served = host.serve("acme:ui:clock", operations(), echo()).unwrap();
    let slow = host.subscribe("acme:ui:clock#tick", 2).unwrap();
    let subscription = host.subscribe("acme:ui:clock#tick", 16).unwrap();
    assert!(subscription.take().is_undefined());
    for tick in [b"1", b"2", b"3"] {
        served.emit("tick", &payload("text/plain", tick)).unwrap();
    }
    for tick in [b"1", b"2", b"3"] {
        let item = JsFuture::from(subscription.next()).await.unwrap();
        assert_eq!(text(&item, "from"), "acme:ui:clock");
        assert_eq!(Uint8Array::new(&member(&member(&item, "payload"), "body")).to_vec(), tick);
    }
    assert_eq!(member(&slow.take(), "lagged").as_f64(), Some(1.0));
    assert_eq!(Uint8Array::new(&member(&member(&slow.take(), "payload"), "body")).to_vec(), b"2");

    let waiting = subscription.next();
    subscription.close();
    assert!(JsFuture::from(waiting).await.unwrap().is_null());
    assert!(served.emit("Not A Segment", &payload("text/plain", b"")).is_err());
}

#[wasm_bindgen_test]
async fn cancelling_a_request_aborts_its_handlers_signal() {
    let host = open("cancel").await;
    let told = Promise::new(&mut |resolve, _| {
        let wait = Closure::<dyn Fn(JsValue) -> Promise>::new(move |message: JsValue| {
            let signal: web_sys::AbortSignal = member(&message, "signal").unchecked_into();
            signal.set_onabort(Some(&resolve));
            Promise::new(&mut |_, _| {})
        });
        let at = "acme:ui:never";
        // Kept for the whole test.
        std::mem::forget(host.serve(at, operations(), wait.into_js_value().unchecked_into()).unwrap());
    });
    let asked = host.request("acme:ui:never", "echo".into(), &payload("", b""), 0, 7);
    // The handler gets the message after one turn of the page.
    JsFuture::from(Promise::new(&mut |resolve, _| {
        web_sys::window().unwrap().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 20).unwrap();
    }))
    .await
    .unwrap();
    host.cancel(7);
    assert_eq!(text(&settled(asked).await.unwrap_err(), "code"), "cancelled");
    JsFuture::from(told).await.unwrap();
}

#[wasm_bindgen_test]
async fn invalid_addresses_topics_and_keys_are_malformed() {
    let host = open("malformed").await;
    let nothing = payload("", b"");
    for to in ["", "Acme:x", "acme::", "acme:x:/../y", "a b"] {
        let reply = host.request(to, "x".into(), &nothing, 0, 0);
        assert_failure(&reply.unwrap_err(), 400.0, "malformed", None);
        assert_failure(&host.notify(to, "x".into(), &nothing, 0).unwrap_err(), 400.0, "malformed", None);
        assert_failure(&host.serve(to, operations(), echo()).err().unwrap(), 400.0, "malformed", None);
        assert_failure(&host.subscribe(to, 1).err().unwrap(), 400.0, "malformed", None);
    }
    let launched = host.launch("acme:x", false, vec!["ed25519:none".into()], None, 0);
    assert_failure(&launched.unwrap_err(), 400.0, "malformed", None);
    let odd: RawPayload = Object::new().unchecked_into();
    assert_failure(&host.notify("acme:x", "y".into(), &odd, 0).unwrap_err(), 400.0, "malformed", Some("acme:x"));
}

#[wasm_bindgen_test]
async fn a_cancelled_launch_ends_at_once() {
    let host = open("cancelled").await;
    let launched = settled(host.launch("acme:profiles", false, vec![], None, 1));
    let stopped = async {
        // Without the cancellation, the launch would wait ten seconds for the server.
        JsFuture::from(Promise::new(&mut |resolve, _| {
            web_sys::window().unwrap().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 100).unwrap();
        }))
        .await
        .unwrap();
        host.cancel(1);
    };
    let (launched, ()) = futures_util::join!(launched, stopped);
    assert_eq!(text(&launched.unwrap_err(), "code"), "cancelled");
}

#[wasm_bindgen_test]
async fn closing_a_host_fails_pending_and_later_calls() {
    let host = open("close").await;
    let subscription = host.subscribe("acme:ui:clock#tick", 4).unwrap();
    let waiting = (host.request("acme:far", "x".into(), &payload("", b""), 0, 0), subscription.next());
    let shown = host.inspect().unwrap();
    assert!(shown.contains("\"host\":\"~") && shown.contains("\"openRequests\":1"), "{shown}");
    host.close();
    assert_failure(&settled(waiting.0).await.unwrap_err(), 503.0, "not-running", Some("acme:far"));
    assert!(JsFuture::from(waiting.1).await.unwrap().is_null());
    let refused = settled(host.request("acme:far", "x".into(), &payload("", b""), 0, 0)).await;
    assert_failure(&refused.unwrap_err(), 503.0, "not-running", Some("acme:far"));
    host.close();
}
