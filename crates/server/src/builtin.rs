//! The binds of the server's own resources and of its kinds of resources. They are files in `builtin`, read at each start.

use std::{path::Path, rc::Rc, sync::Arc};

use include_dir::{Dir, include_dir};
use starlane_bundle::{
    Contract,
    authoring::{AuthoringError, built_in, built_in_bind},
};
use starlane_host::{Bound, Entry, resource::Registry};
use starlane_protocol::Failure;

use crate::{
    contract::Contracts,
    database::DatabaseDriver,
    limits::{Limit, Limiter},
    storage::Storage,
};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/builtin");

/// The resources of a server that every server has: `starlane:NAME`.
pub const OWN: [&str; 4] = ["apps", "grants", "server", "tokens"];

/// The bind of `starlane:NAME`. Errors when it does not exist.
pub fn own_bind(name: &str) -> Result<Contract, AuthoringError> {
    built_in(&format!("binds/{name}.toml"), |path| FILES.get_file(path)?.contents_utf8())
}

/// The binds of the server's own resources, enforced, in the order of [`OWN`].
pub(crate) fn own(contracts: &Contracts, limiter: &Arc<Limiter>) -> Result<[Bound; 4], Failure> {
    let own = |name| bound(contracts, own_bind(name)).map(|bound| bound.entered_by(small(limiter)));
    let [apps, grants, server, tokens] = OWN.map(own);
    Ok([apps?, grants?, server?, tokens?])
}

/// The bind of the files of bundles, enforced.
pub(crate) fn of_bundles(contracts: &Contracts, limiter: &Arc<Limiter>) -> Result<Bound, Failure> {
    Ok(of_kind(contracts, "bundle")?.entered_by(small(limiter)))
}

/// Refuses bodies that are too long for these resources: their check would delay all other requests.
fn small(limiter: &Arc<Limiter>) -> Entry {
    let limiter = Arc::clone(limiter);
    Rc::new(move |message| {
        let length = message.payload.body.len();
        if length <= limiter.count(Limit::OwnBody) {
            return Ok(());
        }
        Err(limiter.refuse(Limit::OwnBody, format!("the body of `{}` is {length} bytes", message.operation)))
    })
}

/// The drivers of a server with a data folder.
pub(crate) fn drivers(
    contracts: &Contracts,
    data: &Path,
    limiter: &Arc<Limiter>,
    storage: &Storage,
) -> Result<Registry, Failure> {
    let databases = DatabaseDriver::new(data, of_kind(contracts, "database")?, limiter, storage);
    Ok(Registry::new(vec![Rc::new(databases)]))
}

/// The bind of a kind of resource, enforced.
pub(crate) fn of_kind(contracts: &Contracts, name: &str) -> Result<Bound, Failure> {
    bound(contracts, built_in_bind(name))
}

fn bound(contracts: &Contracts, read: Result<Contract, AuthoringError>) -> Result<Bound, Failure> {
    contracts.bound(read.map_err(|error| Failure::internal(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ServerLimits;

    #[test]
    fn every_bind_of_the_server_can_be_enforced() {
        let contracts = Contracts::default();
        let folder = FILES.get_dir("binds").unwrap();
        let names: Vec<_> = folder.files().map(|file| file.path().file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, OWN);
        assert_eq!(
            own(&contracts, &Limiter::new(ServerLimits::default())).unwrap().map(|bound| bound.bind().name.clone()),
            OWN
        );
        for name in ["bundle", "database"] {
            assert_eq!(of_kind(&contracts, name).unwrap().bind().name, name);
        }
    }

    #[test]
    fn every_schema_is_used_by_a_bind_and_every_body_has_a_schema() {
        let all = OWN.map(|name| own_bind(name).unwrap());
        for file in FILES.get_dir("schemas").unwrap().files() {
            let path = format!("/{}", file.path().display());
            assert!(all.iter().any(|contract| contract.schemas.contains_key(&path)), "{path}");
        }
        for contract in &all {
            for (name, operation) in &contract.bind.operations {
                assert!(operation.request.schema.is_some(), "{name}");
                assert!(operation.response.as_ref().is_some_and(|response| response.schema.is_some()), "{name}");
            }
        }
    }
}
