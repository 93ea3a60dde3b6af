//! Reads `app.toml`: mechtrons, resources, routes and grants.

use toml::Spanned;

use super::{
    AuthoringError, Draft, Others,
    folder::{Folder, bundle_path},
    others,
    resolve::{check_segment, not_there, settings},
    resource, route,
    source::Source,
    tables::{AppFile, AppMechtronTable},
};
use crate::{AppConfig, AppMechtron, rules::grant};

pub(super) fn read(folder: &Folder, others: &Others, draft: &mut Draft) -> Result<(), AuthoringError> {
    let source = Source::read(folder, "app.toml")?;
    let file: AppFile = source.parse()?;
    let name = &file.app.name;
    check_segment(&source, name, name.get_ref(), "a name such as `profiles`")?;
    let mut app = AppConfig { name: name.get_ref().clone(), ..AppConfig::default() };
    // Grants are checked after all names of the app are known.
    let mut allowed = Vec::new();
    for (name, table) in file.mechtrons {
        allowed.extend(table.allow.iter().cloned());
        let mechtron = mechtron(&source, &name, table, others, draft)?;
        app.mechtrons.insert(name.into_inner(), mechtron);
    }
    for (name, table) in file.resources {
        if app.mechtrons.contains_key(name.get_ref()) {
            let text = format!("`{}` is also a mechtron of this app; expected a unique name", name.get_ref());
            return Err(source.error(name.span(), text, "rename one of the two"));
        }
        let resource = resource::read(&source, &name, table, draft)?;
        app.resources.insert(name.into_inner(), resource);
    }
    for line in &allowed {
        grant::check(line.get_ref(), &draft.names(&app)).map_err(|fault| fault.at(&source, line.span()))?;
    }
    app.http = route::read(&source, &file.http, &app, draft)?;
    draft.app = Some(app);
    Ok(())
}

fn mechtron(
    source: &Source,
    name: &Spanned<String>,
    table: AppMechtronTable,
    others: &Others,
    draft: &mut Draft,
) -> Result<AppMechtron, AuthoringError> {
    let segment = name.get_ref().strip_suffix(":{key}").unwrap_or(name.get_ref());
    check_segment(source, name, segment, "use `NAME` for one actor, or `NAME:{key}` for one actor per key")?;
    let config = if table.config.get_ref().contains(':') {
        others::take_mechtron(source, &table.config, others, draft)?;
        table.config.get_ref().clone()
    } else {
        bundle_path(table.config.get_ref())
    };
    if !draft.mechtrons.contains_key(&config) {
        return Err(not_there(source, &table.config, "mechtron config", "mechtrons"));
    }
    Ok(AppMechtron {
        config,
        settings: settings(source, table.settings.as_ref())?,
        placement: table.placement,
        overridable: table.overridable,
        allow: table.allow.into_iter().map(Spanned::into_inner).collect(),
    })
}
