//! WebSockets that don't open. Those that do are shown with a server, by the tests of pages.

use starlane_browser::WebSocketDialer;
use starlane_host::ports::Dialer;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
async fn a_server_that_is_not_there_is_an_error_that_names_it() {
    // Not a port that browsers block: WebKit never tells what became of those.
    let error = WebSocketDialer.dial("ws://127.0.0.1:65533/mesh").await.err().unwrap();
    assert!(error.contains("ws://127.0.0.1:65533/mesh") && error.contains("1006"), "{error}");
}

#[wasm_bindgen_test]
async fn what_is_no_url_is_an_error() {
    assert!(WebSocketDialer.dial("not a url").await.is_err());
    assert!(WebSocketDialer.dial("ftp://127.0.0.1/").await.is_err());
}
