//! Valid modules that cost a compiler much more than their bytes.

use std::fmt::Write;

/// A guest that does nothing, with more fields.
pub(crate) fn module(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "starlane:mechtron/actor@1.0.0#start")
            (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16))
        (func (export "starlane:mechtron/actor@1.0.0#receive")
            (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32) (i32.const 1))
        (func (export "starlane:mechtron/actor@1.0.0#settle") (param i64 i32 i32 i32 i32 i32 i32 i32 i64))
        (func (export "starlane:mechtron/actor@1.0.0#wake") (param i64))
        (func (export "starlane:mechtron/actor@1.0.0#save") (result i32) (i32.const 32))
        {more})"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// Modules, each with the limit that refuses it.
pub(crate) fn out_of_bounds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("straight", "function-bytes", module(&straight(150_000))),
        ("locals", "function-locals", module(&format!("(func {} (local.set 49000 (i32.const 1)))", locals(49_900)))),
        ("loops", "function-loop-depth", module(&loops(900, 900))),
        ("rows", "function-moves", module(&rows(2_000, 1_000))),
        ("table", "function-branches", module(&table(60_000))),
        ("blocks", "function-branches", module(&format!("(func {})", "(block)".repeat(80_000)))),
        ("calls", "function-moves", module(&calls(900, 10_000))),
        ("arity", "function-moves", module(&carrying_table(900, 10_000))),
    ]
}

/// The costliest modules within the built-in limits.
pub(crate) fn within_bounds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("straight", module(&straight(70_000))),
        ("loops", module(&loops(900, 64))),
        ("rows", module(&rows(700, 700))),
        ("table", module(&table(16_000))),
        ("blocks", module(&format!("(func {})", "(block)".repeat(16_000)))),
        ("many", module(&straight(10_000).repeat(12))),
    ]
}

fn locals(count: usize) -> String {
    format!("(local{})", " i32".repeat(count))
}

/// One long function.
fn straight(operations: usize) -> String {
    let mut text = String::from("(func (param i32) (result i32) local.get 0 ");
    for number in 0..operations {
        let _ = write!(text, "i32.const {} i32.{} ", number % 60, ["add", "xor", "mul"][number % 3]);
    }
    text + ")"
}

/// Many variables, used in many nested loops.
fn loops(variables: usize, count: usize) -> String {
    let mut text = format!("(func (param i32) {} ", locals(variables));
    for number in 0..count {
        let variable = 1 + number % variables;
        let _ = write!(text, "loop local.get {variable} i32.const 1 i32.add local.set {variable} ");
    }
    for variable in 1..=variables {
        let _ = write!(text, "local.get {variable} drop ");
    }
    for _ in 0..count {
        text += "local.get 0 br_if 0 end ";
    }
    text + ")"
}

/// Many variables, used in many consecutive loops.
fn rows(variables: usize, count: usize) -> String {
    let mut text = format!("(func (param i32) {} ", locals(variables));
    for number in 0..count {
        let variable = 1 + number % variables;
        let _ =
            write!(text, "loop local.get {variable} i32.const 1 i32.add local.set {variable} local.get 0 br_if 0 end ");
    }
    for variable in 1..=variables {
        let _ = write!(text, "local.get {variable} drop ");
    }
    text + ")"
}

fn table(targets: usize) -> String {
    let depths: String = (0..targets).map(|target| format!(" {}", target % 50)).collect();
    format!("(func (param i32) {} (br_table{depths} (local.get 0)) {})", "block ".repeat(50), "end ".repeat(50))
}

/// Calls with many parameters and results.
fn calls(values: usize, count: usize) -> String {
    let many = " i32".repeat(values);
    let all: String = (0..values).map(|value| format!("local.get {value} ")).collect();
    format!(
        "(func $same (param{many}) (result{many}) {all}) (func {}{}{})",
        "i32.const 0 ".repeat(values),
        "call $same ".repeat(count),
        "drop ".repeat(values)
    )
}

/// A table whose targets all carry many values.
fn carrying_table(values: usize, targets: usize) -> String {
    let many = " i32".repeat(values);
    let depths = " 0".repeat(targets);
    format!(
        "(func (param i32) (result{many}) (block (result{many}) {} (br_table{depths} (local.get 0))))",
        "i32.const 0 ".repeat(values)
    )
}
