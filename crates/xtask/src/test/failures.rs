//! Collects what a test program reports of its failed tests. The end of the whole run shows it again.

use super::outcome::closing;

/// The maximum number of lines of one program that are shown again.
const MAX_LINES: usize = 120;

/// The failures among the lines of a program, without terminal colours. Of libtest and wasm-bindgen-test: the name of each failed
/// test, and the sections headed `failures:`. Of our own programs: each line `FAIL  …` with the lines that belong to it.
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
    if told.len() > MAX_LINES {
        let left = told.len() - MAX_LINES;
        told.truncate(MAX_LINES);
        told.push(format!("… and {left} more lines, see above"));
    }
    told
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Nothing,
    /// A section of libtest or wasm-bindgen-test with the heading `failures:`.
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
    fn names_and_output_of_failed_tests_are_collected() {
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
    fn failures_of_wasm_bindgen_test_are_recognised() {
        assert_eq!(of("test b::bad ... FAIL\ntest b::good ... ok"), ["test b::bad ... FAIL"]);
    }

    #[test]
    fn failed_facts_include_their_following_lines() {
        let text = "ok  one: seen\nFAIL  two: nothing\n    at x\nand y\nok  three: seen\n    more";
        assert_eq!(of(text), ["FAIL  two: nothing", "    at x", "and y"]);
    }

    #[test]
    fn too_many_lines_are_cut() {
        let text = "FAIL  it\n".repeat(MAX_LINES + 5);
        let told = of(&text);
        assert_eq!((told.len(), told[MAX_LINES].as_str()), (MAX_LINES + 1, "… and 5 more lines, see above"));
    }
}
