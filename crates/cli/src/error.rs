//! The errors of commands, and their exit codes.

use serde_json::Value;
use starlane_bundle::authoring::AuthoringError;

/// The server refused a request, or a resource answered with a failure.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) address: Option<String>,
}

/// No server answers.
#[derive(Debug)]
pub(crate) struct NoServer {
    pub(crate) url: String,
    pub(crate) reason: String,
}

/// The connection was lost during a request.
#[derive(Debug)]
pub(crate) struct BrokeOff {
    pub(crate) url: String,
    pub(crate) reason: String,
}

/// The published bundle at the address is different. The text says how, and what to do.
#[derive(Debug)]
pub(crate) struct Conflict(pub(crate) String);

/// A check found problems, and has listed them.
#[derive(Debug)]
pub(crate) struct CheckFailed {
    pub(crate) of: String,
    pub(crate) wrong: u64,
}

impl std::fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { of, wrong } = self;
        let problems = if *wrong == 1 { "problem was" } else { "problems were" };
        write!(f, "{wrong} {problems} found in {of}: each line above says how to repair it")
    }
}

impl std::error::Error for CheckFailed {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::fmt::Display for NoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, reason } = self;
        write!(
            f,
            "no server answers at {url} ({reason}): start one with `starlane serve`, or give another URL with `--server URL`"
        )
    }
}

impl std::fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, reason } = self;
        write!(
            f,
            "the connection to {url} was lost ({reason}): the server stopped, or the network failed; run the command again"
        )
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}
impl std::error::Error for NoServer {}
impl std::error::Error for BrokeOff {}
impl std::error::Error for Conflict {}

impl Refused {
    /// Reads the error from an HTTP response without a success.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        let plain = || match String::from_utf8_lossy(body).trim() {
            "" => format!("the server answered with status {status}"),
            text => text.chars().take(500).collect(),
        };
        Self {
            status,
            code: text("code").unwrap_or_else(|| format!("http-{status}")),
            message: text("message").unwrap_or_else(plain),
            address: text("address"),
        }
    }
}

/// Returns the exit code. `--help` lists all of them.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if is_unreached(error) { 3 } else { 1 }
}

/// Returns whether no server answered, or the connection was lost.
fn is_unreached(error: &anyhow::Error) -> bool {
    find::<NoServer>(error).is_some() || find::<BrokeOff>(error).is_some()
}

/// Returns the stable code of a failure.
pub(crate) fn code(error: &anyhow::Error) -> &str {
    if let Some(refused) = find::<Refused>(error) {
        &refused.code
    } else if is_unreached(error) {
        "no-server"
    } else if find::<AuthoringError>(error).is_some() {
        "authoring"
    } else if find::<Conflict>(error).is_some() {
        "conflict"
    } else if find::<CheckFailed>(error).is_some() {
        "check-failed"
    } else {
        "failed"
    }
}

/// Returns the cause of this type, if there is one.
pub(crate) fn find<E: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_error_response_keeps_its_text() {
        let refused = Refused::read(502, b"Bad Gateway\n");
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("http-502", "Bad Gateway"));
        let refused = Refused::read(404, br#"{"code":"no-resource","message":"nothing there","address":"acme:x"}"#);
        assert_eq!((refused.code.as_str(), refused.address.as_deref()), ("no-resource", Some("acme:x")));
    }

    #[test]
    fn each_kind_of_failure_has_a_code_and_an_exit_code() {
        let (url, reason) = ("http://x".to_owned(), "why".to_owned());
        let refused = Refused::read(404, br#"{"code":"no-resource","message":"nothing there"}"#);
        for (error, expected) in [
            (NoServer { url: url.clone(), reason: reason.clone() }.into(), ("no-server", 3)),
            (anyhow::Error::new(BrokeOff { url, reason }).context("x can't be uploaded"), ("no-server", 3)),
            (Conflict("other content".into()).into(), ("conflict", 1)),
            (refused.into(), ("no-resource", 1)),
            (anyhow::anyhow!("something else"), ("failed", 1)),
        ] {
            assert_eq!((code(&error), exit_code(&error)), expected, "{error}");
        }
    }
}
