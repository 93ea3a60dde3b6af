//! The JavaScript that `crates/browser` imports, made of its TypeScript.

use anyhow::Result;

use crate::report;
use crate::workshop::Workshop;

/// Type-checks the TypeScript of `crates/browser` and makes `crates/browser/dist`. Cheaper than finding out whether it changed.
pub(super) fn build(workshop: &Workshop) -> Result<()> {
    report::step("TypeScript of the sandbox", || workshop.program("node").arg("crates/browser/build.mjs").run())
}
