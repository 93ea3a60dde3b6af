//! Tokens: JSON Web Tokens (RFC 7519), signed by this host's own key with EdDSA (RFC 8037), for this host alone.

use chrono::DateTime;
use ed25519_compact::{KeyPair, Seed};
use jwt_compact::{AlgorithmExt, Header, Token, UntrustedToken, alg::Ed25519};
use serde::{Deserialize, Serialize};
use starlane_protocol::Failure;

use super::registry::TokenFacts;

/// Signs and reads tokens.
pub(super) struct Tokens {
    key: KeyPair,
    audience: String,
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The host that it is for.
    aud: String,
    /// Its subject.
    pub(super) sub: String,
    /// Its identity, to revoke it by.
    pub(super) jti: String,
    /// Its grants, as written.
    pub(super) grants: Vec<String>,
    /// The generation of its creation; tokens of format 1 have none.
    #[serde(default, rename = "gen")]
    pub(super) generation: u64,
}

/// A verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) claims: Claims,
    /// The time of its creation, in seconds since 1970.
    pub(super) issued: u64,
    /// Its expiry, in seconds since 1970.
    pub(super) expires: u64,
}

impl Verified {
    /// The properties of a token that revocations are compared with.
    pub(super) fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            id: &self.claims.jti,
            subject: &self.claims.sub,
            generation: self.claims.generation,
            issued: self.issued,
            ends: self.expires,
        }
    }
}

impl Tokens {
    /// The tokens of a host: its key's seed and its name.
    pub(super) fn new(seed: [u8; 32], audience: String) -> Self {
        Self { key: KeyPair::from_seed(Seed::new(seed)), audience }
    }

    /// Makes a token.
    pub(super) fn sign(
        &self,
        sub: &str,
        jti: &str,
        grants: &[String],
        generation: u64,
        issued: u64,
        expires: u64,
    ) -> Result<String, Failure> {
        let (sub, jti) = (sub.to_owned(), jti.to_owned());
        let mut claims = jwt_compact::Claims::new(Claims {
            aud: self.audience.clone(),
            sub,
            jti,
            grants: grants.to_vec(),
            generation,
        });
        claims.issued_at = DateTime::from_timestamp(i64::try_from(issued).unwrap_or(i64::MAX), 0);
        claims.expiration = DateTime::from_timestamp(i64::try_from(expires).unwrap_or(i64::MAX), 0);
        let token = Ed25519.token(&Header::empty().with_token_type("JWT"), &claims, &self.key.sk);
        token.map_err(|error| Failure::internal(error.to_string()))
    }

    /// Reads a token. Checks its signature, its host, and that `now` is between its creation and its expiry. Errors with 401 and
    /// the reason.
    pub(super) fn read(&self, text: &str, now: u64) -> Result<Verified, Failure> {
        let token = UntrustedToken::new(text).map_err(|_| refused("it is not a token of this server"))?;
        let token: Token<Claims> = Ed25519
            .validator(&self.key.pk)
            .validate(&token)
            .map_err(|_| refused("it was not signed by this server's key, or not with EdDSA"))?;
        let claims = token.claims();
        let seconds = |time: Option<DateTime<_>>| time.and_then(|time| u64::try_from(time.timestamp()).ok());
        let (Some(issued), Some(expires)) = (seconds(claims.issued_at), seconds(claims.expiration)) else {
            return Err(refused("it does not contain the times of its creation and expiry"));
        };
        let said = claims.custom.clone();
        if said.aud != self.audience {
            return Err(refused("it is for another host"));
        }
        if expires <= now {
            let failure = refused("it has expired: get a new one");
            return Err(Failure { code: "expired".to_owned(), ..failure });
        }
        if seconds(claims.not_before).is_some_and(|from| from > now) {
            return Err(refused("it is not valid yet: check the clocks"));
        }
        Ok(Verified { claims: said, issued, expires })
    }
}

/// A 401 with the reason.
pub(super) fn refused(why: &str) -> Failure {
    Failure::auth_refused(format!("the token is refused: {why}"))
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn host() -> Tokens {
        Tokens::new([7; 32], "~host".into())
    }

    fn good(tokens: &Tokens) -> String {
        tokens.sign("ada", "1", &["request acme:**".into()], 1, NOW, NOW + 60).unwrap()
    }

    #[test]
    fn a_token_of_this_host_is_valid_until_it_expires() {
        let host = host();
        let token = good(&host);
        let read = host.read(&token, NOW).unwrap();
        assert_eq!((read.claims.sub.as_str(), read.issued, read.expires), ("ada", NOW, NOW + 60));
        assert!(host.read(&token, NOW + 59).is_ok());
        assert!(host.read(&token, NOW + 60).unwrap_err().message.contains("expired"));
    }

    #[test]
    fn other_keys_algorithms_and_audiences_are_refused() {
        let (host, token) = (host(), good(&host()));
        let parts: Vec<&str> = token.split('.').collect();
        let [_, claims, signature] = parts[..] else { panic!("three parts") };
        let header = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
        let unsigned = format!("{}.{claims}.", header(r#"{"alg":"none"}"#));
        let kept_signature = format!("{}.{claims}.{signature}", header(r#"{"alg":"none"}"#));
        let symmetric = format!("{}.{claims}.{signature}", header(r#"{"alg":"HS256"}"#));
        let other_claims = format!("{}.{}.{signature}", parts[0], header(r#"{"sub":"root"}"#));
        for text in [
            Tokens::new([8; 32], "~host".into()).sign("ada", "1", &[], 1, NOW, NOW + 60).unwrap(),
            Tokens::new([7; 32], "~other".into()).sign("ada", "1", &[], 1, NOW, NOW + 60).unwrap(),
            unsigned,
            kept_signature,
            symmetric,
            other_claims,
            format!("{token}x"),
            token[..token.len() - 4].to_owned(),
            format!("{}.{claims}", parts[0]),
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert_eq!(host.read(&text, NOW).unwrap_err().code, "auth-refused", "{text}");
        }
    }

    #[test]
    fn a_token_with_one_changed_byte_is_refused() {
        let (host, token) = (host(), good(&host()));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character has more bits than the signature needs; the unused bits must be zero.
            assert!(host.read(&changed, NOW).is_err(), "byte {at}");
        }
    }
}
