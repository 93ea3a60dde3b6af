//! The ports: what a host needs of the place where it runs. Each ships with an in-memory form and a contract suite
//! (feature `testing`), and both real hosts are built on them. Everything here lives on one thread.

use std::{future::ready, rc::Rc};

use bytes::Bytes;
use futures_util::{future::LocalBoxFuture, stream::LocalBoxStream};
use starlane_bundle::{AppRecord, Digest, SignedManifest};
use starlane_node::{
    guest::{BatchReport, GuestCall, GuestPlan, InstanceId, Saved},
    state::{ActorState, Owned},
};
use starlane_protocol::{Address, Failure, HostSecret};

use crate::verified::{Verification, VerifiedApp};

pub use starlane_node::state::StateError;

/// All ports of a host.
#[derive(Clone)]
pub struct Ports {
    /// Clock, timers, tasks, randomness.
    pub time: Rc<dyn Time>,
    /// Outgoing WebSockets.
    pub dialer: Rc<dyn Dialer>,
    /// Where guests run.
    pub sandbox: Rc<dyn Sandbox>,
    /// The bundles that are kept: the browser's cache, the server's repository.
    pub bundles: Rc<dyn BundleStore>,
    /// The records of apps that are kept.
    pub records: Rc<dyn RecordStore>,
    /// Where this host's identity is kept.
    pub identity: Rc<dyn IdentityStore>,
    /// What is kept of actors.
    pub state: Rc<dyn StateStore>,
    /// Where bundles come from that the store lacks.
    pub source: Rc<dyn Source>,
    /// What verifies bundles that are launched.
    pub verifier: Rc<dyn Verifier>,
}

/// Clock, timers, tasks and randomness.
pub trait Time {
    /// Milliseconds of a clock that never goes back, from any start.
    fn now_ms(&self) -> u64;
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
    /// Resolves after `ms` milliseconds; dropped, it is cancelled.
    fn sleep(&self, ms: u64) -> LocalBoxFuture<'static, ()>;
    /// Runs a task on this thread.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
    /// Random bytes of cryptographic quality.
    fn random(&self) -> [u8; 32];
}

/// Opens WebSockets to other hosts.
pub trait Dialer {
    /// Opens a WebSocket with the subprotocol `starlane.v1`. The error says what failed.
    fn dial(&self, url: &str) -> LocalBoxFuture<'static, Result<Socket, String>>;
}

/// An open WebSocket.
pub struct Socket {
    /// What is sent.
    pub sink: Box<dyn SocketSink>,
    /// Binary messages as they come; the end of the stream is the end of the socket.
    pub incoming: LocalBoxStream<'static, Bytes>,
}

/// A socket with this many bytes in its own buffer is full: it gets no more until it has room. Two of the largest batches that a
/// link sends at once fit.
pub const SOCKET_BUFFER: usize = 512 * 1024;
/// A socket that was full has room again when at most this many bytes are left in its own buffer. The rest keeps the network busy
/// while the host prepares the next batch.
pub const SOCKET_ROOM: usize = SOCKET_BUFFER / 2;

/// The sending half of a WebSocket. Dropping it closes the socket.
pub trait SocketSink {
    /// Queues one binary message.
    fn send(&self, message: Vec<u8>);
    /// How many bytes lie in the socket's own buffer, not yet with the network.
    fn buffered(&self) -> usize;
    /// Resolves when at most [`SOCKET_ROOM`] bytes lie in the socket's own buffer. Stays pending when the socket ends before that.
    /// The future does not keep the socket open, and at most one exists at a time.
    fn room(&self) -> LocalBoxFuture<'static, ()>;
    /// Closes with a WebSocket close code and a reason of at most 123 bytes.
    fn close(&self, code: u16, reason: &str);
}

/// Where guests run. Instances of one sandbox don't share memory.
pub trait Sandbox {
    /// Whether a module of this digest has been compiled for guests with so many bytes of memory, and is kept.
    fn has_module(&self, digest: &Digest, memory: u64) -> bool;
    /// Says that modules will be compiled soon: what checks them is loaded meanwhile.
    fn prepare(&self) {}
    /// Checks and compiles a module for guests of a space with so many bytes of memory, and keeps it under its digest. The caller has
    /// verified the digest. Where compiling takes turns, they are the space's.
    fn compile(
        &self,
        space: &str,
        digest: Digest,
        memory: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>>;
    /// Drops a module that no app uses any more, from memory. Instances of it go on.
    fn forget(&self, _digest: &Digest) {}
    /// Makes an instance of a module that was compiled for its memory: memory and `_initialize`, not yet `actor.start`.
    fn start(&self, plan: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>>;
    /// Runs calls in order, until one crashes, a `receive` would exceed the concurrency, or the calls have queued as much as one
    /// call may. Never two batches of one instance at a time. After a crash the instance is gone. What a guest has no memory for
    /// is not given to it, which does not count as a crash.
    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport>;
    /// Ends an instance, also in the middle of a call.
    fn stop(&self, instance: InstanceId);
    /// Where the instance runs, for people: `worker 2`, `inline`, `thread 0`.
    fn place(&self, instance: InstanceId) -> String;
}

/// Why a sandbox can't run a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The module may not be a guest.
    #[error("the module {digest} can't be used: {reason}")]
    Module {
        /// The module.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// Nothing could check the module.
    #[error("the module {digest} could not be checked: {reason}")]
    Unchecked {
        /// The module.
        digest: Digest,
        /// What failed.
        reason: String,
    },
    /// No instance can be made: memory, workers, or the engine's limits.
    #[error("no instance could be made: {0}")]
    Instance(String),
    /// No instance can be made now, because too many are there: when others are gone, one can.
    #[error("no instance could be made now: {0}")]
    Full(String),
}

impl SandboxError {
    /// This as a failure of whoever needs the guest.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Full(reason) => Failure::new(503, "busy", reason),
            Self::Unchecked { .. } => Failure::new(503, "load-failed", self.to_string()),
            _ => Failure::not_running(self.to_string()),
        }
    }
}

/// The bundles that a host keeps: their manifests, and the blobs that these name. Back-ends hash nothing: whoever reads a blob
/// verifies it.
pub trait BundleStore {
    /// The manifest kept for a bundle's address.
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<Option<SignedManifest>, StoreError>>;
    /// Keeps a manifest.
    fn put_manifest(
        &self,
        bundle: &Address,
        manifest: SignedManifest,
    ) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// The blob kept under a digest, whatever it holds now.
    fn blob(&self, digest: &Digest) -> LocalBoxFuture<'static, Result<Option<Bytes>, StoreError>>;
    /// Keeps a blob.
    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// Drops a blob, because it turned out to be damaged.
    fn drop_blob(&self, digest: &Digest) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// Says that a bundle is in use once more, from when this is called, and which blobs it needs. A store with a bound drops
    /// the least recently used when it needs room, and nothing that is in use. One without a bound need not know.
    fn pin(&self, _bundle: &Address, _blobs: Vec<Digest>) -> LocalBoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
    /// Says that a bundle is in use once less.
    fn unpin(&self, _bundle: &Address) {}
}

/// The records of apps that a host keeps: which bundle is an app's.
pub trait RecordStore {
    /// The record kept for an app.
    fn record(&self, app: &Address) -> LocalBoxFuture<'static, Result<Option<AppRecord>, StoreError>>;
    /// All app records that are kept.
    fn records(&self) -> LocalBoxFuture<'static, Result<Vec<AppRecord>, StoreError>>;
    /// Keeps an app's record, unless one of a higher revision is kept; gives the one that is kept from now on.
    fn put_record(&self, record: AppRecord) -> LocalBoxFuture<'static, Result<AppRecord, StoreError>>;
    /// Drops an app's record.
    fn drop_record(&self, app: &Address) -> LocalBoxFuture<'static, Result<(), StoreError>>;
}

/// The identity that a host keeps.
pub trait IdentityStore {
    /// The secret of this host; `fresh` is kept and given back if there is none yet.
    fn secret(&self, fresh: HostSecret) -> LocalBoxFuture<'static, Result<HostSecret, StoreError>>;
}

/// Why a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room is left.
    #[error("the store is full: {0}")]
    Full(String),
    /// What is kept under this name can't be read.
    #[error("`{name}` in the store is damaged: {reason}")]
    Damaged {
        /// The entry.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store itself failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What a host keeps of actors: what their guests saved, their subscriptions and their wakes. What is called first is done first.
///
/// Wakes are in milliseconds since the Unix epoch here.
pub trait StateStore {
    /// Takes an app's actors over. From then on only writes with the epoch that this gives are done, by whomever.
    fn take(&self, app: &Address) -> LocalBoxFuture<'static, Result<Owned, StateError>>;
    /// What the guest of an actor saved last.
    fn load(&self, app: &Address, actor: &Address) -> LocalBoxFuture<'static, Result<Option<Saved>, StateError>>;
    /// Keeps an actor's state in place of what is kept of it; one that is empty is dropped. When this resolves, it is there
    /// whatever ends now. Errors with [`StateError::Fenced`] when the app has another owner.
    fn save(&self, app: &Address, epoch: u64, state: ActorState) -> LocalBoxFuture<'static, Result<(), StateError>>;
    /// Drops all that is kept of an app's actors. It has no owner afterwards.
    fn forget(&self, app: &Address) -> LocalBoxFuture<'static, Result<(), StateError>>;
}

/// How much a store of state keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Bytes of one actor.
    pub actor_bytes: u64,
    /// Bytes of all actors of an app.
    pub app_bytes: u64,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { actor_bytes: 4 << 20, app_bytes: 256 << 20 }
    }
}

impl StateLimits {
    /// What an actor's state counts, in bytes: what its guest saved, and its entry.
    pub fn weight(state: &ActorState) -> u64 {
        let topics: usize = state.subscriptions.iter().map(|topic| topic.to_string().len()).sum();
        let data = state.saved.as_ref().map_or(0, |saved| saved.data.len());
        (data + topics + 16 * state.wakes.len() + state.address.as_str().len() + state.made_for.len() + 64) as u64
    }

    /// Whether a state of `bytes` may stand beside the `others` bytes of its app. The error names the limit.
    pub fn check(&self, others: u64, bytes: u64) -> Result<(), StateError> {
        let Self { actor_bytes, app_bytes } = *self;
        if bytes > actor_bytes {
            let text = format!("the state is {bytes} bytes; the limit for one actor, `state-bytes`, is {actor_bytes}");
            return Err(StateError::TooLarge(text));
        }
        if others.saturating_add(bytes) > app_bytes {
            return Err(StateError::Full(format!(
                "this state of {bytes} bytes does not fit beside the {others} bytes of the app's other actors; the limit for \
                 one app, `state-bytes-per-app`, is {app_bytes}"
            )));
        }
        Ok(())
    }
}

/// Where a host fetches what its store lacks.
pub trait Source {
    /// Fetches the signed manifest of a bundle.
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<SignedManifest, SourceError>>;
    /// Fetches a blob of at most `size` bytes; what is longer is cut off there and an error.
    fn blob(&self, digest: &Digest, size: u64) -> LocalBoxFuture<'static, Result<Bytes, SourceError>>;
}

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source can't be reached.
    #[error("{what} can't be fetched: no connection to {url}")]
    Offline {
        /// What was asked for.
        what: String,
        /// Where.
        url: String,
    },
    /// The source answered that it won't.
    #[error("{what} can't be fetched: {url} answered {status}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what was asked for.
    #[error("{what} can't be fetched: {reason}")]
    Unusable {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl SourceError {
    /// The stable word and the HTTP-like status, as callers get them.
    pub(crate) fn word(&self) -> (&'static str, u16) {
        match self {
            Self::Offline { .. } => ("offline", 503),
            Self::Refused { status: 401, .. } => ("auth-refused", 401),
            Self::Refused { status: 403, .. } => ("no-grant", 403),
            Self::Refused { status: 404, .. } => ("not-found", 404),
            Self::Refused { .. } => ("unreachable", 503),
            Self::Unusable { .. } => ("malformed", 400),
        }
    }
}

/// Verifies bundles that are launched. A port because a page loads the code for it when it launches its first app.
pub trait Verifier {
    /// Verifies a manifest, and gives what pages run of it. Errors with 403 and a code that says what does not hold, or with another
    /// status when nothing could be verified.
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>>;
}

/// The source of a host that has all in its store.
pub struct NoSource;

impl Source for NoSource {
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<SignedManifest, SourceError>> {
        let error = SourceError::Unusable { what: bundle.to_string(), reason: "it is not in this repository".into() };
        Box::pin(ready(Err(error)))
    }

    fn blob(&self, digest: &Digest, _: u64) -> LocalBoxFuture<'static, Result<Bytes, SourceError>> {
        let error = SourceError::Unusable { what: digest.to_string(), reason: "it is not in this repository".into() };
        Box::pin(ready(Err(error)))
    }
}
