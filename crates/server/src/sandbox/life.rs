//! The life of an instance: its creation, its batches of calls, and its end.

use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use starlane_node::guest::{BatchReport, GuestCall, GuestLimits};
use wasmtime::InstancePre;

use super::{cpu_budget::CpuBudget, gate::Gate, instance::GuestInstance, state::GuestState};

/// A batch of calls, and the sender of its report.
pub(super) struct Batch {
    pub(super) calls: Vec<GuestCall>,
    pub(super) report: oneshot::Sender<BatchReport>,
}

/// The plan of an instance, and its channels.
pub(super) struct Birth {
    pub(super) module: InstancePre<GuestState>,
    pub(super) bounds: GuestLimits,
    pub(super) gate: Gate,
    pub(super) cpu_budget: Arc<CpuBudget>,
    /// Receives the result of the creation.
    pub(super) made: oneshot::Sender<Result<(), String>>,
    /// The end of the stream is the end of the instance.
    pub(super) batches: mpsc::UnboundedReceiver<Batch>,
}

/// Makes an instance, and runs batches until it crashes or is stopped.
pub(super) async fn live(birth: Birth) {
    let Birth { module, bounds, gate, cpu_budget, made, mut batches } = birth;
    let mut instance = match GuestInstance::new(&module, &bounds, gate, cpu_budget).await {
        Ok(instance) => instance,
        Err(reason) => {
            let _ = made.send(Err(reason));
            return;
        }
    };
    // The caller can be cancelled; then there are no batches either.
    let _ = made.send(Ok(()));
    while let Some(Batch { calls, report }) = batches.next().await {
        let done = instance.run(calls).await;
        if done.crash.is_some() {
            // Free its place before reporting its end.
            drop(instance);
            let _ = report.send(done);
            return;
        }
        let _ = report.send(done);
    }
}
