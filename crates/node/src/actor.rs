//! One actor: its mailbox, its life, and its batches of calls. Decisions that need only the actor are here; decisions that need
//! other parts of the node are in `actors.rs`.

use std::{cell::Cell, collections::VecDeque, rc::Rc};

use litemap::LiteMap;

use starlane_protocol::{Address, Failure, Message, Outcome, Payload, StreamId, Topic, Trace};

use crate::{
    app::Role,
    effect::RequestId,
    forget::Rank,
    guest::{Context, GuestCall, InstanceId, Kind},
    guest_streams::{ActorStreams, for_guest},
    leaving::Leave,
    limits::ActorLimits,
    mail::{Held, Mail, outcome_weight},
    maps::Map,
    principal::Principal,
    saving::Keeping,
    shares::{Account, Place},
    state::OF_THE_INSTANCE,
};

/// The maximum number of messages, of outcomes and of wakes in one batch.
const MAX_BATCH_CALLS: usize = 64;
/// The maximum size of a batch, in bytes; a longer message goes alone.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// The minimum time between batches with wakes, in milliseconds: an actor that wakes itself at once leaves the host time for
/// others.
const WAKES_APART_MS: u64 = 5;
/// The minimum time that an actor has for a message, even if its sender gives up earlier, in milliseconds.
const MIN_MESSAGE_MS: u64 = 5_000;

/// An actor at this node, awake or asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ActorId(pub(crate) u64);

/// The outcome of a request of a guest.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The guest's own id.
    pub(crate) request: u64,
    pub(crate) outcome: Outcome,
    /// The trace of the message that the guest handled when it sent the request.
    pub(crate) trace: Option<Trace>,
}

/// A message that a guest has received and not ended. Only the guest keeps its body.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) letter: Message,
    /// When it is overdue.
    pub(crate) until: u64,
    /// Whether it was reported as overdue.
    pub(crate) overdue: bool,
    /// The stream that it brought.
    pub(crate) stream: Option<StreamId>,
}

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It has no instance; a message wakes it.
    Asleep,
    /// It waits for a slot.
    Waiting,
    /// An instance is being made.
    Starting(InstanceId),
    /// It has an instance.
    Awake(InstanceId),
    /// It crashed, and may start again at this time.
    BackOff(u64),
    /// It crashed too often, and may start again at this time.
    Quarantined(u64),
}

/// A call that is with the sandbox.
#[derive(Debug)]
pub(crate) enum InFlight {
    Start,
    Receive(u64, Box<Mail>),
    Settle(Held<Settled>),
    Wake(u64),
    /// A call about a stream.
    Stream(GuestCall),
    /// Saves; the actor then sleeps or continues.
    Save {
        sleep: bool,
    },
}

impl InFlight {
    /// The stream of what the call brings to the guest.
    pub(crate) fn stream(&self) -> Option<StreamId> {
        let payload = match self {
            Self::Receive(_, held) => &held.it.payload,
            Self::Settle(held) => held.it.outcome.as_ref().ok()?,
            _ => return None,
        };
        payload.stream.as_ref().map(|stream| stream.id)
    }
}

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) address: Address,
    /// The principal that used it first.
    pub(crate) made_for: Principal,
    pub(crate) role: Role,
    pub(crate) account: Account,
    /// The bytes that wait for it.
    pub(crate) waiting_bytes: Rc<Cell<usize>>,
    pub(crate) life: Life,
    /// By number, so removing one of many is as cheap as taking the next.
    pub(crate) mailbox: Map<u64, Box<Mail>>,
    pub(crate) outcomes: VecDeque<Held<Settled>>,
    pub(crate) wakes: VecDeque<u64>,
    /// Its timers for wakes, each with its token.
    pub(crate) timers: Vec<((u64, u64), u64)>,
    pub(crate) streams: ActorStreams,
    /// The topics that it is subscribed to.
    pub(crate) subscriptions: Vec<Topic>,
    /// Messages that the guest has and has not ended, by message id. At most its concurrency, and ids rise: a sorted vector.
    pub(crate) unfinished: LiteMap<u64, Given>,
    /// Requests that the guest has made, by its own id: at most `open-requests`, and ids mostly rise.
    pub(crate) open: LiteMap<u64, RequestId>,
    pub(crate) in_flight: Vec<InFlight>,
    /// When the sandbox got the present batch, or when the last requester of it gave up.
    pub(crate) in_flight_since: u64,
    /// While it starts: how many of its instance and its state are still missing.
    pub(crate) waited_for: u8,
    pub(crate) keeping: Keeping,
    /// What happens to it once it rests.
    pub(crate) leave: Option<Leave>,
    /// The timer that ends the wait for it to rest.
    pub(crate) patience: Option<(u64, u64)>,
    /// Whether the report of a batch is being handled.
    pub(crate) is_reporting: bool,
    /// Tokens of wakes of its present instance, such as sleeps of the SDK, that it asked for outside of any message. Until they
    /// come it is not at rest.
    pub(crate) dozes: Vec<u64>,
    /// The traces of messages that sleep, by the tokens of their wakes.
    pub(crate) slept: Vec<(u64, Trace)>,
    /// When it crashed, newest last.
    pub(crate) crashes: VecDeque<u64>,
    pub(crate) last_used: u64,
    /// Its place among the actors that may be forgotten.
    pub(crate) rank: Rank,
    /// Its memory is full of undelivered data: another instance continues from its state.
    pub(crate) is_worn: bool,
    /// The timer that checks for overdue messages.
    pub(crate) watch: Option<(u64, u64)>,
    /// Whether a timer delivers its waiting wakes.
    pub(crate) wakes_are_timed: bool,
    wakes_from: u64,
    started: bool,
    next_message: u64,
    _place: Place,
}

impl Actor {
    pub(crate) fn new(address: Address, role: Role, made_for: &Principal, account: Account) -> Self {
        Self {
            address,
            made_for: made_for.clone(),
            role,
            _place: account.place(),
            account,
            waiting_bytes: Rc::default(),
            life: Life::Asleep,
            mailbox: Map::new(),
            outcomes: VecDeque::new(),
            wakes: VecDeque::new(),
            timers: Vec::new(),
            streams: ActorStreams::default(),
            subscriptions: Vec::new(),
            unfinished: LiteMap::new(),
            open: LiteMap::new(),
            in_flight: Vec::new(),
            in_flight_since: 0,
            waited_for: 0,
            keeping: Keeping::default(),
            leave: None,
            patience: None,
            is_reporting: false,
            dozes: Vec::new(),
            slept: Vec::new(),
            crashes: VecDeque::new(),
            last_used: 0,
            rank: Rank::default(),
            is_worn: false,
            watch: None,
            wakes_are_timed: false,
            wakes_from: 0,
            started: false,
            next_message: 1,
        }
    }

    pub(crate) fn instance(&self) -> Option<InstanceId> {
        match self.life {
            Life::Awake(instance) | Life::Starting(instance) => Some(instance),
            Life::Asleep | Life::Waiting | Life::BackOff(_) | Life::Quarantined(_) => None,
        }
    }

    /// Checks whether `bytes` are light enough for this actor. Errors with 413 and the name of the limit.
    pub(crate) fn bears(&self, what: &str, bytes: usize, limits: &ActorLimits) -> Result<(), (&'static str, Failure)> {
        let memory = self.role.plan.limits.memory;
        let most = memory / limits.memory_part.max(1);
        if bytes as u64 <= most {
            return Ok(());
        }
        let part = limits.memory_part;
        let message = format!(
            "{what} is {bytes} bytes; the limit for this mechtron is {most}, 1/{part} of its {memory} bytes of memory: send less, \
             or raise `memory` in its config"
        );
        Err(("message-memory-part", Failure::too_large(message)))
    }

    /// The answer to a message, if it has the content type that the bind declares.
    pub(crate) fn fits_response(&self, message: u64, payload: Payload) -> Outcome {
        let bind = &self.role.plan.bind;
        let letter = self.unfinished.get(&message).map(|given| &given.letter);
        let letter = letter.filter(|letter| letter.kind == Kind::Request);
        let body = letter.and_then(|letter| bind.operations.get(&letter.operation)?.response.as_ref());
        match (letter, body) {
            (Some(letter), Some(body)) if payload.stream.is_some() && !body.stream => {
                Err(Failure::no_streams(format!(
                    "`{}` answers with a whole body, but the mechtron returned a stream: add `stream = true` to its response in the bind",
                    letter.operation
                )))
            }
            (Some(letter), Some(body)) if !body.accepts(&payload.content_type) => {
                Err(Failure::schema_mismatch(format!(
                    "`{}` answers with {}, but the mechtron returned {}",
                    letter.operation,
                    body.content_type,
                    if payload.content_type.is_empty() { "nothing" } else { &payload.content_type }
                )))
            }
            _ => Ok(payload),
        }
    }

    /// The trace of the message that a call continues.
    pub(crate) fn trace_of(&self, call: &InFlight) -> Option<Trace> {
        match call {
            InFlight::Receive(_, held) => held.it.trace,
            InFlight::Settle(held) => held.it.trace,
            InFlight::Wake(token) => self.slept.iter().find(|(slept, _)| slept == token).map(|(_, trace)| *trace),
            InFlight::Start | InFlight::Stream(_) | InFlight::Save { .. } => None,
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !(self.mailbox.is_empty() && self.outcomes.is_empty() && self.wakes.is_empty() && !self.streams.has_calls())
    }

    /// Awake, with nothing unfinished, open, waiting or running.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.may_sleep() && !self.has_work()
    }

    /// May be saved and has no open stream, so that nothing is lost with its instance.
    pub(crate) fn may_sleep(&self) -> bool {
        self.may_be_saved() && self.streams.is_empty() && !self.streams.has_calls()
    }

    /// Awake, with nothing unfinished, open or running, even if something waits.
    pub(crate) fn may_be_saved(&self) -> bool {
        matches!(self.life, Life::Awake(_))
            && self.started
            && !self.is_reporting
            && self.in_flight.is_empty()
            && self.unfinished.is_empty()
            && self.open.is_empty()
            && self.outcomes.is_empty()
            && self.dozes.is_empty()
    }

    /// The time at which a message is overdue if the guest gets it now.
    fn until(&self, letter: &Message, now: u64, limits: &ActorLimits) -> u64 {
        match letter.deadline {
            Some(deadline) => deadline.max(now + MIN_MESSAGE_MS) + limits.overdue_ms,
            None => now + limits.one_way_ms,
        }
    }

    /// Records that the guest has a message.
    pub(crate) fn given(&mut self, now: u64, message: u64, mut letter: Message, limits: &ActorLimits) {
        let stream = letter.payload.stream.as_ref().map(|stream| stream.id);
        letter.payload = Payload::nothing();
        let until = self.until(&letter, now, limits);
        self.unfinished.insert(message, Given { letter, until, overdue: false, stream });
    }

    /// The next batch of calls, if the actor is awake and idle and has something to do.
    pub(crate) fn next_batch(&mut self, now: u64) -> Option<(InstanceId, Vec<GuestCall>)> {
        let Life::Awake(instance) = self.life else { return None };
        let each = self.saves_each();
        if !self.in_flight.is_empty() || self.is_reporting || (each && self.keeping.is_with_store()) {
            return None;
        }
        let rests = !self.started || (self.may_be_saved() && !self.keeping.dirty);
        let mut calls = Vec::new();
        if !self.started {
            self.started = true;
            self.in_flight.push(InFlight::Start);
            calls.push(GuestCall::Start(Context {
                address: self.address.to_string(),
                mechtron: self.role.plan.mechtron.clone(),
                settings: self.role.plan.settings.clone(),
                state: self.keeping.at_hand(),
            }));
        }
        let mut bytes = 0;
        let mut fits = |weight: usize| {
            let fits = bytes == 0 || bytes + weight <= MAX_BATCH_BYTES;
            bytes += weight;
            fits
        };
        for _ in 0..MAX_BATCH_CALLS {
            let Some(held) = self.outcomes.pop_front_if(|held| fits(outcome_weight(&held.it.outcome))) else { break };
            let outcome = held.it.outcome.clone().map(for_guest);
            calls.push(GuestCall::Settle { request: held.it.request, outcome });
            self.in_flight.push(InFlight::Settle(held));
        }
        for call in self.streams.take_calls(&mut fits) {
            self.in_flight.push(InFlight::Stream(call.clone()));
            calls.push(call);
        }
        if now >= self.wakes_from && !self.wakes.is_empty() {
            self.wakes_from = now + WAKES_APART_MS;
            for token in self.wakes.drain(..self.wakes.len().min(MAX_BATCH_CALLS)) {
                calls.push(GuestCall::Wake { token });
                self.in_flight.push(InFlight::Wake(token));
            }
        }
        let room = (self.role.plan.limits.concurrency as usize).saturating_sub(self.unfinished.len());
        // The sandbox stops before a message above the concurrency, so a batch may hold more messages than that.
        let most = match () {
            () if room == 0 || self.leave.is_some() => 0,
            // One message at a time and no other call, so a save covers exactly that message.
            () if each => usize::from(rests && self.in_flight.iter().all(|call| matches!(call, InFlight::Start))),
            () => MAX_BATCH_CALLS,
        };
        for _ in 0..most {
            let Some((number, held)) = self.mailbox.iter().next() else { break };
            let number = *number;
            if !fits(held.it.payload.weight()) {
                break;
            }
            let Some(held) = self.mailbox.remove(&number) else { break };
            let (id, letter) = (self.next_message, &held.it);
            self.next_message += 1;
            let remaining_ms = remaining(letter.deadline, now);
            let payload = for_guest(letter.payload.clone());
            calls.push(GuestCall::Receive { id, message: Message { remaining_ms, payload, ..letter.clone() } });
            self.in_flight.push(InFlight::Receive(id, held));
        }
        if calls.is_empty() {
            return None;
        }
        self.last_used = now;
        self.in_flight_since = now;
        Some((instance, calls))
    }

    /// When waiting wakes may be delivered, if nothing else can be.
    pub(crate) fn wakes_due(&self, now: u64) -> Option<u64> {
        let idle = matches!(self.life, Life::Awake(_)) && self.in_flight.is_empty();
        (idle && !self.wakes.is_empty()).then_some(self.wakes_from.max(now))
    }

    /// Puts calls back that the sandbox did not run, before all others and in order.
    pub(crate) fn requeue(&mut self, calls: impl DoubleEndedIterator<Item = InFlight>) {
        for call in calls.rev() {
            match call {
                InFlight::Receive(_, letter) => drop(self.mailbox.insert(letter.number, letter)),
                InFlight::Settle(outcome) => self.outcomes.push_front(outcome),
                InFlight::Wake(token) => self.wakes.push_front(token),
                InFlight::Stream(call) => self.streams.put_back(call),
                InFlight::Start | InFlight::Save { .. } => {}
            }
        }
    }

    /// Forgets everything that belonged to the lost instance. Returns the messages that it had and the requests that it made.
    pub(crate) fn lose_instance(&mut self) -> (Vec<Message>, Vec<RequestId>) {
        self.started = false;
        self.is_worn = false;
        self.is_reporting = false;
        self.dozes.clear();
        self.slept.clear();
        self.keeping.lost();
        self.wakes.retain(|token| token & OF_THE_INSTANCE == 0);
        self.outcomes.clear();
        self.in_flight.clear();
        // Overdue messages have been reported already, to requesters and to the log.
        let unfinished = std::mem::take(&mut self.unfinished).into_iter().filter(|(_, given)| !given.overdue);
        let letters = unfinished.map(|(_, given)| given.letter).collect();
        (letters, std::mem::take(&mut self.open).into_iter().map(|(_, request)| request).collect())
    }

    /// Counts a crash and returns the next state of the actor.
    pub(crate) fn crashed(&mut self, now: u64, limits: &ActorLimits) -> Life {
        let within = self.role.plan.restart_within_ms;
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|at| at.saturating_add(within) < now) {
            self.crashes.pop_front();
        }
        let count = self.crashes.len() as u32;
        self.life = if count > self.role.plan.restart_intensity {
            Life::Quarantined(now + limits.quarantine_ms)
        } else {
            Life::BackOff(now + (100u64 << (count - 1).min(6)).min(5_000))
        };
        self.life
    }
}

/// Milliseconds until a deadline, at least 1; 0 without a deadline.
pub(crate) fn remaining(deadline: Option<u64>, now: u64) -> u32 {
    deadline.map_or(0, |deadline| u32::try_from(deadline.saturating_sub(now)).unwrap_or(u32::MAX).max(1))
}
