//! `starlane bind types`: makes types from a bind, in the language of its callers.

mod typescript;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::json;
use starlane_bundle::{
    Bind, Contract, ResourceKind,
    authoring::{self, AuthoringError},
    json as strict,
};
use starlane_protocol::Address;
use starlane_server::{OWN, own_bind};

use crate::{
    arguments::{BindTypes, Reach, TypesLanguage},
    bundle::{fetch, file},
    client::Client,
    output::Output,
};

/// A bind, and its JSON Schemas by path.
type Read = (Bind, authoring::Schemas);

pub(crate) fn types(given: &BindTypes, reach: &Reach, output: Output) -> Result<()> {
    // Files of this machine have precedence: `C:…` is a path, not an address.
    let is_here = Path::new(&given.bind).exists();
    let (bind, schemas) = match (built_in(&given.bind), Address::parse(&given.bind)) {
        (Some(contract), _) if !is_here => {
            let Contract { bind, schemas } = contract?;
            (bind, schemas.into_iter().collect())
        }
        (None, Ok(address)) if !is_here => of_server(&Client::new(reach)?, &address)?,
        _ => authoring::read_bind(Path::new(&given.bind))?,
    };
    let text = match given.lang {
        TypesLanguage::Ts => typescript::module(&given.bind, &bind, &schemas),
    };
    match &given.out {
        None => output.text(&text),
        Some(file) => {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
            }
            fs::write(file, &text).with_context(|| format!("{} can't be written", file.display()))?;
            let json = json!({ "bind": bind.name, "file": file });
            output.done(&format!("{} now has the types of the bind `{}`", file.display(), bind.name), &[], None, &json);
        }
    }
    Ok(())
}

/// Returns a built-in bind, by the name of a kind of resource, by `bundle`, or by the address of a resource of the
/// server.
fn built_in(name: &str) -> Option<Result<Contract, AuthoringError>> {
    match name.strip_prefix("starlane:") {
        Some(own) => OWN.contains(&own).then(|| own_bind(own)),
        None if name == "bundle" => Some(authoring::built_in_bind(name)),
        None => authoring::bind_of(ResourceKind::named(name)?),
    }
}

fn of_server(client: &Client, address: &Address) -> Result<Read> {
    let (Some(path), true) = (address.path(), address.version().is_some()) else {
        bail!(
            "{address} is not a bind: give a file such as binds/profile.toml, or acme:repo:profiles:1.0.0:/binds/profile.toml"
        )
    };
    let bundle = address.without_path();
    let (_, manifest) = fetch(client, &bundle)?;
    let Some(bind) = manifest.binds.get(path) else {
        let known: Vec<&str> = manifest.binds.keys().map(String::as_str).collect();
        bail!("{bundle} has no bind {path}; it has: {}", known.join(", "))
    };
    let mut schemas = authoring::Schemas::new();
    for name in bind.schemas() {
        let schema = strict::value(&file(client, &manifest, name)?)
            .map_err(|error| anyhow::anyhow!("{name} of {bundle}: {error}"))?;
        schemas.insert(name.clone(), schema);
    }
    Ok((bind.clone(), schemas))
}
