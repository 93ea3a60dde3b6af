//! What a module may be, checked before it is compiled: the features, imports and exports of `starlane_abi`, and bounds.

mod functions;

use starlane_abi::{limits, names};
use wasmparser::{
    BinaryReaderError, FuncType, Parser, Payload, ValType, Validator, WasmFeatures,
    types::{EntityType, TypesRef},
};

use crate::limits::Limit;

use self::functions::FunctionFault;
pub(super) use self::functions::FunctionLimits;

/// The most functions of a module.
const FUNCTIONS: u32 = 50_000;
/// The bytes of a page of memory.
const PAGE: u64 = 65_536;
/// The most tables of a module.
pub(super) const TABLES: u32 = 4;

/// WebAssembly 2.0 without references to host values (they need a garbage collector), extended constants, tail calls.
/// What is not named here is refused, what future versions of the parser know included.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .difference(WasmFeatures::GC_TYPES);

/// The exports that must be functions of these core signatures.
const REQUIRED: [(&str, &str, &str); 6] = [
    (names::START, "iiiiiiiiii", "i"),
    (names::RECEIVE, "Iiiiiiiiiiiiiii", "i"),
    (names::SETTLE, "Iiiiiiii", ""),
    (names::WAKE, "I", ""),
    (names::SAVE, "", "i"),
    (names::REALLOC, "iiii", "i"),
];

/// The exports that may be there, and then are functions of these core signatures.
const OPTIONAL: [(&str, &str, &str); 3] =
    [(names::INITIALIZE, "", ""), (names::POST_START, "i", ""), (names::POST_SAVE, "i", "")];

/// Why a module can't be a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleFault {
    #[error("it has {0} bytes, and {most} are the most", most = limits::MODULE_BYTES)]
    TooLong(usize),
    #[error("it is no valid WebAssembly of the kind that guests may be: {0}")]
    Invalid(#[from] BinaryReaderError),
    #[error("it has a start section; export `{init}` instead", init = names::INITIALIZE)]
    StartSection,
    #[error("it has {0} functions, and {FUNCTIONS} are the most")]
    Functions(u32),
    #[error("it has {0} tables, and {TABLES} are the most")]
    Tables(u32),
    #[error("table {0} has {1} entries, and {most} are the most", most = limits::TABLE_ENTRIES)]
    Table(u32, u64),
    #[error("the import `{name}` of `{module}` is none that guests may have", name = short(.1), module = short(.0))]
    Import(String, String),
    #[error("the import `{0}` has another signature than the interface gives it")]
    ImportType(String),
    #[error("the export `{0}` is missing")]
    Missing(&'static str),
    #[error("the export `{0}` has another type than the interface gives it")]
    ExportType(&'static str),
    #[error("it begins with {0} bytes of memory, and its limit is {1}")]
    Memory(u64, u64),
    #[error("{0}")]
    Function(#[from] FunctionFault),
}

impl ModuleFault {
    /// The setting that it exceeds, if it is one.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::Function(fault) => Some(fault.limit),
            _ => None,
        }
    }
}

/// Checks that a module may be compiled and run as a guest. Gives how many bytes of memory it begins with.
pub(super) fn check(wasm: &[u8], limits_of_functions: &FunctionLimits) -> Result<u64, ModuleFault> {
    if wasm.len() > limits::MODULE_BYTES {
        return Err(ModuleFault::TooLong(wasm.len()));
    }
    // Cheap refusals first: validation reads every instruction.
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::StartSection { .. } => return Err(ModuleFault::StartSection),
            Payload::FunctionSection(functions) if functions.count() > FUNCTIONS => {
                return Err(ModuleFault::Functions(functions.count()));
            }
            _ => {}
        }
    }
    functions::check(wasm, limits_of_functions)?;
    let types = Validator::new_with_features(FEATURES).validate_all(wasm)?;
    let types = types.as_ref();
    check_tables(types)?;
    check_imports(types)?;
    let exported =
        |name: &str| types.core_exports().into_iter().flatten().find(|(own, _)| *own == name).map(|(_, ty)| ty);
    let memory = match exported(names::MEMORY) {
        Some(EntityType::Memory(memory)) => memory.initial.saturating_mul(PAGE),
        Some(_) => return Err(ModuleFault::ExportType(names::MEMORY)),
        None => return Err(ModuleFault::Missing(names::MEMORY)),
    };
    for (name, params, results) in REQUIRED {
        let export = exported(name).ok_or(ModuleFault::Missing(name))?;
        if !is_function(types, export, params, results) {
            return Err(ModuleFault::ExportType(name));
        }
    }
    for (name, params, results) in OPTIONAL {
        if exported(name).is_some_and(|export| !is_function(types, export, params, results)) {
            return Err(ModuleFault::ExportType(name));
        }
    }
    Ok(memory)
}

fn check_tables(types: TypesRef<'_>) -> Result<(), ModuleFault> {
    if types.table_count() > TABLES {
        return Err(ModuleFault::Tables(types.table_count()));
    }
    for index in 0..types.table_count() {
        let entries = types.table_at(index).initial;
        if entries > u64::from(limits::TABLE_ENTRIES) {
            return Err(ModuleFault::Table(index, entries));
        }
    }
    Ok(())
}

fn check_imports(types: TypesRef<'_>) -> Result<(), ModuleFault> {
    for (module, name, import) in types.core_imports().into_iter().flatten() {
        let known = names::IMPORTS.iter().find(|(known, ..)| module == names::MESH && name == *known);
        let Some((_, params, results)) = known else {
            return Err(ModuleFault::Import(module.to_owned(), name.to_owned()));
        };
        if !is_function(types, import, params, results) {
            return Err(ModuleFault::ImportType(name.to_owned()));
        }
    }
    Ok(())
}

fn is_function(types: TypesRef<'_>, entity: EntityType, params: &str, results: &str) -> bool {
    let EntityType::Func(id) = entity else { return false };
    types.get(id).is_some_and(|ty| {
        let function: &FuncType = ty.unwrap_func();
        letters(function.params()).eq(params.chars()) && letters(function.results()).eq(results.chars())
    })
}

fn letters(types: &[ValType]) -> impl Iterator<Item = char> {
    types.iter().map(|ty| match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        _ => '?',
    })
}

/// A name out of a module, short enough for a message.
fn short(name: &str) -> String {
    name.chars().take(80).collect()
}
