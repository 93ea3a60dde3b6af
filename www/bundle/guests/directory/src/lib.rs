//! Who has a profile page, and what it says.

mod people;

use std::time::Duration;

use mechtron::{Call, Failure, Json, actor, key};
use serde::{Deserialize, Serialize};

use crate::people::{Person, Summary};

/// The longest text of a page, in bytes.
pub const LONGEST_TEXT: usize = 256 * 1024;
/// The longest name, in characters.
pub const LONGEST_NAME: usize = 60;
/// The longest title, in characters.
pub const LONGEST_TITLE: usize = 200;

/// The only one who writes to the database; all that it knows is there.
#[derive(Debug, Default)]
pub struct Directory;

/// What `save` takes. Without a title, the text's first heading is it, or the name.
#[derive(Debug, Deserialize)]
pub struct Save {
    name: String,
    markdown: String,
    title: Option<String>,
}

/// What `save` answers.
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

/// Which person.
#[derive(Debug, Deserialize)]
pub struct Who {
    name: String,
}

/// What `list` answers.
#[derive(Debug, Serialize)]
pub struct List {
    people: Vec<Summary>,
}

/// What `compare` answers.
#[derive(Debug, Serialize)]
pub struct Comparison {
    name: String,
    same: bool,
    page: Side,
    server: Side,
}

/// One of the two that rendered the text.
#[derive(Debug, Serialize)]
struct Side {
    address: String,
    bytes: usize,
}

#[actor]
impl Directory {
    /// Keeps a person's page, and tells whoever has it open.
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

    /// One page.
    #[operation]
    async fn get(&self, call: &Call, Json(who): Json<Who>) -> Result<Json<Person>, Failure> {
        people::get(call, &who.name).await.map(Json)
    }

    /// Everybody, by name.
    #[operation]
    async fn list(&self, call: &Call) -> Result<Json<List>, Failure> {
        Ok(Json(List { people: people::list(call).await? }))
    }

    /// Has the stored text rendered by the page that asks and by the server, and says whether both gave the same.
    #[operation]
    async fn compare(&self, call: &Call, Json(who): Json<Who>) -> Result<Json<Comparison>, Failure> {
        let Some(host) = call.sender_host() else {
            return Err(Failure::invalid("`compare` asks the page that it is called from: call it from a page"));
        };
        let Person { name, markdown, .. } = people::get(call, &who.name).await?;
        let actor = key(&name).map_err(|error| Failure::invalid(format!("the name “{name}”: {error}")))?;
        let in_page = format!("{host}::{}:profile:{actor}", app(call.address()));
        let on_server = format!(".:profile:{actor}");
        let render = |target: &str| {
            call.request(target, "render", Json(serde_json::json!({ "markdown": markdown }))).timeout(PATIENCE)
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

/// How long a page may take to answer: others wait behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The app that this address, `app:directory`, belongs to.
fn app(own: &str) -> &str {
    let address = own.split_once("::").map_or(own, |(_, address)| address);
    address.rsplit_once(':').map_or(address, |(app, _)| app)
}

/// Whether a caller may change a person's page: whose name it bears, and the admin. As long as the server gives no tokens, all
/// who reach it are nobody in particular, and each may.
fn may_change(caller: &str, name: &str) -> bool {
    ["", "admin", name].contains(&caller)
}

/// What may be saved; gives the title.
fn check(save: &Save) -> Result<String, Failure> {
    let Save { name, markdown, title } = save;
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME {
        return Err(Failure::invalid(format!("a name has 1 to {LONGEST_NAME} characters, this one has {length}")));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Failure::invalid("a name has no space around it, and no line breaks or control characters"));
    }
    // The name is part of the page's address.
    key(name).map_err(|error| Failure::invalid(format!("the name “{name}” is too long for an address: {error}")))?;
    if markdown.len() > LONGEST_TEXT {
        let length = markdown.len();
        return Err(Failure::invalid(format!(
            "the text has {length} bytes, a page at most {LONGEST_TEXT}: shorten it"
        )));
    }
    let title = match title.as_deref().map(str::trim) {
        Some(title) if !title.is_empty() => title,
        _ => heading(markdown).unwrap_or(name),
    };
    Ok(title.chars().take(LONGEST_TITLE).collect())
}

/// The text of the first `# heading`.
fn heading(markdown: &str) -> Option<&str> {
    let line = markdown.lines().find_map(|line| line.strip_prefix("# "))?;
    let text = line.trim().trim_end_matches('#').trim_end();
    (!text.is_empty()).then_some(text)
}

mechtron::export! { "directory" => Directory }
