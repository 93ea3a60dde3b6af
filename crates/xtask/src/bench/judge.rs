//! Judges measures: ratios of the same round, their median and their range.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::goals::{self, Entry};

/// The contender that is compared with all others.
const OURS: &str = "ours";
/// The contender that does the minimum of work.
const FLOOR: &str = "floor";

/// A measure: in each round one value for each contender.
pub(super) struct Measure {
    id: String,
    engine: String,
    unit: String,
    rounds: Vec<BTreeMap<String, f64>>,
}

impl Measure {
    /// Reads `{ id, engine, unit, rounds: [{ ours, floor, … }, …] }`.
    ///
    /// Errors if a round lacks a contender that the first has, or a value is not a positive number.
    pub(super) fn read(measure: &Value) -> Result<Self> {
        let text = |field: &str| {
            let text = measure.get(field).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("a measure has no `{field}`: {measure}"))
        };
        let id = text("id")?;
        let rounds = measure.get("rounds").and_then(Value::as_array);
        let rounds = rounds.filter(|rounds| !rounds.is_empty()).with_context(|| format!("{id} has no rounds"))?;
        let round = |round: &Value| -> Result<BTreeMap<String, f64>> {
            let values = round.as_object().with_context(|| format!("a round of {id} is not an object: {round}"))?;
            let value = |(name, value): (&String, &Value)| {
                let number = value.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
                Ok((name.clone(), number.with_context(|| format!("{name} of {id} is {value}, not a number"))?))
            };
            values.iter().map(value).collect()
        };
        let rounds: Vec<_> = rounds.iter().map(round).collect::<Result<_>>()?;
        let first: Vec<&String> = rounds.iter().take(1).flat_map(BTreeMap::keys).collect();
        ensure!(first.iter().any(|name| *name == OURS), "{id} has no value of the contender `ours`");
        ensure!(
            rounds.iter().all(|round| round.keys().collect::<Vec<_>>() == first),
            "a round of {id} lacks a contender"
        );
        Ok(Self { id, engine: text("engine")?, unit: text("unit")?, rounds })
    }

    /// The judged rows.
    pub(super) fn rows(&self) -> Result<Vec<Row>> {
        let rows: Vec<Row> = goals::of_measure(&self.id).map(|entry| self.row(entry)).collect::<Result<_>>()?;
        ensure!(!rows.is_empty(), "no row of the benchmark judges {}", self.id);
        Ok(rows)
    }

    fn row(&self, entry: &'static Entry) -> Result<Row> {
        let goal = entry.goal;
        let ours = self.values(OURS)?;
        let others = goal.other().map(|other| self.values(other)).transpose()?.unwrap_or_else(|| ours.clone());
        let judged = ours.iter().zip(&others).map(|(ours, other)| goal.judged(*ours, *other));
        let judged = sorted(judged.collect());
        ensure!(judged.iter().all(|judged| judged.is_finite()), "a round of {} has a value of 0", self.id);
        // Leaves out the lowest and the highest, so that one disturbed round decides nothing.
        let inner = judged.get(1..judged.len().saturating_sub(1)).filter(|inner| !inner.is_empty());
        let inner = inner.unwrap_or(&judged);
        let range = [inner.first(), inner.last()].map(|end| end.copied().unwrap_or_default());
        let mut others = BTreeMap::new();
        for name in self.rounds.iter().take(1).flat_map(BTreeMap::keys) {
            others.insert(name.clone(), median(&sorted(self.values(name)?)));
        }
        let reached = match range.map(|end| goal.is_reached_by(end)) {
            [true, true] => Reached::Yes,
            [false, false] => Reached::No,
            _ => Reached::Undecided,
        };
        Ok(Row {
            entry,
            engine: self.engine.clone(),
            unit: self.unit.clone(),
            value: others.remove(OURS).unwrap_or_default(),
            floor: others.remove(FLOOR),
            peers: others,
            ratio: goal.is_ratio().then(|| median(&judged)),
            range,
            reached,
        })
    }

    fn values(&self, name: &str) -> Result<Vec<f64>> {
        let values: Option<Vec<f64>> = self.rounds.iter().map(|round| round.get(name).copied()).collect();
        values.with_context(|| format!("{} was measured without {name}", self.id))
    }
}

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Yes,
    No,
    /// The range spans the goal.
    Undecided,
}

/// A judged measure.
pub(super) struct Row {
    pub(super) entry: &'static Entry,
    pub(super) engine: String,
    pub(super) unit: String,
    /// The median of ours over the rounds. The values of the others are medians too.
    pub(super) value: f64,
    pub(super) floor: Option<f64>,
    pub(super) peers: BTreeMap<String, f64>,
    /// The median of the ratios of the same round. None if the goal is not a ratio.
    pub(super) ratio: Option<f64>,
    /// The lowest and highest judged number (ratio, difference, or ours), without the two extremes.
    pub(super) range: [f64; 2],
    pub(super) reached: Reached,
}

impl Row {
    /// The row in `target/bench.json`.
    pub(super) fn json(&self) -> Value {
        let peers: Map<String, Value> = self.peers.iter().map(|(name, value)| (name.clone(), digits(*value))).collect();
        json!({
            "id": self.entry.id,
            "engine": self.engine,
            "value": digits(self.value),
            "unit": self.unit,
            "floor": self.floor.map(digits),
            "peers": peers,
            "ratio": self.ratio.map(digits),
            "range": self.range.map(digits),
            "goal": self.entry.goal.bound(),
            "reached": match self.reached {
                Reached::Yes => json!(true),
                Reached::No => json!(false),
                Reached::Undecided => json!("undecided"),
            },
        })
    }
}

/// Rows that are figures too.
const FIGURES: [&str; 4] = ["links.idle-cost", "links.idle-bytes", "actors.idle-cost", "run.cold"];

impl Row {
    /// The row in `target/figures.json`, if it is a figure: the ratio, or else the value.
    pub(super) fn figure(&self) -> Option<Value> {
        let name = FIGURES.into_iter().find(|name| *name == self.entry.id)?;
        let (value, unit) = self.ratio.map_or((self.value, self.unit.as_str()), |ratio| (ratio, "ratio"));
        let (value, test) = (digits(value), "cargo xtask bench");
        Some(json!({ "name": name, "value": value, "unit": unit, "engine": null, "size": null, "test": test }))
    }
}

/// A value rounded to four digits; digits before the decimal point are never rounded.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let places = (3 - value.abs().log10().floor() as i32).max(0);
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

fn digits(value: f64) -> Value {
    json!(rounded(value))
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(id: &str, rounds: Value) -> Vec<Value> {
        let measure = json!({ "id": id, "engine": "chromium", "unit": "µs", "rounds": rounds });
        Measure::read(&measure).unwrap().rows().unwrap().iter().map(Row::json).collect()
    }

    fn rounds(values: &[[f64; 3]]) -> Value {
        values.iter().map(|[ours, floor, extism]| json!({ "ours": ours, "floor": floor, "extism": extism })).collect()
    }

    #[test]
    fn a_goal_is_reached_missed_or_undecided() {
        let same = [[2.0, 1.0, 8.0], [9.0, 1.0, 8.0], [2.2, 1.0, 8.0], [2.4, 1.0, 8.0], [0.1, 1.0, 8.0]];
        let rows = judged("P1/64B", rounds(&same));
        let [floor, extism] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(floor["reached"], json!(true), "the round with 9 and the round with 0.1 decide nothing");
        assert_eq!((floor["ratio"].clone(), floor["range"].clone()), (json!(2.2), json!([2.0, 2.4])));
        assert_eq!(
            (floor["value"].clone(), floor["floor"].clone(), floor["goal"].clone()),
            (json!(2.2), json!(1.0), json!(3.0))
        );
        assert_eq!((extism["id"].clone(), extism["peers"].clone()), (json!("P1/64B/extism"), json!({ "extism": 8.0 })));
        assert_eq!((extism["ratio"].clone(), extism["reached"].clone()), (json!(3.636), json!(true)));
        let missed = judged("P1/64B", rounds(&[[4.0, 1.0, 8.0], [5.0, 1.0, 8.0], [6.0, 1.0, 8.0]]));
        assert_eq!((missed[0]["reached"].clone(), missed[1]["reached"].clone()), (json!(false), json!(false)));
        let spans = [[2.0, 1.0, 8.0], [2.5, 1.0, 8.0], [3.0, 1.0, 8.0], [3.5, 1.0, 8.0], [4.0, 1.0, 8.0]];
        assert_eq!(judged("P1/64B", rounds(&spans))[0]["reached"], json!("undecided"));
    }

    #[test]
    fn a_ratio_compares_values_of_the_same_round() {
        // The machine is twice as slow in each second round; the ratio does not notice.
        let drifting = [[1.0, 1.0, 9.0], [4.0, 2.0, 9.0], [1.5, 1.0, 9.0], [4.0, 2.0, 9.0], [2.0, 1.0, 9.0]];
        let row = &judged("P1/64B", rounds(&drifting))[0];
        assert_eq!((row["value"].clone(), row["floor"].clone()), (json!(2.0), json!(1.0)));
        assert_eq!((row["ratio"].clone(), row["range"].clone()), (json!(2.0), json!([1.5, 2.0])));
    }

    #[test]
    fn an_incomplete_measure_is_an_error() {
        let read = |rounds: Value| {
            let measure = json!({ "id": "P1/64B", "engine": "chromium", "unit": "µs", "rounds": rounds });
            Measure::read(&measure).and_then(|measure| measure.rows()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(read(json!([])).unwrap_err().contains("no rounds"));
        assert!(read(json!([{ "floor": 1, "extism": 1 }])).unwrap_err().contains("ours"));
        assert!(read(json!([{ "ours": 1, "floor": 0, "extism": 1 }])).unwrap_err().contains("0"));
        assert!(read(json!([{ "ours": 1, "floor": 1 }])).unwrap_err().contains("extism"));
        assert!(read(json!([{ "ours": 1, "floor": 1, "extism": 1 }, { "ours": 1, "floor": 1 }])).is_err());
        assert!(read(json!([{ "ours": "fast", "floor": 1, "extism": 1 }])).is_err());
        let unknown = json!({ "id": "P99", "engine": "x", "unit": "µs", "rounds": [{ "ours": 1 }] });
        assert!(Measure::read(&unknown).unwrap().rows().is_err());
    }

    #[test]
    fn a_figure_is_the_ratio_or_the_value() {
        let figures = |id: &str, rounds: Value| -> Vec<Value> {
            let measure = json!({ "id": id, "engine": "server", "unit": "µs", "rounds": rounds });
            Measure::read(&measure).unwrap().rows().unwrap().iter().filter_map(Row::figure).collect()
        };
        let cost = figures("links.idle-cost", json!([{ "ours": 12, "none": 10 }]));
        assert_eq!((cost[0]["value"].clone(), cost[0]["unit"].clone()), (json!(1.2), json!("ratio")));
        let bytes = figures("links.idle-bytes", json!([{ "ours": 9_000 }]));
        assert_eq!((bytes[0]["value"].clone(), bytes[0]["unit"].clone()), (json!(9_000.0), json!("µs")));
        assert!(figures("P8", json!([{ "ours": 4, "floor": 3 }])).is_empty());
    }

    #[test]
    fn values_are_shown_with_four_digits() {
        assert_eq!([24.8123, 0.27, 123_456.7, 3.0, 0.0].map(rounded), [24.81, 0.27, 123_457.0, 3.0, 0.0]);
    }
}
