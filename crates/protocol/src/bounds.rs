//! Limits for all parts of a message except its body, and their checks.
//!
//! A host checks each message that enters from a peer, a guest, a page or HTTP. So every message fits in a frame, and
//! none breaks the link that carries it.

use crate::{Failure, Payload};

/// The maximum number of headers of a payload.
pub const MAX_HEADERS: usize = 128;
/// The maximum length of all names and values of headers together, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The maximum length of a content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// The maximum length of an operation's name, in bytes.
pub const MAX_OPERATION_BYTES: usize = 128;
/// The maximum length of a failure's code, in bytes.
pub const MAX_CODE_BYTES: usize = 64;
/// The maximum length of a failure's message, in bytes; a longer one is cut.
pub const MAX_FAILURE_TEXT_BYTES: usize = 8 * 1024;
/// The maximum length of a principal's name, in bytes.
pub const MAX_PRINCIPAL_BYTES: usize = 1024;
/// The maximum number of operations that an address announces over a link.
pub const MAX_OPERATIONS: usize = 256;

/// Checks the name of an operation. Returns the errors 413 `too-large` and 400 `malformed`.
pub fn check_operation(operation: &str) -> Result<(), Failure> {
    if operation.len() > MAX_OPERATION_BYTES {
        let length = operation.len();
        let message = format!("the operation's name is {length} bytes; the maximum is {MAX_OPERATION_BYTES}");
        return Err(Failure::too_large(message));
    }
    if operation.contains(char::is_control) {
        return Err(Failure::malformed("the operation's name contains a control character"));
    }
    Ok(())
}

impl Payload {
    /// Checks the content type and the headers. Returns 413 `too-large` if they exceed a limit, and 400 `malformed` if
    /// one of them does not have the form of HTTP (RFC 9110, sections 5.5, 5.6.2 and 8.3.1).
    pub fn check(&self) -> Result<(), Failure> {
        check_content_type(&self.content_type)?;
        if self.headers.len() > MAX_HEADERS {
            let count = self.headers.len();
            return Err(Failure::too_large(format!("the payload has {count} headers; the maximum is {MAX_HEADERS}")));
        }
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_HEADER_BYTES {
            let message = format!("the payload's headers have {bytes} bytes; the maximum is {MAX_HEADER_BYTES}");
            return Err(Failure::too_large(message));
        }
        self.headers.iter().try_for_each(|(name, value)| check_header(name, value))
    }
}

fn check_header(name: &str, value: &str) -> Result<(), Failure> {
    if name.is_empty() || !name.bytes().all(|byte| is_token(byte) && !byte.is_ascii_uppercase()) {
        let name = quoted(name);
        return Err(Failure::malformed(format!("the header name `{name}` is not a token in lower case")));
    }
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(Failure::malformed(format!("the value of the header `{name}` contains a control character")));
    }
    Ok(())
}

/// Checks that a content type is empty, or `type/subtype` with optional parameters.
fn check_content_type(text: &str) -> Result<(), Failure> {
    if text.len() > MAX_CONTENT_TYPE_BYTES {
        let length = text.len();
        let message = format!("the content type is {length} bytes; the maximum is {MAX_CONTENT_TYPE_BYTES}");
        return Err(Failure::too_large(message));
    }
    if text.is_empty() || is_media_type(text) {
        return Ok(());
    }
    let text = quoted(text);
    Err(Failure::malformed(format!("the content type `{text}` is not a media type such as `text/plain`")))
}

fn is_media_type(text: &str) -> bool {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    let (essence, parameters) = text.split_once(';').map_or((text, None), |(essence, rest)| (essence, Some(rest)));
    let named = essence.trim_end_matches([' ', '\t']).split_once('/');
    named.is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype)) && parameters.is_none_or(are_parameters)
}

/// Checks parameters: `name=value`, separated by `;`. The value is a token or a quoted string.
fn are_parameters(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        rest = past(rest, |byte| byte == b' ' || byte == b'\t');
        let value = past(rest, is_token);
        if value.len() < rest.len() {
            let Some((b'=', value)) = value.split_first() else { return false };
            rest = match value.split_first() {
                Some((b'"', text)) => match past_quoted(text) {
                    Some(rest) => rest,
                    None => return false,
                },
                _ if past(value, is_token).len() < value.len() => past(value, is_token),
                _ => return false,
            };
        }
        rest = past(rest, |byte| byte == b' ' || byte == b'\t');
        match rest.split_first() {
            None => return true,
            Some((b';', more)) => rest = more,
            Some(_) => return false,
        }
    }
}

fn past(bytes: &[u8], which: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|byte| !which(*byte)).unwrap_or(bytes.len());
    bytes.get(end..).unwrap_or_default()
}

/// Returns the rest after a quoted string, whose opening quote was already read.
fn past_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (mut byte, mut rest) = bytes.split_first()?;
        if *byte == b'"' {
            return Some(rest);
        }
        if *byte == b'\\' {
            (byte, rest) = rest.split_first()?;
        }
        if !is_text(*byte) {
            return None;
        }
        bytes = rest;
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Shortens a text of a message for a quotation, and escapes line breaks.
fn quoted(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

impl Failure {
    /// Returns this failure in the form in which hosts forward it. A failure with a status outside of 400 to 599, or
    /// with a code that is not a word of `[a-z0-9-]`, becomes 500 `guest-failed`. A long message is cut.
    pub fn checked(mut self) -> Self {
        let is_word = |code: &str| {
            let of_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(of_word)
        };
        if !(400..=599).contains(&self.status) || !is_word(&self.code) {
            let (status, code) = (self.status, quoted(&self.code));
            let text =
                format!("a failure with the status {status} and the code `{code}` is not allowed: {}", self.message);
            self = Self { address: self.address, ..Self::guest_failed(text) };
        }
        self.message = cut(self.message, MAX_FAILURE_TEXT_BYTES);
        self
    }
}

/// Cuts a text to at most `max` bytes, and adds the number of bytes that were cut.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    let room = max.saturating_sub("… (18446744073709551615 bytes cut)".len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    let gone = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("… ({gone} bytes cut)"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_media_types() {
        for good in [
            "",
            "text/plain",
            "text/html; charset=utf-8",
            "text/html ;charset=\"a\\\"b; c\"; q=1",
            "application/vnd.api+json",
            "text/plain;",
            "multipart/form-data; boundary=----x",
        ] {
            assert_eq!(check_content_type(good), Ok(()), "{good}");
        }
        for bad in [
            "text",
            "text/",
            "/plain",
            "text/plain\r\nx: y",
            "text/plain; a",
            "text/plain; a=",
            "text/plain; a=\"b",
            "text/plain; a=\"\u{7f}\"",
            "text/plain, text/html",
            "tëxt/plain",
            "text/plain\0",
            " text/plain",
            "text/plain; =x",
        ] {
            assert_eq!(check_content_type(bad).unwrap_err().code, "malformed", "{bad:?}");
        }
        assert_eq!(check_content_type(&format!("text/{}", "x".repeat(251))).unwrap_err().status, 413);
    }

    #[test]
    fn headers_have_limits_and_the_form_of_http() {
        let with = |headers: Vec<(String, String)>| Payload { headers, ..Payload::nothing() }.check();
        let many =
            |count: usize, length: usize| (0..count).map(|n| (format!("x-{n:04}"), "v".repeat(length))).collect();
        assert_eq!(with(many(128, 500)), Ok(()));
        assert_eq!(with(many(129, 1)).unwrap_err().status, 413);
        assert_eq!(with(many(128, 600)).unwrap_err().status, 413);
        for (name, value) in [("", ""), ("A", ""), ("a b", ""), ("a:", ""), ("é", ""), ("a", "b\r\nc"), ("a", "\0")] {
            let failure = with(vec![(name.into(), value.into())]).unwrap_err();
            assert_eq!(failure.code, "malformed", "{name:?} {value:?}");
            assert!(!failure.message.contains('\n'), "{failure}");
        }
        assert_eq!(with(vec![("x-own".into(), "a\tb é".into())]), Ok(()));
    }

    #[test]
    fn failures_have_a_valid_status_and_a_short_text() {
        for status in [0, 100, 101, 200, 204, 304, 399, 600, u16::MAX] {
            let failure = Failure::new(status, "conflict", "why").checked();
            assert_eq!((failure.status, &*failure.code), (500, "guest-failed"), "{status}");
            assert!(failure.message.contains("why"), "{failure}");
        }
        for code in ["", "Conflict", "a b", "a\n", "é", &"x".repeat(65)] {
            assert_eq!(Failure::new(409, code, "why").checked().code, "guest-failed", "{code:?}");
        }
        let kept = Failure::new(418, "i-am-a-teapot", "why");
        assert_eq!(kept.clone().checked(), kept);
        let long = Failure::new(409, "conflict", "é".repeat(100_000)).checked();
        assert!(
            long.message.len() <= MAX_FAILURE_TEXT_BYTES && long.message.ends_with("bytes cut)"),
            "{}",
            long.message.len()
        );
        let both = Failure::new(101, &"x\n".repeat(1_000_000), "é".repeat(100_000)).checked();
        assert!(both.message.len() <= MAX_FAILURE_TEXT_BYTES, "{}", both.message.len());
    }
}
