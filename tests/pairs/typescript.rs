//! `crates/browser/ts/abi.ts` is generated from `starlane-abi`. `BLESS=1` writes it again.

use std::{env, fmt::Write, fs, path::Path};

use starlane_abi::{
    batch::{call, record},
    checking,
    layout::{self, kind, level, outcome},
    limits, names,
};

const FILE: &str = "crates/browser/ts/abi.ts";

#[test]
fn the_typescript_of_the_abi_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
    let made = typescript();
    if env::var_os("BLESS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap();
    assert!(known == made, "{FILE} differs from `starlane-abi`: run this test with BLESS=1");
}

fn typescript() -> String {
    let mut out = String::from(
        "// Made of the crate `starlane-abi` by tests/pairs/typescript.rs: change it there, and run that test with BLESS=1.\n\
         // What a host, its sandbox and a guest agree on, as far as JavaScript needs it.\n\n",
    );
    let line = |out: &mut String, text: String| writeln!(out, "{text}").unwrap();
    line(&mut out, format!("export const MESH = {:?};", names::MESH));
    line(&mut out, format!("export const ACTOR = {:?};\n", names::ACTOR));
    line(&mut out, "/** Functions that a guest may import. */\nexport type Import =".into());
    for (at, (name, ..)) in names::IMPORTS.iter().enumerate() {
        let end = if at + 1 == names::IMPORTS.len() { ";\n" } else { "" };
        line(&mut out, format!("  | {name:?}{end}"));
    }
    line(
        &mut out,
        "/** Limits: messages and bytes that a call may queue, bytes that it may log, headers of a payload. */".into(),
    );
    for (name, value) in LIMITS {
        line(&mut out, format!("export const {name} = {value};"));
    }
    for (name, doc, rows) in enums() {
        line(&mut out, format!("\n/** {doc} */\nexport const enum {name} {{"));
        for (name, value) in rows {
            line(&mut out, format!("  {name} = {value},"));
        }
        line(&mut out, "}".into());
    }
    out
}

type Rows = Vec<(&'static str, u64)>;

const LIMITS: [(&str, usize); 4] = [
    ("CALL_MESSAGES", limits::CALL_MESSAGES),
    ("CALL_BYTES", limits::CALL_BYTES),
    ("CALL_LOG", limits::CALL_LOG),
    ("HEADERS", limits::HEADERS),
];

/// The compiler replaces const enums by their numbers, so that pages do not load their names.
fn enums() -> [(&'static str, &'static str, Rows); 3] {
    let case = |name, value: i32| (name, u64::try_from(value).unwrap());
    let number = |name, value: u8| (name, u64::from(value));
    let size = |name, value: u32| (name, u64::from(value));
    let batch = vec![
        number("START", call::START),
        number("RECEIVE", call::RECEIVE),
        number("SETTLE", call::SETTLE),
        number("WAKE", call::WAKE),
        number("SAVE", call::SAVE),
        case("KIND_REQUEST", kind::REQUEST),
        case("KIND_NOTIFY", kind::NOTIFY),
        case("KIND_EVENT", kind::EVENT),
        case("SUCCESS", outcome::SUCCESS),
        case("FAILURE", outcome::FAILURE),
        case("ERROR", level::ERROR),
        number("REQUEST", record::REQUEST),
        number("NOTIFY", record::NOTIFY),
        number("REPLY", record::REPLY),
        number("EMIT", record::EMIT),
        number("SUBSCRIBE", record::SUBSCRIBE),
        number("UNSUBSCRIBE", record::UNSUBSCRIBE),
        number("WAKE_AFTER", record::WAKE_AFTER),
        number("DONE", record::DONE),
        number("REFUSED", record::REFUSED),
        number("RECEIVED", record::RECEIVED),
        number("SAVED", record::SAVED),
        number("MISFIT", record::MISFIT),
        number("TOO_LARGE", record::TOO_LARGE),
        number("CRASH", record::CRASH),
        number("LOG", record::LOG),
    ];
    let layout = vec![
        size("BYTES_ALIGN", layout::BYTES_ALIGN),
        size("HEADER_SIZE", layout::HEADER_SIZE),
        size("HEADER_ALIGN", layout::HEADER_ALIGN),
        size("RESULT_SIZE", layout::RESULT_SIZE),
        size("RESULT_ERROR", layout::RESULT_ERROR),
        size("SAVED_SIZE", layout::SAVED_SIZE),
        size("SAVED_DATA", layout::SAVED_DATA),
    ];
    let checking = vec![
        ("STEPS", checking::STEPS),
        ("STEPS_PER_BYTE", checking::STEPS_PER_BYTE),
        ("MAX_STEPS", checking::MAX_STEPS),
        ("QUOTED_CHARS", checking::QUOTED_CHARS as u64),
    ];
    [
        (
            "Batch",
            "Calls into a guest; kinds of messages, outcomes, the highest level of a log line; what comes back of calls.",
            batch,
        ),
        ("Layout", "Sizes, alignments and offsets of records in a guest's memory, in bytes.", layout),
        (
            "Checking",
            "Limits of checking bodies: steps, more for each byte, at most; characters that a reason quotes.",
            checking,
        ),
    ]
}
