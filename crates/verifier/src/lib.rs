#![doc = include_str!("../README.md")]

use wasm_bindgen::prelude::wasm_bindgen;

/// Verifies a bundle. Takes a [`Verification`](starlane_host::Verification) as CBOR. Returns, as CBOR, the parts that pages run, or
/// the reason for the refusal. The calling host makes the request and reads the reply.
#[wasm_bindgen]
pub fn verify(verification: &[u8]) -> Vec<u8> {
    starlane_host::verify(verification)
}
