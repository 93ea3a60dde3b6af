#![doc = include_str!("../README.md")]

use wasm_bindgen::prelude::wasm_bindgen;

/// Verifies a bundle: takes a [`Verification`](starlane_host::Verification) as CBOR, and gives what pages run of it or why that is
/// refused, as CBOR. The host that asks makes the one and reads the other.
#[wasm_bindgen]
pub fn verify(verification: &[u8]) -> Vec<u8> {
    starlane_host::verify(verification)
}
