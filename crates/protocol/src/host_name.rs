//! The name of a host, which is derived from the host's secret.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::address::as_text;

/// The length of a host name in bytes: `~` and 26 characters.
pub const HOST_NAME_LENGTH: usize = 27;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The name of a host: `~` and the first 130 bits of the SHA-256 of its secret, in base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName([u8; 26]);

/// The 256-bit secret of a host, from which its name is derived. The host sends it only in the first frame of a link.
/// Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct HostSecret(pub [u8; 32]);

/// The error for a text that is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name: expected `~` and 26 of a-z and 2-7")]
pub struct HostNameError(String);

impl HostName {
    /// Parses `~` and 26 characters of a-z and 2-7.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        text.strip_prefix('~')
            .and_then(|rest| <[u8; 26]>::try_from(rest.as_bytes()).ok())
            .filter(|name| name.iter().all(|b| ALPHABET.contains(b)))
            .map(Self)
            .ok_or_else(|| HostNameError(text.chars().take(80).collect()))
    }
}

impl HostSecret {
    /// Returns the name of the host with this secret.
    pub fn name(&self) -> HostName {
        let digest = Sha256::digest(self.0);
        let mut name = [b'a'; 26];
        for (at, out) in name.iter_mut().enumerate() {
            let bits = (0..5).fold(0usize, |bits, i| {
                let bit = at * 5 + i;
                let byte = digest.get(bit / 8).copied().unwrap_or_default();
                (bits << 1) | usize::from((byte >> (7 - bit % 8)) & 1)
            });
            *out = ALPHABET.get(bits).copied().unwrap_or(b'a');
        }
        HostName(name)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}", std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for HostSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostSecret(…)")
    }
}

impl<C> minicbor::Encode<C> for HostSecret {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for HostSecret {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        bytes.try_into().map(Self).map_err(|_| crate::wire::wrong("a host secret has 32 bytes"))
    }
}

as_text!(HostName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_first_130_bits_of_the_digest() {
        // SHA-256 of 32 zero bytes begins 66687aadf862bd776c8fc18b8e9f8e20…
        let name = HostSecret([0; 32]).name().to_string();
        assert_eq!(name, "~mzuhvlpymk6xo3epygfy5h4oea");
        assert_eq!(HostName::parse(&name).unwrap().to_string(), name);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "~",
            "abc",
            "~ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "~abcdefghijklmnopqrstuvwxy1",
            "~abcdefghijklmnopqrstuvwxyzz",
        ] {
            assert!(HostName::parse(text).is_err(), "{text}");
        }
    }
}
