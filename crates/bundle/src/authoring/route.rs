//! Reads `[http]` of `app.toml`: the routes.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;

use super::{
    AuthoringError, Draft,
    folder::{bundle_folder, bundle_path},
    source::Source,
    tables::RouteTable,
};
use crate::{
    AppConfig, Route, RouteTarget, RuleFault,
    rules::route::{self as rules, RoutePart},
};

/// Reads the routes, in the order of the file.
pub(super) fn read(
    source: &Source,
    table: &BTreeMap<Spanned<String>, RouteTable>,
    app: &AppConfig,
    draft: &Draft,
) -> Result<Vec<Route>, AuthoringError> {
    let mut written: Vec<_> = table.iter().collect();
    written.sort_by_key(|(key, _)| key.span().start);
    let mut taken = rules::Taken::default();
    let mut routes = Vec::new();
    for (key, table) in written {
        let route = route(source, key, table, app, draft)?;
        taken.add(&route.method, &route.path).map_err(|fault| fault.at(source, key.span()))?;
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
    let at = |span: Range<usize>| move |fault: RuleFault| fault.at(source, span);
    let Some((method, path)) = key.get_ref().split_once(' ') else {
        let text = format!("`{}` is not a route; expected a method and a path", key.get_ref());
        return Err(source.error(key.span(), text, "such as \"GET /people/{name}\""));
    };
    rules::reached(method, path).map_err(at(key.span()))?;
    let target = match (&table.file, &table.files, &table.to, &table.operation) {
        (Some(file), None, None, None) => {
            let name = bundle_path(file.get_ref());
            let held = (file.get_ref().as_str(), draft.files.contains_key(&name));
            let span = if held.1 { key.span() } else { file.span() };
            rules::file(method, held, table.access).map_err(at(span))?;
            RouteTarget::File { file: name }
        }
        (None, Some(files), None, None) => {
            let folder = bundle_folder(files.get_ref());
            let held = (files.get_ref().as_str(), draft.files.keys().any(|file| file.starts_with(&folder)));
            let span = if held.1 { key.span() } else { files.span() };
            rules::files(method, path, held, table.access).map_err(at(span))?;
            RouteTarget::Files { files: folder }
        }
        (None, None, Some(to), Some(operation)) => {
            rules::to(to.get_ref(), path).map_err(at(to.span()))?;
            rules::operation(to.get_ref(), operation.get_ref(), &draft.names(app)).map_err(|(part, fault)| {
                fault.at(source, if matches!(part, RoutePart::To) { to.span() } else { operation.span() })
            })?;
            RouteTarget::Resource { to: to.get_ref().clone(), operation: operation.get_ref().clone() }
        }
        _ => {
            let text =
                format!("`{}` needs one target; expected `file`, or `files`, or `to` and `operation`", key.get_ref());
            return Err(source.error(key.span(), text, "such as { file = \"site/index.html\" }"));
        }
    };
    Ok(Route { method: method.to_owned(), path: path.to_owned(), target, access: table.access })
}
