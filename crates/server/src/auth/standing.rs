//! The current permissions of a principal that created an app earlier: they depend on the token that it used then.

use serde::{Deserialize, Serialize};
use starlane_bundle::Maker;
use starlane_protocol::Grant;

use super::{
    ADMIN, Auth, EVERYTHING,
    registry::{self, TokenFacts},
    token::Verified,
};
use crate::time::unix_seconds;

/// The token that a principal used, from its proof.
#[derive(Serialize, Deserialize)]
struct Shown {
    id: String,
    /// The generation of its creation.
    #[serde(default)]
    generation: u64,
    issued: u64,
    expires: u64,
    /// Its grants, as written.
    grants: Vec<String>,
}

/// The proof of a principal that used a token.
pub(super) fn proof(token: &Verified) -> String {
    let shown = Shown {
        id: token.claims.jti.clone(),
        generation: token.claims.generation,
        issued: token.issued,
        expires: token.expires,
        grants: token.claims.grants.clone(),
    };
    serde_json::to_string(&shown).unwrap_or_default()
}

impl Auth {
    /// The current grants of an app's maker: those of the registry, and those of the token that it used, unless it has expired.
    /// None if that token was revoked or is not known.
    pub(crate) fn standing(&self, maker: &Maker) -> Option<Vec<Grant>> {
        if maker.principal == ADMIN && maker.proof.is_empty() {
            return Some(Grant::parse(EVERYTHING, None).into_iter().collect());
        }
        let shown: Shown = serde_json::from_str(&maker.proof).ok()?;
        let registry = self.registry();
        let facts = TokenFacts {
            id: &shown.id,
            subject: &maker.principal,
            generation: shown.generation,
            issued: shown.issued,
            ends: shown.expires,
        };
        let good = shown.expires > unix_seconds();
        if if good { registry.kept.is_revoked(facts) } else { registry.kept.is_known_revoked(facts) } {
            return None;
        }
        let of_token = if good { shown.grants } else { Vec::new() };
        let of_token = of_token.iter().filter_map(|line| registry::parse(line, &maker.principal).ok());
        Some(of_token.chain(registry.grants(&maker.principal)).collect())
    }

    /// The expiry of the token that an app's maker used, in seconds since 1970; none for the admin token.
    pub(crate) fn end_of(&self, maker: &Maker) -> Option<u64> {
        serde_json::from_str(&maker.proof).ok().map(|shown: Shown| shown.expires)
    }
}
