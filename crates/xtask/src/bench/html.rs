//! The rows as an HTML page with bars. The page loads nothing and runs no script.

use std::fmt::Write;

use serde_json::Value;

use super::{goals, table};

const STYLE: &str = "
  :root { color-scheme: light dark; --ours: #2563eb; --floor: #94a3b8; --peer: #d97706; --track: #8882; }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; margin-bottom: .2rem; }
  article { border-top: 1px solid #8884; padding: .9rem 0; }
  header { display: flex; gap: .7rem; align-items: baseline; flex-wrap: wrap; }
  h2 { font-size: 1rem; margin: 0; }
  code { font-size: .85rem; opacity: .75; }
  .mark { margin-left: auto; border-radius: 1rem; padding: 0 .7rem; font-size: .85rem; color: #fff; }
  .yes { background: #15803d; } .no { background: #b91c1c; } .undecided { background: #a16207; }
  .bar { display: grid; grid-template-columns: 7.5rem 1fr 9rem; gap: .7rem; align-items: center; margin-top: .25rem; }
  .bar > b { font-weight: 500; text-align: right; }
  .track { background: var(--track); border-radius: .2rem; }
  .fill { height: .9rem; min-width: 2px; border-radius: .2rem; background: var(--peer); }
  .ours .fill { background: var(--ours); } .floor .fill { background: var(--floor); }
  p { margin: .35rem 0 0; opacity: .85; font-size: .9rem; }
";

/// The page.
pub(super) fn page(rows: &[Value]) -> String {
    let count = |word: &str| rows.iter().filter(|row| table::reached(row) == word).count();
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let _ =
        writeln!(page, "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Starlane: benchmark</title>");
    let _ = writeln!(page, "<style>{STYLE}</style>\n</head>\n<body>\n<h1>Benchmark</h1>");
    let _ = writeln!(
        page,
        "<p>{} rows: {} reached, {} missed, {} undecided. A value is the median of the rounds. A ratio compares values of the \
         same round. A range leaves out the lowest and the highest.</p>",
        rows.len(),
        count("yes"),
        count("no"),
        count("undecided"),
    );
    for row in rows {
        article(&mut page, row);
    }
    page + "</body>\n</html>\n"
}

fn article(page: &mut String, row: &Value) {
    let id = table::text(row, "id");
    let entry = goals::by_id(&id);
    let title = entry.map_or(id.as_str(), |entry| entry.title);
    let reached = table::reached(row);
    let word = match reached {
        "yes" => "reached",
        "no" => "missed",
        other => other,
    };
    let _ = writeln!(
        page,
        "<article>\n<header><h2>{}</h2><code>{} · {}</code><span class=\"mark {reached}\">{word}</span></header>",
        escaped(title),
        escaped(&id),
        escaped(&table::text(row, "engine")),
    );
    let unit = table::text(row, "unit");
    let ours = row.get("value").and_then(Value::as_f64).unwrap_or_default();
    let bars: Vec<(String, f64)> = std::iter::once(("ours".to_owned(), ours)).chain(table::others(row)).collect();
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    for (name, value) in &bars {
        let kind = if ["ours", "floor"].contains(&name.as_str()) { name.as_str() } else { "peer" };
        let _ = writeln!(
            page,
            "<div class=\"bar {kind}\"><b>{}</b><div class=\"track\"><div class=\"fill\" style=\"width:{:.2}%\"></div></div>\
             <span>{} {}</span></div>",
            escaped(name),
            100.0 * value / most,
            table::grouped(*value),
            escaped(&unit),
        );
    }
    let [ratio, low, high] = ["/ratio", "/range/0", "/range/1"].map(|pointer| table::number(row.pointer(pointer)));
    let judged = if row.get("ratio").is_some_and(Value::is_number) {
        format!("Ratio <b>{ratio}</b> (range {low} to {high})")
    } else {
        let what = if entry.is_some_and(|entry| entry.goal.other().is_some()) { "Difference" } else { "Range" };
        format!("{what} {low} to {high} {}", escaped(&unit))
    };
    let better = if unit.ends_with("/s") { "more" } else { "less" };
    let goal = entry.map_or_else(|| table::number(row.get("goal")), |entry| entry.goal.words());
    let _ = writeln!(page, "<p>{judged}; goal {}; for the bars {better} is better</p>\n</article>", escaped(&goal));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_has_a_bar_for_each_contender_and_loads_nothing() {
        let row = json!({
            "id": "P1/64B", "engine": "chromium", "value": 5, "unit": "µs", "floor": 1, "peers": { "<b>": 10 },
            "ratio": 5, "range": [4, 6], "goal": 3, "reached": false,
        });
        let alone = json!({
            "id": "odd", "engine": "server", "value": 3, "unit": "ms", "floor": null, "peers": {},
            "ratio": null, "range": [2.5, 3.5], "goal": 3, "reached": "undecided",
        });
        let page = page(&[row, alone]);
        assert_eq!(page.matches("class=\"bar ").count(), 4);
        for part in [
            "width:50.00%",
            "width:10.00%",
            "width:100.00%",
            "&lt;b&gt;",
            "≤ 3 × floor",
            "Ratio <b>5</b> (range 4 to 6)",
        ] {
            assert!(page.contains(part), "{part} is missing in:\n{page}");
        }
        assert!(page.contains("2 rows: 0 reached, 1 missed, 1 undecided"));
        assert!(page.contains("Range 2.5 to 3.5 ms"));
        assert!(!page.contains("<script") && !page.contains("http") && !page.contains("src="), "{page}");
    }
}
