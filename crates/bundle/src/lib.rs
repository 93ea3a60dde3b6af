#![doc = include_str!("../README.md")]

mod app;
#[cfg(feature = "authoring")]
pub mod authoring;
mod bind;
mod digest;
pub mod json;
mod manifest;
mod mechtron;
mod record;
mod rules;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "validate")]
pub mod settings;
mod signing;
pub mod table;

pub use app::{Access, AppConfig, AppMechtron, AppResource, KindSet, Placement, ResourceKind, Route, RouteTarget};
pub use bind::{Bind, Body, Contract, Operation};
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{
    Contents, FileEntry, MAX_FILE_BYTES, MAX_MANIFEST, Manifest, SIGNATURE_HEADER, SignedManifest, Used, VerifyError,
};
pub use mechtron::{Durability, MechtronConfig, MechtronLimits, Restart};
pub use record::{AppRecord, Maker, Override};
pub use rules::{Rule, RuleFault, route};
pub use signing::{KeyError, PublicKey, SecretKey, Signature};
