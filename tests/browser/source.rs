//! Bundles over HTTP. A patched `fetch` answers here; the page tests use a real server.

use std::rc::Rc;

use starlane_browser::HttpSource;
use starlane_bundle::{Digest, SecretKey};
use starlane_host::ports::{Source, SourceError};
use starlane_protocol::Address;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, eval, faster_timers};

/// Makes `fetch` answer with this JavaScript expression of a `Response`. `url` and `init` are its arguments.
fn answering(response: &str) -> Patch {
    Patch::apply(&format!(
        "const own = globalThis.fetch; globalThis.ended = 0; \
         const stream = (...pieces) => {{ const left = pieces.map((p) => new TextEncoder().encode(p)); \
           return new ReadableStream({{ pull(c) {{ \
             if (left.length) c.enqueue(left.shift()); else c.close(); }} }}, {{ highWaterMark: 0 }}); }}; \
         globalThis.fetch = async (url, init) => {{ \
           init.signal.onabort = () => globalThis.ended++; globalThis.fetched = url; return {response}; }}; \
         return () => {{ globalThis.fetch = own; }};"
    ))
}

fn source_at(server: &str) -> HttpSource {
    HttpSource::new(server, Rc::new(|| Box::pin(async { Ok(Some("secret".to_owned())) })))
}

#[wasm_bindgen_test]
async fn a_private_file_is_requested_again_with_the_token() {
    let _patch = answering(
        "(globalThis.asked = [...(globalThis.asked ?? []), new Headers(init.headers).get('authorization')], \
         globalThis.asked.length > 1 ? new Response('x') : new Response('no', { status: 401 }))",
    );
    let source = source_at("https://mesh.example");
    assert_eq!(source.blob(&Digest::of(b"x"), 5).await.unwrap(), "x");
    let asked = eval("JSON.stringify(globalThis.asked)").as_string().unwrap();
    assert_eq!(asked, r#"[null,"Bearer secret"]"#);
}

fn bundle() -> Address {
    Address::parse("acme:repo:profiles:1.0.0").unwrap()
}

#[wasm_bindgen_test]
async fn a_manifest_comes_with_its_signature() {
    let signature = SecretKey::from_seed([1; 32]).sign(b"{ }");
    let headers = format!("{{ headers: {{ 'starlane-signature': '{signature}' }} }}");
    let _patch = answering(&format!("new Response(stream('{{ ', '}}'), {headers})"));
    let manifest = source_at("https://mesh.example/").manifest(&bundle()).await.unwrap();
    assert_eq!((&manifest.bytes[..], manifest.signature), (&b"{ }"[..], signature));
    let fetched = eval("globalThis.fetched").as_string().unwrap();
    assert_eq!(fetched, "https://mesh.example/bundles/acme:repo:profiles:1.0.0");
}

#[wasm_bindgen_test]
async fn a_manifest_without_signature_is_unusable() {
    for headers in ["{}", "{ headers: { 'starlane-signature': 'ed25519:short' } }"] {
        let _patch = answering(&format!("new Response('{{}}', {headers})"));
        let error = source_at("https://mesh.example").manifest(&bundle()).await.unwrap_err();
        assert!(matches!(error, SourceError::Unusable { .. }), "{error}");
    }
}

#[wasm_bindgen_test]
async fn the_transfer_of_a_too_long_blob_is_stopped() {
    let digest = Digest::of(b"abcdef");
    let _patch = answering("new Response(stream('abc', 'def', 'never read'))");
    let source = source_at("https://mesh.example");
    let error = source.blob(&digest, 5).await.unwrap_err();
    assert!(error.to_string().contains("longer than 5 bytes"), "{error}");
    assert_eq!(eval("globalThis.ended").as_f64(), Some(1.0), "the transfer is ended");

    let _patch = answering("new Response(stream('abc', '', 'def'))");
    assert_eq!(source.blob(&digest, 6).await.unwrap(), "abcdef");
    let _patch = answering("new Response(null)");
    assert_eq!(source.blob(&digest, 6).await.unwrap(), "");
}

/// The limit ends an endless body at any offset, even if `content-length` claims that it is short.
#[wasm_bindgen_test]
async fn an_endless_body_ends_at_the_limit() {
    let signature = SecretKey::from_seed([1; 32]).sign(b"{ }");
    let endless = |piece: u32, headers: &str| {
        answering(&format!(
            "(globalThis.given = 0, new Response(new ReadableStream({{ \
               pull(c) {{ globalThis.given += {piece}; c.enqueue(new Uint8Array({piece})); }} }}, {{ highWaterMark: 0 }}), \
             {{ headers: {{ 'starlane-signature': '{signature}'{headers} }} }}))"
        ))
    };
    let source = source_at("https://mesh.example");
    for piece in [1 << 10, 1 << 16, 5 << 20] {
        for headers in ["", ", 'content-length': '3'"] {
            let given = || eval("globalThis.given").as_f64().unwrap() as u64;
            for bound in [0, 1, 100_000, 1 << 20] {
                let _patch = endless(piece, headers);
                let error = source.blob(&Digest::of(b""), bound).await.unwrap_err();
                assert!(error.to_string().contains(&format!("longer than {bound} bytes")), "{error}");
                assert!(given() <= bound + u64::from(piece) * 2, "{} bytes were taken of {bound}", given());
            }
            let _patch = endless(piece, headers);
            let error = source.manifest(&bundle()).await.unwrap_err();
            assert!(error.to_string().contains("longer than 4194304 bytes"), "{error}");
            assert!(given() <= (4 << 20) + u64::from(piece) * 2, "{} bytes were taken", given());
            assert_eq!(eval("globalThis.ended").as_f64(), Some(1.0), "the transfer is ended");
        }
    }
}

/// A server that stalls before or inside its response counts as unreachable.
#[wasm_bindgen_test]
async fn a_stalled_transfer_is_given_up() {
    let source = source_at("https://mesh.example");
    for silent in
        ["new Promise(() => {})", "new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(3)); } }))"]
    {
        let _patch = answering(silent);
        let _faster = faster_timers(100);
        let error = source.blob(&Digest::of(b"abcdef"), 6).await.unwrap_err();
        assert!(matches!(error, SourceError::Offline { .. }), "{error}");
    }
}

#[wasm_bindgen_test]
async fn a_refusal_differs_from_an_unreachable_server() {
    let source = source_at("http://127.0.0.1:9");
    let error = source.blob(&Digest::of(b""), 5).await.unwrap_err();
    assert!(matches!(error, SourceError::Offline { .. }), "{error}");
    let _patch = answering("new Response('no', { status: 404 })");
    let error = source.manifest(&bundle()).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { status: 404, .. }), "{error}");
}
