//! Principals: the senders of messages, and their grants.

use std::sync::Arc;

use crate::{Address, Failure, Grant, OWN_SPACE, Topic, Verb};

/// A sender of messages: its name, and its grants on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principal(Arc<Known>);

#[derive(Debug, PartialEq, Eq, Default)]
struct Known {
    name: String,
    grants: Vec<Grant>,
    /// The account for its quota, if it is not its name.
    account: Option<String>,
    proof: String,
}

impl Principal {
    /// Makes a principal with grants.
    pub fn new(name: &str, grants: impl IntoIterator<Item = Grant>) -> Self {
        Self::proven(name, grants, String::new())
    }

    /// The same with a note about its token. Only the code that authenticates the principal uses the note.
    pub fn proven(name: &str, grants: impl IntoIterator<Item = Grant>, proof: String) -> Self {
        Self(Arc::new(Known { name: name.to_owned(), grants: grants.into_iter().collect(), account: None, proof }))
    }

    /// Makes a principal without grants on this host: another host has checked them, or the `allow` of its app applies.
    pub fn named(name: &str) -> Self {
        Self::new(name, [])
    }

    /// Makes a principal with another account. All visitors of a route are the same principal, but each has its own
    /// quota.
    pub fn on_account(name: &str, account: &str) -> Self {
        Self(Arc::new(Known {
            name: name.to_owned(),
            grants: Vec::new(),
            account: Some(account.to_owned()),
            proof: String::new(),
        }))
    }

    /// The account for its quota.
    pub fn account(&self) -> &str {
        self.0.account.as_deref().unwrap_or(self.name())
    }

    /// Its name; empty for an anonymous principal.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The note about its token; empty without one.
    pub fn proof(&self) -> &str {
        &self.0.proof
    }

    /// Its grants, beside those of its app.
    pub fn grants(&self) -> &[Grant] {
        &self.0.grants
    }

    /// Returns whether a grant allows `verb` on an address. `operation` is the operation of a message, and "" for other
    /// verbs.
    pub fn may(&self, verb: Verb, address: &Address, operation: &str) -> bool {
        self.grants().iter().any(|grant| grant.allows(verb, address, operation))
    }

    /// The same, with an error: 403 `no-grant`, which names the missing grant.
    pub fn permit(&self, verb: Verb, address: &Address, operation: &str) -> Result<(), Failure> {
        if self.may(verb, address, operation) {
            Ok(())
        } else {
            Err(self.lacks(address, &grant_for(verb, address, operation)))
        }
    }

    /// Checks that a grant allows to subscribe to a topic. Topics of the host's own resources need `admin`, except
    /// those of `starlane:apps`: a principal that may launch anything gets changes of apps. Returns the error 403
    /// `no-grant`.
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
            "" => "an anonymous caller has no permission for that".to_owned(),
            name => format!("`{name}` has no permission for that"),
        };
        Failure::no_grant(format!("{who}: it needs the grant \"{grant}\"")).at(address)
    }
}

/// Returns the text of the grant that would allow this.
pub fn grant_for(verb: Verb, address: &Address, operation: &str) -> String {
    let any_host = if address.host().is_some() { "~*::" } else { "" };
    let text = format!("{} {any_host}{} {operation}", verb.word(), address.without_host());
    text.trim_end().to_owned()
}
