//! Runs the supported part of the official JSON Schema Test Suite, draft 2020-12, in a sandbox. Each body is a request
//! to a mechtron whose bind has the schema.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};
use starlane_bundle::schema;
use starlane_node::guest::Returned;

use super::sandbox_suite::fixture::{Guest, LIMITS, json as payload};
use crate::ports::Sandbox;

/// The results of the suite.
#[derive(Debug, Default)]
pub struct Judged {
    /// The number of cases.
    pub cases: usize,
    /// The number of cases whose schema is not in the subset.
    pub outside: usize,
    /// Cases with a wrong result: keyword, schema, case.
    pub differences: Vec<String>,
}

/// The number of cases with schemas outside of the subset. A higher number means that a supported schema is now
/// refused.
const OUTSIDE: usize = 356;

impl Judged {
    /// Panics if a case of the subset has a wrong result.
    pub fn check(&self) {
        assert_eq!(self.outside, OUTSIDE, "of {} cases in all, {} were judged", self.cases + self.outside, self.cases);
        assert_eq!(self.differences, [""; 0]);
    }
}

/// Runs the suite, an object of its files by name. Adds the limits that binds need beside `pattern`, `uniqueItems` and
/// `contains`, where they are missing. All bodies of the suite are within them.
pub async fn run(sandbox: &Rc<dyn Sandbox>, echo: &Bytes, suite: &str) -> Judged {
    let suite: Value = serde_json::from_str(suite).unwrap();
    let mut judged = Judged::default();
    for (keyword, groups) in suite.as_object().unwrap() {
        for group in groups.as_array().unwrap() {
            let mut bounded = group["schema"].clone();
            bound(&mut bounded);
            let tests = group["tests"].as_array().unwrap();
            let Ok(normal) = schema::normal_form(&bounded) else {
                judged.outside += tests.len();
                continue;
            };
            assert_eq!(schema::normal_form(&normal).as_ref(), Ok(&normal), "{bounded}");
            let contract = json!({ "requests": { "count": normal }, "responses": {}, "events": {} }).to_string();
            let guest = Guest::start_under(sandbox, echo, LIMITS, &contract).await;
            let calls = tests.iter().map(|test| guest.message("count", payload(&test["data"].to_string()))).collect();
            let report = guest.run(calls).await;
            assert_eq!((report.crash, report.done.len()), (None, tests.len()), "{bounded}: {:?}", report.logs);
            for (test, done) in tests.iter().zip(&report.done) {
                judged.cases += 1;
                // The error of a body that does not match has a place. The error of a failed check has none.
                let judged_so = match &done.returned {
                    Returned::Received(true) => test["valid"] == true,
                    Returned::Misfit(reason) => test["valid"] == false && reason.contains(" its schema: at "),
                    _ => false,
                };
                if !judged_so {
                    let told =
                        format!("{keyword}: {}: {}: {:?}", group["description"], test["description"], done.returned);
                    judged.differences.push(told);
                }
            }
        }
    }
    judged
}

fn bound(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("pattern").is_some_and(Value::is_string) {
                fields.entry("maxLength").or_insert(json!(256));
            }
            if fields.get("uniqueItems").is_some_and(Value::is_boolean) || fields.contains_key("contains") {
                fields.entry("maxItems").or_insert(json!(1024));
            }
            fields.values_mut().for_each(bound);
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}
