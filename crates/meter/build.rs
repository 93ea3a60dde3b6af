//! Bounds the memory of the module that a page loads, because it reads untrusted modules.

use std::env;

/// The maximum memory, in bytes. Checking a module of the maximum size needs a tenth of it.
const MAX_MEMORY: usize = 256 << 20;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=--max-memory={MAX_MEMORY}");
    }
}
