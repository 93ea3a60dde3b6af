//! Manifests: what a bundle holds, resolved, so that a host never parses TOML.

mod check;

#[cfg(feature = "validate")]
pub(crate) use self::check::pointer;

use std::ops::Deref;

use litemap::LiteMap;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use starlane_protocol::Address;

use crate::{
    AppConfig, Bind, Digest, Limits, MechtronConfig, PublicKey, SecretKey, Signature,
    json::{self, JsonError},
    rules::Fault,
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
/// The longest file of a bundle, in bytes: a repository takes no more in one upload.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A manifest that was checked against every rule of its structure; no unchecked one can be made. Its parts are read as those of [`Contents`] are, and
/// never changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Manifest(Contents);

/// What a manifest says, of which nothing was checked: what a tool makes before it signs, or what was read. A host runs none of
/// it: it takes a [`Manifest`], which [`Manifest::check`] makes of this. A key that is not known is refused, not passed over: it
/// might be a restriction. A new key is a new format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contents {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// The digest of its bytes.
    #[n(0)]
    pub sha256: Digest,
    /// Its length in bytes.
    #[n(1)]
    pub size: u64,
    /// Its media type.
    #[n(2)]
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
    /// Something in it breaks a rule.
    #[error("the manifest is refused at {at}: {fault}")]
    Refused {
        /// Where: a JSON pointer.
        at: String,
        /// Which rule, and what is wrong.
        fault: Fault,
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
            Self::Malformed(_)
            | Self::Format(_)
            | Self::FileName { .. }
            | Self::Refused { .. }
            | Self::Dangling { .. } => "malformed",
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
        Manifest::check(json::from_slice(&self.bytes).map_err(malformed)?)
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
            return Err(VerifyError::Address { expected: bundle.clone(), found: manifest.address.clone() });
        }
        let found = signed.digest();
        if found != *digest {
            return Err(VerifyError::Digest { expected: *digest, found });
        }
        manifest.check_time(now)?;
        Ok(manifest)
    }

    /// Makes a manifest of what it says, if that obeys every rule: names, paths, addresses, grants, routes, limits, lengths and
    /// counts, and that what is named is there. Errors say where, as a JSON pointer, and which rule. Whether its schemas are in
    /// normal form is the feature `schema`'s to say: `schema::check_all`.
    pub fn check(contents: Contents) -> Result<Self, VerifyError> {
        check::check(&contents)?;
        Ok(Self(contents))
    }

    /// Errors with [`VerifyError::Expired`] if its time is over at `now` (seconds since the Unix epoch).
    pub fn check_time(&self, now: u64) -> Result<(), VerifyError> {
        match self.expires {
            Some(at) if at <= now => Err(VerifyError::Expired(at)),
            _ => Ok(()),
        }
    }

    /// This manifest with fewer lines of `allow`: those of its mechtrons, by name in the app, that `keep` says.
    #[must_use]
    pub fn narrowed(mut self, keep: impl Fn(&str, &str) -> bool) -> Self {
        if let Some(app) = &mut self.0.app {
            for (name, mechtron) in app.mechtrons.iter_mut() {
                mechtron.allow.retain(|line| keep(name, line));
            }
        }
        self
    }

    /// This manifest with limits of its mechtrons that are at most these.
    #[must_use]
    pub fn capped(mut self, most: &Limits) -> Self {
        for (_, config) in self.0.mechtrons.iter_mut() {
            config.limits = config.limits.at_most(most);
        }
        self
    }

    /// What it says, to be changed and checked again.
    pub fn into_contents(self) -> Contents {
        self.0
    }
}

impl Deref for Manifest {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.0
    }
}

impl Contents {
    /// Signs what was not checked, whose `publisher` must be the key's public form: another does not verify. Whoever opens it
    /// checks it.
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
}

#[cfg(test)]
mod tests;
