#![doc = include_str!("../README.md")]

pub mod browser;
pub mod child;
pub mod engine;
pub mod figure;
pub mod proxy;
pub mod server;

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
