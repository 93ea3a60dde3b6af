//! The lists of attacks and field faults. A run of all tests must try each row. It records the sums of each list as
//! figures.

use serde_json::{Value, json};

/// The rows of attacks that the tests try: A attacks the isolation of spaces, B the budgets, C durability.
const ATTACKS: [&str; 23] = [
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "B2", "B3", "B4", "B6", "B7", "B8", "B9", "B10", "B11", "B12",
    "B13", "C1", "C2", "C3", "C4",
];
/// The number of field faults that the tests try.
const FIELD_FAULTS: usize = 34;

/// A list of rows, and the figures that the tests record for each.
struct List {
    tried: &'static str,
    bad: &'static str,
    rows: Vec<String>,
}

fn lists() -> [List; 2] {
    let attacks = ATTACKS.map(str::to_owned).to_vec();
    let faults = (1..=FIELD_FAULTS).map(|row| format!("F{row}")).collect();
    [
        List { tried: "attacks.tried", bad: "attacks.through", rows: attacks },
        List { tried: "field-faults.tried", bad: "field-faults.failing", rows: faults },
    ]
}

/// The sums of the recorded figures, as figures of the whole run.
pub(crate) fn sums(figures: &[Value]) -> Vec<Value> {
    let sum = |name: &str| of(figures, name).map(|(_, value)| value).sum::<f64>();
    let total = |name: &str| {
        let value = sum(name) as i64;
        json!({ "name": name, "value": value, "unit": "inputs", "engine": null, "size": null, "test": "all" })
    };
    lists().iter().flat_map(|list| [total(list.tried), total(list.bad)]).collect()
}

/// The rows that no test has tried, for people.
pub(crate) fn missing(figures: &[Value]) -> Vec<String> {
    let mut missing = Vec::new();
    for list in lists() {
        let tried =
            |row: &str| of(figures, list.tried).any(|(test, value)| value > 0.0 && test.split(' ').next() == Some(row));
        let rows = list.rows.iter().filter(|row| !tried(row));
        missing.extend(rows.map(|row| format!("{} of row {row}", list.tried)));
    }
    missing
}

/// The tests that recorded a figure, and its values.
fn of<'a>(figures: &'a [Value], name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    figures
        .iter()
        .filter(move |figure| figure.get("name").and_then(Value::as_str) == Some(name))
        .filter_map(|figure| Some((figure.get("test")?.as_str()?, figure.get("value")?.as_f64()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_count_all_tests_and_an_untried_row_is_reported() {
        let row = |name: &str, test: &str, value: u32| json!({ "name": name, "test": test, "value": value });
        let figures = [
            row("attacks.tried", "A1 one", 3),
            row("attacks.tried", "A1 two", 4),
            row("attacks.tried", "A2 three", 0),
            row("attacks.through", "A1 one", 0),
        ];
        assert_eq!(sums(&figures)[0]["value"], 7);
        let missing = missing(&figures);
        assert!(!missing.contains(&"attacks.tried of row A1".to_owned()));
        assert!(missing.contains(&"attacks.tried of row A2".to_owned()), "nothing was tried");
        assert_eq!(missing.len(), ATTACKS.len() - 1 + FIELD_FAULTS);
    }
}
