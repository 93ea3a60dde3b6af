//! The table of modules on which all checkers must agree: `crates/meter/vectors/modules.wat`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::rc::Rc;

use bytes::Bytes;

use super::sandbox_suite::{
    fixture::{Guest, LIMITS},
    wat::Module,
};
use crate::ports::{Sandbox, SandboxError};

const TABLE: &str = include_str!("../../../meter/vectors/modules.wat");

/// The memory limit of a guest of the table, in bytes.
pub const MEMORY: u64 = LIMITS.memory;

/// One module of the table.
#[derive(Debug, Clone)]
pub struct ModuleCase {
    /// Its name, for people.
    pub name: &'static str,
    /// Words of the expected error, if it must be refused.
    pub refused: Option<&'static str>,
    /// The module.
    pub wasm: Bytes,
}

/// The results of a sandbox for the table.
#[derive(Debug, Default)]
pub struct JudgedModules {
    /// The number of modules that were refused as expected.
    pub refused: usize,
    /// The number of modules that were accepted as expected.
    pub accepted: usize,
    /// The names of modules with an unexpected result, and the result.
    pub differences: Vec<String>,
}

/// Returns the modules of the table one by one, because some are large.
pub fn module_table() -> impl Iterator<Item = ModuleCase> {
    TABLE.split("\n;;; ").skip(1).map(case)
}

fn case(text: &'static str) -> ModuleCase {
    let mut lines = text.lines();
    let name = lines.next().unwrap();
    let (mut refused, mut memory, mut without, mut first, mut repeat) = (None, "1", None, false, String::new());
    let mut is_judged = false;
    for line in lines.clone().map_while(|line| line.strip_prefix(";;: ")) {
        lines.next();
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "accepted" => is_judged = true,
            "refused" => (is_judged, refused) = (true, Some(value)),
            "memory" => memory = value,
            "without" => without = Some(value),
            "first" => first = true,
            "repeat" => {
                let (count, what) = value.split_once(' ').unwrap();
                // Texts of a custom section have no spaces, instructions need them.
                let gap = if what.len() == 1 { "" } else { " " };
                repeat = format!("{what}{gap}").repeat(count.parse().unwrap());
            }
            _ => panic!("{name}: `{key}` is not a key"),
        }
    }
    assert!(is_judged, "{name}: it must say `refused` or `accepted`");
    let text = lines.collect::<Vec<_>>().join("\n").replace("{}", &repeat);
    let (imports, more) = if first { (text.as_str(), "") } else { ("", text.as_str()) };
    let wasm = Module { imports, more, memory, without: without.as_slice(), ..Module::default() }.wasm();
    ModuleCase { name, refused, wasm }
}

/// Checks the table in a sandbox. A module is refused with the table's words before an instance exists. It is accepted
/// if an instance can be made.
pub async fn judge_modules(sandbox: &Rc<dyn Sandbox>) -> JudgedModules {
    let mut judged = JudgedModules::default();
    for ModuleCase { name, refused, wasm } in module_table() {
        match (Guest::make(sandbox, &wasm, LIMITS).await, refused) {
            (Err(SandboxError::Module { reason, .. }), Some(words)) if reason.contains(words) => judged.refused += 1,
            (Ok(_), None) => judged.accepted += 1,
            (made, words) => judged.differences.push(format!("{name}: {:?}, not {words:?}", made.err())),
        }
    }
    judged
}
