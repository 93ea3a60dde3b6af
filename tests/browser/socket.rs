//! WebSockets that do not open. The page tests open them, with a server.

use starlane_browser::WebSocketDialer;
use starlane_host::ports::Dialer;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
async fn the_error_names_an_unreachable_server() {
    // Not a port that browsers block: WebKit never reports the failure of those.
    let error = WebSocketDialer.dial("ws://127.0.0.1:65533/mesh").await.err().unwrap();
    assert!(error.contains("ws://127.0.0.1:65533/mesh") && error.contains("1006"), "{error}");
}

#[wasm_bindgen_test]
async fn an_invalid_url_is_an_error() {
    assert!(WebSocketDialer.dial("not a url").await.is_err());
    assert!(WebSocketDialer.dial("ftp://127.0.0.1/").await.is_err());
}
