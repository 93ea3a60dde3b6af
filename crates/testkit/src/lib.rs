#![doc = include_str!("../README.md")]

pub mod browser;
pub mod cage;
pub mod child;
pub mod engine;
pub mod figure;
mod ledger;
pub mod mutate;
pub mod page;
pub mod proxy;
pub mod server;

use std::path::{Path, PathBuf};

pub use ledger::{attack, field_fault};

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A module of a workspace of guests, by its name: one of those that only tests use, unless `STARLANE_GUESTS` names the folder
/// of others.
///
/// # Panics
///
/// If it is not built; the message says what builds it.
pub fn guest(name: &str) -> PathBuf {
    let built = || workspace().join("target/guests/wasm32-unknown-unknown/release");
    let file = std::env::var_os("STARLANE_GUESTS").map_or_else(built, PathBuf::from).join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is missing: `cargo xtask test --only native` builds it", file.display());
    file
}
