//! The reasons why a call ended an instance.

use wasmtime::Trap;

/// A fault of a guest, or an order to stop it. Ends the call like a trap.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestFault {
    #[error("call budget of {0} ms used up")]
    Budget(u32),
    #[error("the instance was stopped")]
    Stopped,
    /// The guest has no memory for the data that it must get; the text names the data.
    #[error("{0}")]
    NoMemory(String),
    /// A value or a call breaks the interface; the text names it.
    #[error("{0}")]
    Broken(String),
}

impl GuestFault {
    /// A broken value of an import that the guest called.
    pub(super) fn of_import(self, import: &str) -> Self {
        match self {
            Self::Broken(what) => Self::Broken(format!("`mesh.{import}`: {what}")),
            other => other,
        }
    }
}

/// One line for people about the end of a call.
pub(super) fn describe(error: &wasmtime::Error) -> String {
    if let Some(fault) = error.downcast_ref::<GuestFault>() {
        return fault.to_string();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trap.to_string();
    }
    error.root_cause().to_string().lines().next().unwrap_or("unknown").to_owned()
}
