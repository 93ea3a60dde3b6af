//! The host's data in an instance's store: the messages and log lines of the current call, and their limits.

use starlane_abi::limits;
use starlane_node::guest::{GuestEffect, GuestLimits, Level, Logged};
use wasmtime::{Memory, ResourceLimiter};

use super::{fault::Fault, lift::Lift};

/// The store's data.
pub(super) struct GuestState {
    /// None until the instance is made.
    pub(super) memory: Option<Memory>,
    /// Whether the guest may use the mesh now: not before `start`, and not in its allocator.
    pub(super) may_use_mesh: bool,
    /// What the present call queued.
    pub(super) effects: Vec<GuestEffect>,
    /// What the present batch logged.
    pub(super) logs: Vec<Logged>,
    /// Which call of the batch the present one is.
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
            logs: Vec::new(),
            call: 0,
            most_memory: bounds.memory,
            last_request: 0,
            room: 0,
            log_room: limits::CALL_LOG,
        }
    }

    /// The bounds are those of each call. It has a number in its batch.
    pub(super) fn begin_call(&mut self, call: usize) {
        self.call = call;
        self.effects.clear();
        self.room = limits::CALL_BYTES;
        self.log_room = limits::CALL_LOG;
    }

    /// How many bytes the present call has queued.
    pub(super) fn queued(&self) -> usize {
        limits::CALL_BYTES - self.room
    }

    /// The id of the next request.
    pub(super) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Queues what an import asks for, if the bounds allow it. It is read from the guest's memory.
    pub(super) fn queue(
        &mut self,
        memory: &[u8],
        read: impl FnOnce(&mut Lift<'_>) -> Result<GuestEffect, Fault>,
    ) -> Result<(), Fault> {
        if !self.may_use_mesh {
            let when = "called before `start` or in the allocator: then only `log`, `now-ms` and `random` may be";
            return Err(Fault::Broken(when.to_owned()));
        }
        if self.effects.len() >= limits::CALL_MESSAGES {
            return Err(Fault::Broken(format!("one call may queue {} messages", limits::CALL_MESSAGES)));
        }
        let mut lift = Lift::new(memory, self.room);
        let effect = read(&mut lift)?;
        self.room = lift.room;
        self.effects.push(effect);
        Ok(())
    }

    /// Logs as much of a text as the call may still log.
    pub(super) fn log(&mut self, memory: &[u8], level: i32, text: (u32, u32)) -> Result<(), Fault> {
        let level = match level {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            4 => Level::Error,
            other => return Err(Fault::Broken(format!("a level has no case {other}"))),
        };
        let text = Lift::new(memory, 0).text_cut("the text", text, self.log_room)?;
        if self.log_room > 0 {
            // An empty line counts too: else a loop could fill the host's memory with them.
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
