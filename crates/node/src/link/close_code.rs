//! The reason why a link ended, as a code for programs.

use starlane_protocol::{bounds::cut, frame::Frame};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a link ended: the code of a goodbye.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know, at most 64 bytes.
            Other(String),
        }

        impl CloseCode {
            /// The word on the wire and in logs.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for CloseCode {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    other => Self::Other(cut(other.to_owned(), 64)),
                }
            }
        }
    };
}

codes! {
    /// The host itself closed the link, or the connection was closed.
    Closed = "closed",
    /// A frame is malformed, or not allowed in its place.
    Malformed = "malformed",
    /// A frame or a payload is longer than its maximum.
    TooLarge = "too-large",
    /// The peer was silent for too long.
    Silent = "silent",
    /// The peer does not read while too much waits for it.
    SlowConsumer = "slow-consumer",
    /// The principal has too many links, or the peer sends too much per second.
    TooMany = "too-many",
    /// The token is not accepted.
    AuthRefused = "auth-refused",
    /// The token has expired.
    Expired = "expired",
    /// The two hosts have no protocol version in common.
    Version = "version",
    /// Another socket of the same host and principal took the place of this one.
    Fenced = "fenced",
    /// A hello came later than a newer one of the same host.
    StaleDial = "stale-dial",
    /// The host is known under another principal.
    PrincipalChanged = "principal-changed",
    /// The link was not resumed in time.
    NotResumed = "not-resumed",
    /// There was no memory to keep the link until it is resumed.
    Memory = "memory",
    /// The link has used all sequence numbers.
    Exhausted = "exhausted",
    /// The server could not be dialled.
    Unreachable = "unreachable",
    /// There was no token for a dial.
    TokenFailed = "token-failed",
    /// The server is stopping.
    Closing = "closing",
}

impl CloseCode {
    /// Whether another dial would end in the same way.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Version | Self::Fenced)
    }

    /// Whether the token was not accepted, so that another one may be.
    pub(crate) fn refuses_token(&self) -> bool {
        matches!(self, Self::AuthRefused | Self::Expired)
    }

    /// Whether the earlier link of a dialling host stays if its dial was answered so.
    pub(crate) fn spares_link(&self) -> bool {
        !matches!(self, Self::Malformed | Self::TooLarge | Self::Version | Self::PrincipalChanged)
    }

    /// Whether only the socket ends, and the link can be resumed.
    fn keeps_link(&self) -> bool {
        matches!(self, Self::Silent | Self::Expired)
    }
}

impl PartialEq<&str> for CloseCode {
    fn eq(&self, word: &&str) -> bool {
        self.as_str() == *word
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a link or its socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// The code, for programs.
    pub code: CloseCode,
    /// The reason, for people.
    pub reason: String,
    /// Whether only the socket ended, and the link can be resumed.
    pub keep: bool,
    /// How long the peer should not dial, in milliseconds.
    pub retry_ms: Option<u32>,
    /// The highest dial number of the peer that was accepted, if its hello was too late.
    pub dial: Option<u64>,
}

impl Goodbye {
    pub(crate) fn new(code: impl Into<CloseCode>, reason: impl Into<String>) -> Self {
        let code = code.into();
        Self { keep: code.keeps_link(), code, reason: cut(reason.into(), 1024), retry_ms: None, dial: None }
    }

    /// The last frame of a socket.
    pub(crate) fn frame(&self) -> Frame {
        let Self { code, reason, keep, retry_ms, dial } = self.clone();
        Frame::Goodbye { code: code.as_str().to_owned(), reason, keep, retry_ms, dial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_convert_both_ways() {
        for word in ["closed", "malformed", "too-large", "silent", "slow-consumer", "too-many", "expired", "version"] {
            assert_eq!(CloseCode::from(word).as_str(), word);
            assert!(!matches!(CloseCode::from(word), CloseCode::Other(_)), "{word}");
        }
        assert_eq!(CloseCode::from("of-a-later-version"), CloseCode::Other("of-a-later-version".to_owned()));
        assert!(CloseCode::from(&*"x".repeat(100)).as_str().len() <= 64);
        assert!(CloseCode::Version.is_final() && !CloseCode::AuthRefused.is_final());
        assert!(Goodbye::new(CloseCode::Silent, "").keep && !Goodbye::new(CloseCode::Malformed, "").keep);
    }
}
