//! Addresses of resources, and topics.
//!
//! ```text
//! address  = [ host "::" ] segment *( ":" segment ) [ ":" version ] [ ":" path ]
//! topic    = address "#" event
//! ```

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    Failure,
    host_name::{HOST_NAME_LENGTH, HostName},
};

/// The maximum length of an address, in bytes.
pub const MAX_ADDRESS: usize = 512;
/// The maximum length of a segment, in bytes.
pub const MAX_SEGMENT: usize = 63;
/// The maximum length of a path, in bytes.
pub const MAX_PATH_BYTES: usize = 200;
/// The space of a host's own resources. It contains no app, bundle or mechtron.
pub const OWN_SPACE: &str = "starlane";

/// The address of a resource: `acme:profiles:profile:ada`, `acme:repo:profiles:1.4.0:/site/index.html`,
/// `~k3v…::acme:profiles:directory`. It is parsed once, and is cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Arc<str>,
    /// Where the first segment begins: 0, or after `host::`.
    start: u16,
    /// Where the last segment ends.
    segments_end: u16,
    /// Where the version ends; equal to `segments_end` without one.
    version_end: u16,
}

/// The error for a text that is not an address, with the byte and the expectation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: at byte {offset}: expected {expected}")]
pub struct AddressError {
    /// The text that was given (its first 80 characters).
    pub text: String,
    /// The byte at which the error is.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl AddressError {
    /// Returns the error as a failure: 400 `malformed`.
    #[inline(never)]
    pub fn failure(self) -> Failure {
        Failure::malformed(self.to_string())
    }
}

impl Address {
    /// Parses an absolute address. Relative ones (`.:name`) need [`Address::resolve`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let fail = |offset, expected| Err(AddressError { text: text.chars().take(80).collect(), offset, expected });
        if text.len() > MAX_ADDRESS {
            return fail(MAX_ADDRESS, "at most 512 bytes");
        }
        let start = match text.find("::") {
            Some(at) => match text.get(..at).map(HostName::parse) {
                Some(Ok(_)) => at + 2,
                _ => return fail(0, "a host name, `~` and 26 of a-z and 2-7, before `::`"),
            },
            None => 0,
        };
        let (mut segments_end, mut version_end) = (start, 0);
        let mut at = start;
        loop {
            let rest = text.get(at..).unwrap_or_default();
            if rest.starts_with('/') {
                if segments_end == start {
                    return fail(at, "a segment before the path");
                }
                if let Err((offset, expected)) = check_path(rest) {
                    return fail(at + offset, expected);
                }
                break;
            }
            let part = rest.split(':').next().unwrap_or_default();
            if version_end != 0 {
                return fail(at, "nothing after a version, except a path that begins with `/`");
            }
            if part.bytes().filter(|b| *b == b'.').count() >= 2 {
                if segments_end == start {
                    return fail(at, "a segment before the version");
                }
                if semver::Version::parse(part).is_err() {
                    return fail(at, "a semantic version such as 1.4.0");
                }
                version_end = at + part.len();
            } else {
                if let Err((offset, expected)) = check_segment(part) {
                    return fail(at + offset, expected);
                }
                segments_end = at + part.len();
            }
            at += part.len();
            match text.as_bytes().get(at) {
                None => break,
                Some(_) => at += 1,
            }
        }
        let version_end = version_end.max(segments_end);
        Ok(Self {
            text: text.into(),
            start: start as u16,
            segments_end: segments_end as u16,
            version_end: version_end as u16,
        })
    }

    /// Parses an address that may be relative to an app: `.:name` is `APP:name`.
    pub fn resolve(text: &str, app: &Address) -> Result<Self, AddressError> {
        match text.strip_prefix(".:") {
            Some(rest) => Self::parse(&format!("{app}:{rest}")),
            None => Self::parse(text),
        }
    }

    /// The whole address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host prefix, if this address has one.
    pub fn host(&self) -> Option<HostName> {
        let end = usize::from(self.start).checked_sub(2)?;
        self.text.get(..end).and_then(|text| HostName::parse(text).ok())
    }

    /// The segments, from the space on.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.slice(self.start, self.segments_end).split(':')
    }

    /// The first segment, which stands for the owner of apps and bundles.
    pub fn space(&self) -> &str {
        self.segments().next().unwrap_or_default()
    }

    /// The version, in the address of a bundle or a file in it.
    pub fn version(&self) -> Option<&str> {
        self.slice(self.segments_end, self.version_end).strip_prefix(':')
    }

    /// The path of a file in a bundle or a file system. It begins with `/`.
    pub fn path(&self) -> Option<&str> {
        self.slice(self.version_end, self.text.len() as u16).strip_prefix(':')
    }

    /// Returns whether this has the form of a bundle's address: segments and a version, without a host and a path.
    pub fn is_bundle(&self) -> bool {
        self.version().is_some() && self.path().is_none() && self.host().is_none()
    }

    /// The same address without a host prefix.
    pub fn without_host(&self) -> Address {
        self.shifted(self.text.get(usize::from(self.start)..).unwrap_or_default().into(), 0)
    }

    /// Returns the same address on one host, in place of any earlier host. Returns `None` if the result is longer than
    /// the maximum.
    pub fn on_host(&self, host: &HostName) -> Option<Address> {
        let bare = self.text.get(usize::from(self.start)..).unwrap_or_default();
        let text = format!("{host}::{bare}");
        (text.len() <= MAX_ADDRESS).then(|| self.shifted(text.into(), (HOST_NAME_LENGTH + 2) as u16))
    }

    /// Adds a segment. Returns an error if `segment` is invalid, or the result is too long.
    pub fn child(&self, segment: &str) -> Result<Address, AddressError> {
        Self::parse(&format!("{self}:{segment}"))
    }

    /// This address without its path.
    pub fn without_path(&self) -> Address {
        Self { text: self.slice(0, self.version_end).into(), ..self.clone() }
    }

    /// Returns whether this address is equal to `parent` or below it, segment by segment. Ignores host prefixes.
    pub fn is_within(&self, parent: &Address) -> bool {
        let mut own = self.segments();
        parent.segments().all(|segment| own.next() == Some(segment))
    }

    fn slice(&self, from: u16, to: u16) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    fn shifted(&self, text: Arc<str>, start: u16) -> Address {
        Address {
            text,
            start,
            segments_end: self.segments_end - self.start + start,
            version_end: self.version_end - self.start + start,
        }
    }
}

pub(crate) fn check_segment(part: &str) -> Result<(), (usize, &'static str)> {
    let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match part.bytes().enumerate().find(|(i, b)| !(first(*b) || (*i > 0 && *b == b'-'))) {
        Some((0, b'-')) => Err((0, "a-z, 0-9 or _ at the start of a segment")),
        Some((at, _)) => Err((at, "a-z, 0-9, - or _ in a segment (use `key` for any other text)")),
        None if part.is_empty() => Err((0, "a segment")),
        None if part.len() > MAX_SEGMENT => Err((MAX_SEGMENT, "at most 63 bytes in a segment")),
        None => Ok(()),
    }
}

/// Checks a path in an address: `/a/b.html`. The error is a byte offset and the expectation.
pub fn check_path(path: &str) -> Result<(), (usize, &'static str)> {
    if path.len() > MAX_PATH_BYTES {
        return Err((MAX_PATH_BYTES, "at most 200 bytes in a path"));
    }
    let Some(rest) = path.strip_prefix('/') else { return Err((0, "`/` at the start of a path")) };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
    if let Some(at) = path.bytes().position(|b| !allowed(b)) {
        return Err((at, "A-Z, a-z, 0-9, `.`, `_`, `-` or `/` in a path"));
    }
    let mut at = 1;
    for part in rest.split('/') {
        match part {
            "" => return Err((at, "a name between two `/` of a path")),
            "." | ".." => return Err((at, "a name other than `.` and `..` in a path")),
            _ => at += part.len() + 1,
        }
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// A resource and an event of its bind: `acme:profiles:directory#changes`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The resource that emits.
    pub address: Address,
    /// The event's name: the form of a segment.
    pub event: Arc<str>,
}

impl Topic {
    /// Makes a topic of `address`. Returns an error if `event` does not have the form of a segment.
    pub fn new(address: Address, event: &str) -> Result<Self, AddressError> {
        check_segment(event).map_err(|(offset, expected)| AddressError {
            text: format!("{address}#{}", event.chars().take(80).collect::<String>()),
            offset: address.as_str().len() + 1 + offset,
            expected,
        })?;
        Ok(Self { address, event: event.into() })
    }

    /// Parses `address#event`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (address, event) = Self::split(text)?;
        Self::new(Address::parse(address)?, event)
    }

    /// Parses a topic whose address may be relative to `app`.
    pub fn resolve(text: &str, app: &Address) -> Result<Self, AddressError> {
        let (address, event) = Self::split(text)?;
        Self::new(Address::resolve(address, app)?, event)
    }

    fn split(text: &str) -> Result<(&str, &str), AddressError> {
        text.split_once('#').ok_or_else(|| AddressError {
            text: text.chars().take(80).collect(),
            offset: text.len(),
            expected: "`#` and the name of an event",
        })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.address, self.event)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Topic {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Text forms for serde (JSON) and minicbor (the wire). Both parse the text, so that every value is checked.
macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(&self.to_string())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                Self::parse(d.str()?).map_err(|e| minicbor::decode::Error::custom(e).at(at))
            }
        }
    };
}
pub(crate) use as_text;

as_text!(Address);
as_text!(Topic);

#[cfg(test)]
mod tests;
