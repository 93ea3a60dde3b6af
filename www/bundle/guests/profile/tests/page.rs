//! The whole page: the directory's text in the bundle's template.

use mechtron::{Failure, IntoPayload, Json, Payload, testing};
use profile::Profile;
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("../../../templates/page.html");

fn profile(markdown: &'static str) -> testing::Actor<Profile> {
    let mut profile = testing::Actor::<Profile>::start(()).unwrap();
    profile.answer(move |sent| match (&*sent.target, &*sent.operation) {
        (".:bundle", "read") => {
            assert_eq!(sent.payload.clone().json::<Value>()?, json!({ "path": "/templates/page.html" }));
            Ok(Payload::new("text/html", TEMPLATE))
        }
        (".:directory", "get") => match sent.payload.clone().json::<Value>()?["name"].as_str() {
            Some("nobody") => Err(Failure::not_found("no row")),
            Some("broken") => Err(Failure::new(503, "not-running", "asleep")),
            name => Json(json!({
                "name": name, "title": "Ada <& co>", "markdown": markdown, "revision": 7, "updated": 1,
            }))
            .into_payload(),
        },
        other => panic!("nobody should be asked for {other:?}"),
    });
    profile
}

#[test]
fn a_page_contains_exactly_the_rendered_html() {
    let markdown = "# Ada\n\n{{title}} <script>x</script> | a | b |\n";
    let mut profile = profile(markdown);
    let fragment = profile.request("render", Json(json!({ "markdown": markdown }))).unwrap().text().unwrap();
    let page = profile.request("page", Json(json!({ "name": "ada", "utm": "ignored" }))).unwrap();
    assert_eq!(page.content_type, "text/html");
    let page = page.text().unwrap();
    let shown = page.split_once("<article>").unwrap().1.split_once("</article>").unwrap().0;
    assert_eq!(shown, fragment);
    assert!(page.contains("<title>Ada &lt;&amp; co&gt;</title>") && page.contains("revision 7"));
}

#[test]
fn a_name_that_is_html_is_shown_as_text() {
    let page =
        profile("x").request("page", Json(json!({ "name": "<img src=x onerror=alert(1)>" }))).unwrap().text().unwrap();
    assert!(!page.contains("<img") && page.contains("&lt;img src=x onerror=alert(1)&gt;"));
}

#[test]
fn an_unknown_person_is_404_with_a_message_for_people() {
    let failure = profile("x").request("page", Json(json!({ "name": "nobody" }))).unwrap_err();
    assert_eq!(failure.status, 404);
    assert!(failure.message.contains("“nobody”"), "{failure}");
    assert_eq!(profile("x").request("page", Json(json!({ "name": "broken" }))).unwrap_err().status, 503);
}

#[test]
fn the_template_is_read_once() {
    let mut profile = profile("x");
    for _ in 0..2 {
        profile.request("page", Json(json!({ "name": "ada" }))).unwrap();
    }
    let id = profile.deliver("page", Json(json!({ "name": "ada" })));
    let asked: Vec<_> = profile.open().into_iter().map(|sent| sent.target).collect();
    assert_eq!(asked, [".:directory"]);
    assert!(profile.reply(id).is_none());
}
