//! Rate limits: a number per second. A burst may have as much as one second.

/// The remaining credit of something that has a rate limit.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// The credit, in thousandths.
    credit: u64,
    /// When the credit was last updated, in milliseconds.
    filled: u64,
}

impl Default for Bucket {
    /// A full bucket.
    fn default() -> Self {
        Self { credit: u64::MAX, filled: 0 }
    }
}

impl Bucket {
    /// Takes `count` if a rate of `rate` per second allows it. `now` is a time in milliseconds. Returns false, and takes nothing,
    /// if the rate does not allow it.
    pub(crate) fn take(&mut self, now: u64, count: u64, rate: u64) -> bool {
        self.take_leaving(now, count, rate, 0, 0)
    }

    /// Like `take`, with a `reserve` on top of the rate. At least `left` of it must remain afterwards.
    pub(crate) fn take_leaving(&mut self, now: u64, count: u64, rate: u64, reserve: u64, left: u64) -> bool {
        // One millisecond adds a thousandth of `rate`.
        let more = now.saturating_sub(self.filled).saturating_mul(rate);
        self.credit = self.credit.saturating_add(more).min(rate.saturating_add(reserve).saturating_mul(1_000));
        self.filled = now;
        let rest = self.credit.checked_sub(count.saturating_mul(1_000));
        let rest = rest.filter(|rest| *rest >= left.saturating_mul(1_000));
        self.credit = rest.unwrap_or(self.credit);
        rest.is_some()
    }

    /// When `take` was last called, in milliseconds.
    pub(crate) fn last(&self) -> u64 {
        self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_one_second_of_the_rate_and_refusals_cost_nothing() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(5, 10, 10) && !bucket.take(5, 1, 10));
        assert!(!bucket.take(305, 4, 10) && bucket.take(305, 3, 10));
        assert!(!bucket.take(400_000, 11, 10) && bucket.take(400_000, 10, 10));
        assert!(!bucket.take(400_000, u64::MAX, u64::MAX) || bucket.take(400_000, 0, 10));
        assert!(!Bucket::default().take(7, 1, 0));
    }

    #[test]
    fn reserve_needs_permission_and_fills_first() {
        let mut bucket = Bucket::default();
        assert!(bucket.take_leaving(5, 10, 10, 10, 10) && !bucket.take_leaving(5, 1, 10, 10, 10));
        assert!(bucket.take_leaving(5, 5, 10, 10, 0));
        assert!(!bucket.take_leaving(505, 1, 10, 10, 10) && bucket.take_leaving(605, 1, 10, 10, 10));
        assert!(bucket.take_leaving(605, 10, 10, 10, 0) && !bucket.take_leaving(605, 1, 10, 10, 0));
    }
}
