//! Principals: who asks, and what that allows.

use std::sync::Arc;

use crate::{Address, Failure, Grant, OWN_SPACE, Topic, Verb};

/// Somebody that messages come from: a name, and what it may do on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principal(Arc<Known>);

#[derive(Debug, PartialEq, Eq, Default)]
struct Known {
    name: String,
    grants: Vec<Grant>,
    /// Under what its use is counted, if that is not its name.
    account: Option<String>,
    proof: String,
}

impl Principal {
    /// Somebody with grants.
    pub fn new(name: &str, grants: impl IntoIterator<Item = Grant>) -> Self {
        Self::proven(name, grants, String::new())
    }

    /// The same, with a note of what it showed: for whoever has authenticated it, who alone reads that again.
    pub fn proven(name: &str, grants: impl IntoIterator<Item = Grant>, proof: String) -> Self {
        Self(Arc::new(Known { name: name.to_owned(), grants: grants.into_iter().collect(), account: None, proof }))
    }

    /// Somebody whose grants are not this host's business: another host has checked them, or its app's `allow` says.
    pub fn named(name: &str) -> Self {
        Self::new(name, [])
    }

    /// Somebody whose use is counted under another name: a route's caller is the same for all visitors, and each has a share.
    pub fn on_account(name: &str, account: &str) -> Self {
        Self(Arc::new(Known {
            name: name.to_owned(),
            grants: Vec::new(),
            account: Some(account.to_owned()),
            proof: String::new(),
        }))
    }

    /// Under what its use is counted.
    pub fn account(&self) -> &str {
        self.0.account.as_deref().unwrap_or(self.name())
    }

    /// Its name; empty is anonymous.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The note of what it showed; empty without one.
    pub fn proof(&self) -> &str {
        &self.0.proof
    }

    /// What it may do, beside what its app allows.
    pub fn grants(&self) -> &[Grant] {
        &self.0.grants
    }

    /// Whether a grant allows `verb` on an address; `operation` is that of a message, and "" for other verbs.
    pub fn may(&self, verb: Verb, address: &Address, operation: &str) -> bool {
        self.grants().iter().any(|grant| grant.allows(verb, address, operation))
    }

    /// The same, as an error: 403 `no-grant`, and what would have to be granted.
    pub fn permit(&self, verb: Verb, address: &Address, operation: &str) -> Result<(), Failure> {
        if self.may(verb, address, operation) {
            Ok(())
        } else {
            Err(self.lacks(address, &grant_for(verb, address, operation)))
        }
    }

    /// Whether a grant allows to subscribe to a topic. What a host tells of itself is for its admins, but for its apps: who may
    /// launch anything is told when one changes. Errors with 403 `no-grant`.
    pub fn permit_topic(&self, topic: &Topic) -> Result<(), Failure> {
        let launches = |grant: &Grant| matches!(grant.verb(), Verb::Launch | Verb::Deploy | Verb::Admin);
        let address = topic.address.without_host();
        let (own, of_apps) = (address.space() == OWN_SPACE, address.as_str() == "starlane:apps");
        let allows = |grant: &Grant| match own {
            true if of_apps => launches(grant) || grant.allows_topic(topic),
            true => grant.verb() == Verb::Admin && grant.allows_topic(topic),
            false => grant.allows_topic(topic),
        };
        if self.grants().iter().any(allows) {
            return Ok(());
        }
        Err(self.lacks(&topic.address, &format!("subscribe {topic}")))
    }

    fn lacks(&self, address: &Address, grant: &str) -> Failure {
        let who = match self.name() {
            "" => "without a token nobody may do that here".to_owned(),
            name => format!("`{name}` may not do that here"),
        };
        Failure::no_grant(format!("{who}: it needs the grant \"{grant}\"")).at(address)
    }
}

/// The grant that would allow it, as it is written.
pub fn grant_for(verb: Verb, address: &Address, operation: &str) -> String {
    let any_host = if address.host().is_some() { "~*::" } else { "" };
    let text = format!("{} {any_host}{} {operation}", verb.word(), address.without_host());
    text.trim_end().to_owned()
}
