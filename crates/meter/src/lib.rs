#![doc = include_str!("../README.md")]

mod functions;
#[cfg(target_arch = "wasm32")]
mod page;
#[cfg(test)]
mod tests;

use starlane_abi::{limits, names};
use wasmparser::{
    BinaryReaderError, FuncType, Parser, Payload, ValType, Validator, WasmFeatures,
    types::{EntityType, TypesRef},
};

pub use self::functions::{FunctionFault, FunctionLimit, FunctionLimits};

/// WebAssembly 2.0 without references to host values (they need a garbage collector), extended constants, tail calls.
/// Features that are not named here are refused, including those of future versions of the parser.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .difference(WasmFeatures::GC_TYPES);

/// The reason why a module cannot be a guest, as a clause whose subject is the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleFault {
    /// Its size, in bytes.
    #[error("it has {0} bytes; the maximum is {most}", most = limits::MODULE_BYTES)]
    TooLong(usize),
    /// The parser's error: it is malformed, or uses a feature that is refused.
    #[error("it is not valid WebAssembly for a guest: {0}")]
    Invalid(#[from] BinaryReaderError),
    /// It has code that would run before its time is counted.
    #[error("it has a start section; export `{init}` instead", init = names::INITIALIZE)]
    StartSection,
    /// The number of functions that it defines.
    #[error("it has {0} functions; the maximum is {most}", most = limits::FUNCTIONS)]
    Functions(u32),
    /// The number of its tables.
    #[error("it has {0} tables; the maximum is {most}", most = limits::TABLES)]
    Tables(u32),
    /// A table, and its initial number of entries.
    #[error("table {0} has {1} entries; the maximum is {most}", most = limits::TABLE_ENTRIES)]
    Table(u32, u64),
    /// A table that grows and has no maximum, or one that is too high.
    #[error("table {0} grows; declare it with a maximum of at most {most} entries", most = limits::TABLE_ENTRIES)]
    GrowingTable(u32),
    /// The module and the name of an import that the interface does not have.
    #[error("the import `{name}` of `{module}` is not available to guests", name = short(.1), module = short(.0))]
    Import(String, String),
    /// The name of an import.
    #[error("the import `{0}` has another signature than the interface defines")]
    ImportType(String),
    /// The name of an export.
    #[error("the export `{0}` is missing")]
    Missing(&'static str),
    /// The names of an export of `stream-actor` that it has, and of one that it has not.
    #[error("it has the export `{0}` but not `{1}`; export all functions of `stream-actor`, or none")]
    SomeOfStreams(&'static str, &'static str),
    /// The name of an export.
    #[error("the export `{0}` has another type than the interface defines")]
    ExportType(&'static str),
    /// The bytes of its initial memory, and the limit of its config.
    #[error("it begins with {0} bytes of memory; its limit is {1}")]
    Memory(u64, u64),
    /// The number of values that all its functions move, and the maximum.
    #[error("its functions move {0} values by calls, branches and loops; the maximum is {1}")]
    Moves(u64, u64),
    /// A function that exceeds a limit.
    #[error("{0}")]
    Function(#[from] FunctionFault),
}

impl ModuleFault {
    /// The exceeded limit of functions, if that is the reason.
    pub fn limit(&self) -> Option<FunctionLimit> {
        match self {
            Self::Function(fault) => Some(fault.limit),
            _ => None,
        }
    }
}

/// Checks whether a module may be compiled and run as a guest with `memory` bytes of memory.
pub fn check_within(wasm: &[u8], function_limits: &FunctionLimits, memory: u64) -> Result<(), ModuleFault> {
    let needed = check(wasm, function_limits)?;
    if needed > memory { Err(ModuleFault::Memory(needed, memory)) } else { Ok(()) }
}

/// Checks whether a module may be compiled and run as a guest. Returns the bytes of its initial memory.
pub fn check(wasm: &[u8], function_limits: &FunctionLimits) -> Result<u64, ModuleFault> {
    if wasm.len() > limits::MODULE_BYTES {
        return Err(ModuleFault::TooLong(wasm.len()));
    }
    // Cheap checks first: validation reads every instruction.
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::StartSection { .. } => return Err(ModuleFault::StartSection),
            Payload::FunctionSection(functions) if functions.count() > limits::FUNCTIONS => {
                return Err(ModuleFault::Functions(functions.count()));
            }
            _ => {}
        }
    }
    functions::check(wasm, function_limits)?;
    let types = Validator::new_with_features(FEATURES).validate_all(wasm)?;
    let types = types.as_ref();
    check_tables(types)?;
    check_imports(types)?;
    let exported =
        |name: &str| types.core_exports().into_iter().flatten().find(|(own, _)| *own == name).map(|(_, ty)| ty);
    let memory = match exported(names::MEMORY) {
        Some(EntityType::Memory(memory)) => memory.initial.saturating_mul(limits::PAGE_BYTES),
        Some(_) => return Err(ModuleFault::ExportType(names::MEMORY)),
        None => return Err(ModuleFault::Missing(names::MEMORY)),
    };
    for (name, params, results) in names::REQUIRED_FUNCTIONS {
        let export = exported(name).ok_or(ModuleFault::Missing(name))?;
        if !is_function(types, export, params, results) {
            return Err(ModuleFault::ExportType(name));
        }
    }
    let streams = names::STREAM_FUNCTIONS;
    if let Some((present, ..)) = streams.iter().find(|(name, ..)| exported(name).is_some())
        && let Some((missing, ..)) = streams.iter().find(|(name, ..)| exported(name).is_none())
    {
        return Err(ModuleFault::SomeOfStreams(present, missing));
    }
    for (name, params, results) in names::OPTIONAL_FUNCTIONS.into_iter().chain(streams) {
        if exported(name).is_some_and(|export| !is_function(types, export, params, results)) {
            return Err(ModuleFault::ExportType(name));
        }
    }
    Ok(memory)
}

fn check_tables(types: TypesRef<'_>) -> Result<(), ModuleFault> {
    if types.table_count() > limits::TABLES {
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

/// A name from a module, shortened for a message.
fn short(name: &str) -> String {
    name.chars().take(80).collect()
}
