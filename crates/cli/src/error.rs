//! How commands fail, and with which exit code.

use serde_json::Value;

/// The server refused, or a resource answered with a failure.
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
            "no server answers at {url} ({reason}): start one with `starlane serve`, or name another with `--server URL`"
        )
    }
}

impl std::error::Error for Refused {}
impl std::error::Error for NoServer {}

impl Refused {
    /// From an HTTP answer that is no success.
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

/// The exit code, as `--help` lists them.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<NoServer>()) { 3 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_failure_of_ours_is_told_as_it_is() {
        let refused = Refused::read(502, b"Bad Gateway\n");
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("http-502", "Bad Gateway"));
        let refused = Refused::read(404, br#"{"code":"no-resource","message":"nothing there","address":"acme:x"}"#);
        assert_eq!((refused.code.as_str(), refused.address.as_deref()), ("no-resource", Some("acme:x")));
    }
}
