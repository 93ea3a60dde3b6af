//! Following references: from mechtrons to Wasm files and binds, from binds to schemas.

use std::{collections::BTreeMap, fs, ops::Range};

use serde::de::IgnoredAny;
use serde_json::{Value, value::RawValue};
use starlane_protocol::{Address, Topic};
use toml::Spanned;

use super::{
    AuthoringError, CheckModule, Draft, Others, app,
    folder::{Folder, bundle_path},
    others,
    source::Source,
    tables::{BindFile, BodyTable, LimitsTable, MechtronFile},
};
use crate::{Bind, Limits, MechtronConfig, Restart, bind::essence, json, schema};

/// Stands for the app while its address is not known.
pub(super) const ANY_APP: &str = "space:app";
/// A page of Wasm memory, and all that 32 bits can address.
const MEMORY: std::ops::RangeInclusive<u64> = 65_536..=4_294_967_296;

pub(super) fn resolve(
    folder: &Folder,
    others: &Others,
    check: CheckModule<'_>,
    draft: &mut Draft,
) -> Result<(), AuthoringError> {
    for relative in folder.toml_files("binds")? {
        read_bind(folder, &relative, draft)?;
    }
    for relative in folder.toml_files("mechtrons")? {
        read_mechtron(folder, &relative, others, check, draft)?;
    }
    if folder.has("app.toml") {
        app::read(folder, others, draft)?;
    }
    Ok(())
}

/// Reads a bind and its schemas into the draft.
pub(super) fn read_bind(folder: &Folder, relative: &str, draft: &mut Draft) -> Result<Bind, AuthoringError> {
    let source = Source::read(folder, relative)?;
    let file: BindFile = source.parse()?;
    for name in file.names() {
        check_segment(&source, name, name.get_ref(), "a name such as `render`")?;
    }
    for body in file.bodies() {
        check_body(&source, body)?;
        let Some(schema) = &body.schema else { continue };
        let name = draft.add_named(&source, folder, schema, "the schema")?;
        if draft.schemas.contains_key(&name) {
            continue;
        }
        let normal = read_schema(&Source::read(folder, name.trim_start_matches('/'))?, relative)?;
        draft.schemas.insert(name, normal);
    }
    let bind = file.resolved();
    draft.binds.insert(bundle_path(relative), bind.clone());
    Ok(bind)
}

/// The normal form of the schema in a file, which a bind names.
fn read_schema(file: &Source, bind: &str) -> Result<Value, AuthoringError> {
    let text = file.text();
    let value = json::value(text.as_bytes()).map_err(|error| {
        let hint = "a schema is a JSON Schema 2020-12 in a JSON file";
        let message = format!("this schema of {bind} can't be read: {error}");
        match serde_json::from_str::<IgnoredAny>(text) {
            Err(at) => file.error_at(at.line(), at.column(), message, hint),
            Ok(_) => file.error(place(text, &error.pointer), message, hint),
        }
    })?;
    schema::normal_form(&value).map_err(|error| {
        let hint = "what stands here is checked on every host, by the same subset of JSON Schema 2020-12";
        file.error(place(text, &error.pointer), format!("this schema of {bind} is refused {error}"), hint)
    })
}

/// Where the value at a JSON pointer begins in its text; the beginning of the text, if nothing is there.
fn place(text: &str, pointer: &str) -> Range<usize> {
    let find = || {
        let mut value: &RawValue = serde_json::from_str(text).ok()?;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            value = match value.get().as_bytes().first()? {
                b'{' => serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()).ok()?.remove(&token)?,
                _ => serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(token.parse::<usize>().ok()?)?,
            };
        }
        (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)
    };
    let at = find().unwrap_or(0);
    at..at
}

fn check_body(source: &Source, body: &BodyTable) -> Result<(), AuthoringError> {
    let content_type = body.content_type.as_ref().map_or("*/*", |content_type| essence(content_type.get_ref()));
    if let Some(written) = &body.content_type {
        // RFC 9110: type "/" subtype, both tokens.
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let fits = content_type.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
        if !fits && content_type != "*/*" {
            let text = format!("`{}` is no content type; expected a type and a subtype", written.get_ref());
            let hint = "such as \"application/json\"; without `content-type` anything goes";
            return Err(source.error(written.span(), text, hint));
        }
    }
    let lower = content_type.to_ascii_lowercase();
    let is_json = lower == "application/json" || lower.ends_with("+json");
    match &body.schema {
        Some(schema) if !is_json => {
            let text = format!("a schema for `{content_type}`; expected a JSON content type beside it");
            Err(source.error(schema.span(), text, "add content-type = \"application/json\", or remove the schema"))
        }
        _ => Ok(()),
    }
}

fn read_mechtron(
    folder: &Folder,
    relative: &str,
    others: &Others,
    check: CheckModule<'_>,
    draft: &mut Draft,
) -> Result<(), AuthoringError> {
    let source = Source::read(folder, relative)?;
    let file: MechtronFile = source.parse()?;
    let (wasm, bind) = (&file.mechtron.wasm, &file.mechtron.bind);
    let module = draft.add_named(&source, folder, wasm, "the module").map_err(|mut error| {
        if error.message.ends_with("is missing") {
            error.hint = "build it first: the `[build]` command of bundle.toml makes it".into();
        }
        error
    })?;
    let limits = limits(&source, &file.limits)?;
    check_module(&source, folder, wasm, &module, limits.memory, check)?;
    let bind_path = if bind.get_ref().contains(':') {
        others::take_bind(&source, bind, others, draft)?;
        bind.get_ref().clone()
    } else {
        bundle_path(bind.get_ref())
    };
    if !draft.binds.contains_key(&bind_path) {
        return Err(not_there(&source, bind, "bind", "binds"));
    }
    let config = MechtronConfig {
        wasm: module,
        name: file.mechtron.name,
        bind: bind_path,
        limits,
        settings: settings(&source, file.settings.as_ref())?,
    };
    draft.mechtrons.insert(bundle_path(relative), config);
    Ok(())
}

/// The first eight bytes tell a core module from a component and from what is no Wasm at all.
fn check_module(
    source: &Source,
    folder: &Folder,
    at: &Spanned<String>,
    module: &str,
    memory: u64,
    check: CheckModule<'_>,
) -> Result<(), AuthoringError> {
    let wasm = fs::read(folder.path(module.trim_start_matches('/'))).unwrap_or_default();
    let wrong = match wasm.as_slice() {
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            return check(&wasm, memory).map_err(|reason| {
                let text = format!("hosts refuse {}: {reason}", at.get_ref());
                source.error(at.span(), text, "a mechtron is a module such as the guest SDK makes, of WebAssembly 2.0")
            });
        }
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => "is a component",
        _ => "is no WebAssembly module",
    };
    let text = format!("{} {wrong}; expected a core module", at.get_ref());
    Err(source.error(at.span(), text, "build it with --target wasm32-unknown-unknown"))
}

/// The fault of naming a bind or mechtron config of this bundle that it does not have.
pub(super) fn not_there(source: &Source, at: &Spanned<String>, what: &str, sub: &str) -> AuthoringError {
    let written = at.get_ref();
    let text = format!("there is no {what} {written}; expected a file {sub}/NAME.toml");
    source.error(at.span(), text, &format!("every {what} is a TOML file in {sub}/ beside bundle.toml"))
}

fn limits(source: &Source, table: &LimitsTable) -> Result<Limits, AuthoringError> {
    let mut limits = Limits::default();
    if let Some(memory) = &table.memory {
        let fault = |wrong: &str| {
            let text = format!("`{}` {wrong}", memory.get_ref());
            source.error(memory.span(), text, "such as \"16 MiB\"")
        };
        let size: bytesize::ByteSize =
            memory.get_ref().parse().map_err(|_| fault("is no size; expected a number and a unit"))?;
        limits.memory = size.as_u64();
        if !MEMORY.contains(&limits.memory) {
            return Err(fault("is no memory of a Wasm module; expected 64 KiB to 4 GiB"));
        }
    }
    let milliseconds = |text: &Spanned<String>| {
        let time = humantime::parse_duration(text.get_ref()).ok().map(|time| time.as_millis()).filter(|ms| *ms > 0);
        time.and_then(|ms| u32::try_from(ms).ok()).ok_or_else(|| {
            let text_of = format!("`{}` is no time; expected a number and a unit, at least 1 ms", text.get_ref());
            source.error(text.span(), text_of, "such as \"250 ms\" or \"10 s\"")
        })
    };
    if let Some(call) = &table.call {
        limits.call_ms = milliseconds(call)?;
    }
    let positive = |number: &Spanned<u32>| match *number.get_ref() {
        0 => {
            Err(source.error(number.span(), "0 would let nothing in; expected at least 1", "remove it for the default"))
        }
        number => Ok(number),
    };
    if let Some(concurrency) = &table.concurrency {
        limits.concurrency = positive(concurrency)?;
    }
    if let Some(mailbox) = &table.mailbox {
        limits.mailbox = positive(mailbox)?;
    }
    if let Some(restart) = &table.restart {
        limits.restart = Restart { intensity: restart.intensity, within_ms: milliseconds(&restart.within)?.into() };
    }
    Ok(limits)
}

/// Checks a name that becomes a segment of an address.
pub(super) fn check_segment(
    source: &Source,
    at: &Spanned<String>,
    name: &str,
    hint: &str,
) -> Result<(), AuthoringError> {
    let valid = Address::parse(ANY_APP).and_then(|app| Topic::new(app, name));
    valid.map(drop).map_err(|error| {
        let text = format!("`{}` can't be part of an address; expected {}", at.get_ref(), error.expected);
        source.error(at.span(), text, hint)
    })
}

/// Settings as the guest gets them. JSON has no dates, which become text, and no `inf` and `nan`, which are refused.
pub(super) fn settings(source: &Source, table: Option<&Spanned<toml::Table>>) -> Result<Value, AuthoringError> {
    let Some(table) = table else { return Ok(Value::Object(serde_json::Map::new())) };
    json(&toml::Value::Table(table.get_ref().clone())).ok_or_else(|| {
        let text = "the settings hold `inf` or `nan`; expected what JSON can say";
        source.error(table.span(), text, "take a very large number, or a text")
    })
}

fn json(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        toml::Value::Boolean(is) => Value::from(*is),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let fields = table.iter().map(|(name, value)| Some((name.clone(), json(value)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
    })
}
