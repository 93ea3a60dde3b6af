//! The code in the documents: a run of all tests must run every piece. `crates/testkit/src/documents.rs` says which test runs which.

use serde_json::{Value, json};

/// How many pieces the documents have.
const FOUND: &str = "snippets.found";
/// How many pieces a test has run.
const RUN: &str = "snippets.run";

/// The number of pieces that all tests together have run, as a figure of the whole run.
pub(crate) fn sum(figures: &[Value]) -> Value {
    let value = total(figures, RUN);
    json!({ "name": RUN, "value": value, "unit": "snippets", "engine": null, "size": null, "test": "all" })
}

/// What is missing, for people. `figures` has no figure of the whole run yet.
pub(crate) fn missing(figures: &[Value]) -> Option<String> {
    let (found, run) = (total(figures, FOUND), total(figures, RUN));
    (found == 0 || run != found).then(|| format!("{RUN} of every piece: the tests ran {run} of {found}"))
}

fn total(figures: &[Value], name: &str) -> u64 {
    let named = figures.iter().filter(|figure| figure.get("name").and_then(Value::as_str) == Some(name));
    named.filter_map(|figure| figure.get("value")?.as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_no_test_ran_is_reported() {
        let row = |name: &str, value: u64| json!({ "name": name, "value": value });
        let mut figures = vec![row(FOUND, 7), row(RUN, 3), row(RUN, 3)];
        assert_eq!(missing(&figures).as_deref(), Some("snippets.run of every piece: the tests ran 6 of 7"));
        figures.push(row(RUN, 1));
        assert_eq!((missing(&figures), sum(&figures)["value"].as_u64()), (None, Some(7)));
        assert!(missing(&[]).is_some(), "nothing was recorded");
    }
}
