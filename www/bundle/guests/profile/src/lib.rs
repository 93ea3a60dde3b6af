//! One person's profile page.

mod markdown;
mod template;

use mechtron::{Call, Failure, Html, Json, actor};
use serde::{Deserialize, Serialize};

/// The maximum length of a rendered text.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The actor of one person. Its only state is the template of its bundle, after the first read.
#[derive(Debug, Default)]
pub struct Profile {
    template: Option<String>,
}

/// The request of `render`.
#[derive(Debug, Deserialize)]
pub struct Source {
    markdown: String,
}

/// The person whose page `page` makes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Whose {
    name: String,
}

/// The directory's entry of a person.
#[derive(Debug, Deserialize)]
struct Person {
    title: String,
    markdown: String,
    revision: u64,
}

#[actor]
impl Profile {
    /// Renders Markdown to a safe fragment of HTML.
    #[operation]
    fn render(&self, Json(Source { markdown }): Json<Source>) -> Result<Html, Failure> {
        fragment(&markdown).map(Html)
    }

    /// Makes the whole page of a person from the directory's entry.
    #[operation]
    async fn page(&mut self, call: &Call, Json(whose): Json<Whose>) -> Result<Html, Failure> {
        let (person, template) = mechtron::join(person(call, &whose), self.template(call)).await;
        let Person { title, markdown, revision } = person?;
        let content = fragment(&markdown)?;
        let (title, name) = (markdown::escape(&title), markdown::escape(&whose.name));
        let values =
            [("title", &*title), ("name", &*name), ("revision", &*revision.to_string()), ("content", &*content)];
        template::fill(template?, &values).map(Html).map_err(Failure::internal)
    }
}

impl Profile {
    /// Reads the template once, because a bundle never changes.
    async fn template(&mut self, call: &Call) -> Result<&str, Failure> {
        let text = match self.template.take() {
            Some(text) => text,
            None => call.bundle("/templates/page.html").await?.text()?,
        };
        Ok(self.template.insert(text))
    }
}

async fn person(call: &Call, whose: &Whose) -> Result<Person, Failure> {
    match call.request(".:directory", "get", Json(whose)).await {
        Ok(person) => person.json(),
        Err(failure) if failure.status == 404 => Err(Failure::not_found(format!(
            "Nobody called “{}” has a page here. Check the spelling, or write that page yourself.",
            whose.name
        ))),
        Err(failure) => Err(failure),
    }
}

fn fragment(markdown: &str) -> Result<String, Failure> {
    if markdown.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes; the maximum is {MAX_TEXT_BYTES}: shorten it", markdown.len());
        return Err(Failure::invalid(message));
    }
    Ok(markdown::render(markdown))
}

mechtron::export! { "profile" => Profile }
