//! A job for the compiler.

use bytes::Bytes;
use futures_channel::oneshot;
use starlane_bundle::Digest;
use wasmtime::Module;

use super::CompileError;

/// A module that waits.
pub(super) struct Job {
    pub(super) digest: Digest,
    pub(super) source: Source,
    pub(super) told: Told,
}

/// The callers that wait for a job.
pub(super) enum Told {
    Checked(oneshot::Sender<Result<u64, CompileError>>),
    Compiled(oneshot::Sender<Result<Module, CompileError>>),
}

/// Reads a module's bytes when its turn comes. The bytes of waiting modules are not in memory.
pub(crate) struct Source(Box<dyn FnOnce() -> Option<Bytes> + Send>);

impl Source {
    /// Reads the bytes, if they exist. Waits for the disk.
    pub(crate) fn new(read: impl FnOnce() -> Option<Bytes> + Send + 'static) -> Self {
        Self(Box::new(read))
    }

    pub(super) fn read(self) -> Result<Bytes, CompileError> {
        (self.0)().ok_or(CompileError::Absent)
    }
}

impl From<Bytes> for Source {
    fn from(wasm: Bytes) -> Self {
        Self::new(move || Some(wasm))
    }
}
