//! The table `people`, through the app's database resource.

use mechtron::{Call, Failure, Json};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const DATABASE: &str = ".:db";
/// The maximum number of listed people. For more, the page would need a search.
const MAX_PEOPLE: u32 = 1_000;

/// A person's page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Person {
    pub name: String,
    pub title: String,
    pub markdown: String,
    pub revision: i64,
    pub updated: i64,
}

/// A person's page without its text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    pub title: String,
    pub revision: i64,
    pub updated: i64,
}

#[derive(Serialize)]
struct Statement<'a> {
    sql: &'a str,
    params: Value,
}

#[derive(Deserialize)]
struct Rows<T> {
    rows: Vec<T>,
}

/// Inserts or replaces a row. The row that is read afterwards is the written one: nobody else writes this table, and messages are
/// handled one at a time.
pub(crate) async fn save(call: &Call, name: &str, title: &str, markdown: &str) -> Result<Summary, Failure> {
    let sql = "INSERT INTO people (name, title, markdown, revision, updated) VALUES (?1, ?2, ?3, 1, ?4) \
               ON CONFLICT (name) DO UPDATE SET title = excluded.title, markdown = excluded.markdown, \
               revision = people.revision + 1, updated = excluded.updated";
    let params = json!([name, title, markdown, call.now()]);
    call.request(DATABASE, "execute", Json(Statement { sql, params })).await?;
    let sql = "SELECT name, title, revision, updated FROM people WHERE name = ?1";
    one(call, sql, name).await
}

pub(crate) async fn get(call: &Call, name: &str) -> Result<Person, Failure> {
    one(call, "SELECT name, title, markdown, revision, updated FROM people WHERE name = ?1", name).await
}

pub(crate) async fn list(call: &Call) -> Result<Vec<Summary>, Failure> {
    let sql = "SELECT name, title, revision, updated FROM people ORDER BY name LIMIT ?1";
    query(call, sql, json!([MAX_PEOPLE])).await
}

async fn one<T: DeserializeOwned>(call: &Call, sql: &str, name: &str) -> Result<T, Failure> {
    let missing = || Failure::not_found(format!("there is no page of “{name}”"));
    query(call, sql, json!([name])).await?.pop().ok_or_else(missing)
}

async fn query<T: DeserializeOwned>(call: &Call, sql: &str, params: Value) -> Result<Vec<T>, Failure> {
    let reply = call.request(DATABASE, "query", Json(Statement { sql, params })).await?;
    let rows: Rows<T> = reply.json().map_err(|failure| {
        Failure::internal(format!("the database's rows are not as expected: {}", failure.message))
    })?;
    Ok(rows.rows)
}
