//! The payload of a message.

use bytes::Bytes;

use crate::StreamRef;

/// A media type, headers and bytes. Hosts that only forward it do not read it. `clone` shares the bytes and does not
/// copy them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// A media type such as `application/json`; empty, with an empty body, for "nothing".
    pub content_type: String,
    /// Headers as in HTTP: lower-case name, text value.
    pub headers: Vec<(String, String)>,
    /// The body; empty if the payload has a stream.
    pub body: Bytes,
    /// The stream that takes the place of the body.
    pub stream: Option<StreamRef>,
}

/// The media type of JSON bodies.
pub const JSON: &str = "application/json";

impl Payload {
    /// "Nothing": no type, no headers, no body.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// A body of a media type.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { content_type: content_type.to_owned(), headers: Vec::new(), body: body.into(), stream: None }
    }

    /// A stream of a media type.
    pub fn of_stream(content_type: &str, stream: StreamRef) -> Self {
        Self { stream: Some(stream), ..Self::new(content_type, Bytes::new()) }
    }

    /// A JSON text that was serialised already.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(JSON, body)
    }

    /// The media type without parameters, in lower case: `text/html` of `text/html; charset=utf-8`.
    pub fn media_type(&self) -> String {
        self.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The value of a header, by lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The size of this payload in a queue, in bytes.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.content_type.len() + headers + self.body.len()
    }
}
