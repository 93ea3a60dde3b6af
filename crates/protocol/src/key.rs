//! Any text as a segment of an address, and back.

use crate::address::MAX_SEGMENT;

/// Why a text has no key, or a segment is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    #[error("an empty text has no key: give at least one character")]
    Empty,
    /// The key would be longer than a segment may be.
    #[error("the key of this text has {0} bytes, a segment has at most 63: use a shorter text, or its digest")]
    TooLong(usize),
    /// The segment is not what [`key`] makes.
    #[error("`{0}` is not a key: `_` must be followed by two hex digits of a byte, and the bytes be UTF-8")]
    NotAKey(String),
}

/// Makes any text a segment: every byte but a-z, 0-9 and (inside) `-` becomes `_hh`, its value in hex.
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

/// The text that [`key`] was given.
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
    // What key() would not make is not a key: one text, one address.
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
    fn this_implementation_agrees_with_the_others() {
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
