//! The decoders of untrusted bytes. Each function decodes bytes, and panics only if a decoder has a bug: a decoder must
//! accept its own encoding of an accepted value. Each returns whether the bytes were accepted.

use starlane_bundle::{AppRecord, Contents, Digest, Manifest, PublicKey, Signature, authoring, json, schema};
use starlane_meter::{FunctionLimits, check};
use starlane_protocol::{
    Address, Grant, HostName, Topic, Trace, frame,
    key::{key, unkey},
};

/// The messages of a link.
pub(crate) fn frames(bytes: &[u8]) -> bool {
    let Ok(read) = frame::decode_message(bytes) else { return false };
    for (channel, frame) in read {
        let written = frame::encode_message(channel, [frame::encode_frame(&frame).as_slice()].into_iter());
        assert_eq!(frame::decode_message(&written), Ok(vec![(channel, frame)]));
    }
    true
}

/// Addresses, topics, names of hosts and keys.
pub(crate) fn addresses(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (address, topic) = (Address::parse(text), Topic::parse(text));
    let taken = address.is_ok() || topic.is_ok() || unkey(text).is_ok() || HostName::parse(text).is_ok();
    if let Ok(address) = address {
        assert_eq!((address.as_str(), Address::parse(address.as_str())), (text, Ok(address.clone())));
        assert!(address.segments().count() > 0 && address.is_within(&address));
        let _ = (address.host(), address.version(), address.path(), address.without_host().without_path());
    }
    if let Ok(topic) = topic {
        assert_eq!(Topic::parse(&topic.to_string()), Ok(topic));
    }
    if let Ok(segment) = key(text) {
        assert_eq!(unkey(&segment).as_deref(), Ok(text));
    }
    taken
}

/// Grants, and traces of the HTTP header `traceparent`.
pub(crate) fn grants(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (grant, trace) = (Grant::parse(text, None), Trace::parse(text));
    let taken = grant.is_ok() || trace.is_some();
    if let Ok(grant) = grant {
        assert_eq!(Grant::parse(&grant.to_string(), None).as_ref(), Ok(&grant));
        assert!(grant.covers(&grant));
    }
    if let Some(trace) = trace {
        assert_eq!(Trace::parse(trace.as_str()), Some(trace));
    }
    taken
}

/// JSON, as bodies and manifests are read.
pub(crate) fn json_values(bytes: &[u8]) -> bool {
    let Ok(value) = json::value(bytes) else { return false };
    assert_eq!(json::value(value.to_string().as_bytes()), Ok(value));
    true
}

/// Manifests of bundles, records of apps, and their contents.
pub(crate) fn manifests(bytes: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(contents) = json::from_slice::<Contents>(bytes)
        && let Ok(manifest) = Manifest::check(contents)
    {
        taken = true;
        assert!(Manifest::check(manifest.into_contents()).is_ok());
    }
    if let Ok(record) = json::from_slice::<AppRecord>(bytes) {
        taken = true;
        let written = serde_json::to_vec(&record).unwrap_or_default();
        assert_eq!(json::from_slice::<AppRecord>(&written), Ok(record));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return taken };
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
    }
    taken | Signature::parse(text).is_ok() | PublicKey::parse(text).is_ok()
}

/// JSON Schemas of binds.
pub(crate) fn schemas(bytes: &[u8]) -> bool {
    let Ok(value) = json::value(bytes) else { return false };
    let Ok(normal) = schema::normal_form(&value) else { return false };
    assert_eq!(schema::normal_form(&normal).as_ref(), Ok(&normal), "of {value}");
    true
}

/// Modules of guests.
pub(crate) fn modules(bytes: &[u8]) -> bool {
    check(bytes, &FunctionLimits::default()).is_ok()
}

/// The TOML of binds, read from a file as on an author's machine.
pub(crate) fn binds(bytes: &[u8]) -> bool {
    let Ok(folder) = tempfile::tempdir() else { return false };
    let file = folder.path().join("binds/b.toml");
    let written = std::fs::create_dir(folder.path().join("binds")).and_then(|()| std::fs::write(&file, bytes));
    match written.map(|()| authoring::read_bind(&file)) {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Err(_) => false,
    }
}
