//! Tests natively the behaviour of the echo guest that the hosts' tests rely on.

use std::time::Duration;

use echo::Echo;
use mechtron::{Bytes, Failure, Header, IntoPayload, Json, Payload, testing};
use serde_json::{Value, json};

fn started() -> testing::Actor<Echo> {
    testing::Actor::start(()).unwrap()
}

#[test]
fn it_returns_any_payload() {
    let mut payload = Payload::new("application/x-any", [0, 159, 255]);
    payload.headers.push(Header { name: "x-one".into(), value: "1".into() });
    assert_eq!(started().request("echo", payload.clone()), Ok(payload));
    assert_eq!(started().request("echo", ()), Ok(Payload::default()));
}

#[test]
fn it_fails_as_asked() {
    let mut echo = started();
    assert_eq!(echo.request("fail", ()).unwrap_err().status, 418);
    let asked = Json(json!({ "status": 409, "code": "conflict", "message": "no" }));
    assert_eq!(echo.request("fail", asked), Err(Failure::conflict("no")));
    assert_eq!(echo.request("nothing", ()).unwrap_err().code, "no-operation");
}

#[test]
#[should_panic = "trapped as asked"]
fn it_traps_as_asked() {
    let _ = started().request("trap", ());
}

#[test]
fn it_forwards_requests_and_notifies() {
    let mut echo = started();
    echo.answer(|sent| {
        assert_eq!((&*sent.target, &*sent.operation, sent.timeout_ms), ("a:b", "do", 50));
        if sent.payload.body == b"1" { Json("yes").into_payload() } else { Err(Failure::forbidden("no")) }
    });
    let ask = |body: i32| Json(json!({ "target": "a:b", "operation": "do", "body": body, "timeout": 50 }));
    assert_eq!(echo.request("call", ask(1)).unwrap().json::<String>().unwrap(), "yes");
    assert_eq!(echo.request("call", ask(2)), Err(Failure::forbidden("no")));
    echo.request("tell", Json(json!({ "target": ".:x", "operation": "y", "body": [1] }))).unwrap();
    assert_eq!(echo.notifies()[0].target, ".:x");
}

#[test]
fn it_counts_across_restarts() {
    let mut echo = started();
    for expected in 1..=3 {
        assert_eq!(echo.request("count", ()).unwrap().json::<u64>().unwrap(), expected);
        echo.restart().unwrap();
    }
}

#[test]
fn it_remembers_events_and_wakes() {
    let mut echo = started();
    echo.request("subscribe", Json("a:b#c")).unwrap();
    assert_eq!(echo.subscriptions(), ["a:b#c"]);
    echo.event("a:b#c", Json(7));
    echo.restart().unwrap();
    let seen = echo.request("last-event", ()).unwrap().json::<Value>().unwrap();
    assert_eq!(seen, json!({ "from": "a:b", "event": "c", "body": 7 }));
    echo.request("unsubscribe", Json("a:b#c")).unwrap();
    assert!(echo.subscriptions().is_empty());
    echo.request("wake-me", Json(json!({ "ms": 40 }))).unwrap();
    echo.advance(Duration::from_millis(39));
    assert!(echo.request("woken", ()).unwrap().json::<Vec<u32>>().unwrap().is_empty());
    echo.advance(Duration::from_millis(1));
    assert_eq!(echo.request("woken", ()).unwrap().json::<Vec<u32>>().unwrap(), [40]);
    echo.request("emit", Json(json!({ "event": "ping", "body": 1 }))).unwrap();
    assert_eq!(echo.events()[0].operation, "ping");
}

#[test]
fn it_sleeps_grows_and_reports_its_context() {
    let mut echo = started();
    assert_eq!(echo.request("sleep", Json(json!({ "ms": 250 }))).unwrap().json::<u64>().unwrap(), 250);
    assert_eq!(echo.request("grow", Json(json!({ "bytes": 1000 }))).unwrap().json::<u64>().unwrap(), 1000);
    assert_eq!(echo.request("grow", Json(json!({ "bytes": 24 }))).unwrap().json::<u64>().unwrap(), 1024);
    echo.request("log", Json(json!({ "text": "hello" }))).unwrap();
    assert_eq!(echo.logs()[0].text, "hello");
    let about = echo.from("~abc::x:y", "ada").request("about", ()).unwrap().json::<Value>().unwrap();
    assert_eq!(about["senderHost"], "~abc");
    assert_eq!(about["remaining"], 30_000);
    echo.answer(|sent| {
        assert_eq!((&*sent.target, &*sent.operation), (".:bundle", "read"));
        Ok(Payload::new("text/html", sent.payload.body.clone()))
    });
    assert_eq!(echo.request("read", Json("/a.html")).unwrap().text().unwrap(), r#"{"path":"/a.html"}"#);
}

#[test]
fn its_start_fails_if_the_settings_request_it() {
    let refused = testing::Actor::<Echo>::start(json!({ "refuse": "not today" }));
    assert_eq!(refused.err().as_deref(), Some("not today"));
}

#[test]
fn it_reads_writes_and_returns_streams() {
    let mut echo = started();
    let download = echo.request("download", Json(json!({ "bytes": 300_000 }))).unwrap();
    let bytes = echo.read(&download).unwrap();
    assert_eq!((bytes.len(), bytes[250], bytes[251], bytes[299_999]), (300_000, 250, 0, (299_999 % 251) as u8));
    let mirrored = echo.request("mirror", Bytes(bytes.clone())).unwrap();
    assert!(echo.read(&mirrored).unwrap() == bytes);
    let receipt = echo.request("upload", Bytes(b"foobar".to_vec())).unwrap().json::<Value>().unwrap();
    assert_eq!(receipt, json!({ "bytes": 6, "checksum": "85944171f73967e8" }));
    let lines = echo.request("lines", Payload::new("application/x-ndjson", "true\n\n[2]\n")).unwrap();
    let expected = [json!({ "n": 1, "value": true }), json!({ "n": 2, "value": [2] })];
    assert_eq!(echo.read_lines::<Value>(&lines).unwrap(), expected);
}
