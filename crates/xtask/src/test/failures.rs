//! What a program of tests told of those that failed, to be told again where the whole run ends.

use super::outcome::closing;

/// No more lines of one program are told again.
const LINES: usize = 120;

/// The failures among the lines of a program, without terminal colours: of libtest and wasm-bindgen-test each test that
/// failed, by name, and the sections headed `failures:`; of our own programs each line `FAIL  …` with what follows.
pub(super) fn among(lines: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    let mut within = Within::Nothing;
    for line in lines {
        within = match within {
            _ if line == "failures:" => Within::Section,
            _ if closing(line).is_some() => Within::Nothing,
            Within::Section => Within::Section,
            _ if line.starts_with("FAIL  ") => Within::Fact,
            Within::Fact if ["ok  ", "figure "].iter().any(|next| line.starts_with(next)) => Within::Nothing,
            same => same,
        };
        let name = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        let failed = name.is_some_and(|(_, how)| how.starts_with("FAIL"));
        if failed || within != Within::Nothing && !line.trim().is_empty() {
            told.push(line.clone());
        }
    }
    if told.len() > LINES {
        let left = told.len() - LINES;
        told.truncate(LINES);
        told.push(format!("… and {left} lines more, above"));
    }
    told
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Nothing,
    /// A list that libtest or wasm-bindgen-test heads with `failures:`.
    Section,
    /// A failed fact of our own programs.
    Fact,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        among(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn libtest_tells_names_and_output() {
        let text = "\
test a::good ... ok
test a::bad ... FAILED

successes:

---- a::good stdout ----
failures are fine here

failures:

---- a::bad stdout ----
assertion failed

failures:
    a::bad

test result: FAILED. 1 passed; 1 failed; 0 ignored
test b::good ... ok
test result: ok. 1 passed; 0 failed; 0 ignored";
        let told = ["test a::bad ... FAILED", "failures:", "---- a::bad stdout ----", "assertion failed", "failures:"];
        assert_eq!(of(text)[..5], told);
        assert_eq!(of(text)[5..], ["    a::bad"]);
    }

    #[test]
    fn wasm_bindgen_test_marks_its_failures_otherwise() {
        assert_eq!(of("test b::bad ... FAIL\ntest b::good ... ok"), ["test b::bad ... FAIL"]);
    }

    #[test]
    fn facts_are_told_with_what_follows_them() {
        let text = "ok  one: seen\nFAIL  two: nothing\n    at x\nand y\nok  three: seen\n    more";
        assert_eq!(of(text), ["FAIL  two: nothing", "    at x", "and y"]);
    }

    #[test]
    fn a_flood_is_cut() {
        let text = "FAIL  it\n".repeat(LINES + 5);
        let told = of(&text);
        assert_eq!((told.len(), told[LINES].as_str()), (LINES + 1, "… and 5 lines more, above"));
    }
}
