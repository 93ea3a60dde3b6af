//! The check as a page calls it: three exports of a Wasm module. `crates/browser/ts/meter.ts` calls them, in a worker.

#![allow(unsafe_code, reason = "exported names are part of the binary interface")]

use std::sync::{Mutex, PoisonError};

use crate::{FunctionLimits, check_within};

/// The module to check.
static MODULE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// The reason of a refusal.
static REASON: Mutex<String> = Mutex::new(String::new());

/// Makes room for a module of `length` bytes. Returns the address where the module must be written.
#[unsafe(no_mangle)]
extern "C" fn allocate(length: usize) -> *mut u8 {
    let mut module = MODULE.lock().unwrap_or_else(PoisonError::into_inner);
    *module = vec![0; length];
    module.as_mut_ptr()
}

/// Checks the module at that address as a guest with `memory` bytes of memory. Returns 0 if it may run, or the length of the
/// reason, in bytes.
#[unsafe(no_mangle)]
extern "C" fn check(memory: f64) -> usize {
    let module = MODULE.lock().unwrap_or_else(PoisonError::into_inner);
    let checked = check_within(&module, &FunctionLimits::default(), memory as u64);
    let mut reason = REASON.lock().unwrap_or_else(PoisonError::into_inner);
    *reason = checked.err().map(|fault| fault.to_string()).unwrap_or_default();
    reason.len()
}

/// Returns the address of the reason, which is UTF-8.
#[unsafe(no_mangle)]
extern "C" fn reason() -> *const u8 {
    REASON.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
}
