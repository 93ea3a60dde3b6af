//! Keys of the guest SDK, checked with the vectors that every implementation's test reads.

use mechtron::{key, unkey};

#[test]
fn the_sdk_writes_keys_as_the_vectors_say() {
    let text = include_str!("../../crates/protocol/vectors/keys.json");
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
