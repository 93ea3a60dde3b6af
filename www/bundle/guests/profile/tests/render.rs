//! Markdown is rendered; attacks are shown as text.

use mechtron::{Json, testing};
use profile::{MAX_TEXT_BYTES, Profile};
use serde_json::json;

fn render(markdown: &str) -> String {
    let mut profile = testing::Actor::<Profile>::start(()).unwrap();
    let payload = profile.request("render", Json(json!({ "markdown": markdown }))).unwrap();
    assert_eq!(payload.content_type, "text/html");
    payload.text().unwrap()
}

#[test]
fn markdown_becomes_html() {
    assert_eq!(
        render("# Ada\n\n*Countess* of **Lovelace**\n"),
        "<h1>Ada</h1>\n<p><em>Countess</em> of <strong>Lovelace</strong></p>\n"
    );
    assert_eq!(render(""), "");
    assert!(render("[home](/people/ada)").contains(r#"<a href="/people/ada">home</a>"#));
    assert!(render("<https://example.org/?a=1&b=2>").contains(r#"href="https://example.org/?a=1&amp;b=2""#));
    assert!(render("<ada@example.org>").contains(r#"href="mailto:ada@example.org""#));
    assert!(render("```rust\nfn main() {}\n```").contains(r#"<pre><code class="language-rust">fn main() {}"#));
}

#[test]
fn tables_strikethrough_tasks_and_footnotes_are_on() {
    let table = render("| a | b |\n|---|--:|\n| 1 | 2 |\n");
    assert!(table.contains("<table>") && table.contains(r#"<td align="right">2</td>"#), "{table}");
    assert!(render("~~no~~").contains("<del>no</del>"));
    assert!(render("- [x] done\n- [ ] open\n").contains(r#"<input disabled="" type="checkbox" checked=""/>"#));
    let note = render("Text[^1].\n\n[^1]: A note.\n");
    assert!(note.contains("footnote-reference") && note.contains("footnote-definition"), "{note}");
}

#[test]
fn columns_keep_their_alignment_without_inline_styles() {
    let html = render("| l | c | r | n |\n|:--|:-:|--:|---|\n| 1 | 2 | 3 | 4 |\n| 5 |\n\n| n |\n|---|\n| 6 |\n");
    let cells = "<th align=\"left\">l</th><th align=\"center\">c</th><th align=\"right\">r</th><th>n</th>";
    assert!(html.contains(cells), "{html}");
    assert!(
        html.contains(
            &cells
                .replace("th", "td")
                .replace(">l<", ">1<")
                .replace(">c<", ">2<")
                .replace(">r<", ">3<")
                .replace(">n<", ">4<")
        ),
        "{html}"
    );
    assert!(
        html.contains("<td align=\"left\">5</td>") && html.contains("<th>n</th></tr></thead><tbody>\n<tr><td>6</td>"),
        "{html}"
    );
    assert!(!html.contains("style"), "{html}");
}

#[test]
fn an_image_is_part_of_this_site_or_comes_over_tls() {
    for url in [
        "http://example.org/a.png",
        "HTTP://example.org/a.png",
        "//example.org/a.png",
        "/\\\\example.org/a.png",
        "mailto:ada@example.org",
    ] {
        let html = render(&format!("![alt]({url})"));
        assert!(!html.contains("src=") && html.contains("alt"), "{url} gave {html}");
    }
    for url in ["https://example.org/a.png", "/a.png", "a.png", "../a:b.png", "data:image/png;base64,AAAA"] {
        assert!(render(&format!("![alt]({url})")).contains("src="), "{url}");
    }
    assert!(render("[x](//example.org/)").contains("href=") && render("[x](http://example.org/)").contains("href="));
}

#[test]
fn raw_html_is_shown_as_text() {
    let cases = [
        "<script>alert(1)</script>",
        "text <script>alert(1)</script> text",
        "<img src=x onerror=alert(1)>",
        "a <b onmouseover='alert(1)'>b</b>",
        "<svg/onload=alert(1)>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<!-- --><script>alert(1)</script><!-- -->",
        "<style>*{display:none}</style>",
        "<div\nonclick=alert(1)\n>",
        "<base href='https://evil.example/'>",
        "- <p onclick=alert(1)>\n  x",
        "[a]: <javascript:alert(1)> '<script>'\n[a]",
    ];
    for markdown in cases {
        let html = render(markdown);
        for tag in ["<script", "<img", "<b ", "<svg", "<iframe", "<style", "<div", "<base", "<p ", "<!--"] {
            assert!(!html.contains(tag), "{markdown:?} gave {html}");
        }
    }
    assert_eq!(render("<script>alert(1)</script>"), "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n");
}

#[test]
fn links_and_images_have_only_allowed_targets() {
    let cases = [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](<java\tscript:alert(1)>)",
        "[x](<\u{1}javascript:alert(1)>)",
        "[x](<&#9;javascript:alert(1)>)",
        "[x](java&#10;script:alert(1))",
        "[x](vbscript:msgbox)",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](data:image/svg+xml,<svg/onload=alert(1)>)",
        "[x](file:///etc/passwd)",
        "[x](blob:https://a/b)",
        "<javascript:alert(1)>",
        "[x][a]\n\n[a]: javascript:alert(1)",
        "![x](javascript:alert(1))",
        "![x](data:text/html,hello)",
        "[![x](javascript:alert(1))](javascript:alert(2))",
    ];
    for markdown in cases {
        let html = render(markdown);
        assert!(!html.contains("href=") && !html.contains("src="), "{markdown:?} gave {html}");
    }
    assert_eq!(render("[*x*](javascript:alert(1)) y"), "<p><em>x</em> y</p>\n");
    assert!(render("![dot](data:image/png;base64,AAAA)").contains(r#"src="data:image/png;base64,AAAA""#));
    assert!(render("[![x](javascript:1)](/ok)").contains(r#"<a href="/ok">x</a>"#));
    assert!(render("[c](chapter:1/2)").contains("<p>c</p>") && render("[c](a/b:c)").contains(r#"href="a/b:c""#));
}

#[test]
fn attributes_can_not_be_broken_out_of() {
    for markdown in [
        r#"[x](/a"onclick="alert(1))"#,
        "[x](/a '\" onclick=\"alert(1)')",
        "![\" onerror=\"alert(1)](/a.png)",
        "```\" onclick=\"alert(1)\ncode\n```",
        "x[^\"onclick=alert(1)]\n\n[^\"onclick=alert(1)]: y",
    ] {
        let html = render(markdown);
        // A broken-out attribute would have an unescaped quote of the author before its name.
        assert!(
            !html.contains("\" onclick") && !html.contains("\"onclick=\"alert") && !html.contains("\" onerror"),
            "{html}"
        );
    }
}

#[test]
fn deep_and_long_texts_end() {
    for markdown in
        ["> ".repeat(5_000), "[".repeat(20_000), "*a ".repeat(20_000), "- ".repeat(2_000), "`".repeat(30_000)]
    {
        render(&markdown);
    }
    let mut profile = testing::Actor::<Profile>::start(()).unwrap();
    let failure = profile.request("render", Json(json!({ "markdown": "x".repeat(MAX_TEXT_BYTES + 1) }))).unwrap_err();
    assert_eq!((failure.status, &*failure.code), (422, "invalid"));
    assert_eq!(profile.request("render", Json(json!({ "text": "x" }))).unwrap_err().status, 400);
}
