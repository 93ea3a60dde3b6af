//! Links without a socket: they wait for another one, and what is kept for them is bounded for each principal and in total.

use crate::{
    link::{CloseCode, Goodbye, LinkConfig, LinkKey},
    maps::Map,
    node::Node,
    timers::Timer,
};

/// The links of peers that have no socket.
#[derive(Debug, Default)]
pub(crate) struct Detached {
    /// When the socket was lost, of each link: the oldest first.
    by_age: Map<(u64, LinkKey), String>,
    by_account: Map<String, Kept>,
    bytes: usize,
    /// Whether a timer will look for links to end.
    is_due: bool,
}

/// What is kept for the links without a socket of one account.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Kept {
    links: usize,
    bytes: usize,
}

impl Kept {
    fn is_over(&self, config: &LinkConfig) -> bool {
        self.links > config.detached_links || self.bytes > config.detached_principal_bytes
    }
}

impl Detached {
    fn add(&mut self, since: u64, key: LinkKey, account: &str, bytes: usize) {
        self.by_age.insert((since, key), account.to_owned());
        self.by_account.entry(account.to_owned()).or_default().links += 1;
        self.change(account, 0, bytes);
    }

    fn remove(&mut self, since: u64, key: LinkKey, bytes: usize) {
        let Some(account) = self.by_age.remove(&(since, key)) else { return };
        self.change(&account, bytes, 0);
        if let Some(kept) = self.by_account.get_mut(&account) {
            kept.links -= 1;
            if kept.links == 0 {
                self.by_account.remove(&account);
            }
        }
    }

    /// The bytes of a link were `before` and are `now`.
    fn change(&mut self, account: &str, before: usize, now: usize) {
        if let Some(kept) = self.by_account.get_mut(account) {
            kept.bytes = (kept.bytes + now).saturating_sub(before);
            self.bytes = (self.bytes + now).saturating_sub(before);
        }
    }

    /// The oldest link of an account.
    pub(crate) fn oldest_of(&self, account: &str) -> Option<LinkKey> {
        self.by_age.iter().find(|(_, owner)| *owner == account).map(|((_, key), _)| *key)
    }

    /// Whether a change of an account exceeds a bound.
    fn is_over(&self, account: &str, config: &LinkConfig) -> bool {
        self.bytes > config.detached_bytes || self.by_account.get(account).is_some_and(|kept| kept.is_over(config))
    }

    /// The link that has to end, if a bound is exceeded: the oldest of an account above its bounds, or of the largest account.
    fn surplus(&self, config: &LinkConfig) -> Option<LinkKey> {
        let over = self.by_account.iter().find(|(_, kept)| kept.is_over(config));
        let largest = || self.by_account.iter().max_by_key(|(_, kept)| kept.bytes);
        let (account, _) = over.or_else(|| (self.bytes > config.detached_bytes).then(largest).flatten())?;
        self.oldest_of(account)
    }
}

impl Node {
    /// A link of a peer lost its socket, and waits for another one.
    pub(crate) fn keep_detached(&mut self, key: LinkKey) {
        self.count_bytes(key);
        let Some(link) = self.links.get(&key).filter(|link| link.is_dialled()) else { return };
        let account = link.session.principal.account().to_owned();
        self.detached.add(link.detached_since(), key, &account, link.counted());
        self.bound_detached(&account);
    }

    /// The bytes of a link without a socket were `before` and are `now`.
    pub(crate) fn count_detached(&mut self, account: &str, before: usize, now: usize) {
        self.detached.change(account, before, now);
        self.bound_detached(account);
    }

    /// A link of a peer has a socket again, or has ended.
    pub(crate) fn attached(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get(&key).filter(|link| link.is_dialled()) {
            self.detached.remove(link.detached_since(), key, link.counted());
        }
    }

    /// Ends links soon if too much is kept for those without a socket.
    fn bound_detached(&mut self, account: &str) {
        if !self.detached.is_due && self.detached.is_over(account, &self.config.link) {
            self.detached.is_due = true;
            self.after(0, Timer::Detached);
        }
    }

    pub(crate) fn end_surplus(&mut self, now: u64) {
        self.detached.is_due = false;
        while let Some(key) = self.detached.surplus(&self.config.link) {
            let reason = "too much is kept for links without a socket";
            self.end_link(now, key, Goodbye::new(CloseCode::Memory, reason));
            // An end that did not happen must not be asked for again and again.
            self.attached(key);
        }
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
        for (since, key, account, bytes) in [(1, 1, "ada", 10), (2, 2, "grace", 20), (3, 3, "grace", 30)] {
            detached.add(since, LinkKey(key), account, bytes);
        }
        assert_eq!(detached.surplus(&config), None);
        detached.add(4, LinkKey(4), "grace", 0);
        assert_eq!(detached.surplus(&config), Some(LinkKey(2)), "three links");
        detached.remove(2, LinkKey(2), 20);
        assert_eq!(detached.surplus(&config), None);
        detached.change("ada", 10, 101);
        assert_eq!(detached.surplus(&config), Some(LinkKey(1)), "too many bytes");
        detached.change("ada", 101, 90);
        detached.change("grace", 30, 80);
        assert_eq!(detached.surplus(&config), Some(LinkKey(1)), "ada has most of all");
        for (since, key, bytes) in [(1, 1, 90), (3, 3, 80), (4, 4, 0), (4, 4, 0)] {
            detached.remove(since, LinkKey(key), bytes);
        }
        assert_eq!((detached.bytes, detached.by_age.len(), detached.by_account.len()), (0, 0, 0));
    }
}
