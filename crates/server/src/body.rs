//! Bodies of the messages that the server's own resources take and give: JSON.

use serde::{Deserialize, Serialize};
use starlane_protocol::{Failure, Message, Payload};

/// What a message carries. Errors with 400, naming the operation and what is wrong.
pub(crate) fn read<'a, T: Deserialize<'a>>(incoming: &'a Message) -> Result<T, Failure> {
    serde_json::from_slice(&incoming.payload.body)
        .map_err(|error| Failure::malformed(format!("`{}`: {error}", incoming.operation)))
}

/// A reply.
pub(crate) fn json(value: &impl Serialize) -> Payload {
    Payload::json(serde_json::to_vec(value).unwrap_or_default())
}
