//! What the server itself remembers of principals: their grants, what was revoked, and whether tokens are in use at all. It is
//! one small file, written whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use starlane_protocol::{Failure, Grant, key::key};

use crate::disk::{read, write};

/// The most principals that can have grants here.
const MOST_PRINCIPALS: usize = 10_000;
/// The most grants of one principal.
const MOST_GRANTS: usize = 256;

/// The registry and its file.
pub(super) struct Registry {
    file: PathBuf,
    pub(super) kept: Kept,
}

/// What is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Kept {
    /// Whether a token was ever made: then nobody is let in without one.
    pub(super) tokens_in_use: bool,
    /// By principal.
    pub(super) grants: BTreeMap<String, Vec<String>>,
    /// Tokens that are no longer good, until they would have ended by themselves.
    pub(super) revoked_tokens: BTreeMap<String, u64>,
    /// By principal: tokens made until then are no longer good.
    pub(super) revoked_until: BTreeMap<String, u64>,
}

impl Registry {
    /// Reads the registry of a data folder. Errors when its file is damaged, naming it.
    pub(super) fn open(data: &Path) -> Result<Self, String> {
        let file = data.join("principals.json");
        let kept = match read(&file).map_err(|error| error.to_string())? {
            None => Kept::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?,
        };
        Ok(Self { file, kept })
    }

    /// Changes the registry; what could not be written has not happened.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Kept) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut changed = self.kept.clone();
        let result = change(&mut changed)?;
        if changed != self.kept {
            let bytes = serde_json::to_vec_pretty(&changed).map_err(|error| Failure::internal(error.to_string()))?;
            write(&self.file, &bytes).map_err(|error| Failure::storage_full(error.to_string()))?;
            self.kept = changed;
        }
        Ok(result)
    }

    /// The grants of a principal, `{sub}` put in; a line that has become unreadable allows nothing.
    pub(super) fn grants(&self, principal: &str) -> impl Iterator<Item = Grant> {
        let lines = self.kept.grants.get(principal).into_iter().flatten();
        lines.filter_map(move |line| parse(line, principal).ok())
    }
}

impl Kept {
    /// Adds grants to a principal's.
    pub(super) fn add(&mut self, principal: &str, grants: &[String]) -> Result<(), Failure> {
        let full = |what: String| Failure::new(409, "conflict", what);
        if !self.grants.contains_key(principal) && self.grants.len() >= MOST_PRINCIPALS {
            return Err(full(format!("{MOST_PRINCIPALS} principals have grants already")));
        }
        let known = self.grants.entry(principal.to_owned()).or_default();
        for grant in grants {
            if !known.contains(grant) {
                known.push(grant.clone());
            }
        }
        if known.len() > MOST_GRANTS {
            return Err(full(format!("a principal has at most {MOST_GRANTS} grants: use patterns")));
        }
        Ok(())
    }

    /// Takes grants from a principal; with none named, all. Errors with 404 when it has not got one.
    pub(super) fn remove(&mut self, principal: &str, grants: &[String]) -> Result<(), Failure> {
        let missing = |what: &str| Failure::not_found(format!("`{principal}` has no grant {what}"));
        let known = self.grants.get_mut(principal).ok_or_else(|| missing("here"))?;
        for grant in grants {
            let at = known.iter().position(|line| line == grant).ok_or_else(|| missing(&format!("\"{grant}\"")))?;
            known.remove(at);
        }
        if grants.is_empty() || known.is_empty() {
            self.grants.remove(principal);
        }
        Ok(())
    }

    /// Forgets revocations of tokens that have ended by themselves.
    pub(super) fn prune(&mut self, now: u64, longest: u64) {
        self.revoked_tokens.retain(|_, until| *until > now);
        self.revoked_until.retain(|_, until| *until + longest > now);
    }
}

/// A grant of a principal, as it is written: `{sub}` stands for the principal's key.
pub(super) fn parse(line: &str, principal: &str) -> Result<Grant, Failure> {
    let whole = match line.contains("{sub}") {
        true => line.replace("{sub}", &key(principal).map_err(|error| Failure::malformed(error.to_string()))?),
        false => line.to_owned(),
    };
    Grant::parse(&whole, None).map_err(|error| Failure::malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(folder.path()).unwrap();
        let lines = ["request acme:profiles:profile:{sub}".to_owned(), "subscribe acme:**#*".to_owned()];
        registry.change(|kept| kept.add("ada@mesh.test", &lines)).unwrap();
        registry.change(|kept| kept.add("ada@mesh.test", &lines[..1])).unwrap();
        let again = Registry::open(folder.path()).unwrap();
        assert_eq!(again.kept, registry.kept);
        let grants: Vec<String> = again.grants("ada@mesh.test").map(|grant| grant.to_string()).collect();
        assert_eq!(grants, ["request acme:profiles:profile:ada_40mesh_2etest", "subscribe acme:**#*"]);
        assert_eq!(again.grants("grace").count(), 0);
    }

    #[test]
    fn what_is_taken_away_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(folder.path()).unwrap();
        let line = ["admin **".to_owned()];
        assert_eq!(registry.change(|kept| kept.remove("ada", &line)).unwrap_err().code, "not-found");
        registry.change(|kept| kept.add("ada", &line)).unwrap();
        registry.change(|kept| kept.remove("ada", &line)).unwrap();
        assert!(registry.kept.grants.is_empty());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("principals.json"), "{\"grants\": 1}").unwrap();
        assert!(Registry::open(folder.path()).err().unwrap().contains("principals.json"));
    }
}
