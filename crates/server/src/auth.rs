//! Who asks: principals, their tokens and grants. The admin token lies in the data folder, for whoever may read that.

mod registry;
mod resources;
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
    disk::write_secret,
    time::{random, unix_seconds},
};

/// The principal that may do everything.
pub(crate) const ADMIN: &str = "admin";
/// What it may.
const EVERYTHING: &str = "admin ~*::**";
/// What anybody may on a server that is reached from its own machine only, as long as no token was ever made.
const ANYBODY: [&str; 4] = ["request ~*::**", "subscribe ~*::**#*", "serve **", "launch **"];
/// The shortest admin token that is taken, in characters; the ones made here have 52.
const SHORTEST: usize = 32;
/// The longest that a token is good, in seconds: revocations are remembered for so long.
const LONGEST: u64 = 366 * 24 * 3_600;
/// The length of a token's identity, in characters of five random bits.
const ID: usize = 20;
/// What people type is written in small letters and digits: with base64's `-` at its beginning a shell's command would take it
/// for a flag.
const TYPED: Encoding = BASE32_DNSSEC;
/// The longest name of a principal, in bytes.
const LONGEST_NAME: usize = 200;

/// The admin token's file in a data folder.
pub(crate) fn token_file(data: &Path) -> PathBuf {
    data.join("admin.token")
}

/// Knows principals. Clones are the same.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Inner>);

struct Inner {
    admin: String,
    tokens: Tokens,
    registry: Mutex<Registry>,
    /// Whether anybody may come in while no token was made.
    open: bool,
    changed: watch::Sender<()>,
}

/// A token that was made.
#[derive(Debug, Serialize)]
pub(crate) struct IssuedToken {
    id: String,
    subject: String,
    token: String,
    /// In seconds since 1970.
    expires: u64,
}

/// What is to be revoked: one token, or all of a principal that were made so far.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Revoke {
    Id(String),
    Subject(String),
}

impl Auth {
    /// Reads the keys and the registry of a data folder; makes the keys on a first start. `open` lets anybody in as long as no
    /// token was made.
    pub(crate) fn open(data: &Path, host: HostName, open: bool) -> io::Result<Self> {
        let admin = secret_file(&token_file(data), || TYPED.encode(&random()), |text| text.len() >= SHORTEST)?;
        let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|seed| seed.try_into().ok());
        let key_file = data.join("token.key");
        let seed = secret_file(&key_file, || BASE64URL_NOPAD.encode(&random()), |text| decoded(text).is_some())?;
        let seed = decoded(&seed).unwrap_or_else(random);
        let registry = Registry::open(data).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self(Arc::new(Inner {
            admin,
            tokens: Tokens::new(seed, host.to_string()),
            registry: Mutex::new(registry),
            open,
            changed: watch::Sender::new(()),
        })))
    }

    /// Whose a token is, and what that principal may. Without a token, anybody, if that is so; 401 for any other.
    pub(crate) fn authenticate(&self, token: Option<&str>) -> Authentication {
        let registry = self.registry();
        let Some(token) = token else {
            if self.0.open && !registry.kept.tokens_in_use {
                return Ok(forever("", &ANYBODY));
            }
            let message = "this server wants a token: `starlane token create --subject NAME --grant \"…\"` makes one";
            return Err(Failure::auth_refused(message));
        };
        if token.as_bytes().ct_eq(self.0.admin.as_bytes()).into() {
            return Ok(forever(ADMIN, &[EVERYTHING]));
        }
        let now = unix_seconds();
        let read = self.0.tokens.read(token, now)?;
        let subject = read.claims.sub.as_str();
        let revoked = registry.kept.revoked_tokens.contains_key(&read.claims.jti)
            || registry.kept.revoked_until.get(subject).is_some_and(|until| read.issued <= *until);
        if revoked {
            return Err(refused("it was revoked"));
        }
        let of_token = read.claims.grants.iter().filter_map(|line| registry::parse(line, subject).ok());
        let principal = Principal::new(subject, of_token.chain(registry.grants(subject)));
        Ok(Authenticated { principal, remaining_ms: Some(read.expires.saturating_sub(now) * 1_000) })
    }

    /// The principal of a token, for a request that is over soon.
    pub(crate) fn principal(&self, token: Option<&str>) -> Result<Principal, Failure> {
        self.authenticate(token).map(|found| found.principal)
    }

    /// Resolves whenever what principals may has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Makes a token that is good for `ttl` seconds. From the first one on, nobody is let in without.
    fn create(&self, subject: &str, grants: &[String], ttl: u64) -> Result<IssuedToken, Failure> {
        check_name(subject)?;
        if ttl == 0 || ttl > LONGEST {
            return Err(Failure::malformed(format!("a token is good for 1 to {LONGEST} seconds, not {ttl}")));
        }
        for line in grants {
            registry::parse(line, subject)?;
        }
        let mut registry = self.registry();
        let now = unix_seconds();
        // A second later than what was revoked last: times have seconds.
        let issued = registry.kept.revoked_until.get(subject).map_or(0, |until| until + 1).max(now);
        let expires = now + ttl;
        let id: String = TYPED.encode(&random()).chars().take(ID).collect();
        let token = self.0.tokens.sign(subject, &id, grants, issued, expires)?;
        let first = registry.change(|kept| Ok(!std::mem::replace(&mut kept.tokens_in_use, true)))?;
        drop(registry);
        if first {
            tracing::info!("the first token was made: from now on nobody is let in without one");
            self.0.changed.send_replace(());
        }
        Ok(IssuedToken { id, subject: subject.to_owned(), token, expires })
    }

    /// Revokes tokens; links that were opened with them end at once.
    fn revoke(&self, what: &Revoke) -> Result<(), Failure> {
        let now = unix_seconds();
        self.registry().change(|kept| {
            kept.prune(now, LONGEST);
            match what {
                Revoke::Id(id) => kept.revoked_tokens.insert(id.clone(), now + LONGEST),
                // One second more than before: `create` was as far ahead of the clock, if it was.
                Revoke::Subject(subject) => {
                    let until = kept.revoked_until.get(subject).map_or(now, |until| now.max(until + 1));
                    kept.revoked_until.insert(subject.clone(), until)
                }
            };
            Ok(())
        })?;
        self.0.changed.send_replace(());
        Ok(())
    }

    fn grant(&self, principal: &str, grants: &[String]) -> Result<(), Failure> {
        check_name(principal)?;
        self.registry().change(|kept| kept.add(principal, grants))?;
        self.0.changed.send_replace(());
        Ok(())
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

/// Whether a principal may do everything, everywhere.
pub(crate) fn may_everything(principal: &Principal) -> bool {
    let everything = Grant::parse(EVERYTHING, None);
    let mut held = principal.grants().iter().filter(|held| held.verb() == Verb::Admin);
    everything.is_ok_and(|everything| held.any(|held| held.includes(&everything)))
}

fn forever(name: &str, grants: &[&str]) -> Authenticated {
    let grants = grants.iter().filter_map(|line| Grant::parse(line, None).ok());
    Authenticated { principal: Principal::new(name, grants), remaining_ms: None }
}

/// A colon belongs to addresses and routes, which are callers too.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || name == ADMIN
        || name.contains(|c: char| c == ':' || c.is_control())
    {
        return Err(Failure::malformed(format!(
            "`{name}` is no name for a principal: 1 to {LONGEST_NAME} bytes, without `:` and control characters, and not `{ADMIN}`"
        )));
    }
    Ok(())
}

/// The text of a file that only its owner may read, made on a first start. Errors when it is not `good`: what a crash left
/// half-written must not become a secret that is easy to guess.
fn secret_file(file: &Path, make: impl Fn() -> String, good: impl Fn(&str) -> bool) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if good(text.trim()) => Ok(text.trim().to_owned()),
        Ok(_) => {
            let text = format!("{} holds no secret: delete it, and the next start makes a new one", file.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = make();
            write_secret(file, secret.as_bytes())?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use starlane_protocol::{Address, HostSecret};

    use super::*;

    fn open(folder: &Path) -> Auth {
        Auth::open(folder, HostSecret([1; 32]).name(), true).unwrap()
    }

    #[test]
    fn the_admin_token_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let again = open(folder.path());
        assert_eq!(first.0.admin, again.0.admin);
        assert_eq!(again.principal(Some(&first.0.admin)).unwrap().name(), ADMIN);
        assert_eq!(again.principal(None).unwrap().name(), "");
        assert_eq!(again.principal(Some("")).unwrap_err().code, "auth-refused");
        assert_eq!(again.principal(Some(&format!("{}x", first.0.admin))).unwrap_err().code, "auth-refused");
        #[cfg(unix)]
        for file in ["admin.token", "token.key"] {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn an_empty_secret_is_an_error_and_no_secret() {
        for file in ["admin.token", "token.key"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(file), "\n").unwrap();
            let error = Auth::open(folder.path(), HostSecret([1; 32]).name(), true).err().unwrap();
            assert!(error.to_string().contains("delete it"));
        }
    }

    #[test]
    fn anybody_may_use_a_fresh_server_and_nobody_without_a_token_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let auth = open(folder.path());
        let (app, anybody) = (Address::parse("acme:app").unwrap(), auth.principal(None).unwrap());
        for (verb, may) in [
            (Verb::Launch, true),
            (Verb::Request, true),
            (Verb::Notify, true),
            (Verb::Serve, true),
            (Verb::Deploy, false),
            (Verb::Override, false),
            (Verb::Admin, false),
        ] {
            assert_eq!(anybody.may(verb, &app, "go"), may, "{verb:?}");
        }
        auth.create("ada", &[], 60).unwrap();
        assert!(auth.principal(None).unwrap_err().message.contains("starlane token create"));
        assert!(open(folder.path()).principal(None).is_err(), "after a restart too");
        let folder = tempfile::tempdir().unwrap();
        assert!(Auth::open(folder.path(), HostSecret([1; 32]).name(), false).unwrap().principal(None).is_err());
    }

    #[test]
    fn what_people_type_is_no_flag() {
        let folder = tempfile::tempdir().unwrap();
        let auth = open(folder.path());
        let made = (0..64).map(|_| auth.create("ada", &[], 60).unwrap().id);
        for typed in made.chain([fs::read_to_string(token_file(folder.path())).unwrap().trim().to_owned()]) {
            assert!(typed.chars().all(|c| c.is_ascii_alphanumeric()), "{typed}");
        }
    }

    #[test]
    fn a_token_and_the_registry_grant_together() {
        let folder = tempfile::tempdir().unwrap();
        let auth = open(folder.path());
        let made = auth.create("ada", &["request acme:profile:{sub}".into()], 60).unwrap();
        auth.grant("ada", &["launch acme:profiles".into()]).unwrap();
        let ada = auth.authenticate(Some(&made.token)).unwrap();
        assert!(ada.remaining_ms.unwrap() > 50_000);
        let at = |text: &str| Address::parse(text).unwrap();
        assert!(ada.principal.may(Verb::Request, &at("acme:profile:ada"), "x"));
        assert!(!ada.principal.may(Verb::Request, &at("acme:profile:grace"), "x"));
        assert!(ada.principal.may(Verb::Launch, &at("acme:profiles"), ""));
        auth.remove_grants("ada", &[]).unwrap();
        assert!(!auth.principal(Some(&made.token)).unwrap().may(Verb::Launch, &at("acme:profiles"), ""));
    }

    #[test]
    fn what_is_revoked_stays_so_and_a_later_token_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let auth = open(folder.path());
        let make = |auth: &Auth| auth.create("ada", &[], 60).unwrap();
        let (one, two) = (make(&auth), make(&auth));
        auth.revoke(&Revoke::Id(one.id.clone())).unwrap();
        assert!(auth.principal(Some(&one.token)).is_err());
        assert!(auth.principal(Some(&two.token)).is_ok());
        auth.revoke(&Revoke::Subject("ada".into())).unwrap();
        let three = make(&auth);
        let auth = open(folder.path());
        assert!(auth.principal(Some(&two.token)).unwrap_err().message.contains("revoked"));
        assert!(auth.principal(Some(&three.token)).is_ok());
        auth.revoke(&Revoke::Subject("ada".into())).unwrap();
        assert!(auth.principal(Some(&three.token)).is_err(), "in the same second too");
        assert!(auth.principal(Some(&make(&auth).token)).is_ok());
    }

    #[test]
    fn a_principals_name_is_nothing_that_could_be_an_address() {
        for name in ["", "acme:profiles", "http:acme:x", "admin", "a\nb", &"a".repeat(201)] {
            assert_eq!(check_name(name).unwrap_err().code, "malformed", "{name}");
        }
        assert!(check_name("ada@mesh.test").is_ok());
    }
}
