//! JSON bodies of the messages of the server's own resources.

use serde::{Deserialize, Serialize};
use starlane_protocol::{Failure, Message, Payload};

/// Reads the body of a message; an empty body is `null`. The bind is already enforced, so errors here are those that a schema
/// cannot express: 400, with the operation and the reason.
pub(crate) fn read<'a, T: Deserialize<'a>>(incoming: &'a Message) -> Result<T, Failure> {
    let body: &[u8] = if incoming.payload.body.is_empty() { b"null" } else { &incoming.payload.body };
    serde_json::from_slice(body).map_err(|error| Failure::malformed(format!("`{}`: {error}", incoming.operation)))
}

/// 404 for an operation that a bind has but no code handles. A test requests each operation.
pub(crate) fn unknown<T>(incoming: &Message) -> Result<T, Failure> {
    Err(Failure::no_operation(format!("no operation `{}` here", incoming.operation)))
}

/// A reply.
pub(crate) fn json(value: &impl Serialize) -> Payload {
    Payload::json(serde_json::to_vec(value).unwrap_or_default())
}
