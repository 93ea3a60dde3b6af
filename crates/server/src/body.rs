//! Bodies of the messages that the server's own resources take and give: JSON.

use serde::{Deserialize, Serialize};
use starlane_protocol::{Failure, Message, Payload};

/// What a message carries; "nothing" is `null`. Its bind was enforced before: what is an error here is more than a schema can say. Errors
/// with 400, naming the operation and what is wrong.
pub(crate) fn read<'a, T: Deserialize<'a>>(incoming: &'a Message) -> Result<T, Failure> {
    let body: &[u8] = if incoming.payload.body.is_empty() { b"null" } else { &incoming.payload.body };
    serde_json::from_slice(body).map_err(|error| Failure::malformed(format!("`{}`: {error}", incoming.operation)))
}

/// An operation that a bind has and nobody handles: 404. A test asks for each of them.
pub(crate) fn unknown<T>(incoming: &Message) -> Result<T, Failure> {
    Err(Failure::no_operation(format!("no operation `{}` here", incoming.operation)))
}

/// A reply.
pub(crate) fn json(value: &impl Serialize) -> Payload {
    Payload::json(serde_json::to_vec(value).unwrap_or_default())
}
