//! Follows references: from mechtrons to Wasm files and binds, and from binds to schemas.

use std::{collections::BTreeMap, fs, ops::Range};

use serde::de::IgnoredAny;
use serde_json::{Value, value::RawValue};
use toml::Spanned;

use super::{
    AuthoringError, CheckModule, Draft, Others, app,
    folder::{Folder, bundle_path},
    others,
    source::Source,
    tables::{BindFile, BodyTable, LimitsTable, MechtronFile},
};
use crate::{
    Bind, Durability, MechtronConfig, MechtronLimits, Restart, json,
    rules::{self, MEMORY},
    schema,
};

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
    check_bind(&source, &file)?;
    for schema in file.bodies().filter_map(|body| body.schema.as_ref()) {
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

/// Checks a bind, except its schemas.
pub(super) fn check_bind(source: &Source, file: &BindFile) -> Result<(), AuthoringError> {
    for name in file.names() {
        check_segment(source, name, name.get_ref(), "a name such as `render`")?;
    }
    for body in file.events.values().map(|event| &event.payload) {
        let place = body.stream.as_ref().map_or(0..0, Spanned::span);
        rules::event(body.is_stream()).map_err(|fault| fault.at(source, place))?;
    }
    file.bodies().try_for_each(|body| check_body(source, body))
}

/// Returns the normal form of a schema file of a bind.
pub(super) fn read_schema(file: &Source, bind: &str) -> Result<Value, AuthoringError> {
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
        let hint = "every host checks bodies with the same subset of JSON Schema 2020-12; use only that subset";
        file.error(place(text, &error.pointer), format!("this schema of {bind} is refused {error}"), hint)
    })
}

/// Returns where the value at a JSON pointer begins in its text; the beginning of the text if the pointer leads
/// nowhere.
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
    let content_type = body.content_type.as_ref().map_or("*/*", |written| written.get_ref());
    if let Some(written) = &body.content_type {
        rules::content_type(content_type).map_err(|fault| fault.at(source, written.span()))?;
    }
    match &body.schema {
        Some(schema) => {
            rules::schema_beside(content_type, body.is_stream()).map_err(|fault| fault.at(source, schema.span()))
        }
        None => Ok(()),
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
            error.hint = "run `starlane build` first: it runs the `[build]` command of bundle.toml".into();
        }
        error
    })?;
    let limits = limits(&source, &file.limits)?;
    let state = durability(&source, file.mechtron.state.as_ref(), &limits)?;
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
        state,
        limits,
        settings: settings(&source, file.settings.as_ref())?,
    };
    draft.mechtrons.insert(bundle_path(relative), config);
    Ok(())
}

/// Checks a module. Its first eight bytes show whether it is a core module, a component or not Wasm.
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
                source.error(at.span(), text, "build a WebAssembly 2.0 module with the guest SDK")
            });
        }
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => "is a component",
        _ => "is not a WebAssembly module",
    };
    let text = format!("{} {wrong}; expected a core module", at.get_ref());
    Err(source.error(at.span(), text, "build it with --target wasm32-unknown-unknown"))
}

/// The fault for a bind or mechtron config that this bundle does not have.
pub(super) fn not_there(source: &Source, at: &Spanned<String>, what: &str, sub: &str) -> AuthoringError {
    let written = at.get_ref();
    let text = format!("there is no {what} {written}; expected a file {sub}/NAME.toml");
    source.error(at.span(), text, &format!("every {what} is a TOML file in {sub}/ beside bundle.toml"))
}

/// Checks `state`. With `each`, a reply waits until the state is saved, and saving waits for all unfinished messages.
/// So such an actor handles one message at a time.
fn durability(
    source: &Source,
    written: Option<&Spanned<Durability>>,
    limits: &MechtronLimits,
) -> Result<Durability, AuthoringError> {
    let Some(written) = written else { return Ok(Durability::default()) };
    rules::state(*written.get_ref(), limits).map_err(|fault| source.error(written.span(), fault.text, fault.hint))?;
    Ok(*written.get_ref())
}

fn limits(source: &Source, table: &LimitsTable) -> Result<MechtronLimits, AuthoringError> {
    let mut limits = MechtronLimits::default();
    if let Some(memory) = &table.memory {
        let fault = |wrong: &str| {
            let text = format!("`{}` {wrong}", memory.get_ref());
            source.error(memory.span(), text, "such as \"16 MiB\"")
        };
        let size: bytesize::ByteSize =
            memory.get_ref().parse().map_err(|_| fault("is not a size; expected a number and a unit"))?;
        limits.memory = size.as_u64();
        if !MEMORY.contains(&limits.memory) {
            return Err(fault("is not a valid memory limit; expected 64 KiB to 4 GiB"));
        }
    }
    let milliseconds = |name: &str, text: &Spanned<String>, most: u64| {
        let time = humantime::parse_duration(text.get_ref()).ok().map(|time| time.as_millis()).filter(|ms| *ms > 0);
        let time = time.ok_or_else(|| {
            let wrong = format!("`{}` is not a time; expected a number and a unit, at least 1 ms", text.get_ref());
            source.error(text.span(), wrong, "such as \"250 ms\" or \"10 s\"")
        })?;
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        rules::within(name, time, &(1..=most), "ms").map_err(|fault| fault.at(source, text.span()))?;
        Ok(time)
    };
    if let Some(call) = &table.call {
        let most = *rules::CALL_MS.end();
        limits.call_ms = u32::try_from(milliseconds("call", call, most.into())?).unwrap_or(most);
    }
    let number = |name: &str, written: &Spanned<u32>, range, unit: &str| {
        let number = *written.get_ref();
        rules::within(name, number, range, unit).map(|()| number).map_err(|fault| fault.at(source, written.span()))
    };
    if let Some(concurrency) = &table.concurrency {
        limits.concurrency = number("concurrency", concurrency, &rules::CONCURRENCY, "messages")?;
    }
    if let Some(mailbox) = &table.mailbox {
        limits.mailbox = number("mailbox", mailbox, &rules::MAILBOX, "messages")?;
    }
    if let Some(restart) = &table.restart {
        let intensity = number("restart.intensity", &restart.intensity, &rules::INTENSITY, "crashes")?;
        let within_ms = milliseconds("restart.within", &restart.within, *rules::WITHIN_MS.end())?;
        limits.restart = Restart { intensity, within_ms };
    }
    Ok(limits)
}

/// Checks a name that becomes a segment of an address.
pub(super) fn check_segment(
    source: &Source,
    at: &Spanned<String>,
    name: &str,
    hint: &'static str,
) -> Result<(), AuthoringError> {
    rules::segment(at.get_ref(), name, hint).map_err(|fault| fault.at(source, at.span()))
}

/// Returns settings as the guest gets them. JSON has no dates, so they become strings; it has no `inf` and `nan`, so
/// they are refused.
pub(super) fn settings(source: &Source, table: Option<&Spanned<toml::Table>>) -> Result<Value, AuthoringError> {
    let Some(table) = table else { return Ok(Value::Object(serde_json::Map::new())) };
    json(&toml::Value::Table(table.get_ref().clone())).ok_or_else(|| {
        let text = "the settings contain `inf` or `nan`; expected values that JSON has";
        source.error(table.span(), text, "use a finite number or a string")
    })
}

pub(super) fn json(value: &toml::Value) -> Option<Value> {
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
