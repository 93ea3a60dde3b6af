//! Markdown to HTML that is safe to show, whoever wrote it.
//!
//! Three rules: raw HTML is text; a link leads to the web, to a mail address or within the site; an image comes from
//! there or is part of the text. Everything else that HTML could do has no way in, because all of it is written by
//! `pulldown_cmark::html`, which escapes text and attributes.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Renders a whole text.
pub(crate) fn render(markdown: &str) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    // What an unsafe link or image contains is kept, as text: for each open one, whether its tag is written.
    let mut written = Vec::new();
    let events = Parser::new_ext(markdown, options).filter_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Link { ref dest_url, .. }) => keep(&mut written, is_safe(dest_url, false), event),
        Event::Start(Tag::Image { ref dest_url, .. }) => keep(&mut written, is_safe(dest_url, true), event),
        Event::End(TagEnd::Link | TagEnd::Image) => written.pop().unwrap_or(false).then_some(event),
        other => Some(other),
    });
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// Text for a place between tags or in a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn keep<'a>(written: &mut Vec<bool>, safe: bool, event: Event<'a>) -> Option<Event<'a>> {
    written.push(safe);
    safe.then_some(event)
}

/// Whether a URL is relative or of a harmless scheme, judged as a browser would read it.
fn is_safe(url: &CowStr<'_>, image: bool) -> bool {
    // Browsers ignore tabs and line ends anywhere, and control characters and spaces in front.
    let read: String = url.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let read = read.trim_start_matches(|c: char| c <= ' ').to_ascii_lowercase();
    let Some(colon) = read.find(':') else { return true };
    if read.find(['/', '?', '#', '\\']).is_some_and(|end| end < colon) {
        return true;
    }
    match read.split_at(colon).0 {
        "http" | "https" | "mailto" => true,
        "data" => image && read.starts_with("data:image/"),
        _ => false,
    }
}
