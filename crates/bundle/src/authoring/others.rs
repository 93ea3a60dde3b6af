//! References to other bundles: an app may use their mechtrons, a mechtron their binds.

use std::collections::BTreeMap;

use starlane_protocol::Address;
use toml::Spanned;

use super::{
    AuthoringError, Draft,
    folder::Folder,
    source::Source,
    tables::{AppFile, MechtronFile},
};
use crate::{Digest, Manifest, Used};

/// The published bundles to which a draft may refer. Their signatures were checked.
#[derive(Debug, Default)]
pub struct Others(BTreeMap<String, (Digest, Manifest)>);

impl Others {
    /// Adds a bundle: the digest of its manifest, and the manifest.
    pub fn add(&mut self, digest: Digest, manifest: Manifest) {
        self.0.insert(manifest.address.to_string(), (digest, manifest));
    }

    /// Finds the bundle and the path of an address such as `bob:repo:widgets:1.2.0:/mechtrons/card.toml`.
    fn find<'n>(&self, name: &'n str) -> Option<(&'n str, &'n str, &Digest, &Manifest)> {
        let (bundle, path) = split(name)?;
        let (digest, manifest) = self.0.get(bundle)?;
        Some((bundle, path, digest, manifest))
    }
}

/// Returns the other bundles to which a bundle's folder refers, in order. Checks only what this needs.
pub(super) fn named(folder: &Folder) -> Result<Vec<Address>, AuthoringError> {
    let mut names: Vec<(Source, Spanned<String>)> = Vec::new();
    if folder.has("app.toml") {
        let file: AppFile = Source::read(folder, "app.toml")?.parse()?;
        for table in file.mechtrons.into_values() {
            names.push((Source::read(folder, "app.toml")?, table.config));
        }
    }
    for relative in folder.toml_files("mechtrons")? {
        let source = Source::read(folder, &relative)?;
        let file: MechtronFile = source.parse()?;
        names.push((source, file.mechtron.bind));
    }
    let mut bundles = Vec::new();
    for (source, name) in names.iter().filter(|(_, name)| name.get_ref().contains(':')) {
        let address = bundle_of(source, name)?;
        if !bundles.contains(&address) {
            bundles.push(address);
        }
    }
    Ok(bundles)
}

/// Copies a mechtron config of another bundle into the draft, under its address.
pub(super) fn take_mechtron(
    source: &Source,
    name: &Spanned<String>,
    others: &Others,
    draft: &mut Draft,
) -> Result<(), AuthoringError> {
    let (bundle, path, digest, manifest) = others.find(name.get_ref()).ok_or_else(|| unknown(source, name))?;
    let Some(config) = manifest.mechtrons.get(path) else {
        return Err(lacks(source, name, bundle, "mechtron config", manifest.mechtrons.keys()));
    };
    let mut config = config.clone();
    config.wasm = absolute(bundle, &config.wasm);
    let bind = absolute(bundle, &config.bind);
    take_bind_of(bundle, &config.bind, manifest, draft);
    config.bind = bind;
    draft.mechtrons.insert(name.get_ref().clone(), config);
    let used = Used { manifest: *digest, publisher: manifest.publisher, files: manifest.files.clone() };
    draft.uses.insert(bundle.to_owned(), used);
    Ok(())
}

/// Copies a bind of another bundle into the draft, under its address.
pub(super) fn take_bind(
    source: &Source,
    name: &Spanned<String>,
    others: &Others,
    draft: &mut Draft,
) -> Result<(), AuthoringError> {
    let (bundle, path, _, manifest) = others.find(name.get_ref()).ok_or_else(|| unknown(source, name))?;
    if !manifest.binds.contains_key(path) {
        return Err(lacks(source, name, bundle, "bind", manifest.binds.keys()));
    }
    take_bind_of(bundle, path, manifest, draft);
    Ok(())
}

fn take_bind_of(bundle: &str, path: &str, manifest: &Manifest, draft: &mut Draft) {
    let Some(mut bind) = manifest.binds.get(path).cloned() else { return };
    for name in bind.schemas().cloned().collect::<Vec<_>>() {
        if let Some(schema) = manifest.schemas.get(&name) {
            draft.schemas.insert(absolute(bundle, &name), schema.clone());
        }
    }
    bind.name_schemas(|name| absolute(bundle, name));
    draft.binds.insert(absolute(bundle, path), bind);
}

/// Returns the name of a part of a bundle as another bundle uses it. A part from a third bundle keeps its name.
fn absolute(bundle: &str, name: &str) -> String {
    if name.starts_with('/') { format!("{bundle}:{name}") } else { name.to_owned() }
}

/// Splits a name into a bundle's address and a path.
fn split(name: &str) -> Option<(&str, &str)> {
    let (bundle, _) = name.split_once(":/")?;
    Some((bundle, name.get(bundle.len() + 1..)?))
}

fn bundle_of(source: &Source, name: &Spanned<String>) -> Result<Address, AuthoringError> {
    let address = split(name.get_ref()).and_then(|(bundle, _)| Address::parse(bundle).ok());
    address.filter(|address| address.version().is_some()).ok_or_else(|| {
        let text = format!(
            "`{}` is not a file of another bundle; expected the bundle's address with a version, and a path",
            name.get_ref()
        );
        source.error(name.span(), text, "such as \"bob:repo:widgets:1.2.0:/mechtrons/card.toml\"")
    })
}

fn unknown(source: &Source, name: &Spanned<String>) -> AuthoringError {
    if let Err(error) = bundle_of(source, name) {
        return error;
    }
    let text = format!("{} is in another bundle, which was not fetched", name.get_ref());
    source.error(
        name.span(),
        text,
        "publish that bundle first: `starlane publish` and `starlane dev` fetch it from their server",
    )
}

fn lacks<'k>(
    source: &Source,
    name: &Spanned<String>,
    bundle: &str,
    what: &str,
    known: impl Iterator<Item = &'k String>,
) -> AuthoringError {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let text = format!("{bundle} has no {what} at that path; expected one of {}", known.join(", "));
    source.error(name.span(), text, "list them with `starlane bundle show`")
}
