//! Checks the messages and streams into and out of one instance, by the bind of its mechtron.

use std::collections::HashMap;

use bytes::Bytes;
use starlane_host::BodyRole;
use starlane_node::guest::{CallReport, GuestEffect, Kind, Returned};
use starlane_protocol::{Failure, Message, Outcome, Payload};

use crate::{
    contract::{Checker, EndedLines, LineSplitter},
    fair::Owner,
};

/// Checks the messages and streams into and out of one instance.
pub(super) struct Gate {
    checker: Checker,
    /// The guest's app.
    owner: Owner,
    /// The operations of messages that wait for an answer with a schema.
    answering: HashMap<u64, String>,
    /// The streams whose lines a schema checks.
    lines: HashMap<u64, CheckedLines>,
    /// What the guest wrote to streams that are in no payload yet. Only their payload says whether lines are checked.
    unattached: HashMap<u64, Vec<Bytes>>,
}

/// A stream whose lines a schema checks.
struct CheckedLines {
    role: BodyRole,
    operation: String,
    payer: Owner,
    splitter: LineSplitter,
}

/// What [`Gate::report`] found.
#[derive(Default)]
pub(super) struct Findings {
    /// Lines for the log.
    pub(super) logs: Vec<String>,
    /// The streams that the guest wrote and that have ended.
    pub(super) ended: Vec<u64>,
}

impl Gate {
    pub(super) fn new(checker: Checker, owner: Owner) -> Self {
        let (answering, lines, unattached) = Default::default();
        Self { checker, owner, answering, lines, unattached }
    }

    /// Checks a message for the guest. The error gives the reason for a refusal.
    pub(super) async fn message(&mut self, id: u64, message: &Message) -> Result<(), String> {
        let operation = &message.operation;
        let payer = || Owner::of_principal(&message.caller);
        // The bind of the emitter has the schema of an event, and the emitter's host has checked it.
        if message.kind == Kind::Event {
            return Ok(());
        }
        match &message.payload.stream {
            Some(stream) => self.begin_lines(stream.id.0, BodyRole::Request, operation, payer()),
            None => self.checker.check(BodyRole::Request, operation, &message.payload, payer).await?,
        }
        if message.kind == Kind::Request && self.checker.has(BodyRole::Response, operation) {
            self.answering.insert(id, operation.clone());
        }
        Ok(())
    }

    /// Checks the next part of a stream that the guest reads.
    pub(super) async fn part(&mut self, stream: u64, bytes: &Bytes) -> Result<(), Failure> {
        let Some(lines) = self.lines.get_mut(&stream) else { return Ok(()) };
        let checked = lines.push(&self.checker, bytes).await;
        if checked.is_err() {
            self.lines.remove(&stream);
        }
        checked
    }

    /// Ends a stream in either direction. If it is complete, checks its last line.
    pub(super) async fn end(&mut self, stream: u64, is_complete: bool) -> Result<(), Failure> {
        self.unattached.remove(&stream);
        match self.lines.remove(&stream) {
            Some(lines) if is_complete => lines.finish(&self.checker).await,
            _ => Ok(()),
        }
    }

    /// Checks the effects of a call. A response that does not match its schema becomes a failure. An event that does
    /// not match is dropped and logged. A line that does not match ends its stream with a failure. `message` is the
    /// message of the call, and its stream.
    pub(super) async fn report(&mut self, message: Option<(u64, Option<u64>)>, report: &mut CallReport) -> Findings {
        let mut findings = Findings::default();
        if self.checker.checks_output() {
            for effect in std::mem::take(&mut report.effects) {
                self.effect(effect, &mut report.effects, &mut findings).await;
            }
        } else {
            for effect in &report.effects {
                if let GuestEffect::CancelStream { stream } = effect {
                    self.lines.remove(stream);
                }
            }
        }
        match (message, &report.returned) {
            (Some((id, _)), Returned::Received(true)) => drop(self.answering.remove(&id)),
            (Some((id, stream)), Returned::TooLarge(_)) => {
                self.answering.remove(&id);
                stream.and_then(|stream| self.lines.remove(&stream));
            }
            _ => {}
        }
        findings
    }

    async fn effect(&mut self, effect: GuestEffect, out: &mut Vec<GuestEffect>, findings: &mut Findings) {
        match effect {
            GuestEffect::Emit { event, payload } => {
                let payer = || self.owner.clone();
                match self.checker.check(BodyRole::Event, &event, &payload, payer).await {
                    Ok(()) => out.push(GuestEffect::Emit { event, payload }),
                    Err(reason) => findings.logs.push(reason),
                }
            }
            GuestEffect::Reply { id, outcome } => {
                let operation = self.answering.remove(&id);
                let stream = stream_of(outcome.as_ref().ok());
                let outcome = match (&operation, stream) {
                    (Some(operation), None) => self.response(operation, outcome, findings).await,
                    _ => outcome,
                };
                out.push(GuestEffect::Reply { id, outcome });
                if let (Some(operation), Some(stream)) = (operation, stream) {
                    self.begin_lines(stream, BodyRole::Response, &operation, self.owner.clone());
                }
                self.attach(stream, out, findings).await;
            }
            GuestEffect::Request { .. } | GuestEffect::Notify { .. } => {
                let (GuestEffect::Request { payload, .. } | GuestEffect::Notify { payload, .. }) = &effect else {
                    return;
                };
                let stream = stream_of(Some(payload));
                out.push(effect);
                self.attach(stream, out, findings).await;
            }
            GuestEffect::OpenStream { stream } => {
                self.unattached.insert(stream, Vec::new());
                out.push(effect);
            }
            GuestEffect::Write { stream, bytes } => self.write(stream, bytes, out, findings).await,
            GuestEffect::Finish { stream, error } if !findings.ended.contains(&stream) => {
                let error = match self.end(stream, error.is_none()).await {
                    Ok(()) => error,
                    Err(failure) => {
                        findings.logs.push(failure.message.clone());
                        Some(failure)
                    }
                };
                out.push(GuestEffect::Finish { stream, error });
            }
            // A line has ended it before.
            GuestEffect::Finish { .. } => {}
            GuestEffect::CancelStream { stream } => {
                self.lines.remove(&stream);
                out.push(effect);
            }
            _ => out.push(effect),
        }
    }

    async fn response(&mut self, operation: &str, outcome: Outcome, findings: &mut Findings) -> Outcome {
        let payload = outcome?;
        let payer = || self.owner.clone();
        match self.checker.check(BodyRole::Response, operation, &payload, payer).await {
            Ok(()) => Ok(payload),
            Err(reason) => {
                findings.logs.push(reason.clone());
                Err(Failure::schema_mismatch(reason))
            }
        }
    }

    /// Lets what was written to a stream follow the payload that it is now in.
    async fn attach(&mut self, stream: Option<u64>, out: &mut Vec<GuestEffect>, findings: &mut Findings) {
        let Some(stream) = stream else { return };
        for bytes in self.unattached.remove(&stream).unwrap_or_default() {
            self.write(stream, bytes, out, findings).await;
        }
    }

    async fn write(&mut self, stream: u64, bytes: Bytes, out: &mut Vec<GuestEffect>, findings: &mut Findings) {
        if findings.ended.contains(&stream) {
            return;
        }
        if let Some(held) = self.unattached.get_mut(&stream) {
            held.push(bytes);
            return;
        }
        match self.part(stream, &bytes).await {
            Ok(()) => out.push(GuestEffect::Write { stream, bytes }),
            Err(failure) => {
                findings.logs.push(failure.message.clone());
                findings.ended.push(stream);
                out.push(GuestEffect::Finish { stream, error: Some(failure) });
            }
        }
    }

    fn begin_lines(&mut self, stream: u64, role: BodyRole, operation: &str, payer: Owner) {
        if self.checker.has(role, operation) {
            let lines =
                CheckedLines { role, operation: operation.to_owned(), payer, splitter: LineSplitter::default() };
            self.lines.insert(stream, lines);
        }
    }
}

/// The number of a payload's stream.
pub(super) fn stream_of(payload: Option<&Payload>) -> Option<u64> {
    payload?.stream.as_ref().map(|stream| stream.id.0)
}

impl CheckedLines {
    async fn push(&mut self, checker: &Checker, bytes: &Bytes) -> Result<(), Failure> {
        let ended = self.splitter.push(bytes);
        self.check(checker, ended).await
    }

    async fn finish(mut self, checker: &Checker) -> Result<(), Failure> {
        let ended = self.splitter.finish();
        self.check(checker, ended).await
    }

    async fn check(&self, checker: &Checker, ended: EndedLines) -> Result<(), Failure> {
        checker.check_lines(self.role, &self.operation, ended, || self.payer.clone()).await
    }
}
