//! Manifests: what a bundle holds, resolved, so that a host never parses TOML.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use starlane_protocol::{Address, address};

use crate::{
    AppConfig, Bind, Digest, MechtronConfig, PublicKey, RouteTarget, SecretKey, Signature,
    json::{self, JsonError},
    table,
};

/// The format that this crate reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// The HTTP header that carries a manifest's signature.
pub const SIGNATURE_HEADER: &str = "starlane-signature";
/// The longest manifest, in bytes.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// The most files of a bundle.
pub(crate) const MAX_FILES: usize = 20_000;
/// The most bytes of all files of a bundle.
pub(crate) const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// What a bundle holds. A key that it does not know is refused, not passed over: it might be a restriction. A new key is a
/// new format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The format of this manifest: 1.
    pub format: u32,
    /// The bundle's address, with its version.
    pub address: Address,
    /// Who signs it.
    pub publisher: PublicKey,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// From when on it is not to be used, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether anyone may fetch it.
    #[serde(default)]
    pub public: bool,
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// An SPDX expression.
    #[serde(default)]
    pub licence: String,
    /// Its files, by path.
    #[serde(with = "table")]
    pub files: LiteMap<String, FileEntry>,
    /// The other bundles whose mechtrons its app uses, by address.
    #[serde(default, with = "table", skip_serializing_if = "LiteMap::is_empty")]
    pub uses: LiteMap<String, Used>,
    /// The schemas that its binds name, by path: each file's JSON Schema in normal form, which holds what is checked.
    #[serde(default, with = "table")]
    pub schemas: LiteMap<String, Value>,
    /// Its binds, by path.
    #[serde(default, with = "table")]
    pub binds: LiteMap<String, Bind>,
    /// Its mechtrons, by path of their configs.
    #[serde(default, with = "table")]
    pub mechtrons: LiteMap<String, MechtronConfig>,
    /// The app that it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppConfig>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// The digest of its bytes.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// Another bundle, as it was when this one was published: who signs this manifest vouches for these bytes too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Used {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Who signed that.
    pub publisher: PublicKey,
    /// Its files, by path.
    #[serde(with = "table")]
    pub files: LiteMap<String, FileEntry>,
}

/// A manifest's exact bytes, and the signature over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    /// The bytes that were signed.
    pub bytes: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It can't be read.
    #[error("the manifest can't be read: {0}")]
    Malformed(String),
    /// It is of a format that this host does not know.
    #[error("the manifest has format {0}, and this host reads format 1: {hint}",
        hint = format_hint(*.0))]
    Format(u32),
    /// It is signed by a key that is not trusted here.
    #[error("the manifest is signed by {0}, which is not trusted here: add the key to `trust` if it should be")]
    Untrusted(PublicKey),
    /// The signature is not the publisher's over these bytes.
    #[error("the signature does not fit the manifest: it was altered, or signed with another key")]
    Signature,
    /// It is another bundle's.
    #[error("the manifest is of {found}, not of {expected}")]
    Address {
        /// The bundle asked for.
        expected: Address,
        /// The bundle that it is of.
        found: Address,
    },
    /// It is not the one that the app record names.
    #[error("the manifest has the digest {found}, and the app record names {expected}")]
    Digest {
        /// What the record names.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Its time is over.
    #[error("the manifest expired at {0} (seconds since 1970)")]
    Expired(u64),
    /// A file's name is refused.
    #[error("the manifest names a file `{name}`: {reason}")]
    FileName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It names something that it does not hold.
    #[error("the manifest's {by} names {what}, which it does not hold")]
    Dangling {
        /// Where it is named.
        by: String,
        /// What is named.
        what: String,
    },
    /// It is too much.
    #[error("the manifest is over a bound: {0}")]
    TooLarge(String),
}

fn format_hint(format: u32) -> &'static str {
    if format > FORMAT { "a newer Starlane made it; update this one" } else { "there is no such format" }
}

impl VerifyError {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Format(_) | Self::FileName { .. } | Self::Dangling { .. } => "malformed",
            Self::Untrusted(_) => "untrusted",
            Self::Signature => "bad-signature",
            Self::Address { .. } => "wrong-bundle",
            Self::Digest { .. } => "digest-mismatch",
            Self::Expired(_) => "expired",
            Self::TooLarge(_) => "too-large",
        }
    }
}

impl SignedManifest {
    /// Checks the signature by the key that the manifest itself names, and everything inside. Whether that key may be
    /// trusted is the caller's to say.
    pub fn open(&self) -> Result<Manifest, VerifyError> {
        self.open_if(|_| true)
    }

    /// Reads no more than the head before the signature holds and the publisher is accepted.
    fn open_if(&self, accepted: impl Fn(&PublicKey) -> bool) -> Result<Manifest, VerifyError> {
        if self.bytes.len() > MAX_MANIFEST {
            return Err(VerifyError::TooLarge(format!("{} bytes of manifest", self.bytes.len())));
        }
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            publisher: PublicKey,
        }
        let malformed = |error: JsonError| VerifyError::Malformed(error.to_string());
        let head: Head = json::from_slice(&self.bytes).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(VerifyError::Format(head.format));
        }
        if !head.publisher.verifies(&self.bytes, &self.signature) {
            return Err(VerifyError::Signature);
        }
        if !accepted(&head.publisher) {
            return Err(VerifyError::Untrusted(head.publisher));
        }
        let manifest: Manifest = json::from_slice(&self.bytes).map_err(malformed)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The digest of the manifest's exact bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

impl Manifest {
    /// Opens a manifest that must be `bundle`'s, have the digest that the app record names, be signed by a trusted key,
    /// and be unexpired at `now` (seconds since the Unix epoch).
    pub fn verify(
        signed: &SignedManifest,
        bundle: &Address,
        digest: &Digest,
        trusted: &[PublicKey],
        now: u64,
    ) -> Result<Self, VerifyError> {
        let manifest = signed.open_if(|publisher| trusted.contains(publisher))?;
        if manifest.address != *bundle {
            return Err(VerifyError::Address { expected: bundle.clone(), found: manifest.address });
        }
        let found = signed.digest();
        if found != *digest {
            return Err(VerifyError::Digest { expected: *digest, found });
        }
        manifest.check_time(now)?;
        Ok(manifest)
    }

    /// Errors with [`VerifyError::Expired`] if its time is over at `now` (seconds since the Unix epoch).
    pub fn check_time(&self, now: u64) -> Result<(), VerifyError> {
        match self.expires {
            Some(at) if at <= now => Err(VerifyError::Expired(at)),
            _ => Ok(()),
        }
    }

    /// Signs this manifest, whose `publisher` must be the key's public form: another does not verify.
    pub fn sign(&self, key: &SecretKey) -> SignedManifest {
        // A manifest has string keys only, so it always has a JSON form.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let signature = key.sign(&bytes);
        SignedManifest { bytes, signature }
    }

    /// A file by how a mechtron's config names it: a path of this bundle, or the address of a file in one that it uses.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        match name.split_once(":/") {
            Some((bundle, _)) => self.uses.get(bundle)?.files.get(name.get(bundle.len() + 1..)?),
            None => self.files.get(name),
        }
    }

    /// The bundle that what is named so belongs to, and who published that.
    pub fn origin(&self, name: &str) -> (Address, PublicKey) {
        let used = name.split_once(":/").and_then(|(bundle, _)| {
            let used = self.uses.get(bundle)?;
            Some((Address::parse(bundle).ok()?, used.publisher))
        });
        used.unwrap_or_else(|| (self.address.clone(), self.publisher))
    }

    fn check(&self) -> Result<(), VerifyError> {
        if !self.address.is_bundle() {
            let text = format!("{} is no bundle's address: expected segments and a version", self.address);
            return Err(VerifyError::Malformed(text));
        }
        Self::check_files(&self.files)?;
        for (bundle, used) in &self.uses {
            let other = Address::parse(bundle).is_ok_and(|other| other.is_bundle() && other != self.address);
            if !other {
                return Err(VerifyError::Malformed(format!(
                    "it uses `{bundle}`, which is no address of another bundle"
                )));
            }
            Self::check_files(&used.files)?;
        }
        self.check_references()
    }

    fn check_files(files: &LiteMap<String, FileEntry>) -> Result<(), VerifyError> {
        if files.len() > MAX_FILES {
            return Err(VerifyError::TooLarge(format!("{} files, at most {MAX_FILES}", files.len())));
        }
        let bytes = files.values().fold(0u64, |sum, file| sum.saturating_add(file.size));
        if bytes > MAX_BYTES {
            return Err(VerifyError::TooLarge(format!("{bytes} bytes of files, at most {MAX_BYTES}")));
        }
        let refuse =
            |name: &str, reason: &str| Err(VerifyError::FileName { name: name.to_owned(), reason: reason.to_owned() });
        for (name, entry) in files {
            check_name(name)?;
            // It becomes an HTTP header.
            if entry.media_type.len() > 100 || !entry.media_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
                return refuse(name, "its media type is not up to 100 characters of printable ASCII");
            }
        }
        let mut folded: Vec<String> = files.keys().map(|name| name.to_ascii_lowercase()).collect();
        folded.sort_unstable();
        let mut before = "";
        for name in &folded {
            if name == before {
                return refuse(name, "another file differs only in the case of its letters");
            }
            before = name;
            let mut folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
            if folders.any(|folder| folded.binary_search_by(|other| other.as_str().cmp(folder)).is_ok()) {
                return refuse(name, "another file has the name of a folder in its path");
            }
        }
        Ok(())
    }

    /// What is named is there, so that a host finds out before it starts anything.
    fn check_references(&self) -> Result<(), VerifyError> {
        let held = |held: bool, by: &str, what: &str| match held {
            true => Ok(()),
            false => Err(VerifyError::Dangling { by: by.to_owned(), what: what.to_owned() }),
        };
        for (path, bind) in &self.binds {
            for schema in bind.schemas() {
                held(self.schemas.contains_key(schema), path, schema)?;
            }
        }
        for (path, config) in &self.mechtrons {
            held(self.file(&config.wasm).is_some(), path, &config.wasm)?;
            held(self.binds.contains_key(&config.bind), path, &config.bind)?;
        }
        let Some(app) = &self.app else { return Ok(()) };
        for (name, mechtron) in &app.mechtrons {
            held(self.mechtrons.contains_key(&mechtron.config), name, &mechtron.config)?;
        }
        for route in &app.http {
            if let RouteTarget::File { file } = &route.target {
                held(self.files.contains_key(file), &format!("route {} {}", route.method, route.path), file)?;
            }
        }
        Ok(())
    }
}

/// Checks the name of a file in a bundle: a path as it can stand in an address.
fn check_name(name: &str) -> Result<(), VerifyError> {
    address::check_path(name).map_err(|(offset, expected)| VerifyError::FileName {
        name: name.chars().take(80).collect(),
        reason: format!("at byte {offset}: expected {expected}"),
    })
}

#[cfg(test)]
mod tests;
