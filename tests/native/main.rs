//! Tests the real server over real sockets, in this process, with its own port and data.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod apps;
mod conditions;
mod contracts;
mod databases;
mod demo;
mod events;
mod grants;
mod guard;
mod links;
mod mutations;
mod others;
mod peer;
mod proxy;
mod python;
mod repository;
mod resources;
mod routes;
mod streams;
mod tls;
mod tokens;
mod traces;
mod walk;
mod world;
