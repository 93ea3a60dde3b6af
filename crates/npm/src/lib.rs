#![doc = include_str!("../README.md")]

mod host;
mod launch;
mod reading;
mod serve;
mod stream;
mod subscription;
mod tickets;
mod values;

pub use host::RawHost;
pub use serve::RawServed;
pub use stream::{RawReader, RawSource};
pub use subscription::RawSubscription;
pub use values::RawPayload;
