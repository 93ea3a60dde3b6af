//! Checks and compiles the modules of a bundle when it is published.

use std::collections::BTreeMap;

use starlane_bundle::{Digest, Manifest, Placement};
use starlane_meter::ModuleFault;
use starlane_protocol::{Address, Failure};

use super::Site;
use crate::sandbox::compile::{CompileError, Source};

/// Checks all modules of a manifest. Compiles those that the bundle's app runs on the server, or all for a bundle without an
/// app. The author gets an error for a module that no host would run.
pub(super) async fn compile(site: &Site, bundle: &Address, manifest: &Manifest) -> Result<(), Failure> {
    // Each module once, within the least memory that any config gives it.
    let mut modules = BTreeMap::new();
    for config in manifest.mechtrons.values() {
        let Some(file) = manifest.files.get(&config.wasm) else { continue };
        let (_, memory) = modules.entry(file.sha256).or_insert((&config.wasm, config.limits.memory));
        *memory = config.limits.memory.min(*memory);
    }
    let mut compiled_here = Vec::new();
    for (digest, (path, memory)) in modules {
        let checked = site.compiler.check(bundle.space(), digest, source(site, digest)).await;
        let needed = match checked {
            // A missing blob is reported later, together with all others.
            Err(CompileError::Absent) => continue,
            checked => checked.map_err(|error| not_compiled(path, &error))?,
        };
        if needed > memory {
            let fault = ModuleFault::Memory(needed, memory);
            return Err(Failure::schema_mismatch(format!("hosts refuse {path}: {fault}")));
        }
        if is_compiled_here(manifest, path) {
            compiled_here.push((digest, path));
        }
    }
    for (digest, path) in compiled_here {
        let compiled = site.compiler.compile(bundle.space(), digest, source(site, digest)).await;
        compiled.map_err(|error| not_compiled(path, &error))?;
    }
    Ok(())
}

/// The bytes of a blob. Results of checks and compilations are remembered by digest.
fn source(site: &Site, digest: Digest) -> Source {
    let store = site.repository.store.clone();
    Source::new(move || store.blob(&digest).ok().flatten().filter(|wasm| Digest::of(wasm) == digest))
}

fn is_compiled_here(manifest: &Manifest, wasm: &str) -> bool {
    let Some(app) = &manifest.app else { return true };
    app.mechtrons.values().any(|placed| {
        let config = manifest.mechtrons.get(&placed.config);
        placed.placement != Placement::Browser && config.is_some_and(|config| config.wasm == wasm)
    })
}

fn not_compiled(path: &str, error: &CompileError) -> Failure {
    match error {
        CompileError::Module(reason) => Failure::schema_mismatch(format!("hosts refuse {path}: {reason}")),
        CompileError::Limit(failure) | CompileError::Waiting(failure) => {
            Failure { message: format!("{path}: {}", failure.message), ..failure.clone() }
        }
        CompileError::Absent => Failure::conflict(format!("{path}: {error}; upload it again")),
        CompileError::Failed(reason) => {
            tracing::error!("{path}: {error}");
            Failure::new(503, "busy", format!("cannot compile {path}: {reason}; try again later"))
        }
    }
}
