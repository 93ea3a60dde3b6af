//! Checks the messages into and out of one instance, by the bind of its mechtron.

use std::collections::HashMap;

use starlane_host::BodyRole;
use starlane_node::guest::{CallReport, GuestEffect, Kind, Returned};
use starlane_protocol::{Failure, Message};

use crate::{contract::Checker, fair::Owner};

/// Checks the messages into and out of one instance.
pub(super) struct Gate {
    checker: Checker,
    /// The guest's app.
    owner: Owner,
    /// The operations of messages that wait for an answer with a schema.
    answering: HashMap<u64, String>,
}

impl Gate {
    pub(super) fn new(checker: Checker, owner: Owner) -> Self {
        Self { checker, owner, answering: HashMap::new() }
    }

    /// Checks a message for the guest. The error gives the reason for a refusal.
    pub(super) async fn message(&mut self, id: u64, message: &Message) -> Result<(), String> {
        if message.kind != Kind::Event {
            let payer = || Owner::of_principal(&message.caller);
            self.checker.check(BodyRole::Request, &message.operation, &message.payload, payer).await?;
        }
        if message.kind == Kind::Request && self.checker.has(BodyRole::Response, &message.operation) {
            self.answering.insert(id, message.operation.clone());
        }
        Ok(())
    }

    /// Checks the effects of a call. A response that does not match its schema becomes a failure. An event that does not match
    /// is dropped and logged. `message` is the message of the call.
    pub(super) async fn report(&mut self, message: Option<u64>, report: &mut CallReport) -> Vec<String> {
        let (mut dropped, mut logs) = (Vec::new(), Vec::new());
        for (index, effect) in report.effects.iter_mut().enumerate() {
            let payer = || self.owner.clone();
            let (fits, outcome) = match effect {
                GuestEffect::Emit { event, payload } => {
                    (self.checker.check(BodyRole::Event, event, payload, payer).await, None)
                }
                GuestEffect::Reply { id, outcome } => {
                    let Some(operation) = self.answering.remove(id) else { continue };
                    let Ok(payload) = outcome else { continue };
                    (self.checker.check(BodyRole::Response, &operation, payload, payer).await, Some(outcome))
                }
                _ => continue,
            };
            let Err(reason) = fits else { continue };
            logs.push(reason.clone());
            match outcome {
                Some(outcome) => *outcome = Err(Failure::schema_mismatch(reason)),
                None => dropped.push(index),
            }
        }
        for index in dropped.into_iter().rev() {
            report.effects.remove(index);
        }
        if let (Some(id), Returned::Received(true) | Returned::TooLarge(_)) = (message, &report.returned) {
            self.answering.remove(&id);
        }
        logs
    }
}
