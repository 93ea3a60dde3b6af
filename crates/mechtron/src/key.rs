//! Encodes any text as a segment of an address, and decodes it.

/// The maximum length of a segment of an address, in bytes.
const MAX_SEGMENT_BYTES: usize = 63;

/// The error for a text without a key, or a segment that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    #[error("an empty text has no key: give at least one character")]
    Empty,
    /// The key is longer than the maximum of a segment.
    #[error(
        "the key of this text is {0} bytes; the maximum is {MAX_SEGMENT_BYTES} bytes: use a shorter text, or its digest"
    )]
    TooLong(usize),
    /// [`key`] does not make this segment.
    #[error("`{0}` is not a key: `_` must be followed by two hex digits of a byte, and the bytes be UTF-8")]
    NotAKey(String),
}

/// Encodes any text as a segment: every byte except a-z, 0-9 and (after the first) `-` becomes `_hh`, its value in hex.
pub fn key(text: &str) -> Result<String, KeyError> {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || (byte == b'-' && at > 0) {
            out.push(char::from(byte));
        } else {
            out.push('_');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
    match out.len() {
        0 => Err(KeyError::Empty),
        length if length > MAX_SEGMENT_BYTES => Err(KeyError::TooLong(length)),
        _ => Ok(out),
    }
}

/// Returns the text that [`key`] has encoded.
pub fn unkey(segment: &str) -> Result<String, KeyError> {
    let refuse = || KeyError::NotAKey(segment.chars().take(80).collect());
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let mut digit = || rest.next().and_then(|hex| char::from(hex).to_digit(16)).ok_or_else(refuse);
            let (high, low) = (digit()?, digit()?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse())?;
    // Each text has exactly one key, so that it has exactly one address.
    if key(&text).as_deref() == Ok(segment) { Ok(text) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_addresses_and_uuids_are_keys() {
        assert_eq!(key("ada").unwrap(), "ada");
        assert_eq!(key("Ada L").unwrap(), "_41da_20_4c");
        assert_eq!(key("a@b.c").unwrap(), "a_40b_2ec");
        assert_eq!(key("-x-y").unwrap(), "_2dx-y");
        assert_eq!(key("a_b").unwrap(), "a_5fb");
        assert_eq!(key("é").unwrap(), "_c3_a9");
        assert_eq!(unkey("a_5fb").unwrap(), "a_b");
        for bad in ["a_5F", "_61", "_", "_4", "", "_c3", "é", "A", "-x"] {
            assert!(unkey(bad).is_err(), "{bad}");
        }
        assert_eq!(key(""), Err(KeyError::Empty));
        assert_eq!(key(&"É".repeat(30)), Err(KeyError::TooLong(180)));
        assert!(key(&"a".repeat(63)).is_ok() && key(&"a".repeat(64)).is_err());
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            if let Ok(segment) = key(&text) {
                prop_assert_eq!(unkey(&segment).unwrap(), text);
            }
        }

        #[test]
        fn no_segment_panics(text in any::<String>()) { let _ = unkey(&text); }
    }
}
