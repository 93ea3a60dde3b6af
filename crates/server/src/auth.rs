//! Principals, their tokens and grants. The admin token is a file in the data folder.

mod namespace;
mod registry;
mod resources;
mod standing;
mod token;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data_encoding::{BASE32_DNSSEC, BASE64URL_NOPAD, Encoding};
use serde::{Deserialize, Serialize};
use starlane_host::{Authenticated, Authentication, Principal};
use starlane_protocol::{Failure, Grant, HostName, Verb};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

pub(crate) use self::resources::serve;
use self::{
    registry::Registry,
    token::{Tokens, refused},
};
use crate::{
    disk::write_new,
    time::{random, unix_seconds},
};

/// The principal with every permission.
pub(crate) const ADMIN: &str = "admin";
/// Its grant.
const EVERYTHING: &str = "admin ~*::**";
/// The grants of the anonymous principal on a server that only its own machine can reach, until the first token is created.
/// Databases still refuse writes without a token.
const ANYBODY: [&str; 4] = ["request ~*::**", "subscribe ~*::**#*", "serve **", "launch **"];
/// The minimum length of an admin token, in characters. The server creates tokens of 52 characters.
const MIN_ADMIN_TOKEN_CHARS: usize = 32;
/// The maximum validity of a token, in seconds.
const MAX_TTL_SECONDS: u64 = 366 * 24 * 3_600;
/// The maximum number of remembered revocations. Above it, all tokens created so far are refused.
const MAX_REVOCATIONS: usize = 100_000;
/// The random part of a token's id, in characters of five bits.
const ID: usize = 20;
/// The first part of a token's id, which contains the expiry time: 40 bits.
const ID_END: usize = 8;
/// The encoding of texts that people type: lower-case letters and digits. A text of base64 can begin with `-`, and a shell
/// command would take it for a flag.
const TYPED: Encoding = BASE32_DNSSEC;
/// The maximum length of a principal's name, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// Whether a file of a data folder contains a valid secret of its kind.
pub(crate) fn is_secret(name: &str, bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    match name {
        "admin.token" => text.len() >= MIN_ADMIN_TOKEN_CHARS,
        "token.key" => BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|seed| seed.len() == 32),
        _ => bytes.len() == 32,
    }
}

/// The problems of a registry file, one text each.
pub(crate) fn faults_of_registry(bytes: &[u8]) -> Vec<String> {
    match serde_json::from_slice::<registry::Kept>(bytes) {
        Err(error) => vec![format!("it can't be read: {error}")],
        Ok(kept) => kept.faults(),
    }
}

/// The file of the admin token in a data folder.
pub(crate) fn token_file(data: &Path) -> PathBuf {
    data.join("admin.token")
}

/// The principals of a server. Clones share it.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Inner>);

struct Inner {
    admin: String,
    tokens: Tokens,
    registry: Mutex<Registry>,
    /// The anonymous principal, allowed until the first token is created; none if it is never allowed.
    anybody: Option<Principal>,
    /// The principal of the admin token.
    everything: Principal,
    changed: watch::Sender<()>,
}

/// An issued token.
#[derive(Debug, Serialize)]
pub(crate) struct IssuedToken {
    id: String,
    subject: String,
    token: String,
    /// In seconds since 1970.
    expires: u64,
}

/// The target of a revocation: one token, or all tokens of a principal created so far.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Revoke {
    Id(String),
    Subject(String),
}

impl Auth {
    /// Reads the keys and the registry of a data folder; creates the keys on the first start. `open` allows anonymous access
    /// until the first token is created.
    pub(crate) fn open(data: &Path, host: HostName, open: bool) -> io::Result<Self> {
        let admin =
            secret_file(&token_file(data), || TYPED.encode(&random()), |text| text.len() >= MIN_ADMIN_TOKEN_CHARS)?;
        let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|seed| seed.try_into().ok());
        let key_file = data.join("token.key");
        let seed = secret_file(&key_file, || BASE64URL_NOPAD.encode(&random()), |text| decoded(text).is_some())?;
        let seed = decoded(&seed).unwrap_or_else(random);
        let registry = Registry::open(data).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self(Arc::new(Inner {
            admin,
            tokens: Tokens::new(seed, host.to_string()),
            registry: Mutex::new(registry),
            anybody: open.then(|| principal("", &ANYBODY)),
            everything: principal(ADMIN, &[EVERYTHING]),
            changed: watch::Sender::new(()),
        })))
    }

    /// The principal of a token, with its grants. Without a token, the anonymous principal if it is allowed. Otherwise 401.
    pub(crate) fn authenticate(&self, token: Option<&str>) -> Authentication {
        let Some(token) = token else {
            if let Some(anybody) = &self.0.anybody
                && !self.registry().kept.tokens_in_use
            {
                return Ok(forever(anybody));
            }
            let message =
                "this server requires a token: create one with `starlane token create --subject NAME --grant \"…\"`";
            return Err(Failure::auth_refused(message));
        };
        if token.as_bytes().ct_eq(self.0.admin.as_bytes()).into() {
            return Ok(forever(&self.0.everything));
        }
        let now = unix_seconds();
        let read = self.0.tokens.read(token, now)?;
        let subject = read.claims.sub.as_str();
        let registry = self.registry();
        if registry.kept.is_revoked(read.facts()) {
            return Err(refused("it was revoked"));
        }
        let of_token = read.claims.grants.iter().filter_map(|line| registry::parse(line, subject).ok());
        let grants = of_token.chain(registry.grants(subject));
        let principal = Principal::proven(subject, grants, standing::proof(&read));
        Ok(Authenticated { principal, remaining_ms: Some(read.expires.saturating_sub(now) * 1_000) })
    }

    /// The principal of a token, for a short request.
    pub(crate) fn principal(&self, token: Option<&str>) -> Result<Principal, Failure> {
        let found =
            self.authenticate(token).map_err(|failure| Failure { code: "auth-refused".to_owned(), ..failure })?;
        Ok(found.principal)
    }

    /// Resolves after each change of permissions.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Creates a token that is valid for `ttl` seconds. The first token turns anonymous access off.
    fn create(&self, subject: &str, grants: &[String], ttl: u64) -> Result<IssuedToken, Failure> {
        check_name(subject)?;
        if ttl == 0 || ttl > MAX_TTL_SECONDS {
            return Err(Failure::malformed(format!(
                "a token can be valid for 1 to {MAX_TTL_SECONDS} seconds, not {ttl}"
            )));
        }
        for line in grants {
            registry::parse(line, subject)?;
        }
        let mut registry = self.registry();
        let issued = unix_seconds();
        let expires = issued + ttl;
        let id = token_id(expires);
        let token = self.0.tokens.sign(subject, &id, grants, registry.kept.generation, issued, expires)?;
        let (first, _) = registry.change(|kept| {
            kept.note_issued(&id, subject, expires, issued);
            Ok(!std::mem::replace(&mut kept.tokens_in_use, true))
        })?;
        drop(registry);
        if first {
            tracing::info!("the first token was created: from now on every client needs a token");
            self.0.changed.send_replace(());
        }
        Ok(IssuedToken { id, subject: subject.to_owned(), token, expires })
    }

    /// Revokes tokens; their links end at once. Returns the number of known tokens among them, and whether anything changed.
    /// Tokens of earlier versions are not known, nor are those created after the backup of a restored folder: these are
    /// refused all the same.
    fn revoke(&self, what: &Revoke) -> Result<(usize, bool), Failure> {
        let now = unix_seconds();
        let known = self.registry().change(|kept| {
            let known = match what {
                Revoke::Id(id) => {
                    check_id(id)?;
                    kept.revoke_token(id, end_of(id, now));
                    usize::from(kept.issued.contains_key(id))
                }
                Revoke::Subject(subject) => {
                    check_name(subject)?;
                    kept.revoke_subject(subject);
                    kept.issued.values().filter(|token| token.subject == *subject).count()
                }
            };
            kept.prune(now, MAX_REVOCATIONS);
            Ok(known)
        })?;
        self.0.changed.send_replace(());
        Ok(known)
    }

    /// The subject of the token with an id, if it is known.
    fn subject_of(&self, id: &str) -> Result<Option<String>, Failure> {
        check_id(id)?;
        Ok(self.registry().kept.issued.get(id).map(|token| token.subject.clone()))
    }

    /// Adds grants. Returns whether anything changed.
    fn grant(&self, principal: &str, grants: &[String]) -> Result<bool, Failure> {
        check_name(principal)?;
        let ((), is_new) = self.registry().change(|kept| kept.add(principal, grants))?;
        self.0.changed.send_replace(());
        Ok(is_new)
    }

    fn remove_grants(&self, principal: &str, grants: &[String]) -> Result<(), Failure> {
        self.registry().change(|kept| kept.remove(principal, grants))?;
        self.0.changed.send_replace(());
        Ok(())
    }

    fn grants_of(&self, principal: &str) -> Vec<String> {
        self.registry().kept.grants.get(principal).cloned().unwrap_or_default()
    }

    fn registered(&self) -> BTreeMap<String, Vec<String>> {
        self.registry().kept.grants.clone()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a token that expires at a time, in seconds since 1970. The id contains the expiry, so that a revocation can be
/// forgotten after it.
fn token_id(ends: u64) -> String {
    let [_, _, _, end @ ..] = ends.to_be_bytes();
    let random: String = TYPED.encode(&random()).chars().take(ID).collect();
    format!("{}{random}", TYPED.encode(&end))
}

/// The latest expiry of a token with this id. The id of a token of an earlier version does not contain it.
fn end_of(id: &str, now: u64) -> u64 {
    let end = id.get(..ID_END).filter(|_| id.len() == ID_END + ID).and_then(|end| TYPED.decode(end.as_bytes()).ok());
    let end: Option<[u8; 5]> = end.and_then(|end| end.try_into().ok());
    end.map_or(now + MAX_TTL_SECONDS, |[a, b, c, d, e]| u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
}

/// Whether a principal has every permission.
pub(crate) fn may_everything(principal: &Principal) -> bool {
    let everything = Grant::parse(EVERYTHING, None);
    let mut held = principal.grants().iter().filter(|held| held.verb() == Verb::Admin);
    everything.is_ok_and(|everything| held.any(|held| held.includes(&everything)))
}

fn principal(name: &str, grants: &[&str]) -> Principal {
    Principal::new(name, grants.iter().filter_map(|line| Grant::parse(line, None).ok()))
}

fn forever(principal: &Principal) -> Authenticated {
    Authenticated { principal: principal.clone(), remaining_ms: None }
}

/// A name must not contain a colon: addresses and routes, which are callers too, contain one.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || name == ADMIN
        || name.contains(|c: char| c == ':' || c.is_control())
    {
        return Err(Failure::malformed(format!(
            "`{name}` is not a valid principal name: expected 1 to {MAX_NAME_BYTES} bytes without `:` or control \
             characters, and not `{ADMIN}`"
        )));
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), Failure> {
    if id.is_empty() || id.len() > MAX_NAME_BYTES || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = "a token's id consists of letters and digits, as `starlane token create` shows it";
        return Err(Failure::malformed(message));
    }
    Ok(())
}

/// The text of a file that only its owner can read, created on the first start. Errors when the text is not `good`: a file that
/// a crash left half-written must not become a weak secret.
fn secret_file(file: &Path, make: impl Fn() -> String, good: impl Fn(&str) -> bool) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if good(text.trim()) => Ok(text.trim().to_owned()),
        Ok(_) => {
            let text = format!(
                "{} does not contain a valid secret: delete it, and the next start creates a new one",
                file.display()
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = make();
            write_new(file, secret.as_bytes())?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
