//! Links without a socket: they wait for another one, and what is kept for them is bounded for each principal and in total.

use crate::{
    admission::IS_DIALLED,
    link::{CloseCode, Goodbye, LinkConfig, LinkKey},
    maps::Map,
    node::Node,
    timers::Timer,
};

/// The links of peers that have no socket.
#[derive(Debug, Default)]
pub(crate) struct Detached {
    by_account: Map<String, Kept>,
    /// The accounts that exceed a bound.
    over: Map<String, ()>,
    bytes: usize,
    /// Whether a timer will look for links to end.
    is_due: bool,
}

/// The links without a socket of one account.
#[derive(Debug, Default)]
struct Kept {
    /// By the time when the socket was lost, with the bytes that are kept.
    links: Map<(u64, LinkKey), usize>,
    bytes: usize,
}

impl Detached {
    /// Notes what is kept for a link without a socket: none for one that has a socket again, or has ended.
    fn set(&mut self, account: &str, since: u64, key: LinkKey, bytes: Option<usize>, config: &LinkConfig) {
        let kept = self.by_account.entry(account.to_owned()).or_default();
        let before = match bytes {
            Some(bytes) => kept.links.insert((since, key), bytes),
            None => kept.links.remove(&(since, key)),
        };
        kept.bytes = kept.bytes + bytes.unwrap_or_default() - before.unwrap_or_default();
        self.bytes = self.bytes + bytes.unwrap_or_default() - before.unwrap_or_default();
        if kept.links.len() > config.detached_links || kept.bytes > config.detached_principal_bytes {
            self.over.insert(account.to_owned(), ());
        } else {
            self.over.remove(account);
        }
        if kept.links.is_empty() {
            self.by_account.remove(account);
        }
    }

    /// The oldest link of an account.
    pub(crate) fn oldest_of(&self, account: &str) -> Option<LinkKey> {
        self.by_account.get(account)?.links.keys().next().map(|(_, key)| *key)
    }

    fn is_over(&self, config: &LinkConfig) -> bool {
        !self.over.is_empty() || self.bytes > config.detached_bytes
    }

    /// The link that has to end, if a bound is exceeded: the oldest of an account above its bounds, or of the largest account.
    fn surplus(&self, config: &LinkConfig) -> Option<LinkKey> {
        let largest = || self.by_account.iter().max_by_key(|(_, kept)| kept.bytes).map(|(account, _)| account);
        let over = self.over.keys().next();
        self.oldest_of(over.or_else(|| (self.bytes > config.detached_bytes).then(largest).flatten())?)
    }
}

impl Node {
    /// A link of a peer lost its socket, and waits for another one; or the bytes that are kept for it have changed.
    pub(crate) fn keep_detached(&mut self, key: LinkKey) {
        self.set_detached(key, true);
    }

    /// A link of a peer has a socket again, or has ended.
    pub(crate) fn attached(&mut self, key: LinkKey) {
        self.set_detached(key, false);
    }

    fn set_detached(&mut self, key: LinkKey, is_detached: bool) {
        if !IS_DIALLED {
            return;
        }
        let Some(link) = self.links.get(&key).filter(|link| link.is_dialled()) else { return };
        let (since, bytes) = (link.detached_since(), is_detached.then_some(link.counted()));
        let config = &self.config.link;
        self.detached.set(link.session.principal.account(), since, key, bytes, config);
        // Links end soon, but not in the middle of what caused it.
        if !self.detached.is_due && self.detached.is_over(config) {
            self.detached.is_due = true;
            self.after(0, Timer::Detached);
        }
    }

    pub(crate) fn end_surplus(&mut self, now: u64) {
        while let Some(key) = self.detached.surplus(&self.config.link) {
            let reason = "too much is kept for links without a socket";
            self.end_link(now, key, Goodbye::new(CloseCode::Memory, reason));
            // Whatever became of it, it is not looked at again here.
            self.attached(key);
        }
        self.detached.is_due = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_link_of_the_account_that_exceeds_a_bound_ends_first() {
        let config = LinkConfig {
            detached_links: 2,
            detached_principal_bytes: 100,
            detached_bytes: 150,
            ..LinkConfig::default()
        };
        let mut detached = Detached::default();
        let set = |detached: &mut Detached, account: &str, key: u64, bytes: Option<usize>| {
            detached.set(account, key, LinkKey(key), bytes, &config);
            detached.surplus(&config).map(|key| key.0)
        };
        for (account, key, bytes) in [("ada", 1, 10), ("grace", 2, 20), ("grace", 3, 30)] {
            assert_eq!(set(&mut detached, account, key, Some(bytes)), None);
        }
        assert_eq!(set(&mut detached, "grace", 4, Some(0)), Some(2), "three links");
        assert_eq!(set(&mut detached, "grace", 2, None), None);
        assert_eq!(set(&mut detached, "ada", 1, Some(101)), Some(1), "too many bytes");
        assert_eq!(set(&mut detached, "ada", 1, Some(90)), None);
        assert_eq!(set(&mut detached, "grace", 3, Some(80)), Some(1), "ada has most of all");
        for (account, key) in [("ada", 1), ("grace", 3), ("grace", 4), ("grace", 4), ("nobody", 5)] {
            set(&mut detached, account, key, None);
        }
        assert_eq!((detached.bytes, detached.by_account.len(), detached.over.len()), (0, 0, 0));
    }
}
