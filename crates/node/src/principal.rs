//! The result of checking a token.

use starlane_protocol::Failure;

pub use starlane_protocol::Principal;
pub(crate) use starlane_protocol::principal::grant_for;

/// The principal of a valid token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authenticated {
    /// The owner of the token.
    pub principal: Principal,
    /// How long the token stays valid, in milliseconds; none: it does not expire.
    pub remaining_ms: Option<u64>,
}

/// The principal of a token, or the reason of a refusal.
pub type Authentication = Result<Authenticated, Failure>;
