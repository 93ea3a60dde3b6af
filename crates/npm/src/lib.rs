#![doc = include_str!("../README.md")]

mod host;
mod launch;
mod serve;
mod subscription;
mod tickets;
mod values;

pub use host::RawHost;
pub use serve::RawServed;
pub use subscription::RawSubscription;
pub use values::RawPayload;
