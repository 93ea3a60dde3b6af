//! A guestbook: a page that shows who signed, and a form to sign with.

use mechtron::{Call, Failure, Header, Html, Json, Payload, actor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The number of entries on the page.
const SHOWN: u32 = 50;
/// The maximum length of an entry, in characters.
const MAX_ENTRY_CHARS: usize = 500;
/// The page may send forms to this server. It cannot run scripts, even if an entry contains one.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'";

/// The actor has no state of its own: the entries are in the database.
#[derive(Default)]
pub struct Guestbook;

/// The fields of the form.
#[derive(Deserialize)]
pub struct Entry {
    name: String,
    said: String,
}

/// A row of the table.
#[derive(Deserialize)]
struct Row {
    name: String,
    said: String,
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Row>,
}

/// The event `signed`.
#[derive(Serialize)]
struct Signed<'a> {
    name: &'a str,
}

#[actor]
impl Guestbook {
    /// Returns the page, with the newest entry first.
    #[operation]
    async fn page(&self, call: &Call) -> Result<Payload, Failure> {
        let sql = "SELECT name, said FROM entries ORDER BY id DESC LIMIT ?1";
        let Rows { rows } = database(call, "query", sql, json!([SHOWN])).await?.json()?;
        let entries: String =
            rows.iter().map(|row| format!("<li><b>{}</b> {}</li>", escape(&row.name), escape(&row.said))).collect();
        html(Html(format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>Guestbook</title><style>body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; \
             padding: 0 1.5rem }} input {{ font: inherit; padding: .3rem .5rem }}</style>\
             <h1>Guestbook</h1><form method=\"post\" action=\"/sign\"><input name=\"name\" placeholder=\"Name\" required> \
             <input name=\"said\" placeholder=\"What do you say?\" required> <button>Sign</button></form><ul>{entries}</ul></html>"
        )))
    }

    /// Adds an entry, informs subscribers, and sends the browser back to the page.
    #[operation]
    async fn sign(&self, call: &Call, Json(Entry { name, said }): Json<Entry>) -> Result<Payload, Failure> {
        if name.trim().is_empty() || said.trim().is_empty() || said.chars().count() > MAX_ENTRY_CHARS {
            return Err(Failure::invalid(format!("an entry must have a name, and 1 to {MAX_ENTRY_CHARS} characters")));
        }
        let sql = "INSERT INTO entries (name, said, at) VALUES (?1, ?2, ?3)";
        database(call, "execute", sql, json!([name.trim(), said.trim(), call.now()])).await?;
        call.emit("signed", Json(Signed { name: name.trim() }))?;
        let mut back = html(Html("<a href=\"/\">Signed. Back to the guestbook</a>".to_owned()))?;
        back.headers.push(header("starlane-status", "303"));
        back.headers.push(header("location", "/"));
        Ok(back)
    }
}

async fn database(call: &Call, operation: &str, sql: &str, params: Value) -> Result<Payload, Failure> {
    call.request(".:db", operation, Json(json!({ "sql": sql, "params": params }))).await
}

/// Returns a page with its own content security policy. Without one, the server's default policy blocks everything.
fn html(Html(text): Html) -> Result<Payload, Failure> {
    let mut page = Payload::new("text/html", text);
    page.headers.push(header("content-security-policy", POLICY));
    Ok(page)
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

mechtron::export! { "{{name}}" => Guestbook }
