//! The ledger of attacks and field faults: a test tries each row of either list, and records the result.
//!
//! `crates/xtask/src/ledger.rs` has the rows. A run of all tests fails if a row was not recorded.

use std::thread;

use crate::figure::print;

/// Records how many attacks of a row, such as `A1`, a test tried, and how many succeeded.
///
/// # Panics
///
/// Panics if one succeeded.
#[track_caller]
pub fn attack(row: &str, tried: usize, through: usize) {
    record("attacks", "through", row, tried, through);
}

/// Records how many inputs of a field fault, such as `F1`, a test tried, and how many still gave a wrong result.
///
/// # Panics
///
/// Panics if one gave a wrong result.
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
    assert_eq!(failed, 0, "{row}: {failed} of {tried} failed");
}
