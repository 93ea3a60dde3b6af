//! The maps of a node that grow with what a host has: actors, requests, links, subscriptions, timers.
//!
//! On a server they grow to many thousands and keys come in any order, so both insertion and removal must be cheap: a B-tree.
//! In a page there are one link and some hundred actors, and each kind of tree would add about 1 KB to the Wasm that every
//! visitor loads: a sorted vector. Both keep their keys in order, so a node decides the same in both.

#[cfg(not(target_family = "wasm"))]
pub(crate) type Map<K, V> = std::collections::BTreeMap<K, V>;
#[cfg(target_family = "wasm")]
pub(crate) type Map<K, V> = litemap::LiteMap<K, V>;

/// Many values of a key, each once and in order.
#[derive(Debug)]
pub(crate) struct Index<K: Ord, V: Ord>(Map<K, Map<V, ()>>);

impl<K: Ord, V: Ord> Default for Index<K, V> {
    fn default() -> Self {
        Self(Map::new())
    }
}

impl<K: Ord, V: Ord + Clone> Index<K, V> {
    /// Adds a value. True if it is the key's first.
    pub(crate) fn add(&mut self, key: K, value: V) -> bool {
        let values = self.0.entry(key).or_default();
        let first = values.is_empty();
        values.insert(value, ());
        first
    }

    /// Removes a value. True if it was the key's last.
    pub(crate) fn remove(&mut self, key: &K, value: &V) -> bool {
        let Some(values) = self.0.get_mut(key) else { return false };
        values.remove(value);
        if values.is_empty() {
            self.0.remove(key);
            return true;
        }
        false
    }

    /// Removes a key and gives its values.
    pub(crate) fn take(&mut self, key: &K) -> Vec<V> {
        self.0.remove(key).map_or_else(Vec::new, |values| values.into_iter().map(|(value, ())| value).collect())
    }

    /// The values of a key.
    pub(crate) fn of(&self, key: &K) -> Vec<V> {
        self.each(key).cloned().collect()
    }

    /// Whether a key has a value.
    pub(crate) fn has(&self, key: &K, value: &V) -> bool {
        self.0.get(key).is_some_and(|values| values.contains_key(value))
    }

    /// The values of a key, one after the other.
    pub(crate) fn each(&self, key: &K) -> impl Iterator<Item = &V> {
        self.0.get(key).into_iter().flat_map(|values| values.keys())
    }

    /// How many values a key has.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, |values| values.len())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_the_values_of_a_key_alone() {
        let mut index = Index::default();
        assert!(index.add("a", 2) && !index.add("a", 1) && !index.add("a", 2) && index.add("b", 7));
        assert_eq!((index.of(&"a"), index.of(&"c")), (vec![1, 2], vec![]));
        assert!(!index.remove(&"a", &2) && index.remove(&"a", &1) && !index.remove(&"a", &1));
        assert_eq!(index.take(&"b"), [7]);
        assert_eq!(index.keys().count(), 0, "a key without values is not kept");
    }
}
