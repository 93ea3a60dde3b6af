//! The outcome of a part, read from the output of its programs.

use serde_json::Value;

use super::failures;
use crate::figures;
use crate::process::Finished;

/// Counts, figures, and failures.
#[derive(Default)]
pub(super) struct Outcome {
    /// Tests that passed.
    pub(super) passed: u64,
    /// Tests that failed. A crash, or a program that could not be run, counts as one.
    pub(super) failed: u64,
    /// The figures that were recorded.
    pub(super) figures: Vec<Value>,
    /// What went wrong, by program.
    pub(super) notes: Vec<String>,
    /// What the programs reported of their failed tests.
    pub(super) failures: Vec<String>,
}

impl Outcome {
    /// The outcome of a part that could not be run.
    pub(super) fn broken(why: String) -> Self {
        let mut outcome = Self::default();
        outcome.add_check(false);
        outcome.note(why);
        outcome
    }

    /// Counts a check that passes or fails as a whole, such as formatting.
    pub(super) fn add_check(&mut self, right: bool) {
        if right { self.passed += 1 } else { self.failed += 1 }
    }

    /// Reports what went wrong, now and again at the end.
    pub(super) fn note(&mut self, why: String) {
        println!("{why}");
        self.notes.push(why);
    }

    /// Counts the tests of a program from its closing lines, and collects its figures.
    ///
    /// A program counts as a failed test if it fails without a failed test, or succeeds without a closing line.
    pub(super) fn add_tests(&mut self, what: &str, finished: &Finished) {
        let lines: Vec<String> = finished.lines.iter().map(|line| plain(line)).collect();
        self.figures.extend(lines.iter().filter_map(|line| figures::in_line(line)));
        let counts: Vec<(u64, u64)> = lines.iter().filter_map(|line| closing(line)).collect();
        let (passed, failed) = counts.iter().fold((0, 0), |(p, f), (passed, failed)| (p + passed, f + failed));
        self.passed += passed;
        self.failed += failed;
        self.failures.extend(failures::among(&lines));
        let ended = match finished.status {
            _ if finished.success() => String::new(),
            Some(status) => format!("ended with {status}"),
            None => "exceeded its time limit and was ended".to_owned(),
        };
        if finished.status.is_none() || !finished.success() && failed == 0 {
            self.failed += 1;
            self.note(format!("{what} {ended}, although none of its tests failed"));
        } else if counts.is_empty() {
            self.failed += 1;
            self.note(format!("{what} ended without a closing line `N passed, N failed`"));
        } else if failed > 0 {
            self.note(format!("{what}: {failed} failed"));
        }
    }

    /// `12 passed, 0 failed`
    pub(super) fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// The counts of a closing line: `test result: ok. 3 passed; 1 failed; …` of libtest and wasm-bindgen-test, or the plain
/// `3 passed, 1 failed`.
pub(super) fn closing(line: &str) -> Option<(u64, u64)> {
    let line = line.trim();
    let separator = match line.strip_prefix("test result: ") {
        Some(rest) => {
            let (_, counts) = rest.split_once(". ")?;
            return counts_of(counts, "; ");
        }
        None => ", ",
    };
    counts_of(line, separator)
}

fn counts_of(text: &str, separator: &str) -> Option<(u64, u64)> {
    let mut words = text.split(separator);
    let mut count = |name: &str| words.next()?.trim().strip_suffix(name)?.trim_end().parse().ok();
    Some((count("passed")?, count("failed")?))
}

/// A line without terminal colours, and without text that a carriage return has overwritten.
fn plain(line: &str) -> String {
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            text.push(c);
        } else if rest.next() == Some('[') {
            // A control sequence ends at its first letter.
            rest.find(|c| c.is_ascii_alphabetic());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn finished(code: i32, lines: &[&str]) -> Finished {
        use std::os::unix::process::ExitStatusExt;
        let status = Some(std::process::ExitStatus::from_raw(code << 8));
        Finished { status, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn closing_lines_of_all_harnesses_are_read() {
        let libtest = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(closing(libtest), Some((12, 0)));
        assert_eq!(closing("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 filtered out"), Some((2, 1)));
        assert_eq!(closing("9 passed, 2 failed"), Some((9, 2)));
        assert_eq!(closing("9 passed, 2 failed, oh"), Some((9, 2)));
        assert_eq!(closing("test tests::closing ... ok"), None);
        assert_eq!(closing("we passed, they failed"), None);
        assert_eq!(closing("running 3 tests"), None);
    }

    #[test]
    fn colours_and_overwritten_status_lines_do_not_hide_a_closing_line() {
        let line = "Loading scripts...\r\u{1b}[32mtest result: ok\u{1b}[0m. 1 passed; 0 failed";
        assert_eq!(closing(&plain(line)), Some((1, 0)));
    }

    #[test]
    #[cfg(unix)]
    fn closing_lines_are_summed_and_figures_collected() {
        let mut outcome = Outcome::default();
        let lines = [
            "figure {\"name\":\"a\",\"value\":1}",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
            "2 passed, 0 failed",
        ];
        outcome.add_tests("it", &finished(0, &lines));
        assert_eq!((outcome.passed, outcome.failed, outcome.figures.len()), (5, 0, 1));
        assert!(outcome.notes.is_empty());
    }

    #[test]
    #[cfg(unix)]
    fn a_crash_is_one_failed_test() {
        for (code, lines) in [(101, &[][..]), (101, &["test result: ok. 3 passed; 0 failed"][..]), (0, &["hello"][..])]
        {
            let mut outcome = Outcome::default();
            outcome.add_tests("it", &finished(code, lines));
            assert_eq!((outcome.failed, outcome.notes.len()), (1, 1), "{code} {lines:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn the_exit_code_does_not_count_failed_tests_again() {
        let mut outcome = Outcome::default();
        outcome.add_tests("it", &finished(101, &["test result: FAILED. 3 passed; 2 failed; 0 ignored"]));
        assert_eq!((outcome.passed, outcome.failed), (3, 2));
    }

    #[test]
    fn an_exceeded_time_limit_is_a_failed_test_even_after_passed_ones() {
        let mut outcome = Outcome::default();
        outcome.add_tests("it", &Finished { status: None, lines: vec!["4 passed, 0 failed".to_owned()] });
        assert_eq!((outcome.passed, outcome.failed), (4, 1));
    }
}
