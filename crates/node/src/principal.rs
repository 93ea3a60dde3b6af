//! What a token turned out to be.

use starlane_protocol::Failure;

pub use starlane_protocol::Principal;
pub(crate) use starlane_protocol::principal::grant_for;

/// What a token turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authenticated {
    /// Whose it is.
    pub principal: Principal,
    /// For how many milliseconds it is good; without an end if left out.
    pub remaining_ms: Option<u64>,
}

/// Gives the fresh principal of a token, or why it is refused.
pub type Authentication = Result<Authenticated, Failure>;
