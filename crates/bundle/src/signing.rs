//! Keys and signatures of publishers: Ed25519 (RFC 8032), verified strictly.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands before the manifest's bytes when they are signed, so that a signature means a manifest and nothing else.
const CONTEXT: &[u8] = b"starlane manifest v1\n";
const PREFIX: &str = "ed25519:";

/// A publisher's secret key. Its `Debug` form shows nothing.
pub struct SecretKey(SigningKey);

/// A publisher's public key. Its text form is `ed25519:` and base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// A signature over a manifest's exact bytes. Its text form is `ed25519:` and base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(ed25519_dalek::Signature);

/// Why a text is not a key or signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected `ed25519:` and {bytes} bytes in base64url without padding")]
pub struct KeyError {
    text: String,
    what: &'static str,
    bytes: usize,
}

fn parse<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], KeyError> {
    text.strip_prefix(PREFIX)
        .and_then(|rest| BASE64URL_NOPAD.decode(rest.as_bytes()).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError { text: text.chars().take(120).collect(), what, bytes: N })
}

impl SecretKey {
    /// The key that follows from 256 random bits.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for keeping.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public form.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a manifest's exact bytes.
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        Signature(self.0.sign(&[CONTEXT, manifest].concat()))
    }
}

impl PublicKey {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let refuse = || KeyError { text: text.chars().take(120).collect(), what: "a public key", bytes: 32 };
        let bytes = parse(text, "a public key")?;
        // A point of the curve, or no key.
        VerifyingKey::from_bytes(&bytes).map(|_| Self(bytes)).map_err(|_| refuse())
    }

    /// Whether `signature` is this key's over a manifest's exact bytes.
    pub fn verifies(&self, manifest: &[u8], signature: &Signature) -> bool {
        let signed = [CONTEXT, manifest].concat();
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(&signed, &signature.0).is_ok())
    }
}

impl Signature {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(text, "a signature").map(|bytes| Self(ed25519_dalek::Signature::from_bytes(&bytes)))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&self.0.to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(PublicKey);
as_text!(Signature);
