//! Attacks on the built binary by a visitor, a peer, a tenant and a guest. Its memory and time are measured from
//! outside.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod answers;
mod check;
mod compile;
mod cpu;
mod disk;
mod guests;
mod hostile_modules;
mod http;
mod log;
mod manifests;
mod neighbours;
mod operation;
mod origins;
mod quota;
mod rights;
mod settings;
mod siege;
mod state;
#[allow(dead_code, reason = "attacks of all kinds share it")]
mod world;

mod sql;
mod upgrades;

use starlane_server::Limit;

use crate::world::Server;

#[test]
fn every_limit_is_shown_with_its_value_and_refusals() {
    let server = Server::start_with("[limits]\nlinks = 7\n");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("starlane_limit{name=\"links\"} 7\n"), "{metrics}");
    for limit in Limit::ALL {
        let refused = format!("starlane_limit_refused_total{{name=\"{}\"}} 0\n", limit.name());
        assert!(metrics.contains(&refused), "{}", limit.name());
    }
    assert!(server.rss_mib() > 1 && server.descriptors() > 3);
}
