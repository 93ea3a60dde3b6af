//! The host's data in an instance's store: the messages and log lines of the current call, and their limits.

use starlane_abi::limits;
use starlane_node::guest::{GuestEffect, GuestLimits, Level, Logged};
use wasmtime::{Memory, ResourceLimiter};

use super::{fault::GuestFault, lift::Lift, streams::Streams};

/// The store's data.
pub(super) struct GuestState {
    /// None until the instance is made.
    pub(super) memory: Option<Memory>,
    /// Whether the guest can use the mesh now: not before `start`, and not in its allocator.
    pub(super) may_use_mesh: bool,
    /// The queued effects of the current call.
    pub(super) effects: Vec<GuestEffect>,
    /// The open streams.
    pub(super) streams: Streams,
    /// The log lines of the current batch.
    pub(super) logs: Vec<Logged>,
    /// The index of the current call in the batch.
    pub(super) call: usize,
    most_memory: u64,
    last_request: u64,
    room: usize,
    log_room: usize,
}

impl GuestState {
    pub(super) fn new(bounds: &GuestLimits) -> Self {
        Self {
            memory: None,
            may_use_mesh: false,
            effects: Vec::new(),
            streams: Streams::default(),
            logs: Vec::new(),
            call: 0,
            most_memory: bounds.memory,
            last_request: 0,
            room: 0,
            log_room: limits::CALL_LOG,
        }
    }

    /// Resets the limits, which apply to each call. `call` is the index in the batch.
    pub(super) fn begin_call(&mut self, call: usize) {
        self.call = call;
        self.effects.clear();
        self.room = limits::CALL_BYTES;
        self.log_room = limits::CALL_LOG;
    }

    /// The number of bytes that the current call has queued.
    pub(super) fn queued(&self) -> usize {
        limits::CALL_BYTES - self.room
    }

    /// The id of the next request.
    pub(super) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Reads an effect, if there is one, from the guest's memory and queues it, within the limits of a call.
    pub(super) fn queue(
        &mut self,
        memory: &[u8],
        read: impl FnOnce(&mut Lift<'_>, &mut Streams) -> Result<Option<GuestEffect>, GuestFault>,
    ) -> Result<(), GuestFault> {
        if !self.may_use_mesh {
            let when = "called before `start` or in the allocator: then only `log`, `now-ms` and `random` may be";
            return Err(GuestFault::Broken(when.to_owned()));
        }
        let mut lift = Lift::new(memory, self.room);
        let Some(effect) = read(&mut lift, &mut self.streams)? else { return Ok(()) };
        if self.effects.len() >= limits::CALL_MESSAGES {
            return Err(GuestFault::Broken(format!("one call can queue at most {} messages", limits::CALL_MESSAGES)));
        }
        self.room = lift.room;
        self.effects.push(effect);
        Ok(())
    }

    /// Logs a text, cut at the remaining limit of the call.
    pub(super) fn log(&mut self, memory: &[u8], level: i32, text: (u32, u32)) -> Result<(), GuestFault> {
        let level = match level {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            4 => Level::Error,
            other => return Err(GuestFault::Broken(format!("a level has no case {other}"))),
        };
        let text = Lift::new(memory, 0).text_cut("the text", text, self.log_room)?;
        if self.log_room > 0 {
            // An empty line counts too. Otherwise a loop could fill the host's memory with empty lines.
            self.log_room = self.log_room.saturating_sub(text.len() + 1);
            self.logs.push(Logged { call: self.call, level, text });
        }
        Ok(())
    }
}

impl ResourceLimiter for GuestState {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.most_memory)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= limits::TABLE_ENTRIES as usize)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        limits::TABLES as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
