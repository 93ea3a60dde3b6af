//! The rows as a table in the terminal.

use serde_json::Value;

use super::goals;

/// The table of rows: a heading, then one line for each row.
pub(super) fn lines(rows: &[Value]) -> Vec<String> {
    let heading = ["row", "ours", "unit", "floor and peers", "ratio", "range", "goal", "reached"].map(str::to_owned);
    let cells: Vec<[String; 8]> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| cells.iter().map(|row| length(row, column)).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

fn length(row: &[String; 8], column: usize) -> usize {
    row.get(column).map(|cell| cell.chars().count()).unwrap_or_default()
}

fn cells(row: &Value) -> [String; 8] {
    let id = text(row, "id");
    let others: Vec<String> = others(row).map(|(name, value)| format!("{name} {}", grouped(value))).collect();
    [
        id.clone(),
        number(row.get("value")),
        text(row, "unit"),
        others.join(", "),
        number(row.get("ratio")),
        format!("{}–{}", number(row.pointer("/range/0")), number(row.pointer("/range/1"))),
        goals::by_id(&id).map_or_else(|| number(row.get("goal")), |entry| entry.goal.words()),
        reached(row).to_owned(),
    ]
}

/// The values of the floor, if there is one, and of the peers.
pub(super) fn others(row: &Value) -> impl Iterator<Item = (String, f64)> {
    let floor = row.get("floor").and_then(Value::as_f64).map(|value| ("floor".to_owned(), value));
    let peers = row.get("peers").and_then(Value::as_object).into_iter().flatten();
    floor.into_iter().chain(peers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))))
}

/// `yes`, `no` or `undecided`.
pub(super) fn reached(row: &Value) -> &'static str {
    match row.get("reached") {
        Some(Value::Bool(true)) => "yes",
        Some(Value::Bool(false)) => "no",
        _ => "undecided",
    }
}

pub(super) fn text(row: &Value, field: &str) -> String {
    row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A number for people; a dash for none.
pub(super) fn number(value: Option<&Value>) -> String {
    value.and_then(Value::as_f64).map_or_else(|| "–".to_owned(), grouped)
}

/// A number with commas between thousands: `150,000`.
pub(super) fn grouped(value: f64) -> String {
    let text = value.to_string();
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thousands_are_separated() {
        let texts = [0.0, 999.0, 1_000.0, 150_000.0, 1_234_567.5, -12_345.0, -123.0].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "150,000", "1,234,567.5", "-12,345", "-123"]);
    }

    #[test]
    fn a_row_stands_below_its_heading() {
        let row = json!({
            "id": "P1/64B/extism", "engine": "chromium", "value": 24.8, "unit": "µs", "floor": 1.2,
            "peers": { "extism": 6 }, "ratio": 0.24, "range": [0.2, 0.3], "goal": 3, "reached": false,
        });
        let lines = lines(&[row]);
        let [heading, line] = lines.as_slice() else { panic!("{lines:?}") };
        for (name, value) in
            [("ours", "24.8"), ("floor", "floor 1.2, extism 6"), ("range", "0.2–0.3"), ("reached", "no")]
        {
            let column = |text: &str, part: &str| text.find(part).map(|at| text[..at].chars().count());
            assert_eq!(column(heading, name), column(line, value), "{name}\n{}", lines.join("\n"));
        }
        assert!(line.contains("≥ 3 × faster than extism"), "{line}");
    }
}
