//! Helpers for all cases: compiled modules, instances and messages.

use std::{
    cell::Cell,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use starlane_bundle::Digest;
use starlane_node::guest::{
    BatchReport, Context, GuestCall, GuestEffect, GuestLimits, GuestPlan, InstanceId, Kind, Level, Logged, Returned,
    Saved,
};
use starlane_protocol::{Address, Message, Outcome, Payload, Principal};

use crate::ports::{Sandbox, SandboxError};

pub(crate) const MIB: u64 = 1024 * 1024;

/// Limits that are enough for every case. Cases about a limit set their own.
pub(crate) const LIMITS: GuestLimits = GuestLimits { memory: 16 * MIB, call_ms: 5_000, concurrency: 1 };

/// The log lines of a batch.
pub(crate) fn logged(lines: &[Logged]) -> Vec<(Level, String)> {
    lines.iter().map(|line| (line.level, line.text.clone())).collect()
}

/// A message from Ada.
fn from_ada(operation: &str, payload: Payload) -> Message {
    let address = Address::parse("acme:test:sender").unwrap();
    Message::new(address.clone(), Principal::named("user:ada"), address, operation.to_owned(), payload)
}

/// An instance. Dropping it stops the instance.
pub(crate) struct Guest {
    sandbox: Rc<dyn Sandbox>,
    pub(crate) id: InstanceId,
    last_message: Cell<u64>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.sandbox.stop(self.id);
    }
}

impl Guest {
    /// Makes an instance without any call.
    pub(crate) async fn make(
        sandbox: &Rc<dyn Sandbox>,
        wasm: &Bytes,
        limits: GuestLimits,
    ) -> Result<Self, SandboxError> {
        Self::make_under(sandbox, wasm, limits, "").await
    }

    async fn make_under(
        sandbox: &Rc<dyn Sandbox>,
        wasm: &Bytes,
        limits: GuestLimits,
        contract: &str,
    ) -> Result<Self, SandboxError> {
        static LAST: AtomicU64 = AtomicU64::new(1);
        let digest = Digest::of(wasm);
        if !sandbox.has_module(&digest, limits.memory) {
            sandbox.compile("acme", digest, limits.memory, wasm.clone()).await?;
            assert!(sandbox.has_module(&digest, limits.memory), "a module that was compiled is kept");
        }
        let id = InstanceId(LAST.fetch_add(1, Ordering::Relaxed));
        let guest = Self { sandbox: sandbox.clone(), id, last_message: Cell::new(0) };
        sandbox.start(&GuestPlan { contract: contract.into(), ..plan(id, digest, limits) }).await?;
        Ok(guest)
    }

    /// Makes an instance and starts it successfully.
    pub(crate) async fn start(sandbox: &Rc<dyn Sandbox>, wasm: &Bytes, limits: GuestLimits) -> Self {
        Self::start_from(sandbox, wasm, limits, None).await
    }

    pub(crate) async fn start_from(
        sandbox: &Rc<dyn Sandbox>,
        wasm: &Bytes,
        limits: GuestLimits,
        state: Option<Saved>,
    ) -> Self {
        let guest = Self::make(sandbox, wasm, limits).await.expect("an instance");
        guest.begin(state).await;
        guest
    }

    /// Makes an instance whose messages must match a contract.
    pub(crate) async fn start_under(
        sandbox: &Rc<dyn Sandbox>,
        wasm: &Bytes,
        limits: GuestLimits,
        contract: &str,
    ) -> Self {
        let guest = Self::make_under(sandbox, wasm, limits, contract).await.expect("an instance");
        guest.begin(None).await;
        guest
    }

    async fn begin(&self, state: Option<Saved>) {
        let report = self.run(vec![GuestCall::Start(Context { state, ..context("{}") })]).await;
        assert_eq!(report.crash, None, "the start: {:?}", report.logs);
        assert_eq!(report.done.len(), 1, "one call was made");
        assert_eq!(report.done[0].returned, Returned::Done);
    }

    pub(crate) async fn run(&self, calls: Vec<GuestCall>) -> BatchReport {
        self.sandbox.run(self.id, calls).await
    }

    /// Runs one call that ends the instance, and returns the reason.
    pub(crate) async fn crash(&self, call: GuestCall) -> String {
        let report = self.run(vec![call]).await;
        let reason = report.crash.unwrap_or_else(|| panic!("no crash, but {:?}", report.done));
        assert!(report.done.is_empty(), "a call that crashed is not done: {:?}", report.done);
        assert!(!reason.contains('\n') && !reason.is_empty(), "a reason is one line: {reason:?}");
        let gone = self.run(vec![GuestCall::Wake { token: 1 }]).await;
        assert!(gone.crash.is_some(), "after a crash the instance is gone");
        reason
    }

    /// The next message of this instance.
    pub(crate) fn message(&self, operation: &str, payload: Payload) -> GuestCall {
        self.last_message.set(self.last_message.get() + 1);
        let message = from_ada(operation, payload);
        let message = Message { kind: Kind::Request, remaining_ms: 30_000, ..message };
        GuestCall::Receive { id: self.last_message.get(), message }
    }

    /// Sends a message that is answered immediately.
    pub(crate) async fn ask(&self, operation: &str, payload: Payload) -> Outcome {
        let report = self.run(vec![self.message(operation, payload)]).await;
        assert_eq!(report.crash, None, "{:?}", report.logs);
        assert_eq!(report.done.len(), 1, "one call was made");
        assert_eq!(report.done[0].returned, Returned::Received(true));
        reply(&report.done[0].effects)
    }
}

fn plan(instance: InstanceId, wasm: Digest, limits: GuestLimits) -> GuestPlan {
    // Each case has its own group, so that cases do not share a worker.
    GuestPlan { instance, group: format!("group-{}", instance.0), wasm, limits, contract: "".into(), inline: false }
}

pub(crate) fn context(settings: &str) -> Context {
    let address = "acme:test:echo".into();
    Context { address, mechtron: "echo".into(), settings: settings.into(), state: None }
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::json(text.to_owned())
}

/// The one reply among effects.
pub(crate) fn reply(effects: &[GuestEffect]) -> Outcome {
    let mut replies = effects.iter().filter_map(|effect| match effect {
        GuestEffect::Reply { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    let only = replies.next().unwrap_or_else(|| panic!("no reply in {effects:?}"));
    assert!(replies.next().is_none(), "one reply, not {effects:?}");
    only
}

/// The body of a JSON answer.
pub(crate) fn body(outcome: Outcome) -> serde_json::Value {
    let payload = outcome.expect("a payload");
    serde_json::from_slice(&payload.body).expect("JSON")
}
