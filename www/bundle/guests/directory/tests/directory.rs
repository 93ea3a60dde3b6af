//! Tests the directory with a table of people that answers its statements.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use directory::{Directory, MAX_TEXT_BYTES};
use mechtron::{Failure, IntoPayload, Json, Outcome, Payload, testing};
use serde_json::{Value, json};

/// Runs the statements of this mechtron on a map.
#[derive(Default)]
struct Table(BTreeMap<String, Value>);

impl Table {
    fn answer(&mut self, operation: &str, statement: &Value) -> Outcome {
        let (sql, params) = (statement["sql"].as_str().unwrap_or_default(), &statement["params"]);
        let rows: Vec<Value> = match (operation, sql.split(' ').next()) {
            ("execute", Some("INSERT")) => {
                let name = params[0].as_str().unwrap_or_default().to_owned();
                let revision = self.0.get(&name).map_or(1, |row| row["revision"].as_i64().unwrap_or(0) + 1);
                let row = json!({
                    "name": name, "title": params[1], "markdown": params[2], "revision": revision, "updated": params[3],
                });
                self.0.insert(name, row);
                return Json(json!({ "changed": 1, "last_id": 1 })).into_payload();
            }
            ("query", Some("SELECT")) if sql.contains("WHERE name = ?1") => {
                self.0.get(params[0].as_str().unwrap_or_default()).into_iter().cloned().collect()
            }
            ("query", Some("SELECT")) => self.0.values().cloned().collect(),
            other => panic!("no such statement: {other:?}"),
        };
        let columns = ["name", "title", "markdown", "revision", "updated"];
        Json(json!({ "columns": columns, "rows": rows })).into_payload()
    }
}

/// A directory at `acme:profiles:directory`, and the actors that it asked to render.
fn directory() -> (testing::Actor<Directory>, Rc<RefCell<Vec<String>>>) {
    let setup = testing::Setup::default().address("acme:profiles:directory");
    let mut directory: testing::Actor<Directory> = setup.start().unwrap();
    let (mut table, rendered) = (Table::default(), Rc::new(RefCell::new(Vec::new())));
    let asked = Rc::clone(&rendered);
    directory.answer(move |sent| match (&*sent.target, &*sent.operation) {
        (".:db", operation) => table.answer(operation, &sent.payload.clone().json()?),
        (target, "render") => {
            asked.borrow_mut().push(target.to_owned());
            let text = sent.payload.clone().json::<Value>()?["markdown"].as_str().unwrap_or_default().to_owned();
            match target.starts_with("~old::") {
                true => Ok(Payload::new("text/html", "<p>an older version</p>")),
                false => Ok(Payload::new("text/html", format!("<p>{text}</p>"))),
            }
        }
        other => panic!("nobody should be asked for {other:?}"),
    });
    (directory, rendered)
}

fn ask(directory: &mut testing::Actor<Directory>, operation: &str, body: Value) -> Result<Value, Failure> {
    directory.request(operation, Json(body))?.json()
}

#[test]
fn a_saved_page_can_be_read_and_listed_and_its_revision_grows() {
    let (mut directory, _) = directory();
    let saved =
        ask(&mut directory, "save", json!({ "name": "ada", "markdown": "text\n# Ada Lovelace #\n# x" })).unwrap();
    assert_eq!(saved["revision"], 1);
    let saved = ask(&mut directory, "save", json!({ "name": "ada", "markdown": "new", "title": "Ada" })).unwrap();
    assert_eq!((&saved["name"], &saved["revision"]), (&json!("ada"), &json!(2)));
    let person = ask(&mut directory, "get", json!({ "name": "ada" })).unwrap();
    assert_eq!((&person["markdown"], &person["title"]), (&json!("new"), &json!("Ada")));
    let list = ask(&mut directory, "list", json!({})).unwrap();
    assert_eq!(list["people"].as_array().unwrap().len(), 1);
    assert!(list["people"][0].get("markdown").is_none());
}

#[test]
fn each_save_emits_an_event_for_open_pages() {
    let (mut directory, _) = directory();
    ask(&mut directory, "save", json!({ "name": "ada", "markdown": "# Ada Lovelace #" })).unwrap();
    ask(&mut directory, "save", json!({ "name": "bob", "markdown": "no heading", "title": "  " })).unwrap();
    let events: Vec<Value> = directory.events().into_iter().map(|event| event.payload.json().unwrap()).collect();
    assert_eq!(events[0], json!({ "name": "ada", "revision": 1, "title": "Ada Lovelace" }));
    assert_eq!(events[1], json!({ "name": "bob", "revision": 1, "title": "bob" }));
    assert!(directory.events().iter().all(|event| event.operation == "changes"));
}

#[test]
fn a_signed_in_person_can_change_only_their_own_page() {
    let (mut directory, _) = directory();
    for (caller, name, may) in
        [("", "ada", true), ("ada", "ada", true), ("ada", "grace", false), ("admin", "grace", true)]
    {
        directory.from("~k3v::starlane:page", caller);
        let saved = ask(&mut directory, "save", json!({ "name": name, "markdown": "x" }));
        assert_eq!(saved.as_ref().err().map(|failure| failure.status), (!may).then_some(403), "{caller}, {name}");
        assert!(ask(&mut directory, "get", json!({ "name": "ada" })).is_ok(), "everybody may read");
    }
}

#[test]
fn an_invalid_page_is_422_and_neither_saved_nor_emitted() {
    let (mut directory, _) = directory();
    for (name, markdown, says) in [
        ("", "x".to_owned(), "1 to 60 characters"),
        (&*"a".repeat(61), "x".to_owned(), "has 61"),
        (&*"É".repeat(30), "x".to_owned(), "too long for an address"),
        (" ada", "x".to_owned(), "no space around"),
        ("a\nb", "x".to_owned(), "no line breaks"),
        ("ada", "x".repeat(MAX_TEXT_BYTES + 1), "262145 bytes"),
    ] {
        let failure = ask(&mut directory, "save", json!({ "name": name, "markdown": markdown })).unwrap_err();
        assert_eq!((failure.status, failure.message.contains(says)), (422, true), "{failure}");
    }
    assert!(directory.events().is_empty());
    assert_eq!(ask(&mut directory, "get", json!({ "name": "ada" })).unwrap_err().status, 404);
    assert_eq!(ask(&mut directory, "save", json!({ "name": "ada" })).unwrap_err().status, 400);
}

#[test]
fn compare_asks_the_calling_page_and_the_server() {
    let (mut directory, rendered) = directory();
    ask(&mut directory, "save", json!({ "name": "Ada", "markdown": "é" })).unwrap();
    directory.from("~k3v::acme:ui", "");
    let answer = ask(&mut directory, "compare", json!({ "name": "Ada" })).unwrap();
    assert_eq!(*rendered.borrow(), ["~k3v::acme:profiles:profile:_41da", ".:profile:_41da"]);
    assert_eq!(
        (&answer["same"], &answer["page"]["bytes"], &answer["server"]["bytes"]),
        (&json!(true), &json!(9), &json!(9))
    );
    directory.from("~old::acme:ui", "");
    assert_eq!(ask(&mut directory, "compare", json!({ "name": "Ada" })).unwrap()["same"], false);
    directory.from("acme:other:mechtron", "");
    assert_eq!(ask(&mut directory, "compare", json!({ "name": "Ada" })).unwrap_err().status, 422);
}

#[test]
fn the_failure_of_the_database_reaches_the_caller() {
    let (mut directory, _) = directory();
    directory.answer(|_| Err(Failure::new(503, "not-running", "the database is not running")));
    let failure = ask(&mut directory, "save", json!({ "name": "ada", "markdown": "x" })).unwrap_err();
    assert_eq!((failure.status, &*failure.code), (503, "not-running"));
    assert!(directory.events().is_empty());
}
