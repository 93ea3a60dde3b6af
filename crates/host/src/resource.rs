//! Resources of apps that are not mechtrons: the interface of a driver for one kind, and the drivers of a host.
//!
//! A host with drivers has a [`Registry`] in its configuration. A host without drivers, such as a page, does not
//! include this code.

mod registry;

use std::{any::Any, collections::BTreeMap, io, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use litemap::LiteMap;
use serde_json::{Map, Value};
use starlane_bundle::{AppRecord, AppResource, FileEntry, KindSet, ResourceKind};
use starlane_protocol::{Address, Failure};

pub use self::registry::Registry;
pub use crate::pin::Pin;
use crate::{bound::Bound, handler::Handler, host::Host, verified::VerifiedApp};

/// Serves one kind of resource on a host.
pub trait Driver {
    /// The kind.
    fn kind(&self) -> ResourceKind;
    /// The bind of the kind. Messages to its resources and their replies must match it.
    fn bound(&self) -> &Bound;
    /// Opens the resource at a place with its stored content. It serves no messages until a version of its app is in
    /// effect.
    fn open(&self, place: &Place) -> Result<Rc<dyn Resource>, Failure>;
    /// Removes the remains of changes of an app that never took effect. The host calls it before it prepares a version
    /// of the app, with the revision that is in effect.
    fn settle(&self, _app: &Address, _revision: u64) -> LocalBoxFuture<'static, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Returns the stored data of all resources of this kind, also of deleted or stopped apps; `None` if the kind
    /// stores nothing.
    fn kept(&self) -> Option<Kept> {
        None
    }
}

/// A resource of an app. It survives changes of its app.
pub trait Resource: Handler {
    /// Prepares a version of its app. The change is not visible before it is put in effect, except that writes may
    /// wait.
    fn prepare(&self, version: Version) -> LocalBoxFuture<'static, Result<Box<dyn Change>, Failure>>;
    /// Removes all its data. Its address is no longer served.
    fn remove(&self) -> LocalBoxFuture<'static, Result<(), Failure>>;
}

/// A prepared change of a resource. Dropping it abandons the change.
pub trait Change {
    /// Puts it in effect.
    fn switch(self: Box<Self>);
    /// Reverts it: the resource continues as before.
    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// The place of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The app.
    pub app: Address,
    /// The resource's name in the app.
    pub name: String,
    /// The resource's address.
    pub address: Address,
}

impl Place {
    /// Makes the place of an app's resource. Returns 400 if the address is too long.
    pub fn new(app: &Address, name: &str) -> Result<Self, Failure> {
        let address = app.child(name).map_err(|error| Failure::malformed(error.to_string()))?;
        Ok(Self { app: app.clone(), name: name.to_owned(), address })
    }
}

/// A resource in a version of an app.
#[derive(Clone)]
pub struct Version {
    /// The revision of the app that is in effect. It is equal to `to` for an app that only restarts.
    pub from: u64,
    /// The revision of this version.
    pub to: u64,
    /// The resource's settings, which match the schema of its kind.
    pub settings: Map<String, Value>,
    /// The files of the app's bundle.
    pub files: Files,
}

/// The files of a bundle, for drivers.
#[derive(Clone)]
pub struct Files {
    pub(crate) host: Host,
    pub(crate) entries: Rc<LiteMap<String, FileEntry>>,
}

impl Files {
    /// Returns the paths and bytes of the files in a folder, sorted by path. The folder's name ends with a slash.
    /// Returns 500 if a file can't be read.
    pub async fn below(&self, folder: &str) -> Result<Vec<(String, Bytes)>, Failure> {
        let mut files = Vec::new();
        for (path, entry) in self.entries.iter().filter(|(path, _)| path.starts_with(folder)) {
            let bytes = self.host.blob(&entry.sha256, entry.size).await;
            files.push((path.clone(), bytes.map_err(|error| Failure::internal(error.to_string()))?));
        }
        Ok(files)
    }
}

/// The stored data of a kind's resources on this host.
#[derive(Clone)]
pub struct Kept {
    /// The file or folder with the data, at the top of the host's data folder.
    pub name: &'static str,
    /// Copies the data, on any thread and during traffic: each resource as it was at one moment.
    pub backup: Arc<BackUp>,
}

/// Copies all data of a kind's resources into an archive.
pub type BackUp = dyn Fn(&mut dyn Archive) -> io::Result<()> + Send + Sync;

/// The target of a backup.
pub trait Archive {
    /// Adds a file of `size` bytes. Its path begins with the name of [`Kept`].
    fn add(&mut self, path: &str, size: u64, content: &mut dyn io::Read) -> io::Result<()>;
}

/// The resources of a host. [`Registry`] implements this.
pub trait Resources {
    /// The kinds with drivers.
    fn kinds(&self) -> KindSet;
    /// Prepares the resources of a version of an app, which replaces the revision `from` and becomes the revision `to`.
    fn prepare(
        &self,
        host: &Host,
        app: &VerifiedApp,
        revisions: (u64, u64),
    ) -> LocalBoxFuture<'static, Result<Box<dyn Prepared>, Failure>>;
    /// Prepares the resources of a launched app, and installs the app with them.
    fn launch(
        &self,
        host: &Host,
        app: VerifiedApp,
        record: AppRecord,
        how: (bool, Pin),
    ) -> LocalBoxFuture<'static, Result<(), Failure>>;
    /// Returns the resources of an app, so that a caller can remove their data when the app is deleted.
    fn of(&self, app: &VerifiedApp) -> Result<Vec<Rc<dyn Resource>>, Failure>;
}

/// The prepared resources of a version of an app. Dropping them abandons the change.
pub trait Prepared {
    /// Puts it in effect. The resources are served until the result is dropped.
    fn switch(self: Box<Self>) -> Box<dyn Any>;
    /// Reverts it: the app continues as before.
    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

impl Host {
    /// The kinds of resources for which this host has drivers.
    pub fn kinds(&self) -> KindSet {
        self.0.config.resources.as_ref().map(|resources| resources.kinds()).unwrap_or_default()
    }

    /// Prepares the resources of a version of an app on this host, which replaces the revision `from` and becomes the
    /// revision `to`. Nothing takes effect before [`install`](Host::install). Returns `None` for a host without
    /// drivers.
    pub async fn prepare(
        &self,
        app: &VerifiedApp,
        revisions: (u64, u64),
    ) -> Result<Option<Box<dyn Prepared>>, Failure> {
        match &self.0.config.resources {
            Some(resources) => resources.prepare(self, app, revisions).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the resources of an app, so that a caller can remove their data after the app is uninstalled.
    pub fn resources_of(&self, app: &VerifiedApp) -> Result<Vec<Rc<dyn Resource>>, Failure> {
        self.0.config.resources.as_ref().map_or(Ok(Vec::new()), |resources| resources.of(app))
    }
}

/// Reads the resources of an app on one side, by name, from [`VerifiedApp::resources`].
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, AppResource>, Failure> {
    match text {
        "" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text).map_err(|error| Failure::internal(error.to_string())),
    }
}
