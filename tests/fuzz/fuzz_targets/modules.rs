#![no_main]

#[allow(dead_code, reason = "each target runs one of them")]
#[path = "../decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::modules(bytes);
});
