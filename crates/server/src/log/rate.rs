//! How many lines a principal, an app or a place in the code may log a second, and how many were suppressed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How many are counted at a time; with more, those that are quiet are forgotten.
const COUNTED: usize = 4_096;
/// How many seconds of lines may come at once.
const BURST: f64 = 2.0;

/// Counts lines by whom they are about.
pub(super) struct Rates {
    per_second: f64,
    known: HashMap<String, Rate>,
}

struct Rate {
    /// Lines that may still be logged, as of `at`.
    left: f64,
    at: Instant,
    suppressed: u64,
}

impl Rates {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second: per_second as f64, known: HashMap::new() }
    }

    /// Whether one more line may be logged now.
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

    /// Whose lines were suppressed since this was last asked, and how many.
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
            // Somebody makes up names: all of them begin again, but what was suppressed is still told.
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
    fn each_has_its_own_rate_and_what_is_over_is_counted() {
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
    fn made_up_names_stay_bounded() {
        let (mut rates, start) = (Rates::new(1), Instant::now());
        for n in 0..20_000 {
            rates.admits(&n.to_string(), start);
        }
        assert!(rates.known.len() <= COUNTED);
    }
}
