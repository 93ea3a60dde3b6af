//! Tests of definitions that must agree in several languages, crates or packages.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod codes;
mod keys;
mod packages;
mod typescript;
