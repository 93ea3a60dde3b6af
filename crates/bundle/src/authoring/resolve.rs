//! Following references: from the app to mechtrons, from mechtrons to Wasm files and binds, from binds to schemas.

use std::{ops::Range, path::Path};

use serde_json::Value;
use starlane_protocol::{Address, Topic};
use toml::Spanned;

use super::{
    AuthoringError, Draft,
    files::{AppFile, BindFile, LimitsTable, MechtronFile, RouteTable, bundle_path},
    source::Source,
};
use crate::{AppConfig, AppMechtron, AppResource, Limits, MechtronConfig, Restart, Route, RouteTarget};

/// Stands for the app while its address is not known.
const ANY_APP: &str = "space:app";

pub(super) fn resolve(folder: &Path, draft: &mut Draft) -> Result<(), AuthoringError> {
    for relative in toml_files(folder, "binds") {
        read_bind(folder, &relative, draft)?;
    }
    for relative in toml_files(folder, "mechtrons") {
        read_mechtron(folder, &relative, draft)?;
    }
    if folder.join("app.toml").exists() {
        read_app(folder, draft)?;
    }
    Ok(())
}

/// The TOML files of a sub-folder, in order.
fn toml_files(folder: &Path, sub: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(sub)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<_> = names.filter(|name| name.ends_with(".toml")).map(|name| format!("{sub}/{name}")).collect();
    files.sort();
    files
}

fn read_bind(folder: &Path, relative: &str, draft: &mut Draft) -> Result<(), AuthoringError> {
    let source = Source::read(folder, relative)?;
    let file: BindFile = source.parse()?;
    for schema in file.schemas() {
        let name = add_named(draft, &source, folder, schema, "the schema")?;
        let text = std::fs::read(folder.join(name.trim_start_matches('/'))).unwrap_or_default();
        if let Err(error) = serde_json::from_slice::<Value>(&text) {
            let text = format!("the schema {} is no JSON: {error}", schema.get_ref());
            return Err(source.error(schema.span(), text, "a schema is a JSON Schema 2020-12 in a JSON file"));
        }
    }
    draft.binds.insert(bundle_path(relative), file.resolved());
    Ok(())
}

fn read_mechtron(folder: &Path, relative: &str, draft: &mut Draft) -> Result<(), AuthoringError> {
    let source = Source::read(folder, relative)?;
    let file: MechtronFile = source.parse()?;
    let wasm = add_named(draft, &source, folder, &file.mechtron.wasm, "the module").map_err(|mut error| {
        error.hint = "build it first: the `[build]` command of bundle.toml makes it".into();
        error
    })?;
    let written = file.mechtron.bind.get_ref();
    let bind = bundle_path(written);
    if !draft.binds.contains_key(&bind) {
        let (text, hint) = if written.contains(':') {
            (format!("{written} is a bind of another bundle"), "copy the bind into binds/ of this bundle")
        } else {
            (format!("there is no bind {written}"), "binds are TOML files in binds/")
        };
        return Err(source.error(file.mechtron.bind.span(), text, hint));
    }
    let config = MechtronConfig {
        wasm,
        name: file.mechtron.name,
        bind,
        limits: limits(&source, &file.limits)?,
        settings: json(&file.settings),
    };
    draft.mechtrons.insert(bundle_path(relative), config);
    Ok(())
}

fn limits(source: &Source, table: &LimitsTable) -> Result<Limits, AuthoringError> {
    let mut limits = Limits::default();
    if let Some(memory) = &table.memory {
        limits.memory = memory
            .get_ref()
            .parse::<bytesize::ByteSize>()
            .map_err(|e| source.error(memory.span(), format!("{e}: expected a size"), "such as \"16 MiB\""))?
            .as_u64();
    }
    let milliseconds = |text: &Spanned<String>| match humantime::parse_duration(text.get_ref()) {
        Ok(time) if time.as_millis() > 0 => Ok(time.as_millis()),
        Ok(_) => Err(source.error(text.span(), "expected at least 1 ms", "")),
        Err(e) => Err(source.error(text.span(), format!("{e}: expected a time"), "such as \"250 ms\" or \"10 s\"")),
    };
    if let Some(call) = &table.call {
        limits.call_ms = u32::try_from(milliseconds(call)?).unwrap_or(u32::MAX);
    }
    let positive = |number: &Spanned<u32>| match *number.get_ref() {
        0 => Err(source.error(number.span(), "expected at least 1", "")),
        number => Ok(number),
    };
    if let Some(concurrency) = &table.concurrency {
        limits.concurrency = positive(concurrency)?;
    }
    if let Some(mailbox) = &table.mailbox {
        limits.mailbox = positive(mailbox)?;
    }
    if let Some(restart) = &table.restart {
        let within_ms = u64::try_from(milliseconds(&restart.within)?).unwrap_or(u64::MAX);
        limits.restart = Restart { intensity: restart.intensity, within_ms };
    }
    Ok(limits)
}

fn read_app(folder: &Path, draft: &mut Draft) -> Result<(), AuthoringError> {
    let source = Source::read(folder, "app.toml")?;
    let file: AppFile = source.parse()?;
    let mut app = AppConfig { name: file.app.name, ..AppConfig::default() };
    for (name, table) in file.mechtrons {
        check_segment(&source, &name, name.get_ref().strip_suffix(":{key}").unwrap_or(name.get_ref()))?;
        let config = bundle_path(table.config.get_ref());
        if !draft.mechtrons.contains_key(&config) {
            let text = format!("there is no mechtron config {}", table.config.get_ref());
            return Err(source.error(table.config.span(), text, "mechtron configs are TOML files in mechtrons/"));
        }
        let mechtron = AppMechtron {
            config,
            settings: json(&table.settings),
            placement: table.placement,
            overridable: table.overridable,
            allow: table.allow,
        };
        app.mechtrons.insert(name.into_inner(), mechtron);
    }
    for (name, table) in file.resources {
        check_segment(&source, &name, name.get_ref())?;
        if let Some(migrations) = &table.migrations
            && !draft.files.keys().any(|file| file.starts_with(&bundle_path(migrations.get_ref())))
        {
            let text = format!("the bundle has no files in {}", migrations.get_ref());
            return Err(source.error(migrations.span(), text, "name them in `include` of bundle.toml"));
        }
        let resource = AppResource {
            kind: table.kind,
            placement: table.placement,
            migrations: table.migrations.map(|path| bundle_path(path.get_ref())),
            url: table.url,
        };
        app.resources.insert(name.into_inner(), resource);
    }
    for (key, table) in &file.http {
        let route = route(&source, key, table, &app, draft)?;
        app.http.push(route);
    }
    draft.app = Some(app);
    Ok(())
}

fn check_segment(source: &Source, at: &Spanned<String>, name: &str) -> Result<(), AuthoringError> {
    let valid = Address::parse(ANY_APP).and_then(|app| Topic::new(app, name));
    valid.map(drop).map_err(|error| {
        let text = format!("`{}` can't be part of an address: expected {}", at.get_ref(), error.expected);
        source.error(at.span(), text, "a name, or a name and `:{key}`")
    })
}

fn route(
    source: &Source,
    key: &Spanned<String>,
    table: &RouteTable,
    app: &AppConfig,
    draft: &Draft,
) -> Result<Route, AuthoringError> {
    let fault = |span: Range<usize>, text: String, hint: &str| Err(source.error(span, text, hint));
    let Some((method, path)) = key.get_ref().split_once(' ').filter(|(_, path)| path.starts_with('/')) else {
        let text = format!("`{}` is no route: expected a method and a path", key.get_ref());
        return fault(key.span(), text, "such as \"GET /people/{name}\"");
    };
    let target = match (&table.file, &table.files, &table.to, &table.operation) {
        (Some(file), None, None, None) => {
            let path = bundle_path(file.get_ref());
            if !draft.files.contains_key(&path) {
                let text = format!("the bundle has no file {}", file.get_ref());
                return fault(file.span(), text, "name it in `include` of bundle.toml, and build the page first");
            }
            RouteTarget::File { file: path }
        }
        (None, Some(files), None, None) => {
            let mut folder = bundle_path(files.get_ref());
            if !folder.ends_with('/') {
                folder.push('/');
            }
            RouteTarget::Files { files: folder }
        }
        (None, None, Some(to), Some(operation)) => {
            check_target(source, to, operation, app, draft)?;
            RouteTarget::Resource { to: to.get_ref().clone(), operation: operation.get_ref().clone() }
        }
        _ => {
            let text = "a route has `file`, or `files`, or `to` and `operation`".to_owned();
            return fault(key.span(), text, "such as { file = \"site/index.html\" }");
        }
    };
    Ok(Route { method: method.to_owned(), path: path.to_owned(), target, access: table.access })
}

/// A route's target names a mechtron or resource of the app, and a mechtron's operation is in its bind.
fn check_target(
    source: &Source,
    to: &Spanned<String>,
    operation: &Spanned<String>,
    app: &AppConfig,
    draft: &Draft,
) -> Result<(), AuthoringError> {
    let fault = |span: Range<usize>, text: String, hint: &str| Err(source.error(span, text, hint));
    let Some(name) = to.get_ref().strip_prefix(".:") else {
        return fault(to.span(), "expected an address of this app".into(), "it begins with `.:`");
    };
    let (first, rest) = name.split_once(':').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let pattern = if rest.is_some() { format!("{first}:{{key}}") } else { first.to_owned() };
    let Some(mechtron) = app.mechtrons.get(&pattern) else {
        if rest.is_none() && app.resources.contains_key(first) {
            return Ok(());
        }
        let known: Vec<&str> = app.mechtrons.keys().chain(app.resources.keys()).map(String::as_str).collect();
        let text = format!("the app has no `{pattern}`; it has {}", known.join(", "));
        return fault(to.span(), text, "");
    };
    let bind = draft.mechtrons.get(&mechtron.config).and_then(|config| draft.binds.get(&config.bind));
    if bind.is_some_and(|bind| !bind.operations.contains_key(operation.get_ref())) {
        let text = format!("the bind of `{pattern}` has no operation `{}`", operation.get_ref());
        return fault(operation.span(), text, "add it to the bind, or name another");
    }
    Ok(())
}

/// Adds a file that another file names.
fn add_named(
    draft: &mut Draft,
    source: &Source,
    folder: &Path,
    written: &Spanned<String>,
    what: &str,
) -> Result<String, AuthoringError> {
    let name = bundle_path(written.get_ref());
    let relative = name.trim_start_matches('/');
    let path = folder.join(relative);
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        let text = format!("{what} {} is missing", written.get_ref());
        return Err(source.error(written.span(), text, "paths are relative to bundle.toml"));
    }
    draft.add(source, written.span(), folder, Path::new(relative))
}

fn json(table: &toml::Table) -> Value {
    serde_json::to_value(table).unwrap_or_default()
}
