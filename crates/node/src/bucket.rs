//! Rates: so much a second, and in a burst as much as in a second.

/// What may still come, of something that is limited to a rate.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// What may come at once, in thousandths.
    credit: u64,
    /// When the credit was counted last, in milliseconds.
    filled: u64,
}

impl Default for Bucket {
    /// A full one.
    fn default() -> Self {
        Self { credit: u64::MAX, filled: 0 }
    }
}

impl Bucket {
    /// Takes `count` if a rate of `rate` a second allows it. `now` is a time in milliseconds. Returns false, and takes nothing, if the
    /// rate does not allow it.
    pub(crate) fn take(&mut self, now: u64, count: u64, rate: u64) -> bool {
        self.take_leaving(now, count, rate, 0, 0)
    }

    /// The same of a bucket that holds so much more as a reserve, if `left` of it is left then.
    pub(crate) fn take_leaving(&mut self, now: u64, count: u64, rate: u64, reserve: u64, left: u64) -> bool {
        // A millisecond is worth a thousandth of what a second is: `rate` thousandths of one.
        let more = now.saturating_sub(self.filled).saturating_mul(rate);
        self.credit = self.credit.saturating_add(more).min(rate.saturating_add(reserve).saturating_mul(1_000));
        self.filled = now;
        let rest = self.credit.checked_sub(count.saturating_mul(1_000));
        let rest = rest.filter(|rest| *rest >= left.saturating_mul(1_000));
        self.credit = rest.unwrap_or(self.credit);
        rest.is_some()
    }

    /// When `take` was called last, in milliseconds.
    pub(crate) fn last(&self) -> u64 {
        self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_a_second_of_the_rate_and_what_is_refused_costs_nothing() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(5, 10, 10) && !bucket.take(5, 1, 10));
        assert!(!bucket.take(305, 4, 10) && bucket.take(305, 3, 10));
        assert!(!bucket.take(400_000, 11, 10) && bucket.take(400_000, 10, 10));
        assert!(!bucket.take(400_000, u64::MAX, u64::MAX) || bucket.take(400_000, 0, 10));
        assert!(!Bucket::default().take(7, 1, 0));
    }

    #[test]
    fn reserve_is_for_those_who_may_use_it_and_is_filled_first() {
        let mut bucket = Bucket::default();
        assert!(bucket.take_leaving(5, 10, 10, 10, 10) && !bucket.take_leaving(5, 1, 10, 10, 10));
        assert!(bucket.take_leaving(5, 5, 10, 10, 0));
        assert!(!bucket.take_leaving(505, 1, 10, 10, 10) && bucket.take_leaving(605, 1, 10, 10, 10));
        assert!(bucket.take_leaving(605, 10, 10, 10, 0) && !bucket.take_leaving(605, 1, 10, 10, 0));
    }
}
