//! Failures of requests.

use std::{borrow::Cow, fmt};

use starlane_abi::codes::{Code, guest, shared};

use crate::Payload;

/// The outcome of a request.
pub type Outcome = Result<Payload, Failure>;

/// The failure of a request: an HTTP status, a stable code for programs, and a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status, with HTTP's meaning: 403, 404, 408, 422 …
    pub status: u16,
    /// A stable code such as `not-found`, for programs.
    pub code: Cow<'static, str>,
    /// What failed and what to do, for people.
    pub message: String,
}

impl Failure {
    /// Makes a failure with your own status and code.
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

    /// 403 `forbidden`: this mechtron refuses the caller. A host's own check of grants has the code `no-grant`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::of(guest::FORBIDDEN, message)
    }

    /// 404 `not-found`: the requested thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of(shared::NOT_FOUND, message)
    }

    /// 409 `conflict`: the present state does not allow the operation.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::of(shared::CONFLICT, message)
    }

    /// 413 `too-large`: the request exceeds a limit of this mechtron.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::of(shared::TOO_LARGE, message)
    }

    /// 422 `invalid`: the request can be read, but a value is not allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(guest::INVALID, message)
    }

    /// 500 `guest-failed`: a fault of the mechtron itself. The code `internal` is for faults of hosts.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::of(shared::GUEST_FAILED, message)
    }

    /// 404 `no-operation`, with the names of all operations.
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

/// For the mechtron's own data. [`crate::FromPayload`] reads data of callers, and its failures have the status 400.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("JSON: {error}"))
    }
}
