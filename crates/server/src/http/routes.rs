//! The routes of all apps, and the choice of one for a request.

mod overlap;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use litemap::LiteMap;
use starlane_bundle::{Access, AppConfig, FileEntry, Manifest, PublicKey, Route, RouteTarget};
use starlane_protocol::{Address, Failure};

use super::guard::Names;
use crate::names::{Authority, SpaceName};

/// The routes of this server. Clones share them.
#[derive(Clone)]
pub(crate) struct Routes(Arc<RwLock<Table>>);

#[derive(Default)]
struct Table {
    apps: BTreeMap<Address, AppRoutes>,
    /// The space of each host name, in comparable form. Other names are shared by all spaces without a host name of their own.
    spaces: BTreeMap<String, String>,
    routers: Routers,
}

/// By the space that has host names of its own, none for all others; and by method.
type Routers = BTreeMap<Option<String>, BTreeMap<String, matchit::Router<Arc<Target>>>>;

struct AppRoutes {
    publisher: PublicKey,
    /// The app's own bundle, and those that it uses.
    bundles: Vec<Address>,
    routes: Vec<(String, String, Arc<Target>)>,
}

/// The target of a route.
pub(crate) enum Target {
    /// One file of a bundle.
    File(FileEntry),
    /// A folder of a bundle; the capture is the path below the folder.
    Files { folder: String, files: Arc<LiteMap<String, FileEntry>> },
    /// A resource.
    Resource { app: Address, to: String, operation: String, access: Option<Access> },
}

/// A matching route and its captures, still percent-encoded.
pub(crate) struct Found {
    pub(crate) target: Arc<Target>,
    pub(crate) captures: Vec<(String, String)>,
}

impl Routes {
    /// An empty table for spaces with these host names. `names` compares them.
    pub(crate) fn new(spaces: &BTreeMap<SpaceName, Vec<Authority>>, names: Names) -> Self {
        let of_space = |(space, hosts): (&SpaceName, &Vec<Authority>)| -> Vec<(String, String)> {
            hosts.iter().map(|host| (names.bare(&host.to_string()).to_owned(), space.to_string())).collect()
        };
        let table = Table { spaces: spaces.iter().flat_map(of_space).collect(), ..Table::default() };
        Self(Arc::new(RwLock::new(table)))
    }

    /// Replaces an app's routes. Errors with 409 when another app has the same route.
    pub(crate) fn install(
        &self,
        app: &Address,
        config: &AppConfig,
        manifest: &Manifest,
        publisher: PublicKey,
    ) -> Result<(), Failure> {
        self.exchange(app, AppRoutes::of(app, config, manifest, publisher)?, true)
    }

    /// Checks that `install` would succeed now.
    pub(crate) fn check(
        &self,
        app: &Address,
        config: &AppConfig,
        manifest: &Manifest,
        publisher: PublicKey,
    ) -> Result<(), Failure> {
        self.exchange(app, AppRoutes::of(app, config, manifest, publisher)?, false)
    }

    fn exchange(&self, app: &Address, routes: AppRoutes, keep: bool) -> Result<(), Failure> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = table.apps.insert(app.clone(), routes);
        let mut routers = table.check_spaces(app).and_then(|()| table.routers(Some(app)));
        if keep && let Ok(routers) = &mut routers {
            table.routers = std::mem::take(routers);
            return Ok(());
        }
        match before {
            Some(before) => table.apps.insert(app.clone(), before),
            None => table.apps.remove(app),
        };
        routers.map(drop).map_err(|reason| Failure::conflict(reason).at(app))
    }

    pub(crate) fn remove(&self, app: &Address) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.apps.remove(app);
        // Removing routes cannot create a conflict.
        table.routers = table.routers(None).unwrap_or_default();
    }

    /// The methods with a route at a path.
    pub(crate) fn methods(&self, host: &str, path: &str) -> BTreeSet<String> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let space = table.spaces.get(host);
        let Some(routers) = table.routers.get(&space.cloned()) else { return BTreeSet::new() };
        let taken = routers.iter().filter(|(_, router)| router.at(path).is_ok());
        taken.map(|(method, _)| method.clone()).collect()
    }

    /// The route of a method for a request. `host` is the requested host name, in comparable form.
    pub(crate) fn find(&self, host: &str, method: &str, path: &str) -> Option<Found> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let router = table.routers.get(&table.spaces.get(host).cloned())?.get(method)?;
        let found = router.at(path).ok()?;
        let captures = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Found { target: Arc::clone(found.value), captures })
    }

    /// Whether apps of several spaces use a host name.
    pub(crate) fn is_shared(&self, host: &str) -> bool {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if table.spaces.contains_key(host) {
            return false;
        }
        let routed = table.apps.iter().filter(|(_, app)| !app.routes.is_empty()).map(|(address, _)| address.space());
        let shared: BTreeSet<&str> = routed.filter(|space| !table.spaces.values().any(|own| own == space)).collect();
        shared.len() > 1
    }

    /// Whether any app has routes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).routers.is_empty()
    }

    /// The apps that are made of a bundle or use it.
    pub(crate) fn apps_of(&self, bundle: &Address) -> Vec<Address> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.apps.iter().filter(|(_, app)| app.bundles.contains(bundle)).map(|(address, _)| address.clone()).collect()
    }

    /// The publishers of the apps that run here.
    pub(crate) fn publishers(&self) -> Vec<PublicKey> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut publishers: Vec<PublicKey> = Vec::new();
        for app in table.apps.values() {
            if !publishers.contains(&app.publisher) {
                publishers.push(app.publisher);
            }
        }
        publishers
    }
}

impl AppRoutes {
    fn of(app: &Address, config: &AppConfig, manifest: &Manifest, publisher: PublicKey) -> Result<Self, Failure> {
        let files = Arc::new(manifest.files.clone());
        let mut routes = Vec::new();
        for route in &config.http {
            let target = target(app, route, &files)?;
            routes.push((route.method.to_ascii_uppercase(), route.path.clone(), Arc::new(target)));
        }
        let used = manifest.uses.keys().filter_map(|bundle| Address::parse(bundle).ok());
        let bundles = used.chain([manifest.address.clone()]).collect();
        Ok(Self { publisher, bundles, routes })
    }
}

impl Table {
    /// The space of an app's routes, if that space has host names of its own.
    fn space_of(&self, app: &Address) -> Option<&str> {
        self.spaces.values().map(String::as_str).find(|space| *space == app.space())
    }

    /// Errors when apps of two spaces would answer the same requests under the same host names.
    fn check_spaces(&self, app: &Address) -> Result<(), String> {
        let Some(routes) = self.apps.get(app).filter(|_| self.space_of(app).is_none()) else { return Ok(()) };
        let of_others = self.apps.iter().filter(|(other, _)| other.space() != app.space());
        let shared = of_others.filter(|(other, _)| self.space_of(other).is_none());
        for (other, theirs) in shared {
            for (method, path, _) in &routes.routes {
                let taken = theirs.routes.iter().find(|(m, at, _)| m == method && overlap::overlaps(path, at));
                if let Some((_, at, _)) = taken {
                    return Err(format!(
                        "app {other} of another space has the route `{method} {at}`, and `{method} {path}` would take \
                         some of its requests: use another path, or ask the operator for a host name for this space (--space)"
                    ));
                }
            }
        }
        Ok(())
    }

    /// All routes. `changed` comes last, so that a conflict names its own route and that of another app.
    fn routers(&self, changed: Option<&Address>) -> Result<Routers, String> {
        let mut routers = Routers::new();
        let (last, first): (Vec<_>, Vec<_>) = self.apps.iter().partition(|(app, _)| Some(*app) == changed);
        for (address, app) in first.into_iter().chain(last) {
            let space = self.space_of(address).map(str::to_owned);
            for (method, path, target) in &app.routes {
                let router = routers.entry(space.clone()).or_default().entry(method.clone()).or_default();
                let inserted = router.insert(path, Arc::clone(target));
                inserted.map_err(|error| match error {
                    matchit::InsertError::Conflict { with } => {
                        let other = self.who_has(address, method, &with);
                        let other = other.map_or("this app".to_owned(), |app| format!("the app {app}"));
                        format!(
                            "{other} already has the route `{method} {with}`, and `{method} {path}` takes the same requests"
                        )
                    }
                    error => format!("cannot add the route `{method} {path}`: {error}"),
                })?;
            }
        }
        Ok(routers)
    }

    /// Another app than `app` that has this route for the same host names.
    fn who_has(&self, app: &Address, method: &str, path: &str) -> Option<&Address> {
        let has = |theirs: &AppRoutes| theirs.routes.iter().any(|(own, at, _)| own == method && at == path);
        let mut others = self.apps.iter().filter(|(other, _)| *other != app);
        others.find(|(other, theirs)| self.space_of(other) == self.space_of(app) && has(theirs)).map(|(other, _)| other)
    }
}

fn target(app: &Address, route: &Route, files: &Arc<LiteMap<String, FileEntry>>) -> Result<Target, Failure> {
    Ok(match &route.target {
        RouteTarget::File { file } => {
            let missing = || Failure::conflict(format!("the bundle has no file {file}")).at(app);
            Target::File(files.get(file).cloned().ok_or_else(missing)?)
        }
        RouteTarget::Files { files: folder } => Target::Files { folder: folder.clone(), files: Arc::clone(files) },
        RouteTarget::Resource { to, operation } => {
            Target::Resource { app: app.clone(), to: to.clone(), operation: operation.clone(), access: route.access }
        }
    })
}
