//! The directory of profile pages and their texts.

mod people;

use std::time::Duration;

use mechtron::{Call, Failure, Json, actor, key};
use serde::{Deserialize, Serialize};

use crate::people::{Person, Summary};

/// The maximum length of a page's text.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;
/// The maximum length of a name.
pub const MAX_NAME_CHARS: usize = 60;
/// The maximum length of a title.
pub const MAX_TITLE_CHARS: usize = 200;

/// The only writer of the database. It keeps no other state.
#[derive(Debug, Default)]
pub struct Directory;

/// The request of `save`. The default title is the first heading of the text, or else the name.
#[derive(Debug, Deserialize)]
pub struct Save {
    name: String,
    markdown: String,
    title: Option<String>,
}

/// The response of `save`.
#[derive(Debug, Serialize)]
pub struct Saved {
    name: String,
    revision: i64,
    updated: i64,
}

/// The event `changes`.
#[derive(Debug, Serialize)]
struct Change<'a> {
    name: &'a str,
    revision: i64,
    title: &'a str,
}

/// The name of a person.
#[derive(Debug, Deserialize)]
pub struct Who {
    name: String,
}

/// The response of `list`.
#[derive(Debug, Serialize)]
pub struct List {
    people: Vec<Summary>,
}

/// The response of `compare`.
#[derive(Debug, Serialize)]
pub struct Comparison {
    name: String,
    same: bool,
    page: Side,
    server: Side,
}

/// One of the two actors that rendered the text.
#[derive(Debug, Serialize)]
struct Side {
    address: String,
    bytes: usize,
}

#[actor]
impl Directory {
    /// Saves a person's page, and emits the change to open pages.
    #[operation]
    async fn save(&mut self, call: &Call, Json(save): Json<Save>) -> Result<Json<Saved>, Failure> {
        let title = check(&save)?;
        if !may_change(call.caller(), &save.name) {
            let message = format!("you are signed in as “{}”: the page of “{}” is not yours", call.caller(), save.name);
            return Err(Failure::forbidden(message));
        }
        let Summary { name, title, revision, updated } = people::save(call, &save.name, &title, &save.markdown).await?;
        call.emit("changes", Json(Change { name: &name, revision, title: &title }))?;
        Ok(Json(Saved { name, revision, updated }))
    }

    /// Returns one page.
    #[operation]
    async fn get(&self, call: &Call, Json(who): Json<Who>) -> Result<Json<Person>, Failure> {
        people::get(call, &who.name).await.map(Json)
    }

    /// Lists all people, by name.
    #[operation]
    async fn list(&self, call: &Call) -> Result<Json<List>, Failure> {
        Ok(Json(List { people: people::list(call).await? }))
    }

    /// Lets the calling page and the server render the stored text, and reports whether the results are equal.
    #[operation]
    async fn compare(&self, call: &Call, Json(who): Json<Who>) -> Result<Json<Comparison>, Failure> {
        let Some(host) = call.sender_host() else {
            return Err(Failure::invalid("`compare` sends a request to the calling page: call it from a page"));
        };
        let Person { name, markdown, .. } = people::get(call, &who.name).await?;
        let actor = key(&name).map_err(|error| Failure::invalid(format!("the name “{name}”: {error}")))?;
        let in_page = format!("{host}::{}:profile:{actor}", app(call.address()));
        let on_server = format!(".:profile:{actor}");
        let render = |target: &str| {
            call.request(target, "render", Json(serde_json::json!({ "markdown": markdown }))).timeout(RENDER_TIMEOUT)
        };
        let (page, server) = mechtron::join(render(&in_page), render(&on_server)).await;
        let (page, server) = (page?.text()?, server?.text()?);
        Ok(Json(Comparison {
            name,
            same: page == server,
            page: Side { address: in_page, bytes: page.len() },
            server: Side { address: on_server, bytes: server.len() },
        }))
    }
}

/// The time limit for a page's answer. Other messages wait meanwhile.
const RENDER_TIMEOUT: Duration = Duration::from_secs(5);

/// The app that this address, `app:directory`, belongs to.
fn app(own: &str) -> &str {
    let address = own.split_once("::").map_or(own, |(_, address)| address);
    address.rsplit_once(':').map_or(address, |(app, _)| app)
}

/// Whether a caller may change a person's page: the person, and the admin. Before the server has created a token, every caller is
/// anonymous, and may change all pages.
fn may_change(caller: &str, name: &str) -> bool {
    ["", "admin", name].contains(&caller)
}

/// Checks a page before it is saved. Returns its title.
fn check(save: &Save) -> Result<String, Failure> {
    let Save { name, markdown, title } = save;
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS {
        return Err(Failure::invalid(format!("a name has 1 to {MAX_NAME_CHARS} characters; this one has {length}")));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Failure::invalid("a name must have no space around it, and no line breaks or control characters"));
    }
    // The name is part of the page's address.
    key(name).map_err(|error| Failure::invalid(format!("the name “{name}” is too long for an address: {error}")))?;
    if markdown.len() > MAX_TEXT_BYTES {
        let length = markdown.len();
        return Err(Failure::invalid(format!(
            "the text has {length} bytes; the maximum is {MAX_TEXT_BYTES}: shorten it"
        )));
    }
    let title = match title.as_deref().map(str::trim) {
        Some(title) if !title.is_empty() => title,
        _ => heading(markdown).unwrap_or(name),
    };
    Ok(title.chars().take(MAX_TITLE_CHARS).collect())
}

/// The text of the first `# heading`.
fn heading(markdown: &str) -> Option<&str> {
    let line = markdown.lines().find_map(|line| line.strip_prefix("# "))?;
    let text = line.trim().trim_end_matches('#').trim_end();
    (!text.is_empty()).then_some(text)
}

mechtron::export! { "directory" => Directory }
