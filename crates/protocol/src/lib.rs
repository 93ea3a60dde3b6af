#![doc = include_str!("../README.md")]

pub mod address;
pub mod bounds;
pub mod frame;
pub mod grant;
pub mod host_name;
pub mod key;
pub mod message;
pub mod payload;
pub mod principal;
pub mod stream;
pub mod trace;
pub mod wire;

pub use address::{Address, AddressError, OWN_SPACE, Topic};
pub use frame::Frame;
pub use grant::{Grant, Verb};
pub use host_name::{HostName, HostSecret};
pub use message::{Failure, FailureOrigin, Kind, Message, Outcome, RequestId};
pub use payload::Payload;
pub use principal::Principal;
pub use stream::{StreamDrops, StreamId, StreamRef};
pub use trace::Trace;
