//! Keys and signatures of publishers: Ed25519 (RFC 8032) with strict verification.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The prefix of the signed bytes. It ensures that a signature of a manifest is not valid for anything else.
const CONTEXT: &[u8] = b"starlane manifest v1\n";
const PREFIX: &str = "ed25519:";

/// A publisher's secret key. Its `Debug` form shows nothing.
pub struct SecretKey(SigningKey);

/// A publisher's public key. Its text form is `ed25519:` and base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PublicKey(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

/// A signature of a manifest's exact bytes. Its text form is `ed25519:` and base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]);

/// The error for a text that is not a key or signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected `ed25519:` and {bytes} bytes in base64url without padding")]
pub struct KeyError {
    text: String,
    what: &'static str,
    bytes: usize,
}

fn parse<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], KeyError> {
    text.strip_prefix(PREFIX)
        .and_then(|rest| Base64UrlUnpadded::decode_vec(rest).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError { text: text.chars().take(120).collect(), what, bytes: N })
}

impl SecretKey {
    /// Makes the key from 256 random bits.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// Returns the seed, to store the key.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Returns the public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a manifest's exact bytes.
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        Signature(self.0.sign(&[CONTEXT, manifest].concat()).to_bytes())
    }
}

impl PublicKey {
    /// Parses the text form. If the bytes are not a point of the curve, the key verifies no signature.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(text, "a public key").map(Self)
    }

    /// Returns whether `signature` is this key's signature of a manifest's exact bytes.
    pub fn verifies(&self, manifest: &[u8], signature: &Signature) -> bool {
        let signed = [CONTEXT, manifest].concat();
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(&signed, &signature).is_ok())
    }
}

impl Signature {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(text, "a signature").map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Base64UrlUnpadded::encode_string(&self.0))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_the_context_and_the_bytes() {
        let key = SecretKey::from_seed([7; 32]);
        let plain = SigningKey::from_bytes(&[7; 32]).sign(b"starlane manifest v1\n{}");
        let signature = key.sign(b"{}");
        assert_eq!(signature, Signature(plain.to_bytes()));
        assert!(key.public().verifies(b"{}", &signature));
        let without_context = Signature(SigningKey::from_bytes(&[7; 32]).sign(b"{}").to_bytes());
        assert!(!key.public().verifies(b"{}", &without_context));
        assert_eq!(SecretKey::from_seed(key.seed()).public(), key.public());
        assert_eq!(format!("{key:?}"), "SecretKey(…)");
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_refused() {
        let key = SecretKey::from_seed([7; 32]);
        let bytes = key.sign(b"{}").0;
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().verifies(b"{}", &Signature(changed)), "bit {bit}");
        }
    }

    #[test]
    fn keys_and_signatures_have_one_text_form() {
        // RFC 8032, 7.1, test 1.
        let mut seed = [0; 32];
        hex::decode_to_slice("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", &mut seed).unwrap();
        let key = SecretKey::from_seed(seed).public();
        let text = key.to_string();
        assert_eq!(text, "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(PublicKey::parse(&text).unwrap(), key);
        let signature = SecretKey::from_seed([7; 32]).sign(b"{}");
        assert_eq!(Signature::parse(&signature.to_string()).unwrap(), signature);
        let padded = format!("{text}=");
        for other in ["", "ed25519:", "rsa:AAAA", &text[8..], &text[..50], &padded, &signature.to_string()] {
            assert!(PublicKey::parse(other).is_err(), "{other}");
        }
        assert!(Signature::parse(&text).is_err());
    }

    #[test]
    fn a_key_of_small_order_verifies_nothing() {
        // The identity: with it, a signature of zeros fits any bytes, unless verified strictly.
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = PublicKey(identity);
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!weak.verifies(b"{}", &Signature(signature)));
    }
}
