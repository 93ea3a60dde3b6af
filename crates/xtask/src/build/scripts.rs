//! Builds the JavaScript that `crates/browser` imports, from its TypeScript.

use anyhow::Result;

use crate::report;
use crate::workshop::Workshop;

/// Type-checks the TypeScript of `crates/browser` and builds `crates/browser/dist`. That is cheaper than detecting changes.
pub(super) fn build(workshop: &Workshop) -> Result<()> {
    report::step("TypeScript of the sandbox", || workshop.program("node").arg("crates/browser/build.mjs").run())
}
