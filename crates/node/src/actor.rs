//! One actor: its mailbox, its life, and the batches of calls that it is given. What it decides alone stands here; what
//! needs other parts of the node stands in `actors.rs`.

use std::collections::VecDeque;

use litemap::LiteMap;

use starlane_protocol::{Address, Failure, Outcome, Payload};

use crate::{
    app::Role,
    effect::RequestId,
    guest::{Context, GuestCall, InstanceId, Kind, Message, Saved},
    principal::Principal,
};

/// The most messages in one batch.
const BATCH: usize = 64;

/// An actor at this node, awake or asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ActorId(pub(crate) u64);

/// A message in a mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) kind: Kind,
    pub(crate) from: Address,
    pub(crate) caller: Principal,
    pub(crate) operation: String,
    pub(crate) payload: Payload,
    /// The request to answer; none for one-way messages and events.
    pub(crate) request: Option<RequestId>,
    /// When nobody waits any more; none for one-way messages and events.
    pub(crate) deadline: Option<u64>,
}

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// No instance; a message wakes it.
    Asleep,
    /// An instance is being made.
    Starting(InstanceId),
    /// It has an instance.
    Awake(InstanceId),
    /// It crashed, and may start again at this time.
    BackOff(u64),
    /// It crashed too often.
    Quarantined,
}

/// A call that is with the sandbox.
#[derive(Debug)]
pub(crate) enum InFlight {
    Start,
    Receive(u64, Letter),
    Settle,
    Wake,
    Save,
}

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) address: Address,
    /// Who used it first.
    pub(crate) made_for: Principal,
    pub(crate) role: Role,
    pub(crate) life: Life,
    pub(crate) mailbox: VecDeque<Letter>,
    pub(crate) outcomes: VecDeque<(u64, Outcome)>,
    pub(crate) wakes: VecDeque<u64>,
    /// Messages that the guest has and has not ended, by message id.
    pub(crate) unfinished: LiteMap<u64, Letter>,
    /// Requests that the guest has made, by its own id.
    pub(crate) open: LiteMap<u64, RequestId>,
    pub(crate) in_flight: Vec<InFlight>,
    pub(crate) state: Option<Saved>,
    /// When it crashed, newest last.
    pub(crate) crashes: VecDeque<u64>,
    pub(crate) last_used: u64,
    started: bool,
    next_message: u64,
}

impl Actor {
    pub(crate) fn new(address: Address, role: Role, made_for: &Principal) -> Self {
        Self {
            address,
            made_for: made_for.clone(),
            role,
            life: Life::Asleep,
            mailbox: VecDeque::new(),
            outcomes: VecDeque::new(),
            wakes: VecDeque::new(),
            unfinished: LiteMap::new(),
            open: LiteMap::new(),
            in_flight: Vec::new(),
            state: None,
            crashes: VecDeque::new(),
            last_used: 0,
            started: false,
            next_message: 1,
        }
    }

    pub(crate) fn instance(&self) -> Option<InstanceId> {
        match self.life {
            Life::Awake(instance) | Life::Starting(instance) => Some(instance),
            Life::Asleep | Life::BackOff(_) | Life::Quarantined => None,
        }
    }

    /// The answer to a message, if it is of the content type that the bind gives it.
    pub(crate) fn fits_response(&self, message: u64, payload: Payload) -> Outcome {
        let bind = &self.role.plan.bind;
        let letter = self.unfinished.get(&message).filter(|letter| letter.kind == Kind::Request);
        let body = letter.and_then(|letter| bind.operations.get(&letter.operation)?.response.as_ref());
        match (letter, body) {
            (Some(letter), Some(body)) if !body.accepts(&payload.content_type) => {
                Err(Failure::schema_mismatch(format!(
                    "`{}` answers with {}, and the mechtron gave {}",
                    letter.operation,
                    body.content_type,
                    if payload.content_type.is_empty() { "nothing" } else { &payload.content_type }
                )))
            }
            _ => Ok(payload),
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !(self.mailbox.is_empty() && self.outcomes.is_empty() && self.wakes.is_empty())
    }

    /// Awake, with nothing unfinished, open, waiting or running.
    pub(crate) fn is_quiescent(&self) -> bool {
        matches!(self.life, Life::Awake(_))
            && self.in_flight.is_empty()
            && self.unfinished.is_empty()
            && self.open.is_empty()
            && !self.has_work()
    }

    /// The next batch of calls, if the actor is awake, idle and has something to do.
    pub(crate) fn next_batch(&mut self, now: u64) -> Option<(InstanceId, Vec<GuestCall>)> {
        let Life::Awake(instance) = self.life else { return None };
        if !self.in_flight.is_empty() {
            return None;
        }
        let mut calls = Vec::new();
        if !self.started {
            self.started = true;
            self.in_flight.push(InFlight::Start);
            calls.push(GuestCall::Start(Context {
                address: self.address.to_string(),
                mechtron: self.role.plan.mechtron.clone(),
                settings: self.role.plan.settings.clone(),
                state: self.state.clone(),
            }));
        }
        for (request, outcome) in self.outcomes.drain(..) {
            self.in_flight.push(InFlight::Settle);
            calls.push(GuestCall::Settle { request, outcome });
        }
        for token in self.wakes.drain(..) {
            self.in_flight.push(InFlight::Wake);
            calls.push(GuestCall::Wake { token });
        }
        let room = (self.role.plan.limits.concurrency as usize).saturating_sub(self.unfinished.len());
        // The sandbox stops before the message that would be one too many, so a batch may hold more than fit at once.
        let most = if room == 0 { 0 } else { BATCH };
        while calls.len() < most {
            let Some(letter) = self.mailbox.pop_front() else { break };
            let id = self.next_message;
            self.next_message += 1;
            calls.push(GuestCall::Receive(Message {
                id,
                kind: letter.kind,
                sender: letter.from.to_string(),
                caller: letter.caller.name().to_owned(),
                operation: letter.operation.clone(),
                payload: letter.payload.clone(),
                remaining_ms: remaining(letter.deadline, now),
            }));
            self.in_flight.push(InFlight::Receive(id, letter));
        }
        if calls.is_empty() {
            return None;
        }
        self.last_used = now;
        Some((instance, calls))
    }

    /// A batch that only saves, before sleep.
    pub(crate) fn save_batch(&mut self) -> Option<(InstanceId, Vec<GuestCall>)> {
        let Life::Awake(instance) = self.life else { return None };
        self.in_flight.push(InFlight::Save);
        Some((instance, vec![GuestCall::Save]))
    }

    /// The instance is gone: forgets what belonged to it. Gives the messages that it had, and the requests it had made.
    pub(crate) fn lose_instance(&mut self) -> (Vec<Letter>, Vec<RequestId>) {
        self.started = false;
        self.outcomes.clear();
        self.in_flight.clear();
        let letters = std::mem::take(&mut self.unfinished).into_iter().map(|(_, letter)| letter).collect();
        (letters, std::mem::take(&mut self.open).into_iter().map(|(_, request)| request).collect())
    }

    /// Counts a crash and says what follows from it.
    pub(crate) fn crashed(&mut self, now: u64) -> Life {
        let within = self.role.plan.restart_within_ms;
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|at| at + within < now) {
            self.crashes.pop_front();
        }
        let count = self.crashes.len() as u32;
        self.life = if count > self.role.plan.restart_intensity {
            Life::Quarantined
        } else {
            Life::BackOff(now + (100u64 << (count - 1).min(6)).min(5_000))
        };
        self.life
    }
}

/// Milliseconds left until a deadline, at least 1; 0 where there is none.
pub(crate) fn remaining(deadline: Option<u64>, now: u64) -> u32 {
    deadline.map_or(0, |deadline| u32::try_from(deadline.saturating_sub(now)).unwrap_or(u32::MAX).max(1))
}
