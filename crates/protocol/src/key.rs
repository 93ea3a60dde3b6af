//! Encodes any text as a segment of an address, and decodes it.

use crate::address::MAX_SEGMENT;

/// The error for a text without a key, or a segment that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    #[error("an empty text has no key: give at least one character")]
    Empty,
    /// The key is longer than the maximum of a segment.
    #[error("the key of this text is {0} bytes; the maximum is 63 bytes: use a shorter text, or its digest")]
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
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    match out.len() {
        0 => Err(KeyError::Empty),
        length if length > MAX_SEGMENT => Err(KeyError::TooLong(length)),
        _ => Ok(out),
    }
}

/// Returns the text that [`key`] has encoded.
pub fn unkey(segment: &str) -> Result<String, KeyError> {
    let refuse = || KeyError::NotAKey(segment.chars().take(80).collect());
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        if first == '_' {
            let hex = rest.get(1..3).ok_or_else(refuse)?;
            bytes.push(u8::from_str_radix(hex, 16).map_err(|_| refuse())?);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            bytes.push(first as u8);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
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
        assert_eq!(key("-x").unwrap(), "_2dx");
        assert_eq!(key("a_b").unwrap(), "a_5fb");
        assert_eq!(unkey("a_5fb").unwrap(), "a_b");
        assert!(unkey("a_5F").is_err() && unkey("_61").is_err() && unkey("_").is_err() && unkey("").is_err());
        assert!(key("").is_err() && key(&"É".repeat(30)).is_err());
    }

    /// The file that every implementation's test reads.
    #[test]
    fn keys_match_the_shared_vectors() {
        let text = include_str!("../vectors/keys.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let all = |name: &str| vectors[name].as_array().unwrap().clone();
        for row in all("keys") {
            let (text, segment) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
            assert_eq!(key(text).as_deref(), Ok(segment), "{text:?}");
            assert_eq!(unkey(segment).as_deref(), Ok(text), "{segment}");
        }
        for text in all("withoutKey") {
            assert!(key(text.as_str().unwrap()).is_err(), "{text}");
        }
        for segment in all("notKeys") {
            assert!(unkey(segment.as_str().unwrap()).is_err(), "{segment}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            if let Ok(segment) = key(&text) {
                prop_assert!(crate::Address::parse(&segment).is_ok());
                prop_assert_eq!(unkey(&segment).unwrap(), text);
            }
        }

        #[test]
        fn no_segment_panics(text in any::<String>()) { let _ = unkey(&text); }
    }
}
