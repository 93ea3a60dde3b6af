//! The same echo as a plug-in for Extism.

use extism_pdk::{FnResult, plugin_fn};

/// Returns its input.
#[plugin_fn]
pub fn echo(said: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(said)
}
