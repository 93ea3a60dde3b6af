//! Figures: measured numbers of tests.

use std::{env, thread};

use serde_json::{Value, json};

/// Prints a figure of the test in this thread, for the engine of the test, if any.
pub fn figure(name: &str, value: f64, unit: &str) {
    let engine = env::var("STARLANE_ENGINE").ok();
    let thread = thread::current();
    print(name, value, unit, engine.as_deref(), thread.name());
}

/// Prints a figure of a named test in an engine.
pub fn figure_of(engine: &str, test: &str, name: &str, value: f64, unit: &str) {
    print(name, value, unit, Some(engine), Some(test));
}

/// The two sizes of an adversarial test. `cargo xtask test --full` chooses the larger one.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The size in each run of the tests.
    pub ci: usize,
    /// The size with `--full`.
    pub full: usize,
}

impl Sizes {
    /// The size in this run.
    pub fn of_this_run(self) -> usize {
        if env::var("STARLANE_SIZE").is_ok_and(|size| size == "full") { self.full } else { self.ci }
    }
}

pub(crate) fn print(name: &str, value: f64, unit: &str, engine: Option<&str>, test: Option<&str>) {
    println!("figure {}", row(name, value, unit, engine, test));
}

fn row(name: &str, value: f64, unit: &str, engine: Option<&str>, test: Option<&str>) -> Value {
    // Writes counts as whole numbers.
    let value = if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) };
    json!({ "name": name, "value": value, "unit": unit, "engine": engine, "test": test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_of_json_with_whole_counts() {
        let row = row("swap.lost", 0.0, "messages", Some("firefox"), Some("swaps"));
        assert!(!row.to_string().contains('\n'));
        assert!(row["value"].is_i64());
        assert_eq!((row["engine"].as_str(), row["test"].as_str()), (Some("firefox"), Some("swaps")));
        assert!(super::row("x", 1.5, "ms", None, None)["engine"].is_null());
    }
}
