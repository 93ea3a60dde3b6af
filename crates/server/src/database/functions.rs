//! The SQL functions that statements can call.
//!
//! SQLite checks the deadline between instructions of its virtual machine, but never inside a function. So each
//! function that takes more than linear time is replaced here by one that returns the same result and checks the
//! deadline itself.

use std::{borrow::Cow, cell::RefCell, sync::Arc};

use memchr::memmem;
use rusqlite::{
    Connection, Error, Result, ffi,
    functions::{Context, FunctionFlags},
    types::{ToSqlOutput, ValueRef},
};

use super::{
    like::{self, Outcome},
    values::Parameter,
    watch::Watch,
};

/// The maximum length of a pattern of LIKE or GLOB, in bytes.
const PATTERN: usize = 1_000;
/// The maximum product of the arguments' lengths in bytes, for functions whose time grows with the product: about 0.3
/// s.
const PRODUCT: usize = 1 << 26;
/// The same for `json_patch`, with the numbers of keys instead of bytes.
const PATCH: usize = 1 << 31;

/// Functions that statements must not call. They reach beyond the database or only report on the server. Some, such as
/// FTS5's `snippet`, take quadratic time and can be neither interrupted nor replaced.
const REFUSED: [&str; 13] = [
    "fts3_tokenizer",
    "fts5_source_id",
    "load_extension",
    "matchinfo",
    "offsets",
    "optimize",
    "rtreedepth",
    "rtreenode",
    "snippet",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_log",
    "sqlite_offset",
];

/// Functions that statements can call. SQLite itself calls those whose names begin with `sqlite_`, for `ALTER TABLE`.
const ALLOWED: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "ceiling",
    "changes",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "fts5",
    "fts5_get_locale",
    "fts5_insttoken",
    "fts5_locale",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_insert",
    "json_array_length",
    "json_each",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_tree",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_array_insert",
    "jsonb_each",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "jsonb_tree",
    "julianday",
    "lag",
    "last_insert_rowid",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "median",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtreecheck",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "soundex",
    "sqlite_source_id",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "total_changes",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unistr_quote",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Whether a statement can call a function.
pub(super) fn allowed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // Only SQLite itself can call these.
    let internal = ["sqlite_rename_", "sqlite_drop_", "sqlite_add_", "sqlite_fail", "sqlite_find_"];
    ALLOWED.contains(&name.as_str())
        || (internal.iter().any(|start| name.starts_with(start)) && !REFUSED.contains(&name.as_str()))
}

/// Replaces SQLite's own functions with the bounded ones.
pub(super) fn install(connection: &Connection, watch: &Arc<Watch>) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    for (name, arguments, case) in [("like", 2, false), ("like", 3, false), ("glob", 2, true)] {
        let watch = Arc::clone(watch);
        let wildcards = if case { like::GLOB } else { like::LIKE };
        connection.create_scalar_function(name, arguments, flags, move |context| {
            in_time(&watch)?;
            matches(context, &wildcards, &watch)
        })?;
    }
    let clock = Arc::clone(watch);
    connection.create_scalar_function("instr", 2, flags, move |context| {
        in_time(&clock)?;
        instr(context)
    })?;
    let clock = Arc::clone(watch);
    connection.create_scalar_function("replace", 3, flags, move |context| {
        in_time(&clock)?;
        replace(context, clock.value)
    })?;
    let json = flags | FunctionFlags::SQLITE_RESULT_SUBTYPE;
    for (name, most, flags, kind) in [
        ("trim", PRODUCT, flags, None),
        ("ltrim", PRODUCT, flags, None),
        ("rtrim", PRODUCT, flags, None),
        ("unhex", PRODUCT, flags, None),
        // Texts of this subtype are JSON for SQLite, not a JSON string.
        ("json_patch", PATCH, json, Some(u32::from(b'J'))),
        ("jsonb_patch", PATCH, flags, None),
    ] {
        let watch = Arc::clone(watch);
        let sql = format!("SELECT {name}(?1, ?2)");
        connection.create_scalar_function(name, 2, flags, move |context| {
            in_time(&watch)?;
            let product = length(context.get_raw(0)).saturating_mul(length(context.get_raw(1)));
            if product > most {
                return Err(told(format!(
                    "{name}: the product of its arguments' lengths is {product}; the maximum is {most}"
                )));
            }
            Ok((original(&sql, &[context.get_raw(0), context.get_raw(1)])?, kind))
        })?;
    }
    Ok(())
}

fn in_time(watch: &Watch) -> Result<()> {
    if watch.is_over() { Err(interrupted()) } else { Ok(()) }
}

fn interrupted() -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None)
}

fn told(message: String) -> Error {
    Error::UserFunctionError(message.into())
}

fn length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 32,
    }
}

thread_local! {
    /// A connection with SQLite's own functions. Its database stays empty.
    static ORIGINAL: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// The value that SQLite's own function returns.
fn original(sql: &str, arguments: &[ValueRef<'_>]) -> Result<Parameter> {
    ORIGINAL.with_borrow_mut(|kept| {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(super::open_in_memory()?),
        };
        let mut statement = connection.prepare_cached(sql)?;
        for (at, value) in arguments.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(*value))?;
        }
        let mut rows = statement.raw_query();
        let row = rows.next()?.ok_or(Error::QueryReturnedNoRows)?;
        Ok(match row.get_ref(0)? {
            ValueRef::Null => Parameter::Null,
            ValueRef::Integer(number) => Parameter::Integer(number),
            ValueRef::Real(number) => Parameter::Real(number),
            ValueRef::Text(bytes) => Parameter::Text(bytes.to_owned()),
            ValueRef::Blob(bytes) => Parameter::Blob(bytes.to_owned()),
        })
    })
}

/// A value converted to text as SQLite does it; none for NULL.
fn text(value: ValueRef<'_>) -> Result<Option<Cow<'_, [u8]>>> {
    Ok(match value {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        ValueRef::Integer(number) => Some(Cow::Owned(number.to_string().into_bytes())),
        ValueRef::Real(_) => match original("SELECT CAST(?1 AS TEXT)", &[value])? {
            Parameter::Text(text) => Some(Cow::Owned(text)),
            _ => None,
        },
    })
}

/// `like(PATTERN, TEXT)`, `like(PATTERN, TEXT, ESCAPE)`, `glob(PATTERN, TEXT)`.
fn matches(context: &Context<'_>, wildcards: &like::Wildcards, watch: &Watch) -> Result<Option<bool>> {
    if length(context.get_raw(0)) > PATTERN {
        return Err(told(format!("LIKE or GLOB: a pattern is longer than {PATTERN} bytes")));
    }
    let mut wildcards = *wildcards;
    if context.len() == 3 {
        let Some(escape) = text(context.get_raw(2))? else { return Ok(None) };
        let escape = like::only_character(&escape)
            .ok_or_else(|| told("ESCAPE expression must be a single character".to_owned()))?;
        wildcards.escape_with(escape);
    }
    let (Some(pattern), Some(text)) = (text(context.get_raw(0))?, text(context.get_raw(1))?) else { return Ok(None) };
    match like::compare(&pattern, &text, &wildcards, &mut || watch.is_over()) {
        Outcome::Interrupted => Err(interrupted()),
        outcome => Ok(Some(outcome == Outcome::Match)),
    }
}

/// `instr(TEXT, PART)` counts from 1, in characters, or in bytes for two byte strings. It is 0 if `PART` does not
/// occur.
fn instr(context: &Context<'_>) -> Result<Option<i64>> {
    let (whole, part) = (context.get_raw(0), context.get_raw(1));
    let bytes = matches!((whole, part), (ValueRef::Blob(_), ValueRef::Blob(_)));
    let (Some(whole), Some(part)) = (text(whole)?, text(part)?) else { return Ok(None) };
    let found = match part.first() {
        // In texts, a match begins only at the beginning of a character.
        Some(first) if !bytes && is_continuation(*first) => whole.starts_with(&part).then_some(0),
        _ => memmem::find(&whole, &part),
    };
    let Some(at) = found else { return Ok(Some(0)) };
    let before = whole.get(..at).unwrap_or_default();
    let characters = match bytes {
        true => before.len(),
        // The first byte always counts as a beginning.
        false => {
            before.iter().skip(1).filter(|byte| !is_continuation(**byte)).count() + usize::from(!before.is_empty())
        }
    };
    Ok(Some(i64::try_from(characters).unwrap_or(i64::MAX - 1) + 1))
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// `replace(TEXT, PART, WITH)`.
fn replace(context: &Context<'_>, most: usize) -> Result<Option<Parameter>> {
    let (Some(whole), Some(part)) = (text(context.get_raw(0))?, text(context.get_raw(1))?) else { return Ok(None) };
    if part.first().is_none_or(|first| *first == 0) {
        return Ok(Some(Parameter::Text(whole.into_owned())));
    }
    let Some(with) = text(context.get_raw(2))? else { return Ok(None) };
    let finder = memmem::Finder::new(part.as_ref());
    let found = finder.find_iter(&whole).count();
    if whole.len() - found * part.len() + found.saturating_mul(with.len()) > most {
        return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None));
    }
    let (mut made, mut done) = (Vec::with_capacity(whole.len()), 0);
    for at in finder.find_iter(&whole) {
        made.extend_from_slice(whole.get(done..at).unwrap_or_default());
        made.extend_from_slice(&with);
        done = at + part.len();
    }
    made.extend_from_slice(whole.get(done..).unwrap_or_default());
    Ok(Some(Parameter::Text(made)))
}

#[cfg(test)]
mod tests;
