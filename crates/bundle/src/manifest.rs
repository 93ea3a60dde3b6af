//! Manifests: the contents of a bundle with all references resolved, so that a host never parses TOML.

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
    AppConfig, Bind, Digest, MechtronConfig, MechtronLimits, PublicKey, SecretKey, Signature,
    json::{self, JsonError},
    rules::RuleFault,
    table,
};

/// The format that this crate reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// The HTTP header that carries a manifest's signature.
pub const SIGNATURE_HEADER: &str = "starlane-signature";
/// The maximum length of a manifest, in bytes.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// The maximum number of files in a bundle.
pub(crate) const MAX_FILES: usize = 20_000;
/// The maximum length of all files of a bundle together, in bytes.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 1024 * 1024 * 1024;
/// The maximum length of one file, in bytes: a repository accepts no longer upload.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A manifest that passed all checks of its structure. There is no way to make an unchecked one. It dereferences to
/// [`Contents`], and cannot be changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Manifest(Contents);

/// The unchecked contents of a manifest, which a tool makes before it signs, or a host reads. Hosts run only a
/// [`Manifest`], which [`Manifest::check`] makes from this. An unknown key is refused, because it might be a
/// restriction; so a new key that every manifest has needs a new format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contents {
    /// The format of this manifest: 1.
    pub format: u32,
    /// The bundle's address, with its version.
    pub address: Address,
    /// The key of its signer.
    pub publisher: PublicKey,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// When it expires, in seconds since the Unix epoch. From then on, hosts refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether anyone may fetch it.
    #[serde(default)]
    pub public: bool,
    /// Its name.
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// The licence, as an SPDX expression.
    #[serde(default)]
    pub licence: String,
    /// Its files, by path.
    #[serde(with = "table")]
    pub files: LiteMap<String, FileEntry>,
    /// The other bundles whose mechtrons its app uses, by address.
    #[serde(default, with = "table", skip_serializing_if = "LiteMap::is_empty")]
    pub uses: LiteMap<String, Used>,
    /// The schemas of its binds, by path, in normal form.
    #[serde(default, with = "table")]
    pub schemas: LiteMap<String, Value>,
    /// Its binds, by path.
    #[serde(default, with = "table")]
    pub binds: LiteMap<String, Bind>,
    /// Its mechtrons, by the path of their config.
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

/// Another bundle, as it was when this one was published. The signature of this manifest covers its files too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Used {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The key that signed that manifest.
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

/// The reason why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It can't be read.
    #[error("the manifest can't be read: {0}")]
    Malformed(String),
    /// This host does not know its format.
    #[error("the manifest has format {0}, and this host reads format 1: {hint}",
        hint = format_hint(*.0))]
    Format(u32),
    /// The key that signed it is not trusted here.
    #[error("the manifest is signed by {0}, which is not trusted here: to trust it, add the key to `trust`")]
    Untrusted(PublicKey),
    /// The signature is not the publisher's signature of these bytes.
    #[error("the signature does not match the manifest: the manifest was altered, or signed with another key")]
    Signature,
    /// It belongs to another bundle.
    #[error("the manifest is for {found}; expected {expected}")]
    Address {
        /// The requested bundle.
        expected: Address,
        /// The bundle to which it belongs.
        found: Address,
    },
    /// Its digest is not the digest in the app record.
    #[error("the manifest has the digest {found}; the app record expects {expected}")]
    Digest {
        /// The digest in the record.
        expected: Digest,
        /// The digest of the manifest.
        found: Digest,
    },
    /// It has expired.
    #[error("the manifest expired at {0} (seconds since 1970)")]
    Expired(u64),
    /// The name or the media type of a file is invalid.
    #[error("the manifest has an invalid file `{name}`: {reason}")]
    FileName {
        /// The name.
        name: String,
        /// The error.
        reason: String,
    },
    /// A value in it breaks a rule.
    #[error("the manifest is refused at {at}: {fault}")]
    Refused {
        /// The place, as a JSON pointer.
        at: String,
        /// The rule and the error.
        fault: RuleFault,
    },
    /// It refers to something that it does not contain.
    #[error("the manifest's {by} refers to {what}, which the manifest does not contain")]
    Dangling {
        /// The place of the reference.
        by: String,
        /// The target of the reference.
        what: String,
    },
    /// It exceeds a limit of size.
    #[error("the manifest exceeds a limit: {0}")]
    TooLarge(String),
}

fn format_hint(format: u32) -> &'static str {
    if format > FORMAT { "a newer Starlane made it; update this one" } else { "there is no such format" }
}

impl VerifyError {
    /// Returns a stable code.
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
    /// Checks the signature with the key that the manifest itself names, and checks the contents. The caller must
    /// decide whether to trust that key.
    pub fn open(&self) -> Result<Manifest, VerifyError> {
        self.open_if(|_| true)
    }

    /// Reads only the head until the signature is verified and the publisher is accepted.
    fn open_if(&self, accepted: impl Fn(&PublicKey) -> bool) -> Result<Manifest, VerifyError> {
        if self.bytes.len() > MAX_MANIFEST {
            let text = format!("it is {} bytes; the maximum is {MAX_MANIFEST}", self.bytes.len());
            return Err(VerifyError::TooLarge(text));
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
    /// Opens a manifest. It must belong to `bundle`, have the digest of the app record, be signed by a trusted key, and
    /// not have expired at `now` (seconds since the Unix epoch).
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

    /// Checks all rules on the contents: names, paths, addresses, grants, routes, limits, lengths, counts and
    /// references. An error has the place, as a JSON pointer, and the rule. This does not check that schemas are in
    /// normal form: see `schema::check_all` (feature `schema`).
    pub fn check(contents: Contents) -> Result<Self, VerifyError> {
        check::check(&contents)?;
        Ok(Self(contents))
    }

    /// Returns [`VerifyError::Expired`] if it has expired at `now` (seconds since the Unix epoch).
    pub fn check_time(&self, now: u64) -> Result<(), VerifyError> {
        match self.expires {
            Some(at) if at <= now => Err(VerifyError::Expired(at)),
            _ => Ok(()),
        }
    }

    /// Removes lines of `allow` from this manifest. `keep` gets the name of the mechtron in the app and the line.
    #[must_use]
    pub fn narrowed(mut self, keep: impl Fn(&str, &str) -> bool) -> Self {
        if let Some(app) = &mut self.0.app {
            for (name, mechtron) in app.mechtrons.iter_mut() {
                mechtron.allow.retain(|line| keep(name, line));
            }
        }
        self
    }

    /// Lowers the limits of all mechtrons to at most these.
    #[must_use]
    pub fn capped(mut self, max: &MechtronLimits) -> Self {
        for (_, config) in self.0.mechtrons.iter_mut() {
            config.limits = config.limits.at_most(max);
        }
        self
    }

    /// Returns the contents, which the caller can change and check again.
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
    /// Signs these unchecked contents. `publisher` must be the public key of `key`, or the signature does not verify.
    /// Opening the signed manifest checks it.
    pub fn sign(&self, key: &SecretKey) -> SignedManifest {
        // All keys of a manifest are strings, so serialization cannot fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let signature = key.sign(&bytes);
        SignedManifest { bytes, signature }
    }

    /// Finds a file by its name in a mechtron's config: a path in this bundle, or the address of a file in a used
    /// bundle.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        match name.split_once(":/") {
            Some((bundle, _)) => self.uses.get(bundle)?.files.get(name.get(bundle.len() + 1..)?),
            None => self.files.get(name),
        }
    }

    /// Returns the bundle to which a name of this form belongs, and its publisher.
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
