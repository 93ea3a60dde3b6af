//! Pseudo-random numbers with a fixed sequence: a test that fails, fails again.

/// A generator (SplitMix64). It is not for secrets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with the sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, or 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    /// One of the values of a list.
    ///
    /// # Panics
    ///
    /// If the list is empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from.get(self.below(from.len())).copied().unwrap_or_else(|| unreachable!("the list to pick from is empty"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_each_time_and_all_of_them() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!((0..10).all(|wanted| numbers(0).contains(&wanted)));
        assert_eq!(Random::new(7).below(0), 0);
    }
}
