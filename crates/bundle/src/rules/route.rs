//! Checks the routes of an app: their methods, paths and targets. This module also has the only list of the paths that
//! a server reserves for itself.

use std::collections::BTreeMap;

use starlane_protocol::Address;

use super::{ANY_APP, Names, Rule, RuleFault, Target, quoted};
use crate::{Access, Placement};

/// The methods that a route may have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The paths that the server reserves, each with everything below it. Routes of an app cannot use them.
pub const SERVER_PATHS: [&str; 10] = [
    "/mesh",
    "/healthz",
    "/readyz",
    "/metrics",
    "/backup",
    "/bundles",
    "/blobs",
    "/messages",
    "/events",
    "/.well-known/starlane.json",
];

/// Returns the reserved path that is equal to a path or above it, if there is one.
pub fn server_path(path: &str) -> Option<&'static str> {
    let below = |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SERVER_PATHS.into_iter().find(|own| below(own))
}

fn fault<T>(text: impl Into<String>, hint: &'static str) -> Result<T, RuleFault> {
    Err(RuleFault::new(Rule::Route, text, hint))
}

/// Checks that a request can reach a route with this method and path.
pub(crate) fn reached(method: &str, path: &str) -> Result<(), RuleFault> {
    let route = || quoted(&format!("{method} {path}"));
    match method {
        "HEAD" => {
            return fault(
                format!("no request reaches `{}`: the routes of GET answer HEAD", route()),
                "use a GET route: it answers HEAD with the same headers",
            );
        }
        "OPTIONS" => {
            return fault(
                format!("no request reaches `{}`: the server itself answers OPTIONS", route()),
                "remove it: the server answers CORS preflights for the app's routes",
            );
        }
        _ if !METHODS.contains(&method) || !path.starts_with('/') => {
            let text = format!("`{}` is not a route; expected a method and a path", route());
            return fault(text, "such as \"GET /people/{name}\"");
        }
        _ => {}
    }
    let Some((wrong, hint)) = no_match(path) else { return Ok(()) };
    fault(format!("no request reaches `{}`: {wrong}", quoted(path)), hint)
}

/// Returns why no request reaches a route with this path, and a hint.
fn no_match(path: &str) -> Option<(String, &'static str)> {
    // Requests percent-encode these characters (WHATWG URL, path percent-encode set), except in captures.
    let encoded = |c: char| matches!(c, '?' | '#' | '\\' | '"' | '<' | '>' | '`') || !matches!(c, '!'..='~');
    if let Some(odd) = path.chars().find(|c| encoded(*c)) {
        let hint = "leave out the query (a resource gets it as fields); other characters must be percent-encoded";
        return Some((format!("a path cannot contain {odd:?}"), hint));
    }
    if path.contains("{{") || path.contains("}}") {
        return Some(("braces are only for captures".to_owned(), "captures are {name} and {*rest}"));
    }
    let parts: Vec<String> =
        path.split('/').skip(1).map(|part| part.to_ascii_lowercase().replace("%2e", ".")).collect();
    let resolved =
        |(at, part): (usize, &String)| matches!(part.as_str(), "." | "..") || (part.is_empty() && at + 1 < parts.len());
    if parts.iter().enumerate().any(resolved) {
        return Some(("clients and servers resolve `.`, `..` and empty parts".to_owned(), "write the resolved path"));
    }
    let own = server_path(path)?;
    Some((format!("the server itself answers below {own}"), "use another first part"))
}

/// Checks a route to a file. `file` is the name of the file, and whether the bundle has it.
pub(crate) fn file(method: &str, file: (&str, bool), access: Option<Access>) -> Result<(), RuleFault> {
    if let (name, false) = file {
        let text = format!("the bundle has no file {}", quoted(name));
        return fault(text, "add it to `include` in bundle.toml, and build the page first");
    }
    of_files(method, access)
}

/// Checks a route to the files in a folder. The path says which file.
pub(crate) fn files(method: &str, path: &str, folder: (&str, bool), access: Option<Access>) -> Result<(), RuleFault> {
    let (name, has_files) = (quoted(folder.0), folder.1);
    if !has_files {
        let text = format!("the bundle has no files in {name}");
        return fault(text, "add them to `include` in bundle.toml, and build the page first");
    }
    if !(path.contains("{*") && path.ends_with('}')) {
        let text = format!("`{}` does not say which file of {name}; expected {{*path}} at its end", quoted(path));
        return fault(text, "such as \"GET /static/{*path}\"");
    }
    of_files(method, access)
}

fn of_files(method: &str, access: Option<Access>) -> Result<(), RuleFault> {
    if method != "GET" {
        let text = format!("{method} for a route to a file; expected GET");
        return fault(text, "route requests with a body to a resource: { to = \".:name\", operation = \"…\" }");
    }
    if access == Some(Access::Token) {
        let text = "`access = \"token\"` on a route to a file; such files are always public";
        return fault(text, "route to an operation that returns the file, or remove `access`");
    }
    Ok(())
}

/// Checks the target of a route: with its captures filled in, it is an address in this app, and the path has those
/// captures.
pub(crate) fn to(to: &str, path: &str) -> Result<(), RuleFault> {
    let hint = "such as \".:profile:{name}\"";
    let mut filled = String::new();
    for (at, piece) in to.split('{').enumerate() {
        let literal = match piece.split_once('}') {
            Some((name, literal)) if at > 0 => {
                // `{*rest}` captures several parts of a path, but a place in an address takes one.
                if name.starts_with('*') || !path.contains(&format!("{{{name}}}")) {
                    let (path, name) = (quoted(path), quoted(name));
                    let text = format!("`{path}` has no `{{{name}}}`; expected a capture of the path");
                    return fault(text, "each capture in `to` takes the part of the path with the same name");
                }
                filled.push('x');
                literal
            }
            _ if at == 0 => piece,
            _ => return fault(format!("`{}` has an open `{{`", quoted(to)), hint),
        };
        filled.push_str(literal);
    }
    if !filled.starts_with(".:") {
        let text = format!("`{}` is not an address of this app; expected `.:` at its start", quoted(to));
        return fault(text, hint);
    }
    match Address::parse(ANY_APP).and_then(|app| Address::resolve(&filled, &app)) {
        Err(error) => fault(format!("`{}` is not an address; expected {}", quoted(to), error.expected), hint),
        // `space:app`, a name, and at most one key.
        Ok(address) if address.segments().count() > 4 || address.path().is_some() || address.version().is_some() => {
            let text = format!("`{}` is not a resource of this app; expected a name, and at most one key", quoted(to));
            fault(text, hint)
        }
        Ok(_) => Ok(()),
    }
}

/// The part of a route that has a fault.
pub(crate) enum RoutePart {
    To,
    Operation,
}

/// Checks that the target is a mechtron or resource on the server, and that a mechtron's bind has the operation.
pub(crate) fn operation(to: &str, operation: &str, names: &Names<'_>) -> Result<(), (RoutePart, RuleFault)> {
    let refuse = |part: RoutePart, text: String, hint| Err((part, RuleFault::new(Rule::Route, text, hint)));
    let name = to.strip_prefix(".:").unwrap_or(to);
    let (first, keyed) = name.split_once(':').map_or((name, false), |(first, _)| (first, true));
    let target = match names.find(first, keyed) {
        Err(text) => return refuse(RoutePart::To, text, "use a name of [mechtrons] or [resources]"),
        Ok(target) => target,
    };
    if target.placement() == Placement::Browser {
        let text = format!("no request reaches `{}`: it is placed in browsers", quoted(to));
        return refuse(RoutePart::To, text, "set placement = \"server\" or \"both\" there");
    }
    match target {
        Target::Mechtron(name, bind, _) if !bind.operations.contains_key(operation) => {
            let wrong = format!("the bind of `{name}` has no operation `{}`", quoted(operation));
            let text = format!("{wrong}; expected one of {}", super::listed(bind.operations.keys()));
            refuse(RoutePart::Operation, text, "add it to the bind, or use another operation")
        }
        Target::Resource(_) => {
            let valid = super::segment(operation, operation, "an operation of the resource, such as `query`");
            valid.map_err(|fault| (RoutePart::Operation, fault))
        }
        Target::Mechtron(..) => Ok(()),
    }
}

/// The routes so far, to find two that match the same requests. Servers use the same router.
#[derive(Default)]
pub(crate) struct Taken(BTreeMap<String, matchit::Router<()>>);

impl Taken {
    /// Adds a route.
    pub(crate) fn add(&mut self, method: &str, path: &str) -> Result<(), RuleFault> {
        let inserted = self.0.entry(method.to_owned()).or_default().insert(path, ());
        inserted.or_else(|error| {
            let text = match error {
                matchit::InsertError::Conflict { with } => {
                    format!("`{}` matches the same requests as `{method} {with}`", quoted(&format!("{method} {path}")))
                }
                error => format!("`{}` is not a path with captures: {error}", quoted(path)),
            };
            fault(text, "captures are {name} for one part and {*rest} for all that follow")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_paths_match_only_whole_parts() {
        for path in ["/mesh", "/mesh/", "/blobs/x", "/.well-known/starlane.json", "/readyz"] {
            assert!(server_path(path).is_some(), "{path}");
        }
        for path in ["/", "/meshes", "/x/mesh", "/.well-known/security.txt", "/{mesh}", "/Mesh"] {
            assert_eq!(server_path(path), None, "{path}");
        }
    }
}
