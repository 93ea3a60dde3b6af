//! The link of a browser host to its server: when to dial, and what waits until it is up.

use std::collections::VecDeque;

use starlane_protocol::{Failure, HostName};

use crate::{
    effect::{RequestId, SocketId},
    link::{CloseCode, Envelope, Goodbye, LinkConfig},
};

/// A message that waits for the link.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) request: Option<RequestId>,
    pub(crate) envelope: Envelope,
    pub(crate) deadline: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Phase {
    /// No server is wanted.
    #[default]
    Unwanted,
    /// A socket is being opened.
    Dialling,
    /// A socket is open; its link may be up.
    Open(SocketId),
    /// The next dial is at this time.
    Pause(u64),
    /// The server refused us for good.
    Refused(Goodbye),
}

/// The dialling side of the link to the server.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    phase: Phase,
    attempts: u32,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    pub(crate) server: Option<HostName>,
    pub(crate) was_up: bool,
}

impl Uplink {
    /// Whether what is not on this host should go to a server.
    pub(crate) fn is_wanted(&self) -> bool {
        self.phase != Phase::Unwanted
    }

    pub(crate) fn socket(&self) -> Option<SocketId> {
        match self.phase {
            Phase::Open(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn is_dialling(&self) -> bool {
        self.phase == Phase::Dialling
    }

    pub(crate) fn dialling(&mut self) {
        self.phase = Phase::Dialling;
    }

    pub(crate) fn opened(&mut self, socket: SocketId) {
        self.phase = Phase::Open(socket);
    }

    pub(crate) fn up(&mut self) {
        self.attempts = 0;
        self.was_up = true;
    }

    /// The pause before the next dial, in milliseconds, before jitter: at once, then doubling.
    pub(crate) fn next_pause(&mut self, config: &LinkConfig) -> u64 {
        let attempt = self.attempts;
        self.attempts += 1;
        match attempt {
            0 if self.was_up => 0,
            _ => (config.redial_first_ms << attempt.min(20)).min(config.redial_most_ms),
        }
    }

    pub(crate) fn pause_until(&mut self, at: u64) {
        self.phase = Phase::Pause(at);
    }

    pub(crate) fn refuse(&mut self, goodbye: Goodbye) {
        self.phase = Phase::Refused(goodbye);
    }

    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Unwanted;
    }

    /// When the next dial is due.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Pause(at) => Some(at),
            _ => None,
        }
    }

    /// Keeps a message until the link is up or its deadline passes.
    pub(crate) fn wait(
        &mut self,
        config: &LinkConfig,
        request: Option<RequestId>,
        envelope: Envelope,
        deadline: u64,
    ) -> Result<(), Failure> {
        if let Phase::Refused(goodbye) = &self.phase {
            return Err(refused(goodbye));
        }
        let weight = envelope.payload.weight();
        if self.waiting.len() >= config.waiting_messages
            || (self.waiting_bytes > 0 && self.waiting_bytes + weight > config.waiting_bytes)
        {
            let count = self.waiting.len();
            return Err(Failure::link_full(format!("{count} messages wait for the link to the server already")));
        }
        self.waiting_bytes += weight;
        self.waiting.push_back(Waiting { request, envelope, deadline });
        Ok(())
    }

    /// A request that waited need not be sent any more.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.take_where(|waiting| waiting.request == Some(request));
    }

    /// One-way messages whose time is over.
    pub(crate) fn expired(&mut self, now: u64) -> Vec<Waiting> {
        self.take_where(|waiting| waiting.request.is_none() && waiting.deadline <= now)
    }

    /// All that waits, in order.
    pub(crate) fn take_waiting(&mut self) -> Vec<Waiting> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (taken, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(which);
        self.waiting = kept.into();
        self.waiting_bytes = self.waiting.iter().map(|waiting| waiting.envelope.payload.weight()).sum();
        taken
    }
}

/// How messages fail whose server refuses us.
pub(crate) fn refused(goodbye: &Goodbye) -> Failure {
    match &goodbye.code {
        CloseCode::AuthRefused => Failure::auth_refused(goodbye.reason.clone()),
        code => Failure::new(503, code.as_str(), goodbye.reason.clone()),
    }
}
