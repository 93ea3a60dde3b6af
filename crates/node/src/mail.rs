//! What waits for an actor: messages and outcomes, and what they weigh.

use starlane_protocol::{Message, Outcome, Payload};

use crate::shares::Hold;

/// What waits for an actor, or is with the sandbox, and the bytes that it takes.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) it: T,
    pub(crate) _hold: Hold,
}

/// A message that waits in a mailbox, or is with the sandbox.
#[derive(Debug)]
pub(crate) struct Mail {
    /// Its place: that of a request is the request's id.
    pub(crate) number: u64,
    pub(crate) it: Message,
    pub(crate) _hold: Hold,
}

/// What a message weighs in the memory of who gets it, in bytes.
pub(crate) fn weight(message: &Message) -> usize {
    let names = message.from.as_str().len() + message.caller.name().len() + message.operation.len();
    names + payload_weight(&message.payload)
}

/// What an outcome weighs in the memory of who gets it, in bytes.
pub(crate) fn outcome_weight(outcome: &Outcome) -> usize {
    match outcome {
        Ok(payload) => payload_weight(payload),
        Err(failure) => failure.code.len() + failure.message.len(),
    }
}

/// A header takes two pointers and two lengths beside its text.
fn payload_weight(payload: &Payload) -> usize {
    payload.weight() + payload.headers.len() * 16
}
