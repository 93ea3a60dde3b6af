//! The messages and outcomes that wait for an actor, and their weight.

use starlane_protocol::{Message, Outcome, Payload};

use crate::shares::Hold;

/// Something that waits for an actor, or is with the sandbox, and the bytes that it holds.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) it: T,
    pub(crate) _hold: Hold,
}

/// A message that waits in a mailbox, or is with the sandbox.
#[derive(Debug)]
pub(crate) struct Mail {
    /// Its place in the mailbox; for a request, the request's id.
    pub(crate) number: u64,
    pub(crate) it: Message,
    pub(crate) _hold: Hold,
}

/// The memory that a message needs at its receiver, in bytes.
pub(crate) fn weight(message: &Message) -> usize {
    let names = message.from.as_str().len() + message.caller.name().len() + message.operation.len();
    names + payload_weight(&message.payload)
}

/// The memory that an outcome needs at its receiver, in bytes.
pub(crate) fn outcome_weight(outcome: &Outcome) -> usize {
    match outcome {
        Ok(payload) => payload_weight(payload),
        Err(failure) => failure.code.len() + failure.message.len(),
    }
}

/// A header needs two pointers and two lengths in addition to its text.
fn payload_weight(payload: &Payload) -> usize {
    payload.weight() + payload.headers.len() * 16
}
