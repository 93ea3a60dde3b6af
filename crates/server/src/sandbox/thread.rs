//! The threads on which guests run: each drives its instances in turn, and an instance stays where it was made.

use std::{io, sync::Arc, thread};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use starlane_node::guest::{BatchReport, GuestCall, GuestLimits};
use tokio::runtime::{Builder, Handle};
use wasmtime::InstancePre;

use super::{
    contract::{self, Gate},
    instance::GuestInstance,
    meter::Meter,
    state::GuestState,
};

/// A batch of calls, and where its report goes.
pub(super) struct Batch {
    pub(super) calls: Vec<GuestCall>,
    pub(super) report: oneshot::Sender<BatchReport>,
}

/// An instance to make, and the channels of its life.
pub(super) struct Birth {
    pub(super) module: InstancePre<GuestState>,
    pub(super) bounds: GuestLimits,
    pub(super) gate: Gate,
    pub(super) meter: Arc<Meter>,
    /// Told when the instance is made, or why none can be.
    pub(super) made: oneshot::Sender<Result<(), String>>,
    /// The end of the stream is the end of the instance.
    pub(super) batches: mpsc::UnboundedReceiver<Batch>,
}

/// A thread that runs guests until this is dropped.
pub(super) struct GuestThread {
    tasks: Handle,
    _running: oneshot::Sender<()>,
}

impl GuestThread {
    pub(super) fn spawn(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().thread_stack_size(contract::STACK).build()?;
        let tasks = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("starlane-guests-{number}")).stack_size(contract::STACK);
        thread.spawn(move || {
            // An error is what the end looks like: the other half was dropped.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { tasks, _running: running })
    }

    /// Makes an instance, and runs what comes until it crashes or is let go.
    pub(super) fn run(&self, birth: Birth) {
        self.tasks.spawn(live(birth));
    }
}

async fn live(birth: Birth) {
    let Birth { module, bounds, gate, meter, made, mut batches } = birth;
    let mut instance = match GuestInstance::new(&module, &bounds, gate, meter).await {
        Ok(instance) => instance,
        Err(reason) => {
            let _ = made.send(Err(reason));
            return;
        }
    };
    // Whoever asked may have gone; then there are no batches either.
    let _ = made.send(Ok(()));
    while let Some(Batch { calls, report }) = batches.next().await {
        let done = instance.run(calls).await;
        if done.crash.is_some() {
            // Its place is free before anybody hears that it is gone.
            drop(instance);
            let _ = report.send(done);
            return;
        }
        let _ = report.send(done);
    }
}
