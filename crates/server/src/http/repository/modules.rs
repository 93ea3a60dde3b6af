//! The modules of a bundle that is published: checked, and compiled once.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Bytes;
use starlane_bundle::{Digest, Manifest, Placement};
use starlane_meter::{ModuleFault, check_within};
use starlane_protocol::{Address, Failure};

use super::{Site, stored};
use crate::{limits::Limiter, sandbox::compile::CompileError, store::SharedStore};

/// Checks all modules of a manifest, and compiles those that the bundle's own app has run here, and all of a bundle without an app.
/// What no host would run is told to its author.
pub(super) async fn compile(site: &Site, bundle: &Address, manifest: &Manifest) -> Result<(), Failure> {
    let (manifest, limiter) = (manifest.clone(), Arc::clone(&site.limiter));
    let compiled_here = site.repository.with(move |store| check_modules(store, &manifest, &limiter)).await?;
    for (digest, wasm, path) in compiled_here {
        let compiled = site.compiler.compile(bundle.space(), digest, wasm).await;
        compiled.map_err(|error| not_compiled(&path, &error))?;
    }
    Ok(())
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
        CompileError::Failed(reason) => {
            tracing::error!("{path}: {error}");
            Failure::new(503, "busy", format!("{path} could not be compiled: {reason}; try again"))
        }
    }
}

/// Gives the modules that are to be compiled here, with their paths.
fn check_modules(
    store: &SharedStore,
    manifest: &Manifest,
    limiter: &Limiter,
) -> Result<Vec<(Digest, Bytes, String)>, Failure> {
    // Each module once, within the least memory that any config gives it.
    let mut modules = BTreeMap::new();
    for config in manifest.mechtrons.values() {
        let Some(file) = manifest.files.get(&config.wasm) else { continue };
        let (_, memory) = modules.entry(file.sha256).or_insert((config, config.limits.memory));
        *memory = config.limits.memory.min(*memory);
    }
    let mut compiled_here = Vec::new();
    for (digest, (config, memory)) in modules {
        // What is not here yet is told with all that is missing. What was compiled is kept under this digest.
        let Some(wasm) = store.blob(&digest).map_err(stored)?.filter(|wasm| Digest::of(wasm) == digest) else {
            continue;
        };
        let refused = |fault: ModuleFault| {
            let reason = format!("hosts refuse {}: {fault}", config.wasm);
            fault
                .limit()
                .map_or_else(|| Failure::schema_mismatch(&reason), |limit| limiter.refuse(limit.into(), &reason))
        };
        check_within(&wasm, &limiter.limits().of_functions(), memory).map_err(refused)?;
        if is_compiled_here(manifest, &config.wasm) {
            compiled_here.push((digest, wasm, config.wasm.clone()));
        }
    }
    Ok(compiled_here)
}
