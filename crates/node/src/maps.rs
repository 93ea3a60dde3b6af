//! The maps of a node that grow with what a host has: actors, requests, links, subscriptions, timers.
//!
//! On a server they grow to many thousands, and addresses and topics come in any order: both insertion and removal must be cheap,
//! so they are B-trees. In a page there are one link and some hundred actors, and B-trees would add 27 KB (gzip, measured) to the
//! Wasm that every visitor loads, so there they are sorted vectors: ids rise, so most insertions are at the end. Both keep their
//! keys in order, so a node decides the same in both.

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
        if let Some(values) = self.0.get_mut(&key) {
            values.insert(value, ());
            return false;
        }
        let mut values = Map::new();
        values.insert(value, ());
        self.0.insert(key, values);
        true
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
