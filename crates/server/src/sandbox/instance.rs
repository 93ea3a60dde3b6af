//! One instance: its store, and the calls into it, one at a time.

use std::{collections::HashSet, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use starlane_abi::{layout, limits, names};
use starlane_node::guest::{
    BatchReport, CallReport, Context, GuestCall, GuestEffect, GuestLimits, Level, Logged, Returned, Saved,
};
use starlane_protocol::{Failure, Message, Outcome, Payload};
use wasmtime::{
    InstancePre, Memory, PoolConcurrencyLimitError, Result, Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults,
};

use super::{
    cpu_budget::CpuBudget,
    exports::{Exports, name_of, optional, receive_params},
    fault::{GuestFault, describe},
    gate::{Gate, stream_of},
    lift::{Lift, Span},
    lower::Lower,
    state::GuestState,
};

/// The reason for a failed creation that can succeed later.
pub(super) const NO_ROOM: &str = "the pool of instances is full";

/// A guest with its own memory.
pub(super) struct GuestInstance {
    store: Store<GuestState>,
    cpu_budget: Arc<CpuBudget>,
    memory: Memory,
    exports: Exports,
    concurrency: usize,
    gate: Gate,
    /// Messages that a later `reply` ends.
    unfinished: HashSet<u64>,
    started: bool,
}

impl GuestInstance {
    /// Makes an instance and initialises it. The error text is for people.
    pub(super) async fn new(
        module: &InstancePre<GuestState>,
        bounds: &GuestLimits,
        gate: Gate,
        cpu_budget: Arc<CpuBudget>,
    ) -> Result<Self, String> {
        Self::make(module, bounds, gate, cpu_budget).await.map_err(|error| {
            match error.is::<PoolConcurrencyLimitError>() {
                true => NO_ROOM.to_owned(),
                false => describe(&error),
            }
        })
    }

    async fn make(
        module: &InstancePre<GuestState>,
        bounds: &GuestLimits,
        gate: Gate,
        cpu_budget: Arc<CpuBudget>,
    ) -> Result<Self> {
        let mut store = Store::new(module.module().engine(), GuestState::new(bounds));
        store.limiter(|state| state);
        let ticking = cpu_budget.clone();
        store.epoch_deadline_callback(move |_| {
            ticking.tick()?;
            let ticking = ticking.clone();
            let others = async move {
                let_others_run().await;
                ticking.resume();
            };
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(others)))
        });
        cpu_budget.begin_call();
        store.set_epoch_deadline(1);
        let instance = module.instantiate_async(&mut store).await?;
        let memory = instance.get_memory(&mut store, names::MEMORY);
        let memory = memory.ok_or_else(|| GuestFault::Broken("the module exports no memory".to_owned()))?;
        store.data_mut().memory = Some(memory);
        let exports = Exports::of(&instance, &mut store)?;
        if let Some(initialize) = optional::<(), ()>(&instance, &mut store, names::INITIALIZE)? {
            initialize.call_async(&mut store, ()).await?;
        }
        let concurrency = bounds.concurrency as usize;
        let unfinished = HashSet::new();
        Ok(Self { store, cpu_budget, memory, exports, concurrency, gate, unfinished, started: false })
    }

    /// Runs calls until one ends the instance, `start` is refused, or a message must wait.
    pub(super) async fn run(&mut self, calls: Vec<GuestCall>) -> BatchReport {
        let mut report = BatchReport::default();
        let (mut queued, mut sent) = (0, 0);
        // The tick deadline applies to the whole batch, so that many short calls yield as one long call does.
        self.store.set_epoch_deadline(1);
        for call in calls {
            let is_message = matches!(call, GuestCall::Receive { .. });
            let may_wait = !matches!(call, GuestCall::Start(_) | GuestCall::Save);
            // All calls of a batch together queue little more than the maximum of one call.
            if may_wait && (queued >= limits::CALL_BYTES || sent >= limits::CALL_MESSAGES) {
                break;
            }
            if is_message && self.unfinished.len() >= self.concurrency {
                break;
            }
            if let Err(returned) = self.admit(&call).await {
                report.done.push(CallReport { returned, effects: Vec::new() });
                continue;
            }
            let name = name_of(&call);
            let message = match &call {
                GuestCall::Receive { id, message } => Some((*id, stream_of(Some(&message.payload)))),
                _ => None,
            };
            self.cpu_budget.begin_call();
            self.store.data_mut().begin_call(report.done.len());
            let result = self.call(call).await;
            match result {
                Ok(returned) => {
                    queued += self.store.data().queued();
                    let refused = matches!(returned, Returned::Refused(_));
                    let effects = std::mem::take(&mut self.store.data_mut().effects);
                    sent += effects.len();
                    let mut done = CallReport { returned, effects };
                    let call = report.done.len();
                    let findings = self.gate.report(message, &mut done).await;
                    for text in findings.logs {
                        report.logs.push(Logged { call, level: Level::Error, text });
                    }
                    for stream in findings.ended {
                        self.store.data_mut().streams.end(stream);
                    }
                    report.done.push(done);
                    if refused {
                        break;
                    }
                }
                Err(error) => {
                    report.crash = Some(format!("`{name}`: {}", describe(&error)));
                    break;
                }
            }
        }
        report.logs.append(&mut self.store.data_mut().logs);
        report
    }

    /// Checks a call that must perhaps not reach the guest. The error is its result then.
    async fn admit(&mut self, call: &GuestCall) -> Result<(), Returned> {
        let payload = match call {
            GuestCall::Receive { message, .. } => Some(&message.payload),
            GuestCall::Settle { outcome, .. } => outcome.as_ref().ok(),
            _ => None,
        };
        if stream_of(payload).is_some() && self.exports.streams.is_none() {
            return Err(Returned::NoStreams);
        }
        // The guest may have ended a stream while the host's calls about it were under way.
        let streams = &mut self.store.data_mut().streams;
        let (stream, checked) = match call {
            GuestCall::Receive { id, message } => {
                return self.gate.message(*id, message).await.map_err(Returned::Misfit);
            }
            GuestCall::Part { stream, bytes } if streams.takes_parts(*stream) => {
                (*stream, self.gate.part(*stream, bytes).await)
            }
            GuestCall::Ended { stream, error } if streams.is_open(*stream) => {
                (*stream, self.gate.end(*stream, error.is_none()).await)
            }
            GuestCall::Ready { stream, credit } if streams.add_credit(*stream, *credit) => return Ok(()),
            GuestCall::Part { .. } | GuestCall::Ended { .. } | GuestCall::Ready { .. } => return Err(Returned::Done),
            _ => return Ok(()),
        };
        checked.map_err(|failure| {
            self.store.data_mut().streams.refuse_parts(stream);
            Returned::BadLine { stream, failure }
        })
    }

    async fn call(&mut self, call: GuestCall) -> Result<Returned> {
        if self.cpu_budget.is_stopped() {
            return Err(GuestFault::Stopped.into());
        }
        if matches!(call, GuestCall::Start(_)) == self.started {
            return Err(GuestFault::Broken("`start` must be called once, before other calls".to_owned()).into());
        }
        match call {
            GuestCall::Start(context) => {
                self.started = true;
                self.start(&context).await
            }
            GuestCall::Receive { id, message } => too_large(self.receive(id, &message).await),
            GuestCall::Settle { request, outcome } => too_large(self.settle(request, &outcome).await),
            GuestCall::Wake { token } => {
                let wake = self.exports.wake.clone();
                self.enter(&wake, token).await?;
                Ok(Returned::Done)
            }
            GuestCall::Save => self.save().await,
            GuestCall::Part { stream, bytes } => self.part(stream, &bytes).await,
            GuestCall::Ended { stream, error } => self.ended(stream, error.as_ref()).await,
            GuestCall::Ready { stream, credit } => self.ready(stream, credit).await,
        }
    }

    async fn start(&mut self, context: &Context) -> Result<Returned> {
        let mut lower = self.lower();
        let address = lower.bytes(context.address.as_bytes()).await?;
        let mechtron = lower.bytes(context.mechtron.as_bytes()).await?;
        let settings = lower.bytes(context.settings.as_bytes()).await?;
        let (case, format, data) = match &context.state {
            Some(saved) => (1, saved.format, lower.bytes(&saved.data).await?),
            None => (0, 0, (0, 0)),
        };
        let (own, named, told) = (address, mechtron, settings);
        let params = (own.0, own.1, named.0, named.1, told.0, told.1, case, format, data.0, data.1);
        let start = self.exports.start.clone();
        let result = self.enter(&start, params).await?;
        let returned = self.start_result(result)?;
        self.post(self.exports.post_start.clone(), result).await?;
        Ok(returned)
    }

    fn start_result(&self, pointer: u32) -> Result<Returned, GuestFault> {
        let mut lift = Lift::new(self.memory.data(&self.store), limits::CALL_BYTES);
        let at = lift.record("the result", pointer, layout::RESULT_SIZE)?;
        match lift.slice("the result", (at, 1))? {
            [0] => Ok(Returned::Done),
            [1] => {
                let span = lift.span_at("the reason", at + layout::RESULT_ERROR)?;
                Ok(Returned::Refused(lift.text("the reason", span)?))
            }
            other => {
                Err(GuestFault::Broken(format!("a result has no case {}", other.first().copied().unwrap_or_default())))
            }
        }
    }

    async fn receive(&mut self, id: u64, message: &Message) -> Result<Returned> {
        let mut lower = self.lower();
        let payload = lower.payload(&message.payload).await?;
        let sender = lower.bytes(message.from.as_str().as_bytes()).await?;
        let caller = lower.bytes(message.caller.name().as_bytes()).await?;
        let operation = lower.bytes(message.operation.as_bytes()).await?;
        self.deliver(&message.payload);
        let receive = self.exports.receive.clone();
        let params = receive_params(id, message, sender, caller, operation, payload);
        let finished = self.enter(&receive, params).await? != 0;
        if !finished && !self.replied().any(|replied| replied == id) {
            self.unfinished.insert(id);
        }
        Ok(Returned::Received(finished))
    }

    async fn settle(&mut self, request: u64, outcome: &Outcome) -> Result<Returned> {
        let (case, [a, b, c, d, e, f]) = self.lower().outcome(outcome).await?;
        let stream = outcome.as_ref().map_or(0, |payload| self.deliver(payload));
        let settle = self.exports.settle.clone();
        self.enter(&settle, (request, case, a, b, c, d, e, f, stream)).await?;
        Ok(Returned::Done)
    }

    /// Opens the stream of a payload that the guest gets, and returns its number, or 0.
    fn deliver(&mut self, payload: &Payload) -> u64 {
        let Some(stream) = &payload.stream else { return 0 };
        self.store.data_mut().streams.deliver(stream.id.0);
        stream.id.0
    }

    async fn part(&mut self, stream: u64, bytes: &Bytes) -> Result<Returned> {
        let Some(part) = self.exports.streams.as_ref().map(|streams| streams.part.clone()) else {
            return Ok(Returned::Done);
        };
        let (at, length) = match self.lower().bytes(bytes).await {
            Ok(span) => span,
            Err(error) => match error.downcast_ref::<GuestFault>() {
                Some(GuestFault::NoMemory(reason)) => {
                    self.store.data_mut().streams.refuse_parts(stream);
                    return Ok(Returned::BadLine { stream, failure: Failure::too_large(reason) });
                }
                _ => return Err(error),
            },
        };
        self.enter(&part, (stream, at, length)).await?;
        Ok(Returned::Done)
    }

    async fn ended(&mut self, stream: u64, error: Option<&Failure>) -> Result<Returned> {
        self.store.data_mut().streams.end(stream);
        let Some(ended) = self.exports.streams.as_ref().map(|streams| streams.ended.clone()) else {
            return Ok(Returned::Done);
        };
        let (case, [a, b, c, d, e]) = self.lower().error(error).await?;
        self.enter(&ended, (stream, case, a, b, c, d, e)).await?;
        Ok(Returned::Done)
    }

    async fn ready(&mut self, stream: u64, credit: u32) -> Result<Returned> {
        if let Some(ready) = self.exports.streams.as_ref().map(|streams| streams.ready.clone()) {
            self.enter(&ready, (stream, credit)).await?;
        }
        Ok(Returned::Done)
    }

    async fn save(&mut self) -> Result<Returned> {
        let save = self.exports.save.clone();
        let result = self.enter(&save, ()).await?;
        let saved = self.save_result(result)?;
        self.post(self.exports.post_save.clone(), result).await?;
        Ok(Returned::Saved(saved))
    }

    fn save_result(&self, pointer: u32) -> Result<Saved, GuestFault> {
        // The state can be as large as the guest's memory.
        let mut lift = Lift::new(self.memory.data(&self.store), usize::MAX);
        let at = lift.record("the result", pointer, layout::SAVED_SIZE)?;
        let span: Span = lift.span_at("the state", at + layout::SAVED_DATA)?;
        Ok(Saved { format: lift.u32_at("the format", at)?, data: lift.bytes("the state", span)? })
    }

    fn lower(&mut self) -> Lower<'_> {
        Lower { store: &mut self.store, memory: self.memory, realloc: &self.exports.realloc }
    }

    /// Calls a function that can use the mesh.
    async fn enter<P: WasmParams + Sync, R: WasmResults + Sync>(
        &mut self,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R> {
        self.store.data_mut().may_use_mesh = true;
        let result = function.call_async(&mut self.store, params).await;
        self.store.data_mut().may_use_mesh = false;
        // A reply in any call finishes its message.
        let replied: Vec<u64> = self.replied().collect();
        for id in replied {
            self.unfinished.remove(&id);
        }
        result
    }

    /// Tells the guest that its result has been read.
    async fn post(&mut self, function: Option<TypedFunc<u32, ()>>, result: u32) -> Result<()> {
        match function {
            Some(function) => function.call_async(&mut self.store, result).await,
            None => Ok(()),
        }
    }

    /// The messages that the current call replied to.
    fn replied(&self) -> impl Iterator<Item = u64> {
        self.store.data().effects.iter().filter_map(|effect| match effect {
            GuestEffect::Reply { id, .. } => Some(*id),
            _ => None,
        })
    }
}

/// A message that a guest has no memory for is not delivered; it does not crash the guest.
fn too_large(result: Result<Returned>) -> Result<Returned> {
    result.or_else(|error| match error.downcast_ref::<GuestFault>() {
        Some(GuestFault::NoMemory(reason)) => Ok(Returned::TooLarge(reason.clone())),
        _ => Err(error),
    })
}

/// Waits once: its task goes to the end of its app's queue.
async fn let_others_run() {
    let mut is_second = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
