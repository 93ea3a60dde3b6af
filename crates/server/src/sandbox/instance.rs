//! One instance: its store, and the calls into it, one at a time.

use std::{collections::HashSet, future::poll_fn, sync::Arc, task::Poll};

use starlane_abi::{layout, limits, names};
use starlane_node::guest::{
    BatchReport, CallReport, Context, GuestCall, GuestEffect, GuestLimits, Kind, Level, Logged, Returned, Saved,
};
use starlane_protocol::{Message, Outcome};
use wasmtime::{
    AsContextMut, Instance, InstancePre, Memory, PoolConcurrencyLimitError, Result, Store, TypedFunc, UpdateDeadline,
    WasmParams, WasmResults,
};

use super::{
    cpu_budget::CpuBudget,
    fault::{GuestFault, describe},
    gate::Gate,
    lift::{Lift, Span},
    lower::Lower,
    state::GuestState,
};

/// The reason for a failed creation that can succeed later.
pub(super) const NO_ROOM: &str = "the pool of instances is full";

type Pair = (u32, u32);
/// Address, mechtron, settings; case, format and data of the saved state.
type StartParams = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
/// Id, kind; sender, caller, operation; the payload; remaining milliseconds.
type ReceiveParams = (u64, i32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
/// The request; case and value of its outcome.
type SettleParams = (u64, i32, u32, u32, u32, u32, u32, u32);

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

struct Exports {
    realloc: TypedFunc<(u32, u32, u32, u32), u32>,
    start: TypedFunc<StartParams, u32>,
    receive: TypedFunc<ReceiveParams, i32>,
    settle: TypedFunc<SettleParams, ()>,
    wake: TypedFunc<u64, ()>,
    save: TypedFunc<(), u32>,
    post_start: Option<TypedFunc<u32, ()>>,
    post_save: Option<TypedFunc<u32, ()>>,
}

impl Exports {
    fn of(instance: &Instance, store: &mut Store<GuestState>) -> Result<Self> {
        Ok(Self {
            realloc: instance.get_typed_func(&mut *store, names::REALLOC)?,
            start: instance.get_typed_func(&mut *store, names::START)?,
            receive: instance.get_typed_func(&mut *store, names::RECEIVE)?,
            settle: instance.get_typed_func(&mut *store, names::SETTLE)?,
            wake: instance.get_typed_func(&mut *store, names::WAKE)?,
            save: instance.get_typed_func(&mut *store, names::SAVE)?,
            post_start: optional(instance, &mut *store, names::POST_START)?,
            post_save: optional(instance, store, names::POST_SAVE)?,
        })
    }
}

fn optional<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    mut store: impl AsContextMut,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>> {
    instance.get_func(&mut store, name).map(|function| function.typed(&store)).transpose()
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
            if let GuestCall::Receive { id, message } = &call
                && let Err(reason) = self.gate.message(*id, message).await
            {
                report.done.push(CallReport { returned: Returned::Misfit(reason), effects: Vec::new() });
                continue;
            }
            let name = name_of(&call);
            let message = match &call {
                GuestCall::Receive { id, .. } => Some(*id),
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
                    for text in self.gate.report(message, &mut done).await {
                        report.logs.push(Logged { call, level: Level::Error, text });
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
        let settle = self.exports.settle.clone();
        self.enter(&settle, (request, case, a, b, c, d, e, f)).await?;
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

fn receive_params(
    id: u64,
    message: &Message,
    sender: Pair,
    caller: Pair,
    operation: Pair,
    payload: [u32; 6],
) -> ReceiveParams {
    let kind = match message.kind {
        Kind::Request => layout::kind::REQUEST,
        Kind::Notify => layout::kind::NOTIFY,
        Kind::Event => layout::kind::EVENT,
    };
    let [a, b, c, d, e, f] = payload;
    let ((from, from_length), (whose, whose_length), (what, what_length)) = (sender, caller, operation);
    (id, kind, from, from_length, whose, whose_length, what, what_length, a, b, c, d, e, f, message.remaining_ms)
}

fn name_of(call: &GuestCall) -> &'static str {
    match call {
        GuestCall::Start(_) => "start",
        GuestCall::Receive { .. } => "receive",
        GuestCall::Settle { .. } => "settle",
        GuestCall::Wake { .. } => "wake",
        GuestCall::Save => "save",
    }
}
