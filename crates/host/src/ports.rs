//! The ports: the interfaces of a host to its platform. Each has an in-memory implementation and a contract suite
//! (feature `testing`). Both real hosts use these ports. Everything here runs on one thread.

use std::{future::ready, rc::Rc};

use bytes::Bytes;
use futures_util::{future::LocalBoxFuture, stream::LocalBoxStream};
use starlane_bundle::{AppRecord, Digest, SignedManifest};
use starlane_node::{
    guest::{BatchReport, GuestCall, GuestPlan, InstanceId, Saved},
    state::{ActorState, Owned},
};
use starlane_protocol::{Address, Failure};

use crate::verified::{Verification, VerifiedApp};

pub use starlane_node::state::StateError;

/// All ports of a host.
#[derive(Clone)]
pub struct Ports {
    /// Clock, timers, tasks, randomness.
    pub time: Rc<dyn Time>,
    /// Outgoing WebSockets.
    pub dialer: Rc<dyn Dialer>,
    /// The sandbox of guests.
    pub sandbox: Rc<dyn Sandbox>,
    /// The store of bundles: the browser's cache, the server's repository.
    pub bundles: Rc<dyn BundleStore>,
    /// The store of app records.
    pub records: Rc<dyn RecordStore>,
    /// The store of actors' state.
    pub state: Rc<dyn StateStore>,
    /// The source of bundles that the store does not have.
    pub source: Rc<dyn Source>,
    /// The verifier of launched bundles.
    pub verifier: Rc<dyn Verifier>,
}

/// Clock, timers, tasks and randomness.
pub trait Time {
    /// The milliseconds of a monotonic clock with any start.
    fn now_ms(&self) -> u64;
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
    /// Completes after `ms` milliseconds. Dropping the future cancels it.
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
    /// The sending half.
    pub sink: Box<dyn SocketSink>,
    /// The stream of binary messages, which ends with the socket.
    pub incoming: LocalBoxStream<'static, Bytes>,
}

/// A socket with this many bytes in its own buffer is full, and gets no more until it has room. Two of a link's largest
/// batches fit.
pub const SOCKET_BUFFER: usize = 512 * 1024;
/// A full socket has room again when at most this many bytes are left in its own buffer. The rest keeps the network
/// busy while the host prepares the next batch.
pub const SOCKET_ROOM: usize = SOCKET_BUFFER / 2;

/// The sending half of a WebSocket. Dropping it closes the socket.
pub trait SocketSink {
    /// Queues one binary message.
    fn send(&self, message: Vec<u8>);
    /// The number of bytes in the socket's own buffer, which are not sent yet.
    fn buffered(&self) -> usize;
    /// Completes when at most [`SOCKET_ROOM`] bytes are in the socket's own buffer. Stays pending if the socket ends
    /// earlier. The future does not keep the socket open, and at most one exists at a time.
    fn room(&self) -> LocalBoxFuture<'static, ()>;
    /// Closes with a WebSocket close code and a reason of at most 123 bytes.
    fn close(&self, code: u16, reason: &str);
}

/// Runs guests. Instances of one sandbox don't share memory.
pub trait Sandbox {
    /// Returns whether the sandbox has a module with this digest, compiled for guests with this memory limit in bytes.
    fn has_module(&self, digest: &Digest, memory: u64) -> bool;
    /// Announces that modules will be compiled soon, so that the sandbox can load its checks meanwhile.
    fn prepare(&self) {}
    /// Checks and compiles a module for guests of a space with a memory limit in bytes, and keeps it under its digest.
    /// The caller has verified the digest. If compilation is scheduled, it counts for the space.
    fn compile(
        &self,
        space: &str,
        digest: Digest,
        memory: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>>;
    /// Drops a module from memory that no app uses any more. Its instances continue.
    fn forget(&self, _digest: &Digest) {}
    /// Makes an instance of a module that was compiled for this memory limit. Calls `_initialize`, but not
    /// `actor.start` yet.
    fn start(&self, plan: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>>;
    /// Runs calls in order, until one crashes, a `receive` would exceed the concurrency, or the calls have queued the
    /// maximum of one call. The host runs only one batch of an instance at a time. A crash ends the instance. A message
    /// for which the guest has no memory is not delivered, which is not a crash.
    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport>;
    /// Ends an instance, even during a call.
    fn stop(&self, instance: InstanceId);
    /// Returns the place of the instance, for people: `worker 2`, `inline`, `thread 0`.
    fn place(&self, instance: InstanceId) -> String;
}

/// The reason why a sandbox can't run a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The module is not allowed as a guest.
    #[error("the module {digest} can't be used: {reason}")]
    Module {
        /// The module.
        digest: Digest,
        /// The error.
        reason: String,
    },
    /// The module could not be checked.
    #[error("the module {digest} could not be checked: {reason}")]
    Unchecked {
        /// The module.
        digest: Digest,
        /// What failed.
        reason: String,
    },
    /// No instance can be made, because of memory, workers, or limits of the engine.
    #[error("no instance could be made: {0}")]
    Instance(String),
    /// No instance can be made now, because there are too many. It can succeed after others have ended.
    #[error("no instance could be made now: {0}")]
    Full(String),
}

impl SandboxError {
    /// Returns this as a failure for the caller that needs the guest.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Full(reason) => Failure::new(503, "busy", reason),
            Self::Unchecked { .. } => Failure::new(503, "load-failed", self.to_string()),
            _ => Failure::not_running(self.to_string()),
        }
    }
}

/// The store of a host's bundles: their manifests and blobs. Implementations do not check digests: the reader of a blob
/// verifies it.
pub trait BundleStore {
    /// Returns the stored manifest of a bundle.
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<Option<SignedManifest>, StoreError>>;
    /// Stores a manifest.
    fn put_manifest(
        &self,
        bundle: &Address,
        manifest: SignedManifest,
    ) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// Returns the stored blob of a digest, without a check.
    fn blob(&self, digest: &Digest) -> LocalBoxFuture<'static, Result<Option<Bytes>, StoreError>>;
    /// Stores a blob.
    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// Removes a damaged blob.
    fn drop_blob(&self, digest: &Digest) -> LocalBoxFuture<'static, Result<(), StoreError>>;
    /// Adds one use of a bundle from now on, with the blobs that it needs. A store with a limit evicts the least
    /// recently used bundles, but no bundle in use. A store without a limit can ignore this.
    fn pin(&self, _bundle: &Address, _blobs: Vec<Digest>) -> LocalBoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
    /// Removes one use of a bundle.
    fn unpin(&self, _bundle: &Address) {}
}

/// The store of app records, which name the bundle of each app.
pub trait RecordStore {
    /// Returns the stored record of an app.
    fn record(&self, app: &Address) -> LocalBoxFuture<'static, Result<Option<AppRecord>, StoreError>>;
    /// Returns all stored app records.
    fn records(&self) -> LocalBoxFuture<'static, Result<Vec<AppRecord>, StoreError>>;
    /// Stores an app's record, unless the stored one has a higher revision. Returns the stored record.
    fn put_record(&self, record: AppRecord) -> LocalBoxFuture<'static, Result<AppRecord, StoreError>>;
    /// Removes an app's record.
    fn drop_record(&self, app: &Address) -> LocalBoxFuture<'static, Result<(), StoreError>>;
}

/// The error of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no room left.
    #[error("the store is full: {0}")]
    Full(String),
    /// The entry with this name can't be read.
    #[error("`{name}` in the store is damaged: {reason}")]
    Damaged {
        /// The entry.
        name: String,
        /// The error.
        reason: String,
    },
    /// The store itself failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The store of actors' state: the saved state of guests, subscriptions and wakes. Calls are performed in order.
///
/// Times of wakes are in milliseconds since the Unix epoch.
pub trait StateStore {
    /// Takes ownership of an app's actors. From then on, only writes with the returned epoch are accepted, from any
    /// host.
    fn take(&self, app: &Address) -> LocalBoxFuture<'static, Result<Owned, StateError>>;
    /// Returns the last saved state of an actor's guest.
    fn load(&self, app: &Address, actor: &Address) -> LocalBoxFuture<'static, Result<Option<Saved>, StateError>>;
    /// Replaces the stored state of an actor. An empty state removes the entry. When this completes, the state survives
    /// a crash. Returns [`StateError::Fenced`] if the app has another owner.
    fn save(&self, app: &Address, epoch: u64, state: ActorState) -> LocalBoxFuture<'static, Result<(), StateError>>;
    /// Removes all state of an app's actors. The app then has no owner.
    fn forget(&self, app: &Address) -> LocalBoxFuture<'static, Result<(), StateError>>;
}

/// The limits of a state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// The maximum bytes of one actor.
    pub actor_bytes: u64,
    /// The maximum bytes of all actors of an app.
    pub app_bytes: u64,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { actor_bytes: 4 << 20, app_bytes: 256 << 20 }
    }
}

impl StateLimits {
    /// Returns the size of an actor's state in bytes: the guest's saved state and the entry.
    pub fn weight(state: &ActorState) -> u64 {
        let topics: usize = state.subscriptions.iter().map(|topic| topic.to_string().len()).sum();
        let data = state.saved.as_ref().map_or(0, |saved| saved.data.len());
        (data + topics + 16 * state.wakes.len() + state.address.as_str().len() + state.made_for.len() + 64) as u64
    }

    /// Checks a state of `bytes` in an app whose other actors have `others` bytes. The error names the limit.
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

/// The source from which a host fetches bundles that its store does not have.
pub trait Source {
    /// Fetches the signed manifest of a bundle.
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<SignedManifest, SourceError>>;
    /// Fetches a blob of at most `size` bytes. For a longer one, stops at that size with an error.
    fn blob(&self, digest: &Digest, size: u64) -> LocalBoxFuture<'static, Result<Bytes, SourceError>>;
}

/// The error of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source can't be reached.
    #[error("{what} can't be fetched: no connection to {url}")]
    Offline {
        /// The requested manifest or blob.
        what: String,
        /// The URL of the request.
        url: String,
    },
    /// The source refused.
    #[error("{what} can't be fetched: {url} answered {status}")]
    Refused {
        /// The requested manifest or blob.
        what: String,
        /// The URL of the request.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The response can't be used.
    #[error("{what} can't be fetched: {reason}")]
    Unusable {
        /// The requested manifest or blob.
        what: String,
        /// The error of the response.
        reason: String,
    },
}

impl SourceError {
    /// Returns the stable code and the HTTP-like status for callers.
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

/// Verifies launched bundles. It is a port, because a page loads this code when it launches its first app.
pub trait Verifier {
    /// Verifies a manifest, and returns the parts that pages run. Returns 403 with the code of the failed check, or
    /// another status if nothing could be verified.
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>>;
}

/// The source of a host whose store has all bundles.
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
