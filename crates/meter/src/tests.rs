//! Runs the table of modules through this check.

use starlane_host::testing::module_table::{MEMORY, module_table};
use starlane_testkit::figure::figure;

use super::*;

#[test]
fn modules_are_checked_as_in_the_table() {
    let (mut refused, mut accepted, mut differences) = (0, 0, Vec::new());
    for case in module_table() {
        match (check_within(&case.wasm, &FunctionLimits::default(), MEMORY), case.refused) {
            (Err(fault), Some(words)) if fault.to_string().contains(words) => refused += 1,
            (Ok(()), None) => accepted += 1,
            (judged, words) => differences.push(format!("{}: {judged:?}, not {words:?}", case.name)),
        }
    }
    figure("modules.refused", f64::from(refused), "modules");
    figure("modules.accepted", f64::from(accepted), "modules");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn reasons_quote_only_the_beginning_of_a_name() {
    let fault = ModuleFault::Import("m".repeat(100_000), "n".repeat(100_000));
    assert!(fault.to_string().len() < 300, "{}", fault.to_string().len());
}
