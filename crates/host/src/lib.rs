#![doc = include_str!("../README.md")]

mod apps;
pub mod batch;
mod blobs;
mod bound;
mod bundle_files;
mod flush;
mod handler;
mod host;
mod inspect;
mod launch;
mod memory_state;
mod memory_store;
mod perform;
mod pin;
pub mod ports;
pub mod resource;
mod state;
mod stream;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod verified;

pub use apps::{LoadedModules, MayRead};
pub use blobs::{BlobCounts, BlobError};
pub use bound::{BodyRole, Bound, Entry, Schemas};
pub use handler::{Handler, Served, handler};
pub use host::{Authenticate, Host, HostConfig, Log};
pub use inspect::{Inspection, PlacedActor};
pub use launch::{LaunchError, LaunchOptions, Launched, Progress};
pub use memory_state::MemoryStateStore;
pub use memory_store::MemoryStore;
pub use perform::TokenProvider;
pub use starlane_node::{
    ActorLimits, Allow, Authenticated, Authentication, CloseCode, Goodbye, LATENCY_MS, LinkConfig, LinkState,
    LinkStatus, LogLine, Operations, Origin, Principal, PrincipalLimits, Stats, guest::Level,
};
pub use stream::{Fetched, Incoming, Outgoing};
pub use subscription::{Item, Subscription};
pub use verified::{BundleFiles, LocalVerifier, NoDriver, Side, Verification, VerifiedApp, verify};
