//! The ledger of attacks and field faults: each row of either list is tried by a test, which records what came of it.
//!
//! The rows are named in `crates/xtask/src/ledger.rs`, and a whole run fails when one of them was not recorded.

use std::thread;

use crate::figure::print;

/// Records that a test tried attacks of a row, such as `A1`, and how many got through.
///
/// # Panics
///
/// If one got through.
#[track_caller]
pub fn attack(row: &str, tried: usize, through: usize) {
    record("attacks", "through", row, tried, through);
}

/// Records that a test tried inputs of a field fault, such as `F1`, and how many still gave a wrong result.
///
/// # Panics
///
/// If one did.
#[track_caller]
pub fn field_fault(row: &str, tried: usize, failing: usize) {
    record("field-faults", "failing", row, tried, failing);
}

#[track_caller]
fn record(list: &str, bad: &str, row: &str, tried: usize, failed: usize) {
    let thread = thread::current();
    let test = format!("{row} {}", thread.name().unwrap_or_default());
    print(&format!("{list}.tried"), tried as f64, "inputs", None, Some(&test));
    print(&format!("{list}.{bad}"), failed as f64, "inputs", None, Some(&test));
    assert!(tried > 0, "{row}: nothing was tried");
    assert_eq!(failed, 0, "{row}: {failed} of {tried}");
}
