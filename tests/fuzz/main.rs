//! Tests every decoder with valid inputs that are changed a little, again and again. The same functions are
//! targets of `cargo fuzz`, which searches further: `cargo +nightly fuzz run --fuzz-dir tests/fuzz frames`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod decoders;

use starlane_bundle::SecretKey;
use starlane_host::testing::module_table::module_table;
use starlane_protocol::HostSecret;
use starlane_testkit::{
    figure::{Sizes, figure},
    random::Random,
};

/// How often the number of tries of each target is taken.
const TIMES: Sizes = Sizes { ci: 1, full: 20 };

/// A decoder by the name of its target, its initial inputs, and the number of changes of each.
struct Target {
    name: &'static str,
    decode: fn(&[u8]) -> bool,
    seeds: Vec<Vec<u8>>,
    tries: usize,
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn targets() -> Vec<Target> {
    let golden = include_str!("../../crates/protocol/src/frame/golden.txt");
    // A message is a list of channels and frames.
    let message = |line: &str| [&[0x82, 0][..], &hex::decode(line.trim()).expect("hexadecimal")].concat();
    let frames = golden.lines().map(message).collect();
    let host = HostSecret([7; 32]).name();
    let addresses =
        format!("acme:profiles:directory\n{host}::acme:repo:n:1.0.0:/site/index.html\nacme:x#changes\nacme:a:b3-_xyz");
    let grants = "admin ~*::**\nrequest acme:profiles:* save list\nsubscribe acme:x#changes\n\
                  00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let json = "{\"a\":[1,-2.5e3,\"\\u00e9\",null,true],\"b\":{\"c\":\"d\"}}\n[18446744073709551615,1e308,\"\"]";
    let publisher = SecretKey::from_seed([1; 32]).public();
    let manifest = format!(
        r#"{{"format":1,"address":"acme:repo:n:1.0.0","publisher":"{publisher}","created":0,"name":"n","files":{{}}}}"#
    );
    let schema = r##"{"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]{1,9}$","maxLength":9},"b":{"$ref":"#/$defs/b"}},"required":["a"],"$defs":{"b":{"anyOf":[{"const":1},{"minimum":2}]}},"additionalProperties":false}"##;
    let modules = module_table().filter(|case| case.refused.is_none() && case.wasm.len() < 4_096);
    let modules = modules.map(|case| case.wasm.to_vec()).collect();
    let bind = "[bind]\nname = \"b\"\n[operations.save]\nrequest = { content-type = \"text/plain\" }\nresponse = {}\n[events.changed]\npayload = {}\n";
    let target = |name, decode, seeds, tries: usize| Target { name, decode, seeds, tries: tries * TIMES.of_this_run() };
    vec![
        target("frames", decoders::frames as fn(&[u8]) -> bool, frames, 5_000),
        target("addresses", decoders::addresses, lines(&addresses), 20_000),
        target("grants", decoders::grants, lines(grants), 20_000),
        target("json_values", decoders::json_values, lines(json), 20_000),
        target("manifests", decoders::manifests, lines(&manifest), 20_000),
        target("schemas", decoders::schemas, lines(schema), 10_000),
        target("modules", decoders::modules, modules, 2_000),
        target("binds", decoders::binds, vec![bind.as_bytes().to_vec()], 2_000),
    ]
}

/// Bytes, changed in some places: flipped, replaced, inserted, removed, repeated or cut off.
fn changed(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            2 => bytes.insert(at, random.pick(b"\0\"\\{}[]:,/#*~ \xff\x7f")),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            4 => {
                let end = (at + random.below(16)).min(bytes.len());
                let again = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => bytes.truncate(at),
            _ => {
                let other = random.below(bytes.len());
                if !bytes.is_empty() {
                    bytes.swap(at, other);
                }
            }
        }
    }
    bytes
}

#[test]
fn decoders_do_not_panic_and_accept_their_own_encoding() {
    let (all, mut tried) = (targets(), 0);
    for target in &all {
        let mut random = Random::new(1);
        for seed in &target.seeds {
            assert!((target.decode)(seed), "{}: {:?} is refused", target.name, String::from_utf8_lossy(seed));
            for _ in 0..target.tries {
                let bytes = changed(&mut random, seed);
                let decoded = std::panic::catch_unwind(|| (target.decode)(&bytes));
                assert!(
                    decoded.is_ok(),
                    "{}: {:?} ({})",
                    target.name,
                    String::from_utf8_lossy(&bytes),
                    hex::encode(&bytes)
                );
                tried += 1;
            }
        }
    }
    figure("fuzz.targets", all.len() as f64, "targets");
    figure("fuzz.inputs", f64::from(tried), "inputs");
}

#[test]
fn each_decoder_is_a_target_of_cargo_fuzz() {
    let folder = starlane_testkit::workspace().join("tests/fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let mut files: Vec<String> = std::fs::read_dir(folder.join("fuzz_targets"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names: Vec<&str> = targets().iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
