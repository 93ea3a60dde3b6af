//! Limits the log lines per second of each principal, app and place in the code, and counts suppressed lines.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The maximum number of counted subjects. Above it, quiet ones are forgotten.
const COUNTED: usize = 4_096;
/// The maximum burst, in seconds of the rate.
const BURST: f64 = 2.0;

/// Counts lines by their subject.
pub(super) struct Rates {
    per_second: f64,
    known: HashMap<String, Rate>,
}

struct Rate {
    /// The number of lines that could still be logged at the time `at`.
    left: f64,
    at: Instant,
    suppressed: u64,
}

impl Rates {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second: per_second as f64, known: HashMap::new() }
    }

    /// Whether one more line can be logged now.
    pub(super) fn admits(&mut self, of: &str, now: Instant) -> bool {
        let most = self.per_second * BURST;
        if !self.known.contains_key(of) {
            self.make_room(now);
            self.known.insert(of.to_owned(), Rate { left: most, at: now, suppressed: 0 });
        }
        let Some(rate) = self.known.get_mut(of) else { return false };
        rate.left = (rate.left + now.duration_since(rate.at).as_secs_f64() * self.per_second).min(most);
        rate.at = now;
        let admitted = rate.left >= 1.0;
        if admitted {
            rate.left -= 1.0;
        } else {
            rate.suppressed += 1;
        }
        admitted
    }

    /// The subjects whose lines were suppressed since the last call, with the number of lines.
    pub(super) fn suppressed(&mut self) -> Vec<(String, u64)> {
        let counted = self.known.iter_mut().filter(|(_, rate)| rate.suppressed > 0);
        counted.map(|(of, rate)| (of.clone(), std::mem::take(&mut rate.suppressed))).collect()
    }

    fn make_room(&mut self, now: Instant) {
        const QUIET: Duration = Duration::from_secs(10);
        if self.known.len() >= COUNTED {
            self.known.retain(|_, rate| rate.suppressed > 0 || now.duration_since(rate.at) < QUIET);
        }
        if self.known.len() >= COUNTED {
            // A client is inventing names. Forget all subjects, but still report the suppressed lines.
            self.known.retain(|_, rate| rate.suppressed > 0);
            self.known.values_mut().for_each(|rate| rate.left = 0.0);
        }
        if self.known.len() >= COUNTED {
            self.known.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_its_own_rate_and_suppressed_lines_are_counted() {
        let (mut rates, start) = (Rates::new(10), Instant::now());
        let admitted = (0..100).filter(|_| rates.admits("loud", start)).count();
        assert_eq!(admitted, 20);
        assert!(rates.admits("quiet", start));
        assert_eq!(rates.suppressed(), [("loud".to_owned(), 80)]);
        assert_eq!(rates.suppressed(), []);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rates.admits("loud", later)).count(), 10);
    }

    #[test]
    fn the_number_of_counted_names_has_a_limit() {
        let (mut rates, start) = (Rates::new(1), Instant::now());
        for n in 0..20_000 {
            rates.admits(&n.to_string(), start);
        }
        assert!(rates.known.len() <= COUNTED);
    }
}
