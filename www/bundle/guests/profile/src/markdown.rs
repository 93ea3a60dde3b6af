//! Renders Markdown of any author to HTML that is safe to show.
//!
//! - Raw HTML is shown as text.
//! - A link leads to the web, to a mail address, or inside the site.
//! - An image is part of the site or of the text, or comes over TLS.
//!
//! No other HTML can get in: only [`Columns`] and `pulldown_cmark::html`, which escapes text and attributes, write it.
//!
//! The HTML must not violate the policy of a page that shows it: it has no inline styles, and no images over plain HTTP.

use pulldown_cmark::{Alignment, CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Renders a whole text.
pub(crate) fn render(markdown: &str) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    // For each open link or image, whether its tag is written. The contents of an unsafe one are kept as text.
    let mut written = Vec::new();
    let mut columns = Columns::default();
    let events = Parser::new_ext(markdown, options).filter_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Link { ref dest_url, .. }) => keep(&mut written, is_safe(dest_url, false), event),
        Event::Start(Tag::Image { ref dest_url, .. }) => keep(&mut written, is_safe(dest_url, true), event),
        Event::End(TagEnd::Link | TagEnd::Image) => written.pop().unwrap_or(false).then_some(event),
        other => Some(columns.aligned(other)),
    });
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// The columns of the table that is being written. Writes their alignment as an attribute, because `push_html` would write inline
/// styles, which the policy of a page may forbid.
#[derive(Default)]
struct Columns {
    alignments: Vec<Alignment>,
    is_head: bool,
    next: usize,
}

impl Columns {
    fn aligned<'a>(&mut self, event: Event<'a>) -> Event<'a> {
        match event {
            Event::Start(Tag::Table(alignments)) => {
                let unaligned = vec![Alignment::None; alignments.len()];
                self.alignments = alignments;
                return Event::Start(Tag::Table(unaligned));
            }
            Event::Start(Tag::TableHead) => (self.is_head, self.next) = (true, 0),
            Event::Start(Tag::TableRow) => (self.is_head, self.next) = (false, 0),
            Event::Start(Tag::TableCell) => {
                let alignment = self.alignments.get(self.next).copied();
                self.next += 1;
                let cell = match (self.is_head, alignment) {
                    (true, Some(Alignment::Left)) => r#"<th align="left">"#,
                    (true, Some(Alignment::Center)) => r#"<th align="center">"#,
                    (true, Some(Alignment::Right)) => r#"<th align="right">"#,
                    (false, Some(Alignment::Left)) => r#"<td align="left">"#,
                    (false, Some(Alignment::Center)) => r#"<td align="center">"#,
                    (false, Some(Alignment::Right)) => r#"<td align="right">"#,
                    (_, Some(Alignment::None) | None) => return Event::Start(Tag::TableCell),
                };
                return Event::InlineHtml(cell.into());
            }
            _ => {}
        }
        event
    }
}

/// Escapes text for a place between tags, or in a quoted attribute.
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

/// Whether a URL, as a browser reads it, is relative or of a harmless scheme. An image must be part of this site or of the text, or
/// come over TLS.
fn is_safe(url: &CowStr<'_>, image: bool) -> bool {
    // Browsers ignore tabs and line ends anywhere, and leading control characters and spaces.
    let read: String = url.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let read = read.trim_start_matches(|c: char| c <= ' ').to_ascii_lowercase();
    // Two slashes name another site, with the scheme of this page.
    let is_of_this_site =
        !read.starts_with(['/', '\\']) || !read.chars().nth(1).is_some_and(|c| ['/', '\\'].contains(&c));
    let colon = match read.find(':') {
        Some(colon) if read.find(['/', '?', '#', '\\']).is_none_or(|end| end > colon) => colon,
        _ => return is_of_this_site || !image,
    };
    match read.split_at(colon).0 {
        "https" => true,
        "http" | "mailto" => !image,
        "data" => image && read.starts_with("data:image/"),
        _ => false,
    }
}
