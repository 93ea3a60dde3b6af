//! The maps of a node that grow with the contents of a host: actors, requests, links, subscriptions, timers.
//!
//! On a server they grow to many thousands, and addresses and topics come in any order: both insertion and removal must be cheap,
//! so they are B-trees. In a page there are one link and some hundred actors, and B-trees would add 27 KB (gzip, measured) to the
//! Wasm that every visitor loads, so there they are sorted vectors: ids rise, so most insertions are at the end. Both keep their
//! keys in order, so a node decides the same in both.

#[cfg(not(target_family = "wasm"))]
pub(crate) type Map<K, V> = std::collections::BTreeMap<K, V>;
#[cfg(target_family = "wasm")]
pub(crate) type Map<K, V> = litemap::LiteMap<K, V>;

/// Several values for each key, each once and in order.
#[derive(Debug)]
pub(crate) struct Index<K: Ord, V: Ord>(Map<K, Map<V, ()>>);

impl<K: Ord, V: Ord> Default for Index<K, V> {
    fn default() -> Self {
        Self(Map::new())
    }
}

impl<K: Ord, V: Ord + Clone> Index<K, V> {
    /// Adds a value. Returns true if it is the key's first.
    pub(crate) fn add(&mut self, key: K, value: V) -> bool {
        if let Some(values) = self.0.get_mut(&key) {
            values.insert(value, ());
            return false;
        }
        let mut values = Map::new();
        values.insert(value, ());
        self.0.insert(key, values);
        true
    }

    /// Removes a value. Returns true if it was the key's last.
    pub(crate) fn remove(&mut self, key: &K, value: &V) -> bool {
        let Some(values) = self.0.get_mut(key) else { return false };
        values.remove(value);
        if values.is_empty() {
            self.0.remove(key);
            return true;
        }
        false
    }

    /// Removes a key and returns its values.
    pub(crate) fn take(&mut self, key: &K) -> Vec<V> {
        let values = self.of(key);
        self.0.remove(key);
        values
    }

    /// The values of a key.
    pub(crate) fn of(&self, key: &K) -> Vec<V> {
        self.0.get(key).map_or_else(Vec::new, |values| values.keys().cloned().collect())
    }

    /// The values of a key, if it has any.
    pub(crate) fn get(&self, key: &K) -> Option<&Map<V, ()>> {
        self.0.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

/// Decides when to sweep a map that keeps unused entries: whenever it has doubled since the last sweep. So all sweeps together look
/// at no more entries than were added, however many they keep.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The map is swept when it has more entries than this.
    over: usize,
    least: usize,
    /// The number of examined entries, for tests.
    #[cfg(test)]
    pub(crate) looked_at: usize,
}

impl Sweep {
    /// For a map that is not swept while it has at most `least` entries.
    pub(crate) fn over(least: usize) -> Self {
        Self {
            over: least,
            least,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// Keeps only entries in use, if a sweep is due.
    pub(crate) fn sweep<K: Ord, V>(&mut self, map: &mut Map<K, V>, mut in_use: impl FnMut(&V) -> bool) {
        if map.len() <= self.over {
            return;
        }
        #[cfg(test)]
        {
            self.looked_at += map.len();
        }
        map.retain(|_, value| in_use(value));
        self.over = self.least.max(2 * map.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_look_at_each_added_entry_at_most_once() {
        let (mut map, mut sweep) = (Map::new(), Sweep::over(10));
        let mut most = 0;
        for n in 0..10_000 {
            sweep.sweep(&mut map, |used| *used);
            map.insert(n, n < 5_000);
            most = most.max(map.len());
        }
        assert!(sweep.looked_at <= 20_000, "{}", sweep.looked_at);
        assert!(most <= 10_241, "{most}");
        map.values_mut().for_each(|used| *used = false);
        (0..2_000).for_each(|n| {
            map.insert(20_000 + n, false);
            sweep.sweep(&mut map, |used| *used);
        });
        assert!(map.len() < 2_000, "unused entries are dropped: {}", map.len());
    }

    #[test]
    fn index_returns_only_the_values_of_a_key() {
        let mut index = Index::default();
        assert!(index.add("a", 2) && !index.add("a", 1) && !index.add("a", 2) && index.add("b", 7));
        assert_eq!((index.of(&"a"), index.of(&"c")), (vec![1, 2], vec![]));
        assert!(!index.remove(&"a", &2) && index.remove(&"a", &1) && !index.remove(&"a", &1));
        assert_eq!(index.take(&"b"), [7]);
        assert_eq!(index.keys().count(), 0, "a key without values is not kept");
    }
}
