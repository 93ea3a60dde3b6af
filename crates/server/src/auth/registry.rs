//! The server's registry of principals: their grants, the revocations, and whether tokens are in use. It is one small file that
//! is always written as a whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use starlane_protocol::{Failure, Grant, key::key};

use super::namespace;
use crate::disk::{read, write};

/// The maximum number of principals with grants.
const MAX_PRINCIPALS: usize = 10_000;
/// The maximum number of grants of one principal.
const MAX_GRANTS_PER_PRINCIPAL: usize = 256;
/// The maximum number of principals with grants in the namespace of one space, and the maximum size of all their grants.
const MAX_PRINCIPALS_PER_SPACE: usize = 1_000;
const MAX_GRANT_BYTES_PER_SPACE: usize = 1 << 20;
/// The maximum number of revocations for the namespace of one space. Above it, all tokens of the space created so far end.
const MAX_REVOCATIONS_PER_SPACE: usize = 1_000;
/// The maximum number of remembered tokens. Above it, the tokens that expire first are forgotten.
const MAX_ISSUED: usize = 10_000;
/// The same limit for the tokens of one space's subjects.
const MAX_ISSUED_PER_SPACE: usize = 2_000;

/// The registry and its file.
pub(super) struct Registry {
    file: PathBuf,
    pub(super) kept: Kept,
}

/// The content of the file.
///
/// The validity of a token does not depend on a correct clock: each token contains the generation of its creation, and a
/// revocation names generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Kept {
    /// Whether a token was ever created: then every client needs one.
    pub(super) tokens_in_use: bool,
    /// By principal.
    pub(super) grants: BTreeMap<String, Vec<String>>,
    /// The generation of new tokens. Tokens of format 1 have generation 0.
    pub(super) generation: u64,
    /// By a token's id: its subject. Tokens of earlier versions are not in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) issued: BTreeMap<String, Issued>,
    /// By a token's id: its expiry, in seconds since 1970. Earlier versions also wrote `ID@NAMESPACE`, which applies only to
    /// subjects of that namespace.
    pub(super) revoked_tokens: BTreeMap<String, u64>,
    /// By principal: its tokens up to this generation are revoked.
    pub(super) revoked_generations: BTreeMap<String, u64>,
    /// By principal: its tokens of generation 0 that were created until this time are revoked.
    pub(super) revoked_before: BTreeMap<String, u64>,
    /// By space: the tokens of its namespace up to this generation are revoked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) revoked_spaces: BTreeMap<String, u64>,
    /// Revocations that were forgotten because their tokens had expired.
    pub(super) forgotten: Vec<Forgotten>,
    /// All tokens below this generation are revoked.
    pub(super) first_generation: u64,
}

/// An issued token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issued {
    pub(super) subject: String,
    ends: u64,
}

/// A forgotten set of revocations: for tokens up to this generation and this expiry, the server no longer knows whether they were
/// revoked. They are refused, in case the clock goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgotten {
    generation: u64,
    ends: u64,
}

/// The properties of a token that revocations are compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenFacts<'a> {
    pub(super) id: &'a str,
    pub(super) subject: &'a str,
    pub(super) generation: u64,
    pub(super) issued: u64,
    pub(super) ends: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            tokens_in_use: false,
            grants: BTreeMap::new(),
            generation: 1,
            issued: BTreeMap::new(),
            revoked_tokens: BTreeMap::new(),
            revoked_generations: BTreeMap::new(),
            revoked_before: BTreeMap::new(),
            revoked_spaces: BTreeMap::new(),
            forgotten: Vec::new(),
            first_generation: 0,
        }
    }
}

impl Registry {
    /// Reads the registry of a data folder. Errors when its file is damaged; the error names the file.
    pub(super) fn open(data: &Path) -> Result<Self, String> {
        let file = data.join("principals.json");
        let kept = match read(&file).map_err(|error| error.to_string())? {
            None => Kept::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?,
        };
        Ok(Self { file, kept })
    }

    /// Changes the registry. A change that cannot be written is undone. Also returns whether anything changed.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Kept) -> Result<T, Failure>,
    ) -> Result<(T, bool), Failure> {
        let mut changed = self.kept.clone();
        let result = change(&mut changed)?;
        let is_other = changed != self.kept;
        if is_other {
            let bytes = serde_json::to_vec_pretty(&changed).map_err(|error| Failure::internal(error.to_string()))?;
            write(&self.file, &bytes).map_err(|error| Failure::storage_full(error.to_string()))?;
            self.kept = changed;
        }
        Ok((result, is_other))
    }

    /// The grants of a principal, with `{sub}` replaced. An unreadable line allows nothing.
    pub(super) fn grants(&self, principal: &str) -> impl Iterator<Item = Grant> {
        let lines = self.kept.grants.get(principal).into_iter().flatten();
        lines.filter_map(move |line| parse(line, principal).ok())
    }
}

impl Kept {
    /// Adds grants to a principal's.
    pub(super) fn add(&mut self, principal: &str, grants: &[String]) -> Result<(), Failure> {
        let full = |what: String| Failure::new(409, "conflict", what);
        if !self.grants.contains_key(principal) && self.grants.len() >= MAX_PRINCIPALS {
            return Err(full(format!(
                "the maximum of {MAX_PRINCIPALS} principals with grants is reached; remove grants"
            )));
        }
        if let Some(space) = space_of(principal) {
            let of_space = self.grants.iter().filter(|(name, _)| space_of(name) == Some(space));
            let (mut count, mut bytes) = (0, grants.iter().map(String::len).sum::<usize>());
            for (name, lines) in of_space {
                count += usize::from(name != principal);
                bytes += lines.iter().map(String::len).sum::<usize>();
            }
            if count >= MAX_PRINCIPALS_PER_SPACE || bytes > MAX_GRANT_BYTES_PER_SPACE {
                return Err(full(format!(
                    "the namespace `{space}/` has {count} other principals with grants ({bytes} bytes in total); the maximum is \
                     {MAX_PRINCIPALS_PER_SPACE} and {MAX_GRANT_BYTES_PER_SPACE}: use patterns, or remove grants"
                )));
            }
        }
        let known = self.grants.entry(principal.to_owned()).or_default();
        for grant in grants {
            if !known.contains(grant) {
                known.push(grant.clone());
            }
        }
        if known.len() > MAX_GRANTS_PER_PRINCIPAL {
            return Err(full(format!("a principal can have at most {MAX_GRANTS_PER_PRINCIPAL} grants: use patterns")));
        }
        Ok(())
    }

    /// Removes grants from a principal, all if none is named. Errors with 404 when it does not have one of them.
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

    /// The unreadable grants, which allow nothing.
    pub(super) fn faults(&self) -> Vec<String> {
        let lines = self.grants.iter().flat_map(|(name, lines)| lines.iter().map(move |line| (name, line)));
        let broken =
            lines.filter_map(|(name, line)| Some(format!("a grant of `{name}`: {}", parse(line, name).err()?.message)));
        broken.collect()
    }

    /// Whether a token was revoked, or was possibly revoked.
    pub(super) fn is_revoked(&self, token: TokenFacts<'_>) -> bool {
        let TokenFacts { generation, ends, .. } = token;
        self.is_known_revoked(token)
            || self.forgotten.iter().any(|gone| generation <= gone.generation && ends <= gone.ends)
    }

    /// The same without the forgotten revocations, because these only concern tokens that have expired.
    pub(super) fn is_known_revoked(&self, token: TokenFacts<'_>) -> bool {
        let TokenFacts { id, subject, generation, issued, .. } = token;
        let mut scoped = namespace::namespaces_of(subject).map(|namespace| format!("{id}@{namespace}"));
        generation < self.first_generation
            || self.revoked_tokens.contains_key(id)
            || scoped.any(|key| self.revoked_tokens.contains_key(&key))
            || self.revoked_generations.get(subject).is_some_and(|revoked| generation <= *revoked)
            || space_of(subject).is_some_and(|space| {
                // A revocation by an admin of all spaces applies to each space.
                let revoked = [space, ""].into_iter().filter_map(|space| self.revoked_spaces.get(space)).max();
                revoked.is_some_and(|revoked| generation <= *revoked)
            })
            || (generation == 0 && self.revoked_before.get(subject).is_some_and(|until| issued <= *until))
    }

    /// Remembers the subject of a token until it expires.
    pub(super) fn note_issued(&mut self, id: &str, subject: &str, ends: u64, now: u64) {
        self.issued.retain(|_, token| token.ends > now);
        self.issued.insert(id.to_owned(), Issued { subject: subject.to_owned(), ends });
        // An id begins with the expiry, so the first id expires first. A space cannot displace tokens of another space.
        if let Some(space) = space_of(subject) {
            let own = self.issued.iter().filter(|(_, token)| space_of(&token.subject) == Some(space));
            let first =
                (own.clone().count() > MAX_ISSUED_PER_SPACE).then(|| own.map(|(id, _)| id.clone()).next()).flatten();
            first.map(|first| self.issued.remove(&first));
        }
        while self.issued.len() > MAX_ISSUED {
            self.issued.pop_first();
        }
    }

    /// Revokes one token, which expires at `ends`.
    pub(super) fn revoke_token(&mut self, id: &str, ends: u64) {
        self.revoked_tokens.insert(id.to_owned(), ends);
    }

    /// Revokes all tokens of a principal created so far.
    pub(super) fn revoke_subject(&mut self, subject: &str) {
        self.revoked_generations.insert(subject.to_owned(), self.generation);
        self.revoked_before.remove(subject);
        self.generation += 1;
    }

    /// Forgets revocations of expired tokens. If more than `most` remain, all tokens created so far are revoked instead.
    pub(super) fn prune(&mut self, now: u64, most: usize) {
        self.issued.retain(|_, token| token.ends > now);
        let latest = self.revoked_tokens.values().filter(|ends| **ends <= now).max().copied();
        if let Some(ends) = latest {
            self.revoked_tokens.retain(|_, ends| *ends > now);
            let gone = Forgotten { generation: self.generation, ends };
            self.forgotten.retain(|other| other.ends > gone.ends);
            self.forgotten.push(gone);
            self.generation += 1;
        }
        self.prune_spaces();
        if self.revoked_tokens.len() + self.revoked_generations.len() + self.revoked_before.len() > most {
            self.revoked_tokens.clear();
            self.revoked_generations.clear();
            self.revoked_before.clear();
            self.revoked_spaces.clear();
            self.forgotten.clear();
            self.generation += 1;
            self.first_generation = self.generation;
            tracing::warn!(maximum = most, "too many revocations: all tokens created so far are refused");
        }
    }
}

impl Kept {
    /// Revokes all tokens created so far of a space with too many revocations. Other spaces are not affected.
    fn prune_spaces(&mut self) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let of_tokens = self.revoked_tokens.keys().filter_map(|key| self.space_of_revoked(key));
        let of_subjects = self.revoked_generations.keys().filter_map(|subject| space_of(subject));
        for space in of_tokens.chain(of_subjects) {
            *counts.entry(space.to_owned()).or_default() += 1;
        }
        for (space, count) in counts.into_iter().filter(|(_, count)| *count > MAX_REVOCATIONS_PER_SPACE) {
            let mut revoked = std::mem::take(&mut self.revoked_tokens);
            revoked.retain(|key, _| self.space_of_revoked(key) != Some(&space));
            self.revoked_tokens = revoked;
            self.revoked_generations.retain(|subject, _| space_of(subject) != Some(&space));
            tracing::warn!(space, count, "too many revocations: all tokens of the space's subjects are refused");
            self.revoked_spaces.insert(space, self.generation);
            self.generation += 1;
        }
    }

    /// The space of a revoked token, if it is known.
    fn space_of_revoked<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        match key.split_once('@') {
            Some((_, namespace)) => namespace.split('/').next(),
            None => space_of(&self.issued.get(key)?.subject),
        }
    }
}

/// The space of a principal's namespace: `acme` for `acme/ada`.
fn space_of(principal: &str) -> Option<&str> {
    principal.split_once('/').map(|(space, _)| space)
}

/// Parses a grant of a principal. `{sub}` stands for the principal's key.
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
    fn grants_survive_a_restart() {
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
    fn removing_a_missing_grant_fails() {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(folder.path()).unwrap();
        let line = ["admin **".to_owned()];
        assert_eq!(registry.change(|kept| kept.remove("ada", &line)).unwrap_err().code, "not-found");
        registry.change(|kept| kept.add("ada", &line)).unwrap();
        registry.change(|kept| kept.remove("ada", &line)).unwrap();
        assert!(registry.kept.grants.is_empty());
    }

    #[test]
    fn revocations_survive_clock_jumps() {
        let token = |id, generation, ends| TokenFacts { id, subject: "ada", generation, issued: 100, ends };
        let mut kept = Kept::default();
        kept.revoke_token("one", 500);
        let one = token("one", 1, 500);
        assert!(kept.is_revoked(one));
        // Forward, where it has ended and is forgotten, and back.
        kept.prune(10_000, 10);
        assert!(kept.revoked_tokens.is_empty() && kept.is_revoked(one));
        assert!(!kept.is_revoked(token("two", kept.generation, 400)), "a later token is valid");
        assert!(!kept.is_revoked(token("three", 1, 501)), "a revocation that expires later was not forgotten");
        // Made while the clock was far ahead; revoked when it was right again.
        let ahead = TokenFacts { issued: 9_000_000, ends: 9_100_000, ..token("ahead", kept.generation, 0) };
        assert!(!kept.is_revoked(ahead));
        kept.revoke_subject("ada");
        kept.prune(20_000, 10);
        assert!(kept.is_revoked(ahead));
        assert!(!kept.is_revoked(TokenFacts { generation: kept.generation, ..ahead }));
    }

    #[test]
    fn too_many_revocations_revoke_all_tokens() {
        let mut kept = Kept::default();
        let made = kept.generation;
        for n in 0..11 {
            kept.revoke_token(&n.to_string(), 1_000);
        }
        kept.prune(1, 10);
        assert!(kept.revoked_tokens.is_empty());
        let token = |generation| TokenFacts { id: "0", subject: "ada", generation, issued: 0, ends: 1_000 };
        assert!(kept.is_revoked(token(made)) && !kept.is_revoked(token(kept.generation)));
    }

    #[test]
    fn too_many_revocations_of_a_space_revoke_only_its_own_tokens() {
        let mut kept = Kept::default();
        let made = kept.generation;
        for n in 0..1_001 {
            let id = format!("id{n}");
            kept.note_issued(&id, &format!("acme/{}/{n}", n % 40), 1_000, 1);
            kept.revoke_token(&id, 1_000);
        }
        kept.prune(1, 100_000);
        assert!(kept.revoked_tokens.is_empty());
        let token = |subject, generation| TokenFacts { id: "other", subject, generation, issued: 0, ends: 1_000 };
        assert!(kept.is_revoked(token("acme/ada", made)) && kept.is_revoked(token("acme/7/x", made)));
        assert!(!kept.is_revoked(token("acme/ada", kept.generation)), "a later token is valid");
        assert!(!kept.is_revoked(token("bob/x", made)) && !kept.is_revoked(token("acme", made)));
        // Of an earlier version, by an admin of all spaces.
        kept.revoked_tokens.extend((0..1_001).map(|n| (format!("id{n}@"), 1_000)));
        kept.prune(1, 100_000);
        assert!(kept.is_revoked(token("bob/x", made)) && !kept.is_revoked(token("acme", made)));
        let read: Kept = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(read, kept);
    }

    #[test]
    fn the_grants_of_a_space_have_a_limit_and_leave_room_for_others() {
        let mut kept = Kept::default();
        let long: Vec<String> = (0..200).map(|n| format!("request acme:{}:{n}", "x".repeat(500))).collect();
        let given = (0..100).take_while(|n| kept.add(&format!("acme/p{n}"), &long).is_ok()).count();
        assert!((9..=11).contains(&given), "{given} of 100 KB each");
        assert_eq!(kept.add("acme/more", &long).unwrap_err().code, "conflict");
        kept.add("bob/p", &long).unwrap();
        let mut kept = Kept::default();
        let line = ["request acme:x".to_owned()];
        let given = (0..2_000).take_while(|n| kept.add(&format!("acme/p{n}"), &line).is_ok()).count();
        assert_eq!(given, MAX_PRINCIPALS_PER_SPACE);
        kept.add("acme/p0", &["request acme:y".to_owned()]).unwrap();
        kept.add("bob/p", &line).unwrap();
    }

    #[test]
    fn a_scoped_revocation_of_an_earlier_version_applies_only_to_its_namespace() {
        let mut kept = Kept::default();
        kept.revoked_tokens.insert("id@acme".into(), 1_000);
        let token = |subject| TokenFacts { id: "id", subject, generation: 1, issued: 0, ends: 1_000 };
        assert!(kept.is_revoked(token("acme/ada")));
        assert!(!kept.is_revoked(token("ada")) && !kept.is_revoked(token("other/ada")));
    }

    #[test]
    fn issued_tokens_are_forgotten_after_expiry_and_have_a_limit() {
        let mut kept = Kept::default();
        kept.note_issued("a", "ada", 100, 0);
        kept.note_issued("b", "bob", 200, 100);
        assert_eq!(kept.issued.keys().collect::<Vec<_>>(), ["b"]);
        for n in 0..MAX_ISSUED {
            kept.note_issued(&format!("c{n}"), "eve", 300, 150);
        }
        assert!(kept.issued.len() == MAX_ISSUED && !kept.issued.contains_key("b"));
    }

    #[test]
    fn the_error_names_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("principals.json"), "{\"grants\": 1}").unwrap();
        assert!(Registry::open(folder.path()).err().unwrap().contains("principals.json"));
    }
}
