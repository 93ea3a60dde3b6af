//! `app.toml`: mechtrons, resources, routes, and what each may do.

use toml::Spanned;

use super::{
    AuthoringError, Draft, Others,
    folder::{Folder, bundle_folder, bundle_path},
    grant, others,
    resolve::{check_segment, not_there, settings},
    route,
    source::Source,
    tables::{AppFile, AppMechtronTable, ResourceTable},
};
use crate::{AppConfig, AppMechtron, AppResource, Bind, ResourceKind};

pub(super) fn read(folder: &Folder, others: &Others, draft: &mut Draft) -> Result<(), AuthoringError> {
    let source = Source::read(folder, "app.toml")?;
    let file: AppFile = source.parse()?;
    let name = &file.app.name;
    check_segment(&source, name, name.get_ref(), "a name such as `profiles`")?;
    let mut app = AppConfig { name: name.get_ref().clone(), ..AppConfig::default() };
    // What a mechtron may use is looked up when all names of the app are known.
    let mut allowed = Vec::new();
    for (name, table) in file.mechtrons {
        allowed.extend(table.allow.iter().cloned());
        let mechtron = mechtron(&source, &name, table, others, draft)?;
        app.mechtrons.insert(name.into_inner(), mechtron);
    }
    for (name, table) in file.resources {
        if app.mechtrons.contains_key(name.get_ref()) {
            let text = format!("`{}` is a mechtron of this app too; expected a name of its own", name.get_ref());
            return Err(source.error(name.span(), text, "rename one of the two"));
        }
        let resource = resource(&source, &name, table, draft)?;
        app.resources.insert(name.into_inner(), resource);
    }
    for grant in &allowed {
        grant::check(&source, grant, &app, draft)?;
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
    check_segment(source, name, segment, "a name, or for one actor a key `NAME:{key}`")?;
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

fn resource(
    source: &Source,
    name: &Spanned<String>,
    table: ResourceTable,
    draft: &Draft,
) -> Result<AppResource, AuthoringError> {
    check_segment(source, name, name.get_ref(), "a name such as `db`")?;
    let kind = *table.kind.get_ref();
    if let Some(migrations) = &table.migrations {
        if kind != ResourceKind::Database {
            let text = "only a database has `migrations`";
            return Err(source.error(migrations.span(), text, "remove it, or set kind = \"database\""));
        }
        let folder = bundle_folder(migrations.get_ref());
        if !draft.files.keys().any(|file| file.starts_with(&folder)) {
            let text = format!("the bundle has no files in {}", migrations.get_ref());
            return Err(source.error(migrations.span(), text, "name them in `include` of bundle.toml"));
        }
    }
    match &table.url {
        None if kind == ResourceKind::Service => {
            let text = "a service needs a `url`";
            Err(source.error(table.kind.span(), text, "such as url = \"http://127.0.0.1:9000/messages\""))
        }
        Some(url) if kind != ResourceKind::Service => {
            Err(source.error(url.span(), "only a service has a `url`", "remove it, or set kind = \"service\""))
        }
        Some(url) if !["http://", "https://"].iter().any(|scheme| url.get_ref().starts_with(scheme)) => {
            let text = format!("`{}` is no URL of a service; expected http:// or https://", url.get_ref());
            Err(source.error(url.span(), text, "such as \"http://127.0.0.1:9000/messages\""))
        }
        _ => Ok(AppResource {
            kind,
            placement: table.placement,
            migrations: table.migrations.map(|path| bundle_folder(path.get_ref())),
            url: table.url.map(Spanned::into_inner),
        }),
    }
}

/// What an address of the app, behind its `.:`, leads to.
pub(super) enum Target<'a> {
    /// A mechtron: its name in `app.toml`, and its bind.
    Mechtron(&'a str, &'a Bind),
    /// Another resource.
    Resource,
}

/// Finds what `first` or `first:KEY` is in the app; the error says what there is.
pub(super) fn target<'a>(app: &'a AppConfig, draft: &'a Draft, first: &str, keyed: bool) -> Result<Target<'a>, String> {
    let pattern = if keyed { format!("{first}:{{key}}") } else { first.to_owned() };
    if let Some((name, mechtron)) = app.mechtrons.iter().find(|(name, _)| **name == pattern) {
        let config = draft.mechtrons.get(&mechtron.config);
        if let Some(bind) = config.and_then(|config| draft.binds.get(&config.bind)) {
            return Ok(Target::Mechtron(name, bind));
        }
    }
    if app.resources.contains_key(first) && !keyed {
        return Ok(Target::Resource);
    }
    let known: Vec<_> = app.mechtrons.keys().chain(app.resources.keys()).map(|name| format!("`{name}`")).collect();
    Err(format!("the app has no `{pattern}`; expected one of {}", known.join(", ")))
}
