//! Checks every rule on the contents of a manifest. The rules themselves are in `rules.rs`: authors and manifests have
//! the same ones. This module knows where in a manifest each rule applies.

use std::{collections::BinaryHeap, fmt::Display};

use litemap::LiteMap;
use serde_json::Value;
use starlane_protocol::{Address, address};

use super::{Contents, FORMAT, FileEntry, MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_FILES, VerifyError};
use crate::{
    AppConfig, Bind, MechtronConfig, Route, RouteTarget,
    rules::{self, Names, Rule, RuleFault, grant, route},
};

/// The maximum number of parts of one kind, in a bundle, a bind or a mechtron.
const MAX_PARTS: usize = 1_000;
/// The maximum length of a name or a licence, in bytes.
const MAX_NAME_BYTES: usize = 200;
/// The maximum length of a description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 10_000;
/// The maximum length of a line of `allow`, and of the path of a route, in bytes.
const MAX_LINE_BYTES: usize = 1_024;
/// The maximum number of lines in one mechtron's `allow`.
const MAX_ALLOW_LINES: usize = 256;

type Checked = Result<(), VerifyError>;

pub(super) fn check(contents: &Contents) -> Checked {
    if contents.format != FORMAT {
        return Err(VerifyError::Format(contents.format));
    }
    if !contents.address.is_bundle() {
        let text = format!("{} is not a bundle's address: expected segments and a version", contents.address);
        return Err(VerifyError::Malformed(text));
    }
    at("/name", line("the name", &contents.name))?;
    at("/licence", line("the licence", &contents.licence))?;
    at("/description", description(&contents.description))?;
    check_files(&contents.files)?;
    at("/uses", count("other bundles", contents.uses.len(), MAX_PARTS))?;
    for (bundle, used) in &contents.uses {
        let other = Address::parse(bundle).is_ok_and(|other| other.is_bundle() && other != contents.address);
        if !other {
            let text = format!("it uses `{}`, which is not an address of another bundle", rules::quoted(bundle));
            return Err(VerifyError::Malformed(text));
        }
        check_files(&used.files)?;
    }
    check_schemas(contents)?;
    at("/binds", count("binds", contents.binds.len(), MAX_PARTS))?;
    for (path, bind) in &contents.binds {
        at(pointer(&["binds", path]), named(path))?;
        check_bind(contents, path, bind)?;
    }
    at("/mechtrons", count("mechtrons", contents.mechtrons.len(), MAX_PARTS))?;
    for (path, config) in &contents.mechtrons {
        at(pointer(&["mechtrons", path]), named(path))?;
        check_mechtron(contents, path, config)?;
    }
    contents.app.as_ref().map_or(Ok(()), |app| check_app(contents, app))
}

/// Adds the place to a fault.
fn at<T>(place: impl Display, checked: Result<T, RuleFault>) -> Result<T, VerifyError> {
    checked.map_err(|fault| VerifyError::Refused { at: place.to_string(), fault })
}

/// A JSON pointer (RFC 6901).
pub(crate) fn pointer(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", rules::quoted(part).replace('~', "~0").replace('/', "~1"))).collect()
}

fn held(held: bool, by: &str, what: &str) -> Checked {
    match held {
        true => Ok(()),
        false => Err(VerifyError::Dangling { by: rules::quoted(by), what: rules::quoted(what) }),
    }
}

/// Splits the address of a file in another bundle into the bundle and the path. Returns `None` for a path in the same
/// bundle.
fn of_other(name: &str) -> Option<(&str, &str)> {
    let (bundle, _) = name.split_once(":/")?;
    Some((bundle, name.get(bundle.len() + 1..)?))
}

/// Checks the name of a bind, a schema or a mechtron's config: a path, or an address in another bundle.
fn named(name: &str) -> Result<(), RuleFault> {
    let fault = |text: String| RuleFault::new(Rule::Path, text, "such as /binds/profile.toml");
    match of_other(name) {
        None => address::check_path(name).map_err(|(offset, expected)| {
            fault(format!("`{}` is not a path: at byte {offset}: expected {expected}", rules::quoted(name)))
        }),
        Some((bundle, path)) => {
            let whole = Address::parse(bundle).is_ok_and(|bundle| bundle.is_bundle());
            match whole && address::check_path(path).is_ok() {
                true => Ok(()),
                false => Err(fault(format!("`{}` is not an address of a file in a bundle", rules::quoted(name)))),
            }
        }
    }
}

fn check_files(files: &LiteMap<String, FileEntry>) -> Checked {
    if files.len() > MAX_FILES {
        return Err(VerifyError::TooLarge(format!("{} files; the maximum is {MAX_FILES}", files.len())));
    }
    let refuse = |name: &str, reason: String| Err(VerifyError::FileName { name: rules::quoted(name), reason });
    for (name, entry) in files {
        if let Err((offset, expected)) = address::check_path(name) {
            return refuse(name, format!("at byte {offset}: expected {expected}"));
        }
        if let Err(fault) = rules::content_type(&entry.media_type) {
            return refuse(name, format!("its media type: {fault}"));
        }
        if entry.size > MAX_FILE_BYTES {
            let text = format!("{name} is {} bytes; the maximum for one file is {MAX_FILE_BYTES}", entry.size);
            return Err(VerifyError::TooLarge(text));
        }
    }
    let bytes = files.values().fold(0u64, |sum, file| sum.saturating_add(file.size));
    if bytes > MAX_BUNDLE_BYTES {
        return Err(VerifyError::TooLarge(format!("the files have {bytes} bytes; the maximum is {MAX_BUNDLE_BYTES}")));
    }
    // Sorting with a heap adds much less code to the page's Wasm than sorting a slice.
    let folded: BinaryHeap<String> = files.keys().map(|name| name.to_ascii_lowercase()).collect();
    let folded = folded.into_sorted_vec();
    let mut before = "";
    for name in &folded {
        if name == before {
            return refuse(name, "another file differs only in the case of its letters".to_owned());
        }
        before = name;
        let mut folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
        if folders.any(|folder| folded.binary_search_by(|other| other.as_str().cmp(folder)).is_ok()) {
            return refuse(name, "another file has the name of a folder in its path".to_owned());
        }
    }
    Ok(())
}

fn check_schemas(contents: &Contents) -> Checked {
    at("/schemas", count("schemas", contents.schemas.len(), MAX_PARTS))?;
    for path in contents.schemas.keys() {
        at(pointer(&["schemas", path]), named(path))?;
        // A schema of another bundle is copied into this manifest, so that hosts need not fetch that bundle.
        held(of_other(path).is_some() || contents.files.contains_key(path), "schemas", path)?;
    }
    Ok(())
}

fn check_bind(contents: &Contents, path: &str, bind: &Bind) -> Checked {
    let place = |rest: &[&str]| pointer(&[&["binds", path], rest].concat());
    at(place(&["name"]), line("the name", &bind.name))?;
    at(place(&["description"]), description(&bind.description))?;
    at(place(&["operations"]), count("operations", bind.operations.len(), MAX_PARTS))?;
    at(place(&["events"]), count("events", bind.events.len(), MAX_PARTS))?;
    for (table, name) in
        bind.operations.keys().map(|name| ("operations", name)).chain(bind.events.keys().map(|name| ("events", name)))
    {
        at(place(&[table, name]), rules::segment(name, name, "a name such as `render`"))?;
    }
    for (name, body) in &bind.events {
        at(place(&["events", name, "stream"]), rules::event(body.stream))?;
    }
    for body in bind.bodies() {
        at(place(&[]), rules::content_type(&body.content_type))?;
        let Some(schema) = &body.schema else { continue };
        at(place(&[]), rules::schema_beside(&body.content_type, body.stream))?;
        held(contents.schemas.contains_key(schema), path, schema)?;
    }
    Ok(())
}

fn check_mechtron(contents: &Contents, path: &str, config: &MechtronConfig) -> Checked {
    let place = |rest: &str| pointer(&["mechtrons", path, rest]);
    at(place("name"), line("the name", &config.name))?;
    at(place("limits"), rules::limits(&config.limits))?;
    at(place("state"), rules::state(config.state, &config.limits))?;
    at(place("settings"), settings(&config.settings))?;
    // A module and its config are in the same bundle.
    let same = of_other(path).map(|(bundle, _)| bundle) == of_other(&config.wasm).map(|(bundle, _)| bundle);
    held(same && contents.file(&config.wasm).is_some(), path, &config.wasm)?;
    held(contents.binds.contains_key(&config.bind), path, &config.bind)
}

fn check_app(contents: &Contents, app: &AppConfig) -> Checked {
    let names = Names { app, mechtrons: &contents.mechtrons, binds: &contents.binds };
    at("/app/name", rules::segment(&app.name, &app.name, "a name such as `profiles`"))?;
    at("/app/mechtrons", count("mechtrons", app.mechtrons.len(), MAX_PARTS))?;
    at("/app/resources", count("resources", app.resources.len(), MAX_PARTS))?;
    at("/app/http", count("routes", app.http.len(), MAX_PARTS))?;
    for (name, mechtron) in &app.mechtrons {
        let place = |rest: &str| pointer(&["app", "mechtrons", name, rest]);
        let segment = name.strip_suffix(":{key}").unwrap_or(name);
        at(
            place(""),
            rules::segment(name, segment, "use `NAME` for one actor, or `NAME:{key}` for one actor per key"),
        )?;
        held(contents.mechtrons.contains_key(&mechtron.config), name, &mechtron.config)?;
        at(place("settings"), settings(&mechtron.settings))?;
        at(place("allow"), count("lines of `allow`", mechtron.allow.len(), MAX_ALLOW_LINES))?;
        for line in &mechtron.allow {
            at(place("allow"), length("a grant", line, MAX_LINE_BYTES))?;
            at(place("allow"), grant::check(line, &names))?;
        }
    }
    // `settings::check_all` checks the settings of resources: it knows the schemas of their kinds.
    for name in app.resources.keys() {
        let place = pointer(&["app", "resources", name]);
        at(&place, rules::segment(name, name, "a name such as `db`"))?;
        if app.mechtrons.contains_key(name) {
            let text = format!("`{name}` is also a mechtron of this app; expected a unique name");
            return at(&place, Err(RuleFault::new(Rule::Resource, text, "rename one of the two")));
        }
    }
    let mut taken = route::Taken::default();
    for (index, route) in app.http.iter().enumerate() {
        let index = index.to_string();
        if let RouteTarget::File { file } = &route.target {
            held(contents.files.contains_key(file), &format!("route {} {}", route.method, route.path), file)?;
        }
        at(pointer(&["app", "http", &index]), check_route(contents, &names, route))?;
        at(pointer(&["app", "http", &index, "path"]), taken.add(&route.method, &route.path))?;
    }
    Ok(())
}

fn check_route(contents: &Contents, names: &Names<'_>, route: &Route) -> Result<(), RuleFault> {
    let Route { method, path, target, access } = route;
    length("the path of a route", path, MAX_LINE_BYTES)?;
    route::reached(method, path)?;
    match target {
        RouteTarget::File { file } => route::file(method, (file, contents.files.contains_key(file)), *access),
        RouteTarget::Files { files } => route::files(method, path, (files, contents.has_files(files)), *access),
        RouteTarget::Resource { to, operation } => {
            route::to(to, path)?;
            route::operation(to, operation, names).map_err(|(_, fault)| fault)
        }
    }
}

impl Contents {
    /// Returns whether a folder contains files. The name of the folder ends with a slash: `/migrations/`.
    pub(crate) fn has_files(&self, folder: &str) -> bool {
        folder.starts_with('/') && folder.ends_with('/') && self.files.keys().any(|file| file.starts_with(folder))
    }
}

/// Checks that a text has at most `max` bytes.
fn length(what: &str, text: &str, max: usize) -> Result<(), RuleFault> {
    if text.len() <= max {
        return Ok(());
    }
    Err(RuleFault::new(Rule::Text, format!("{what} is {} bytes; the maximum is {max} bytes", text.len()), "shorten it"))
}

/// Checks a text of one line, such as a name.
fn line(what: &str, text: &str) -> Result<(), RuleFault> {
    length(what, text, MAX_NAME_BYTES)?;
    let hint = "write it in one line";
    match text.chars().find(|c| c.is_control()) {
        Some(odd) => Err(RuleFault::new(Rule::Text, format!("{what} has the control character {odd:?}"), hint)),
        None => Ok(()),
    }
}

/// Checks a text for people, which may have several lines.
fn description(text: &str) -> Result<(), RuleFault> {
    length("the description", text, MAX_DESCRIPTION_BYTES)?;
    let hint = "use only line breaks and tabs besides text";
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Some(odd) => {
            Err(RuleFault::new(Rule::Text, format!("the description has the control character {odd:?}"), hint))
        }
        None => Ok(()),
    }
}

/// Checks that settings are an object or null.
fn settings(settings: &Value) -> Result<(), RuleFault> {
    match settings {
        Value::Null | Value::Object(_) => Ok(()),
        _ => Err(RuleFault::new(
            Rule::Settings,
            "the settings are not an object; expected { … }",
            "write them as a table",
        )),
    }
}

/// Checks that there are at most `max` of something.
fn count(what: &str, count: usize, max: usize) -> Result<(), RuleFault> {
    if count <= max {
        return Ok(());
    }
    Err(RuleFault::new(Rule::Count, format!("{count} {what}; the maximum is {max}"), "split it into several bundles"))
}
