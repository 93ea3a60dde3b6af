//! Why a request did not succeed.

use std::{borrow::Cow, fmt};

use starlane_abi::codes::{Code, guest, shared};

use crate::Payload;

/// How a request ended.
pub type Outcome = Result<Payload, Failure>;

/// Why a request did not succeed: an HTTP status, a stable word for programs, a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// With HTTP's meaning: 403, 404, 408, 422 …
    pub status: u16,
    /// A stable word such as `not-found`, for programs to match on.
    pub code: Cow<'static, str>,
    /// What failed and what to do, for people.
    pub message: String,
}

impl Failure {
    /// A failure with a status and code of your own.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Failure { status, code: code.into(), message: message.into() }
    }

    fn of((status, code): Code, message: impl Into<String>) -> Self {
        Self::new(status, code, message)
    }

    /// 400 `malformed`: the request can't be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::of(shared::MALFORMED, message)
    }

    /// 403 `forbidden`: this mechtron does not allow it to the caller. A host says `no-grant` before a message gets here.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::of(guest::FORBIDDEN, message)
    }

    /// 404 `not-found`: what was asked for does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of(shared::NOT_FOUND, message)
    }

    /// 409 `conflict`: it does not fit the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::of(shared::CONFLICT, message)
    }

    /// 413 `too-large`: more than this mechtron takes.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::of(shared::TOO_LARGE, message)
    }

    /// 422 `invalid`: readable, but a value is not allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(guest::INVALID, message)
    }

    /// 500 `guest-failed`: a fault of the mechtron itself. `internal` is a code of hosts, about their own faults.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::of(shared::GUEST_FAILED, message)
    }

    /// 404 `no-operation`, naming the operations that there are.
    #[doc(hidden)]
    pub fn no_operation(asked: &str, known: &[&str]) -> Self {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::of(shared::NO_OPERATION, format!("this mechtron has no operation `{asked}`; it has: {known}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// For data of the mechtron's own; what a caller sent is read by [`crate::FromPayload`], which answers 400.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("JSON: {error}"))
    }
}
