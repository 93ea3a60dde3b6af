//! The payload of a message, and conversions between payloads and Rust values.

use std::{cell::RefCell, fmt, rc::Rc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, Lines, Stream, stream::Streaming};

const JSON: &str = "application/json";

/// A header, as in HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, in lower case.
    pub name: String,
    /// The value, any text.
    pub value: String,
}

/// The payload of a message. An empty body with an empty content type is "nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// A media type, such as `text/html`.
    pub content_type: String,
    /// The headers, as in HTTP.
    pub headers: Vec<Header>,
    /// The bytes; empty if the body is a stream.
    pub body: Vec<u8>,
    pub(crate) attached: Option<Attached>,
}

impl Payload {
    /// A payload without headers. Its body is bytes, a text, or a [`Stream`].
    pub fn new(content_type: impl Into<String>, body: impl Into<Body>) -> Self {
        let Body { bytes, attached } = body.into();
        Payload { content_type: content_type.into(), headers: Vec::new(), body: bytes, attached }
    }

    /// Returns whether it is "nothing": it has no body and no content type.
    pub fn is_nothing(&self) -> bool {
        self.body.is_empty() && self.content_type.is_empty() && self.attached.is_none()
    }

    /// Returns the value of the first header with this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }

    /// Reads the body as JSON. Returns 400 `malformed` if that fails.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        Json::from_payload(self).map(|Json(value)| value)
    }

    /// Reads the body as text of any media type. Returns 400 `malformed` if it is not UTF-8.
    pub fn text(self) -> Result<String, Failure> {
        self.whole()?;
        String::from_utf8(self.body).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::malformed(format!("the body is not UTF-8 text: invalid at byte {at}"))
        })
    }

    /// Takes the body as a stream. A body that is already here is a stream too.
    pub fn stream(self) -> Result<Stream, Failure> {
        Stream::from_payload(self)
    }

    /// Takes the body as lines of JSON. Returns 400 `malformed` if the content type is not `application/x-ndjson`.
    pub fn lines<T>(self) -> Result<Lines<T>, Failure> {
        Lines::from_payload(self)
    }

    /// Returns the stream, or makes one of the body.
    pub(crate) fn take_stream(self, of_body: fn(Vec<u8>) -> Stream) -> Result<Stream, Failure> {
        match self.attached {
            None => Ok(of_body(self.body)),
            Some(attached) => attached.0.take().ok_or_else(|| {
                Failure::internal("the stream of this payload was taken by a clone of it: a stream is read once")
            }),
        }
    }

    /// Opens the stream if there is one. Returns its number, or 0.
    pub(crate) fn open_stream(&mut self, streams: Option<&Rc<dyn Streaming>>) -> Result<u64, Failure> {
        self.attached.take().map_or(Ok(0), |attached| attached.0.send(streams))
    }

    /// Refuses a stream where the body must be complete.
    fn whole(&self) -> Result<(), Failure> {
        if self.attached.is_none() {
            return Ok(());
        }
        Err(Failure::new(
            415,
            "no-streams",
            "the body is a stream, but the method takes a whole body: take `Stream` or `Lines<T>`, or remove `stream = true` from the bind",
        ))
    }

    pub(crate) fn expect(&self, wanted: &str, fits: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let essence = self.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if fits(&essence) {
            return Ok(());
        }
        let got = if self.content_type.is_empty() { "none" } else { &self.content_type };
        Err(Failure::malformed(format!("the content type is {got}; expected {wanted}")))
    }
}

/// The body of [`Payload::new`]: anything that converts into bytes, or a [`Stream`].
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    attached: Option<Attached>,
}

impl<T: Into<Vec<u8>>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body { bytes: bytes.into(), attached: None }
    }
}

impl From<Stream> for Body {
    fn from(stream: Stream) -> Self {
        Body { bytes: Vec::new(), attached: Some(Attached(Rc::new(RefCell::new(Some(stream))))) }
    }
}

/// The stream of a payload. It is a trait object, so that the code of streams is only in modules that make one.
#[derive(Clone)]
pub(crate) struct Attached(pub(crate) Rc<dyn Attach>);

pub(crate) trait Attach {
    fn take(&self) -> Option<Stream>;
    /// Opens the stream and begins to write it. Returns its number.
    fn send(&self, streams: Option<&Rc<dyn Streaming>>) -> Result<u64, Failure>;
    #[cfg(not(target_arch = "wasm32"))]
    fn test_number(&self) -> Option<u64>;
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// Equal if it is the same stream.
impl PartialEq for Attached {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attached {}

/// A value that can be read from a payload, such as the body of a request or a reply.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be read from a payload",
    note = "use `Json<T>`, `Text`, `Html`, `Bytes`, `Stream`, `Lines<T>`, `Payload`, an `Option` of these, or implement `FromPayload`"
)]
pub trait FromPayload: Sized {
    /// Reads the value. The caller gets a [`Failure`].
    fn from_payload(payload: Payload) -> Result<Self, Failure>;
}

/// A value that can be sent as a payload, such as the result of an operation or the body of a request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be converted into a payload",
    note = "use `Json(value)`, `Text`, `Html`, `Bytes`, `Stream`, `Lines<T>`, `Payload`, `()`, or implement `IntoPayload`"
)]
pub trait IntoPayload {
    /// Converts the value into a payload.
    fn into_payload(self) -> Result<Payload, Failure>;
}

/// Any serde value as `application/json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Text as `text/plain`. It can be read from any `text/…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(pub String);

/// A text as `text/html`, in UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(pub String);

/// Bytes as `application/octet-stream`. They can be read from any type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: DeserializeOwned> FromPayload for Json<T> {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.expect(JSON, |essence| essence == JSON || essence.ends_with("+json"))?;
        payload.whole()?;
        serde_json::from_slice(&payload.body)
            .map(Json)
            .map_err(|error| Failure::malformed(format!("the JSON body is invalid: {error}")))
    }
}

impl<T: Serialize> IntoPayload for Json<T> {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new(JSON, serde_json::to_vec(&self.0)?))
    }
}

impl FromPayload for Text {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.expect("text/plain", |essence| essence.starts_with("text/"))?;
        payload.text().map(Text)
    }
}

impl IntoPayload for Text {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new("text/plain", self.0))
    }
}

impl FromPayload for Html {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.expect("text/html", |essence| essence == "text/html")?;
        payload.text().map(Html)
    }
}

impl IntoPayload for Html {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new("text/html", self.0))
    }
}

impl FromPayload for Bytes {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.whole()?;
        Ok(Bytes(payload.body))
    }
}

impl IntoPayload for Bytes {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new("application/octet-stream", self.0))
    }
}

impl FromPayload for Payload {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        Ok(payload)
    }
}

impl IntoPayload for Payload {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(self)
    }
}

impl FromPayload for () {
    fn from_payload(_: Payload) -> Result<Self, Failure> {
        Ok(())
    }
}

impl IntoPayload for () {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::default())
    }
}

/// "Nothing" is `None`.
impl<T: FromPayload> FromPayload for Option<T> {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        if payload.is_nothing() { Ok(None) } else { T::from_payload(payload).map(Some) }
    }
}

impl<T: IntoPayload> IntoPayload for Option<T> {
    fn into_payload(self) -> Result<Payload, Failure> {
        self.map_or_else(|| Ok(Payload::default()), T::into_payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        assert_eq!(Json(vec![1, 2]).into_payload().unwrap().json::<Vec<i32>>().unwrap(), [1, 2]);
        assert_eq!(Html::from_payload(Html("é".into()).into_payload().unwrap()).unwrap().0, "é");
        assert_eq!(Option::<Text>::from_payload(Payload::default()).unwrap(), None);
        assert!(().into_payload().unwrap().is_nothing());
    }

    #[test]
    fn a_bad_body_is_400_and_says_what_is_wrong() {
        let cases = [
            (Json::<i64>::from_payload(Payload::new(JSON, "\"x\"")).unwrap_err(), "expected i64"),
            (Json::<i64>::from_payload(Payload::new("text/plain", "5")).unwrap_err(), "is text/plain"),
            (Json::<i64>::from_payload(Payload::default()).unwrap_err(), "is none"),
            (Text::from_payload(Payload::new("text/plain", [b'a', 0xff])).map(|_| ()).unwrap_err(), "at byte 1"),
            (Html::from_payload(Payload::new("text/plain", "x")).unwrap_err(), "text/html"),
        ];
        for (failure, says) in cases {
            assert_eq!((failure.status, &*failure.code), (400, "malformed"));
            assert!(failure.message.contains(says), "{failure}");
        }
    }

    #[test]
    fn json_is_known_by_its_media_type_with_parameters_and_suffixes() {
        for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/problem+json"] {
            assert!(Payload::new(content_type, "1").json::<i64>().is_ok(), "{content_type}");
        }
    }
}
