#![doc = include_str!("../README.md")]

pub mod browser;
pub mod cage;
pub mod child;
pub mod documents;
pub mod engine;
pub mod figure;
mod ledger;
pub mod line;
pub mod mutate;
pub mod page;
pub mod proxy;
pub mod random;
pub mod server;

use std::path::{Path, PathBuf};

pub use ledger::{attack, field_fault};

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A guest's module by its name: in the folder that `STARLANE_GUESTS` names, or else among the tests' guests.
///
/// # Panics
///
/// If it is not built. The message names the command that builds it.
pub fn guest(name: &str) -> PathBuf {
    let built = || workspace().join("target/guests/wasm32-unknown-unknown/release");
    let file = std::env::var_os("STARLANE_GUESTS").map_or_else(built, PathBuf::from).join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is missing: run `cargo xtask test --only native`, which builds it", file.display());
    file
}
