//! The maximum limits that a mechtron's config can request on this server.

use starlane_bundle::{self as bundle, Manifest};
use starlane_protocol::Failure;

use crate::limits::{Limit, Limiter};

/// The limits of a mechtron's config, each with the server's limit for it.
fn asked(limits: &bundle::MechtronLimits) -> [(&'static str, u64, Limit); 6] {
    [
        ("memory", limits.memory, Limit::MechtronMemory),
        ("call", limits.call_ms.into(), Limit::MechtronCall),
        ("concurrency", limits.concurrency.into(), Limit::MechtronConcurrency),
        ("mailbox", limits.mailbox.into(), Limit::MechtronMailbox),
        ("restart.intensity", limits.restart.intensity.into(), Limit::MechtronRestarts),
        ("restart.within", limits.restart.within_ms, Limit::MechtronRestartTime),
    ]
}

/// Refuses a bundle whose mechtrons request more than this server allows: 413 `too-large`.
pub(crate) fn check(manifest: &Manifest, limiter: &Limiter) -> Result<(), Failure> {
    for (path, config) in &manifest.mechtrons {
        for (name, value, limit) in asked(&config.limits) {
            if value > limiter.get(limit) {
                return Err(limiter.refuse(limit, format!("mechtron {path} requests `{name}` {value}")));
            }
        }
    }
    Ok(())
}

/// The manifest with its limits lowered to those of this server: an operator can lower a limit after a bundle is published.
pub(crate) fn hold(manifest: Manifest, limiter: &Limiter) -> Manifest {
    let most = |limit| limiter.get(limit);
    let short = |limit| u32::try_from(limiter.get(limit)).unwrap_or(u32::MAX);
    manifest.capped(&bundle::MechtronLimits {
        memory: most(Limit::MechtronMemory),
        call_ms: short(Limit::MechtronCall),
        concurrency: short(Limit::MechtronConcurrency),
        mailbox: short(Limit::MechtronMailbox),
        restart: bundle::Restart {
            intensity: short(Limit::MechtronRestarts),
            within_ms: most(Limit::MechtronRestartTime),
        },
    })
}
