//! One actor: its mailbox, its life, and the batches of calls that it is given. What it decides alone stands here; what
//! needs other parts of the node stands in `actors.rs`.

use std::{cell::Cell, collections::VecDeque, rc::Rc};

use litemap::LiteMap;

use starlane_protocol::{Address, Failure, Message, Outcome, Payload, Topic, Trace};

use crate::{
    app::Role,
    effect::RequestId,
    forget::Rank,
    guest::{Context, GuestCall, InstanceId, Kind},
    leaving::Leave,
    limits::ActorLimits,
    mail::{Held, Mail, outcome_weight},
    maps::Map,
    principal::Principal,
    saving::Keeping,
    shares::{Account, Place},
    state::OF_THE_INSTANCE,
};

/// The maximum of messages, of outcomes and of wakes in one batch.
const BATCH: usize = 64;
/// The maximum of bytes in one batch; one that is longer goes alone.
const BATCH_BYTES: usize = 16 << 20;
/// Batches with wakes are at least so far apart, in milliseconds: an actor that wakes itself at once leaves the host time for others.
const WAKES_APART_MS: u64 = 5;
/// An actor may take at least this long over a message, however soon its sender gives up, in milliseconds.
const LEAST_MS: u64 = 5_000;

/// An actor at this node, awake or asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ActorId(pub(crate) u64);

/// How a request of a guest ended.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The guest's own id.
    pub(crate) request: u64,
    pub(crate) outcome: Outcome,
    /// The trace of the message that the guest handled when it sent the request.
    pub(crate) trace: Option<Trace>,
}

/// A message that a guest has and has not ended. Its body is the guest's alone.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) letter: Message,
    /// When it should have been ended.
    pub(crate) until: u64,
    /// Whether the log says that it was not.
    pub(crate) overdue: bool,
}

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// No instance; a message wakes it.
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
    /// To sleep afterwards, or to go on.
    Save {
        sleep: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) address: Address,
    /// Who used it first.
    pub(crate) made_for: Principal,
    pub(crate) role: Role,
    pub(crate) account: Account,
    /// Bytes that wait for it.
    pub(crate) waiting_bytes: Rc<Cell<usize>>,
    pub(crate) life: Life,
    /// In order, by their numbers: one of many is taken back as cheaply as the next is given.
    pub(crate) mailbox: Map<u64, Box<Mail>>,
    pub(crate) outcomes: VecDeque<Held<Settled>>,
    pub(crate) wakes: VecDeque<u64>,
    /// What it asked to be woken for: the timer, and the token.
    pub(crate) timers: Vec<((u64, u64), u64)>,
    /// The topics that it is subscribed to.
    pub(crate) subscriptions: Vec<Topic>,
    /// Messages that the guest has and has not ended, by message id. As many as its concurrency, and ids rise: a sorted vector.
    pub(crate) unfinished: LiteMap<u64, Given>,
    /// Requests that the guest has made, by its own id: at most `open-requests`, and ids mostly rise.
    pub(crate) open: LiteMap<u64, RequestId>,
    pub(crate) in_flight: Vec<InFlight>,
    /// When the batch that is with the sandbox was given to it, or its last asker left.
    pub(crate) in_flight_since: u64,
    /// While it is starting: what is still to come, its instance and its state.
    pub(crate) waited_for: u8,
    pub(crate) keeping: Keeping,
    /// What it is to become, once it rests.
    pub(crate) leave: Option<Leave>,
    /// The timer until when it may take to come to rest.
    pub(crate) patience: Option<(u64, u64)>,
    /// The report of a batch is being worked through.
    pub(crate) is_reporting: bool,
    /// Tokens of wakes of its present instance, such as sleeps of the SDK, which it asked for outside of any message: until they
    /// come it is in the middle of something.
    pub(crate) dozes: Vec<u64>,
    /// The traces of what slept in the middle of a message, by the tokens of its wakes.
    pub(crate) slept: Vec<(u64, Trace)>,
    /// When it crashed, newest last.
    pub(crate) crashes: VecDeque<u64>,
    pub(crate) last_used: u64,
    /// Its place among those that may be forgotten.
    pub(crate) rank: Rank,
    /// Its memory is full of what it was not given: another instance goes on, from its state.
    pub(crate) is_worn: bool,
    /// The timer that looks for its overdue messages.
    pub(crate) watch: Option<(u64, u64)>,
    /// Whether a timer gives it the wakes that wait.
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

    /// Whether something of so many bytes is light enough to be given to this actor. Errors with 413, and the limit's name.
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

    /// The answer to a message, if it is of the content type that the bind gives it.
    pub(crate) fn fits_response(&self, message: u64, payload: Payload) -> Outcome {
        let bind = &self.role.plan.bind;
        let letter = self.unfinished.get(&message).map(|given| &given.letter);
        let letter = letter.filter(|letter| letter.kind == Kind::Request);
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

    /// The trace of the message that a call goes on with.
    pub(crate) fn trace_of(&self, call: &InFlight) -> Option<Trace> {
        match call {
            InFlight::Receive(_, held) => held.it.trace,
            InFlight::Settle(held) => held.it.trace,
            InFlight::Wake(token) => self.slept.iter().find(|(slept, _)| slept == token).map(|(_, trace)| *trace),
            InFlight::Start | InFlight::Save { .. } => None,
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !(self.mailbox.is_empty() && self.outcomes.is_empty() && self.wakes.is_empty())
    }

    /// Awake, with nothing unfinished, open, waiting or running.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.may_be_saved() && !self.has_work()
    }

    /// Awake, with nothing unfinished, open or running, whatever waits.
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

    /// How long a guest may take over a message that it is given now.
    fn until(&self, letter: &Message, now: u64, limits: &ActorLimits) -> u64 {
        match letter.deadline {
            Some(deadline) => deadline.max(now + LEAST_MS) + limits.overdue_ms,
            None => now + limits.one_way_ms,
        }
    }

    /// The guest has a message now, and has not ended it.
    pub(crate) fn given(&mut self, now: u64, message: u64, mut letter: Message, limits: &ActorLimits) {
        letter.payload = Payload::nothing();
        let until = self.until(&letter, now, limits);
        self.unfinished.insert(message, Given { letter, until, overdue: false });
    }

    /// The next batch of calls, if the actor is awake, idle and has something to do.
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
            let fits = bytes == 0 || bytes + weight <= BATCH_BYTES;
            bytes += weight;
            fits
        };
        for _ in 0..BATCH {
            let Some(held) = self.outcomes.pop_front_if(|held| fits(outcome_weight(&held.it.outcome))) else { break };
            calls.push(GuestCall::Settle { request: held.it.request, outcome: held.it.outcome.clone() });
            self.in_flight.push(InFlight::Settle(held));
        }
        if now >= self.wakes_from && !self.wakes.is_empty() {
            self.wakes_from = now + WAKES_APART_MS;
            for token in self.wakes.drain(..self.wakes.len().min(BATCH)) {
                calls.push(GuestCall::Wake { token });
                self.in_flight.push(InFlight::Wake(token));
            }
        }
        let room = (self.role.plan.limits.concurrency as usize).saturating_sub(self.unfinished.len());
        // The sandbox stops before the message that would be one too many, so a batch may hold more than fit at once.
        let most = match () {
            () if room == 0 || self.leave.is_some() => 0,
            // One at a time, and nothing beside it: what it did is what is saved then.
            () if each => usize::from(rests && self.in_flight.iter().all(|call| matches!(call, InFlight::Start))),
            () => BATCH,
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
            calls.push(GuestCall::Receive { id, message: Message { remaining_ms, ..letter.clone() } });
            self.in_flight.push(InFlight::Receive(id, held));
        }
        if calls.is_empty() {
            return None;
        }
        self.last_used = now;
        self.in_flight_since = now;
        Some((instance, calls))
    }

    /// When wakes that wait may be given to the guest, if they are all that it could be given.
    pub(crate) fn wakes_due(&self, now: u64) -> Option<u64> {
        let idle = matches!(self.life, Life::Awake(_)) && self.in_flight.is_empty();
        (idle && !self.wakes.is_empty()).then_some(self.wakes_from.max(now))
    }

    /// What was given to the sandbox and not run waits again, before all else and in order.
    pub(crate) fn requeue(&mut self, calls: impl DoubleEndedIterator<Item = InFlight>) {
        for call in calls.rev() {
            match call {
                InFlight::Receive(_, letter) => drop(self.mailbox.insert(letter.number, letter)),
                InFlight::Settle(outcome) => self.outcomes.push_front(outcome),
                InFlight::Wake(token) => self.wakes.push_front(token),
                InFlight::Start | InFlight::Save { .. } => {}
            }
        }
    }

    /// The instance is gone: forgets what belonged to it. Gives the messages that it had, and the requests it had made.
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
        // What is overdue has been told to whoever waited, and to the log.
        let unfinished = std::mem::take(&mut self.unfinished).into_iter().filter(|(_, given)| !given.overdue);
        let letters = unfinished.map(|(_, given)| given.letter).collect();
        (letters, std::mem::take(&mut self.open).into_iter().map(|(_, request)| request).collect())
    }

    /// Counts a crash and says what follows from it.
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

/// Milliseconds left until a deadline, at least 1; 0 where there is none.
pub(crate) fn remaining(deadline: Option<u64>, now: u64) -> u32 {
    deadline.map_or(0, |deadline| u32::try_from(deadline.saturating_sub(now)).unwrap_or(u32::MAX).max(1))
}
