//! Tests of the guestbook with plain `cargo test`: the test answers in place of the database.

use {{crate}}::Guestbook;
use mechtron::{IntoPayload, Json, testing};
use serde_json::json;

fn guestbook() -> testing::Actor<Guestbook> {
    let mut guestbook: testing::Actor<Guestbook> = testing::Setup::default().start().unwrap();
    guestbook.answer(|sent| match &*sent.operation {
        "query" => Json(json!({ "rows": [{ "name": "Ada", "said": "<b>hello</b>" }] })).into_payload(),
        _ => Json(json!({ "changed": 1, "last_id": 1 })).into_payload(),
    });
    guestbook
}

#[test]
fn the_page_shows_what_was_said_as_text() {
    let page = guestbook().request("page", Json(json!({}))).unwrap().text().unwrap();
    assert!(page.contains("<b>Ada</b> &lt;b&gt;hello&lt;/b&gt;"), "{page}");
}

#[test]
fn who_signs_is_sent_back_and_told_of() {
    let mut guestbook = guestbook();
    let reply = guestbook.request("sign", Json(json!({ "name": "Ada", "said": "hello" }))).unwrap();
    assert_eq!((reply.header("starlane-status"), reply.header("location")), (Some("303"), Some("/")));
    assert_eq!(guestbook.events().len(), 1);
    assert_eq!(guestbook.request("sign", Json(json!({ "name": "", "said": "x" }))).unwrap_err().status, 422);
}
