//! Links: the handshake, and the rule that a violation closes only its own link.

use std::time::{Duration, Instant};

use serde_json::json;
use starlane_protocol::{
    Address, HostSecret, Payload,
    frame::{self, Frame},
    wire::WireOutcome,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    peer::{Closed, Peer},
    world::{LONG, Server, echo_bundle, raw},
};

fn closed(goodbye: &str, code: u16) -> Closed {
    Closed { goodbye: Some(goodbye.into()), code: Some(code) }
}

#[tokio::test]
async fn hello_is_answered_with_welcome_and_the_hosts_name_is_stable() {
    let mut server = Server::start();
    let mut names = Vec::new();
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        // Two hosts: the server may not know yet that the first one is gone, and a name belongs to one principal.
        for (secret, token, expected) in [(1, None, ""), (2, Some(server.token.clone()), "admin")] {
            let mut peer = Peer::dial(&server).await;
            peer.hello(secret, token.as_deref()).await;
            let Ok(Frame::Welcome { version, host, principal, limits, .. }) = peer.next().await else {
                panic!("no welcome")
            };
            assert_eq!((version, principal.as_str(), limits.payload), (1, expected, 16 * 1024 * 1024));
            names.push(host);
        }
    }
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    assert_ne!(names[0], HostSecret([1; 32]).name());
}

#[tokio::test]
async fn a_wrong_token_or_version_is_refused_with_its_reason() {
    let server = Server::start();
    let mut peer = Peer::dial(&server).await;
    peer.hello(1, Some("guessed")).await;
    assert_eq!(peer.closed(LONG).await, closed("auth-refused", 4401));
    let mut peer = Peer::dial(&server).await;
    let secret = HostSecret([1; 32]);
    let Frame::Hello { capabilities, dial, resume, limits, .. } = Frame::hello(secret.clone(), None, 1) else {
        unreachable!()
    };
    peer.send(&Frame::Hello { versions: vec![99], token: None, secret, capabilities, dial, resume, limits }).await;
    assert_eq!(peer.closed(LONG).await, closed("version", 4426));
}

#[tokio::test]
async fn a_request_is_answered_and_has_the_sender_of_its_link() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut peer = Peer::link(&server, 1, None).await;
    let about = peer.request("acme:echoes:echo", "about", &json!(null)).await.unwrap();
    let about: serde_json::Value = serde_json::from_slice(&about.body).unwrap();
    assert_eq!(about["caller"], "", "not what the peer wrote");
    assert_eq!(about["sender"], format!("{}::starlane:page", HostSecret([1; 32]).name()));
    let failure = peer.request("acme:nobody:here", "echo", &json!(null)).await.unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (404, "no-resource"));
}

#[tokio::test]
async fn a_mechtron_on_the_server_calls_a_page_and_gets_its_answer() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut page = Peer::link(&server, 7, None).await;
    let seq = page.sequence();
    let dialogs = Address::parse("acme:ui:dialogs").unwrap();
    page.send(&Frame::Serve { seq, address: dialogs, operations: vec!["confirm".into()] }).await;
    page.works().await;
    let target = format!("{}::acme:ui:dialogs", HostSecret([7; 32]).name());
    let mut asker = Peer::link(&server, 8, None).await;
    let forward = json!({ "target": target, "operation": "confirm", "body": { "sure": true } });
    let asked = tokio::spawn(async move { asker.request("acme:echoes:echo", "call", &forward).await });
    let Ok(Frame::Request { id, from, operation, payload, .. }) = page.next().await else { panic!("no request") };
    assert_eq!((operation.as_str(), from.without_host().as_str()), ("confirm", "acme:echoes:echo"));
    assert_eq!(payload.payload.body, json!({ "sure": true }).to_string());
    let seq = page.sequence();
    page.send(&Frame::Response { seq, id, outcome: WireOutcome(Ok(Payload::json("\"yes\"").into())) }).await;
    assert_eq!(asked.await.unwrap().unwrap().body, "\"yes\"");
}

#[tokio::test]
async fn one_way_messages_cross_a_link_to_an_actor_and_from_it() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut page = Peer::link(&server, 7, None).await;
    let seq = page.sequence();
    let log = Address::parse("acme:ui:log").unwrap();
    page.send(&Frame::Serve { seq, address: log, operations: vec!["write".into()] }).await;
    let target = format!("{}::acme:ui:log", HostSecret([7; 32]).name());
    let to = Address::parse("acme:echoes:echo").unwrap();
    for number in 1..=2 {
        let forward = json!({ "target": target, "operation": "write", "body": number });
        let payload = Payload::json(forward.to_string()).into();
        let (seq, to, operation) = (page.sequence(), to.clone(), "tell".to_owned());
        let from = Address::parse("starlane:page").unwrap();
        page.send(&Frame::Notify { seq, from, caller: String::new(), to, operation, payload, hops: 0, trace: None })
            .await;
    }
    // What the actor sent is on the link before this reply.
    let id = page.ask("acme:echoes:echo", "count", &json!(null)).await;
    let mut told = Vec::new();
    loop {
        match page.next().await {
            Ok(Frame::Notify { from, operation, payload, .. }) => {
                assert_eq!((from.without_host(), operation.as_str()), (to.clone(), "write"));
                told.push(payload.payload.body);
            }
            Ok(Frame::Response { id: of, outcome, .. }) if of == id => {
                assert_eq!(outcome.0.unwrap().payload.body, "1", "only the request was counted");
                break;
            }
            frame => panic!("{frame:?}"),
        }
    }
    assert_eq!(told, ["1", "2"]);
}

#[tokio::test]
async fn a_close_of_the_peer_is_answered() {
    let server = Server::start();
    let mut peer = Peer::link(&server, 1, None).await;
    peer.send_message(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await;
    assert_eq!(peer.closed(LONG).await, Closed { goodbye: None, code: Some(1000) });
}

#[tokio::test]
async fn a_malformed_frame_closes_only_its_own_link() {
    let server = Server::start();
    let mut other = Peer::link(&server, 1, None).await;
    for bytes in [vec![0xff; 20], vec![], b"GET / HTTP/1.1".to_vec(), vec![0x82, 0x00, 0x81, 0x18, 0x63]] {
        let mut peer = Peer::link(&server, 2, None).await;
        peer.send_bytes(bytes).await;
        assert_eq!(peer.closed(LONG).await, closed("malformed", 1002));
        other.works().await;
    }
    let mut peer = Peer::link(&server, 2, None).await;
    peer.send_message(Message::text("hello")).await;
    assert_eq!(peer.closed(LONG).await, Closed { goodbye: None, code: Some(1003) });
    other.works().await;
}

#[tokio::test]
async fn a_too_long_message_closes_only_its_own_link() {
    let server = Server::start();
    let mut other = Peer::link(&server, 1, None).await;
    let mut peer = Peer::link(&server, 2, None).await;
    peer.send_bytes(vec![0; frame::MAX_MESSAGE + 1]).await;
    assert_eq!(peer.closed(LONG).await, closed("too-large", 1009));
    other.works().await;
    let mut peer = Peer::link(&server, 2, None).await;
    peer.send_bytes(vec![0; 2 * frame::MAX_MESSAGE + 1]).await;
    assert_eq!(peer.closed(LONG).await, Closed { goodbye: None, code: Some(1009) });
    other.works().await;
}

#[tokio::test]
async fn a_silent_socket_is_closed_after_some_time() {
    let server = Server::start();
    let mut other = Peer::link(&server, 1, None).await;
    let before = Instant::now();
    let mut silent = Peer::dial(&server).await;
    other.works().await;
    assert_eq!(silent.closed(LONG).await, closed("silent", 4408));
    let took = before.elapsed();
    assert!(took > Duration::from_secs(4), "it was given time: {took:?}");
    other.works().await;
}

#[tokio::test]
async fn a_stopping_server_answers_accepted_requests() {
    let mut server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut peer = Peer::link(&server, 1, None).await;
    let address = server.url.clone();
    let over_http = std::thread::spawn(move || {
        let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
        let url = format!("{address}/messages/acme:echoes:echo/sleep");
        agent.post(url).header("content-type", "application/json").send(r#"{"ms": 2600}"#).unwrap().status().as_u16()
    });
    peer.works().await;
    let asked = tokio::spawn(async move {
        let answered = peer.request("acme:echoes:echo", "sleep", &json!({ "ms": 2900 })).await;
        (answered, peer.closed(LONG).await)
    });
    let arrive = async {
        while !server.get("/metrics").text().lines().any(|line| line == "starlane_open_requests 2") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, arrive).await.expect("both requests are open at a time");
    let stopping = std::thread::spawn(move || server.stop());
    let (answered, end) = asked.await.unwrap();
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!(end, closed("closing", 1001));
    assert_eq!(over_http.join().unwrap(), 200);
    stopping.join().unwrap();
}

#[tokio::test]
async fn a_stopping_server_sends_goodbye() {
    let mut server = Server::start();
    let mut peer = Peer::link(&server, 1, None).await;
    let stopping = std::thread::spawn(move || server.stop());
    assert_eq!(peer.closed(LONG).await, closed("closing", 1001));
    stopping.join().unwrap();
}

#[test]
fn a_handshake_without_the_subprotocol_is_refused() {
    let server = Server::start();
    for line in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let request = format!(
            "GET /mesh HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{line}\r\n",
            server.address()
        );
        let answer = raw(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("starlane.v1"), "{answer}");
    }
    assert!(server.get("/mesh").status >= 400);
}
