//! One worker: its messages, which `ts/messages.ts` defines, and the watch over it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures_channel::oneshot;
use js_sys::{Array, ArrayBuffer, DataView, Uint8Array, WebAssembly::Module};
use litemap::LiteMap;
use starlane_host::batch::{decode_report, encode_calls};
use starlane_node::guest::{BatchReport, GuestCall, GuestLimits, GuestPlan, InstanceId};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{ErrorEvent, Event, MessageEvent, Worker};

use super::glue;
use crate::{
    failure,
    object::{get, object},
    time::{now_ms, wait},
};

/// How much longer than its guests' budgets a worker may be silent.
const GRACE_MS: f64 = 2000.0;
/// The additional time for reading and checking a byte of JSON. 8 MB take 0.7 s, and up to 3 s with the maximum number of steps
/// of `ts/contract.ts`.
const CHECK_MS_PER_BYTE: f64 = 0.000_6;
/// The time limit for a worker to load its script and the checker of messages, and to make an instance. No guest's code runs
/// meanwhile: only the browser can be slow, or the machine busy.
const START_TIMEOUT_MS: f64 = 30_000.0;
/// A timer that fires later than this was delayed by the page itself: its lateness does not count against the worker.
const BLOCKED_MS: f64 = 1000.0;

/// A worker that runs guests. Dropping it terminates the worker.
pub(super) struct GuestWorker {
    /// For people: `worker 1`.
    pub(super) number: usize,
    worker: Worker,
    state: RefCell<State>,
    /// When it was last given work.
    pub(super) used: Cell<f64>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(Event)>,
}

#[derive(Default)]
struct State {
    groups: LiteMap<String, ()>,
    members: LiteMap<InstanceId, GuestLimits>,
    /// Encoded runs that leave at the end of this turn.
    runs: Vec<u8>,
    pending: LiteMap<InstanceId, Pending>,
    /// When it last answered while more answers were due, or got work while idle.
    progress: f64,
    /// When the watch checks next. `None` if there is no watch.
    alarm: Option<f64>,
    /// Why it ended.
    gone: Option<String>,
}

struct Pending {
    /// The maximum compute time of its guest, in milliseconds.
    budget: f64,
    /// Whether the guest's own code may run: not while its instance is being made.
    begun: bool,
    answer: Answer,
}

enum Answer {
    Start(oneshot::Sender<Result<(), String>>),
    Run(oneshot::Sender<BatchReport>),
    /// The instance was stopped meanwhile.
    Nobody,
}

impl Answer {
    fn fail(self, reason: &str) {
        // Sending fails only if the receiver no longer waits.
        match self {
            Self::Start(made) => drop(made.send(Err(reason.to_owned()))),
            Self::Run(report) => drop(report.send(crashed(reason))),
            Self::Nobody => {}
        }
    }
}

pub(super) fn crashed(reason: &str) -> BatchReport {
    BatchReport { crash: Some(reason.to_owned()), ..BatchReport::default() }
}

impl GuestWorker {
    /// Takes over a new worker.
    pub(super) fn new(worker: Worker, number: usize) -> Rc<Self> {
        Rc::new_cyclic(|own: &Weak<Self>| {
            let this = own.clone();
            let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                if let Some(this) = this.upgrade() {
                    this.hear(&event.data());
                }
            });
            let this = own.clone();
            let on_error = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
                if let Some(this) = this.upgrade() {
                    this.fail(&error_text(&event));
                }
            });
            worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
            worker.set_onmessageerror(Some(on_error.as_ref().unchecked_ref()));
            Self {
                number,
                worker,
                state: RefCell::default(),
                used: Cell::new(now_ms()),
                _on_message: on_message,
                _on_error: on_error,
            }
        })
    }

    /// Whether the worker has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.state.borrow().gone.is_some()
    }

    /// Whether it runs guests of this group.
    pub(super) fn serves(&self, group: &str) -> bool {
        self.state.borrow().groups.contains_key(group)
    }

    /// The number of its instances.
    pub(super) fn instances(&self) -> usize {
        self.state.borrow().members.len()
    }

    /// Makes an instance.
    pub(super) fn start(
        self: &Rc<Self>,
        plan: &GuestPlan,
        module: &Module,
        contract: &JsValue,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (made, is_made) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            state.groups.insert(plan.group.clone(), ());
            state.members.insert(plan.instance, plan.limits);
        }
        let start = object(&[
            ("instance", JsValue::from_f64(plan.instance.0 as f64)),
            ("module", module.into()),
            ("limits", glue::limits(&plan.limits).into()),
            ("contract", contract.clone()),
        ]);
        let message = object(&[("start", start.into())]);
        self.expect(plan.instance, f64::from(plan.limits.call_ms), Answer::Start(made));
        if let Err(error) = self.worker.post_message(&message) {
            self.answer(plan.instance).fail(&failure::text(&error));
        }
        is_made
    }

    /// Runs calls. All runs of one turn leave in one message.
    pub(super) fn run(self: &Rc<Self>, instance: InstanceId, calls: &[GuestCall]) -> oneshot::Receiver<BatchReport> {
        let (report, is_done) = oneshot::channel();
        let limits = self.state.borrow().members.get(&instance).copied();
        let Some(limits) = limits else {
            Answer::Run(report).fail("no such instance: it was stopped or has crashed");
            return is_done;
        };
        let encoded = encode_calls(calls);
        let budget = f64::from(limits.call_ms) * calls.len() as f64 + encoded.len() as f64 * CHECK_MS_PER_BYTE;
        if !self.expect(instance, budget, Answer::Run(report)) {
            return is_done;
        }
        let mut state = self.state.borrow_mut();
        let first = state.runs.is_empty();
        state.runs.extend_from_slice(&instance.0.to_le_bytes());
        state.runs.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        state.runs.extend_from_slice(&encoded);
        drop(state);
        if first {
            let this = Rc::downgrade(self);
            spawn_local(async move {
                if let Some(this) = this.upgrade() {
                    this.flush();
                }
            });
        }
        is_done
    }

    fn flush(&self) {
        let runs = std::mem::take(&mut self.state.borrow_mut().runs);
        let buffer = Uint8Array::from(runs.as_slice()).buffer();
        if let Err(error) = self.worker.post_message_with_transfer(&buffer, &Array::of1(&buffer)) {
            self.fail(&failure::text(&error));
        }
    }

    /// Drops an instance. During a call, this needs the end of the worker, if the worker has no other instance.
    pub(super) fn stop(&self, instance: InstanceId) {
        let mut state = self.state.borrow_mut();
        if state.members.remove(&instance).is_none() || state.gone.is_some() {
            return;
        }
        if state.members.is_empty() {
            state.groups.clear();
        }
        let is_last = state.members.is_empty();
        let pending =
            state.pending.get_mut(&instance).map(|pending| std::mem::replace(&mut pending.answer, Answer::Nobody));
        drop(state);
        if let Some(answer) = pending {
            answer.fail("the instance was stopped");
            if is_last {
                return self.fail("the instance was stopped");
            }
        }
        let message = object(&[("stop", JsValue::from_f64(instance.0 as f64))]);
        // Fails only for values that cannot be cloned. A number can.
        let _ = self.worker.post_message(&message);
    }

    /// Terminates the worker. All its pending answers fail.
    pub(super) fn fail(&self, reason: &str) {
        self.worker.terminate();
        let mut state = self.state.borrow_mut();
        state.gone.get_or_insert_with(|| reason.to_owned());
        let pending = std::mem::take(&mut state.pending);
        drop(state);
        for (_, pending) in pending {
            pending.answer.fail(reason);
        }
    }

    /// Notes a pending answer, and starts the watch if there is none. Returns false if the worker has ended.
    fn expect(self: &Rc<Self>, instance: InstanceId, budget: f64, answer: Answer) -> bool {
        let now = now_ms();
        self.used.set(now);
        let mut state = self.state.borrow_mut();
        if let Some(reason) = &state.gone {
            answer.fail(reason);
            return false;
        }
        let begun = !matches!(answer, Answer::Start(_));
        // No guest ran until now: the time of making an instance does not count against this call.
        if state.pending.is_empty() || begun && !state.pending.values().any(|pending| pending.begun) {
            state.progress = now;
        }
        state.pending.insert(instance, Pending { budget, begun, answer });
        if state.alarm.is_none() {
            state.alarm = Some(now);
            let this = Rc::downgrade(self);
            spawn_local(async move {
                while let Some(ms) = this.upgrade().and_then(|this| this.watch()) {
                    wait(ms).await;
                }
            });
        }
        true
    }

    /// How long the watch may sleep now, in milliseconds. None: the watch ends.
    fn watch(&self) -> Option<u64> {
        let now = now_ms();
        let mut state = self.state.borrow_mut();
        if state.pending.is_empty() || state.gone.is_some() {
            state.alarm = None;
            return None;
        }
        if state.alarm.is_some_and(|alarm| now > alarm + BLOCKED_MS) {
            state.progress = state.progress.max(now);
        }
        // Reports of short runs may wait for a longer run, so the longest budget counts.
        let longest = state.pending.values().map(|pending| pending.budget).fold(0.0, f64::max);
        let running = state.pending.values().filter(|pending| pending.begun);
        let running = running.map(|pending| pending.budget).reduce(f64::max);
        let wait = match running {
            Some(budget) => state.progress + budget + GRACE_MS - now,
            // The guest may begin at any time.
            None => (state.progress + START_TIMEOUT_MS - now).min(longest + GRACE_MS),
        };
        if wait > 0.0 {
            state.alarm = Some(now + wait);
            return Some(wait.ceil() as u64);
        }
        drop(state);
        // Prints whole numbers: the code that prints fractions is a fortieth of the page's Wasm.
        self.fail(&match running {
            Some(budget) => format!(
                "call budget of {} ms used up: worker {} was terminated with all its guests",
                budget as u64, self.number
            ),
            None => format!("worker {} did not start its guests within {} ms", self.number, START_TIMEOUT_MS as u64),
        });
        None
    }

    fn answer(&self, instance: InstanceId) -> Answer {
        let mut state = self.state.borrow_mut();
        state.progress = now_ms();
        state.pending.remove(&instance).map_or(Answer::Nobody, |pending| pending.answer)
    }

    fn hear(&self, data: &JsValue) {
        match data.dyn_ref::<ArrayBuffer>() {
            Some(buffer) => self.hear_reports(buffer),
            None => {
                let instance = |value: JsValue| value.as_f64().map(|id| InstanceId(id as u64));
                if let Some(instance) = instance(get(data, "begun")) {
                    let mut state = self.state.borrow_mut();
                    state.progress = now_ms();
                    if let Some(pending) = state.pending.get_mut(&instance) {
                        pending.begun = true;
                    }
                } else if let Some(bytes) = get(data, "checking").as_f64() {
                    let mut state = self.state.borrow_mut();
                    // Our own code runs now, and no guest.
                    state.progress = now_ms() + bytes * CHECK_MS_PER_BYTE;
                } else if let Some(instance) = instance(get(data, "started")) {
                    if let Answer::Start(made) = self.answer(instance) {
                        let _ = made.send(Ok(()));
                    }
                } else if let Some(instance) = instance(get(data, "failed")) {
                    self.answer(instance).fail(&get(data, "reason").as_string().unwrap_or_default());
                }
            }
        }
    }

    fn hear_reports(&self, buffer: &ArrayBuffer) {
        let used = DataView::new(buffer, 0, buffer.byte_length() as usize).get_uint32_endian(0, true);
        let bytes = Bytes::from(Uint8Array::new_with_byte_offset_and_length(buffer, 0, used).to_vec());
        let mut at = 4;
        while let Some((instance, report)) = next_report(&bytes, &mut at) {
            if let Answer::Run(done) = self.answer(instance) {
                let _ = done.send(decode_report(report).unwrap_or_else(|error| crashed(&error.to_string())));
            }
        }
    }
}

/// The next of `(instance:u64 length:u32 report)*`.
fn next_report(bytes: &Bytes, at: &mut usize) -> Option<(InstanceId, Bytes)> {
    let head = bytes.get(*at..*at + 12)?;
    let (id, length) = head.split_first_chunk::<8>()?;
    let from = *at + 12;
    let to = from + u32::from_le_bytes(length.try_into().ok()?) as usize;
    *at = to;
    (to <= bytes.len()).then(|| (InstanceId(u64::from_le_bytes(*id)), bytes.slice(from..to)))
}

fn error_text(event: &Event) -> String {
    if event.type_() == "messageerror" {
        return "the browser could not copy a message between page and worker".to_owned();
    }
    let message = event.dyn_ref::<ErrorEvent>().map(ErrorEvent::message).filter(|text| !text.is_empty());
    let message = message.as_deref().unwrap_or("its script could not be loaded or run");
    ["the worker failed: ", message].concat()
}

impl Drop for GuestWorker {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.set_onmessageerror(None);
        self.worker.terminate();
    }
}
