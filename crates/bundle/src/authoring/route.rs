//! `[http]` of `app.toml`: which requests lead where.

use std::{collections::BTreeMap, ops::Range};

use starlane_protocol::Address;
use toml::Spanned;

use super::{
    AuthoringError, Draft,
    app::{Target, target},
    folder::{bundle_folder, bundle_path},
    resolve::ANY_APP,
    source::Source,
    tables::RouteTable,
};
use crate::{AppConfig, Route, RouteTarget};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Where the server itself answers, whatever an app's routes are.
const SERVERS: [&[&str]; 8] =
    [&["mesh"], &["healthz"], &["metrics"], &["backup"], &["bundles"], &["blobs"], &["messages"], &["events"]];

/// The routes in the order of the file.
pub(super) fn read(
    source: &Source,
    table: &BTreeMap<Spanned<String>, RouteTable>,
    app: &AppConfig,
    draft: &Draft,
) -> Result<Vec<Route>, AuthoringError> {
    let mut written: Vec<_> = table.iter().collect();
    written.sort_by_key(|(key, _)| key.span().start);
    let mut routers = BTreeMap::<String, matchit::Router<()>>::new();
    let mut routes = Vec::new();
    for (key, table) in written {
        let route = route(source, key, table, app, draft)?;
        // The server's own router says whether it could take this path beside the others.
        if let Err(error) = routers.entry(route.method.clone()).or_default().insert(route.path.as_str(), ()) {
            let text = match error {
                matchit::InsertError::Conflict { with } => {
                    format!("`{}` takes the same requests as `{} {with}`", key.get_ref(), route.method)
                }
                error => format!("`{}` is no path with captures: {error}", route.path),
            };
            return Err(source.error(
                key.span(),
                text,
                "captures are {name} for one part and {*rest} for all that follow",
            ));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(
    source: &Source,
    key: &Spanned<String>,
    table: &RouteTable,
    app: &AppConfig,
    draft: &Draft,
) -> Result<Route, AuthoringError> {
    let fault = |span: Range<usize>, text: String, hint: &str| Err(source.error(span, text, hint));
    let known =
        key.get_ref().split_once(' ').filter(|(method, path)| METHODS.contains(method) && path.starts_with('/'));
    let Some((method, path)) = known else {
        let text = format!("`{}` is no route; expected a method and a path", key.get_ref());
        return fault(key.span(), text, "such as \"GET /people/{name}\"");
    };
    if let Some((wrong, hint)) = no_match(path) {
        return fault(key.span(), format!("no request leads to `{path}`: {wrong}"), hint);
    }
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
            let folder = bundle_folder(files.get_ref());
            if !draft.files.keys().any(|file| file.starts_with(&folder)) {
                let text = format!("the bundle has no files in {}", files.get_ref());
                return fault(files.span(), text, "name them in `include` of bundle.toml, and build the page first");
            }
            if !(path.contains("{*") && path.ends_with('}')) {
                let text = format!("`{path}` names no file of {}; expected {{*path}} at its end", files.get_ref());
                return fault(key.span(), text, "such as \"GET /static/{*path}\"");
            }
            RouteTarget::Files { files: folder }
        }
        (None, None, Some(to), Some(operation)) => {
            check_to(source, to, path)?;
            check_operation(source, to, operation, app, draft)?;
            RouteTarget::Resource { to: to.get_ref().clone(), operation: operation.get_ref().clone() }
        }
        _ => {
            let text =
                format!("`{}` leads nowhere; expected `file`, or `files`, or `to` and `operation`", key.get_ref());
            return fault(key.span(), text, "such as { file = \"site/index.html\" }");
        }
    };
    if !matches!(target, RouteTarget::Resource { .. }) && method != "GET" && method != "HEAD" {
        let text = format!("{method} to a file; expected GET or HEAD");
        return fault(key.span(), text, "what takes a body is a resource: { to = \".:name\", operation = \"…\" }");
    }
    Ok(Route { method: method.to_owned(), path: path.to_owned(), target, access: table.access })
}

/// Why no request has this path, or none gets as far as to a route, and what to do.
fn no_match(path: &str) -> Option<(String, &'static str)> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let odd = path.chars().find(|c| matches!(c, '?' | '#' | '\\') || c.is_whitespace() || c.is_control());
    if let Some(odd) = odd {
        let hint = "a query reaches a resource as fields, and other characters stand percent-encoded in a path";
        return Some((format!("a path has no {odd:?}"), hint));
    }
    if parts
        .iter()
        .enumerate()
        .any(|(at, part)| [".", ".."].contains(part) || (part.is_empty() && at + 1 < parts.len()))
    {
        return Some((
            "clients and servers resolve `.`, `..` and empty parts".to_owned(),
            "write the path that they lead to",
        ));
    }
    let own = SERVERS.iter().find(|own| parts.starts_with(own));
    own.map(|own| (format!("the server itself answers below /{}", own.join("/")), "take another first part"))
}

/// The target is an address of this app once its captures are filled in, and the path has those captures.
fn check_to(source: &Source, to: &Spanned<String>, path: &str) -> Result<(), AuthoringError> {
    let fault = |text: String, hint: &str| Err(source.error(to.span(), text, hint));
    let mut filled = String::new();
    for (at, piece) in to.get_ref().split('{').enumerate() {
        let literal = match piece.split_once('}') {
            Some((name, literal)) if at > 0 => {
                if !path.contains(&format!("{{{name}}}")) {
                    let text = format!("`{path}` has no `{{{name}}}`; expected a capture of the path");
                    return fault(text, "captures of the target are filled from the path, one part each");
                }
                filled.push('x');
                literal
            }
            _ if at == 0 => piece,
            _ => return fault(format!("`{}` has an open `{{`", to.get_ref()), "such as \".:profile:{name}\""),
        };
        filled.push_str(literal);
    }
    if !filled.starts_with(".:") {
        let text = format!("`{}` is no address of this app; expected `.:` at its start", to.get_ref());
        return fault(text, "such as \".:profile:{name}\"");
    }
    let resolved = Address::parse(ANY_APP).and_then(|app| Address::resolve(&filled, &app));
    match resolved {
        Err(error) => {
            let text = format!("`{}` is no address; expected {}", to.get_ref(), error.expected);
            fault(text, "such as \".:profile:{name}\"")
        }
        // `space:app`, a name, and at most one key.
        Ok(address) if address.segments().count() > 4 || address.path().is_some() || address.version().is_some() => {
            let text = format!("`{}` is no resource of this app; expected a name, and at most one key", to.get_ref());
            fault(text, "such as \".:profile:{name}\"")
        }
        Ok(_) => Ok(()),
    }
}

/// The target is a mechtron or resource of the app, and a mechtron's operation is in its bind.
fn check_operation(
    source: &Source,
    to: &Spanned<String>,
    operation: &Spanned<String>,
    app: &AppConfig,
    draft: &Draft,
) -> Result<(), AuthoringError> {
    let name = to.get_ref().trim_start_matches(".:");
    let (first, keyed) = name.split_once(':').map_or((name, false), |(first, _)| (first, true));
    match target(app, draft, first, keyed) {
        Err(text) => Err(source.error(to.span(), text, "targets are named as in [mechtrons] and [resources]")),
        Ok(Target::Mechtron(name, bind)) if !bind.operations.contains_key(operation.get_ref()) => {
            let known: Vec<_> = bind.operations.keys().map(|name| format!("`{name}`")).collect();
            let wrong = format!("the bind of `{name}` has no operation `{}`", operation.get_ref());
            let text = format!("{wrong}; expected one of {}", known.join(", "));
            Err(source.error(operation.span(), text, "add it to the bind, or name another"))
        }
        Ok(_) => Ok(()),
    }
}
