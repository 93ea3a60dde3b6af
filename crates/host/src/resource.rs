//! Resources of apps that are not mechtrons: what a driver of one kind does, and the drivers that a host has.
//!
//! A host that has drivers gets a [`Registry`] of them in its configuration. A host without, such as a page, brings along none of
//! this code.

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
    /// The bind of the kind, which messages to its resources and their answers must fit.
    fn bound(&self) -> &Bound;
    /// The resource at a place, as it was left. It answers nothing until a version of its app is in effect.
    fn open(&self, place: &Place) -> Result<Rc<dyn Resource>, Failure>;
    /// Forgets what changes of an app have left behind that never took effect. Called before a version of the app is prepared, with
    /// the revision that is in effect.
    fn settle(&self, _app: &Address, _revision: u64) -> LocalBoxFuture<'static, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// What the resources of this kind keep, also those whose app was deleted or does not run; none if they keep nothing of their
    /// own.
    fn kept(&self) -> Option<Kept> {
        None
    }
}

/// A resource of an app. It stays over changes of its app.
pub trait Resource: Handler {
    /// Works out what a version of its app needs. Nobody notices before the change is put in effect, except that writes may wait.
    fn prepare(&self, version: Version) -> LocalBoxFuture<'static, Result<Box<dyn Change>, Failure>>;
    /// Removes all that it keeps. Nothing is served at its address any more.
    fn remove(&self) -> LocalBoxFuture<'static, Result<(), Failure>>;
}

/// A change of a resource that is ready to take effect. Dropped, it is abandoned.
pub trait Change {
    /// Puts it in effect.
    fn switch(self: Box<Self>);
    /// Takes it back; the resource goes on as before.
    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// Where a resource is.
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
    /// The place of an app's resource. Errors with 400 when the address gets too long.
    pub fn new(app: &Address, name: &str) -> Result<Self, Failure> {
        let address = app.child(name).map_err(|error| Failure::malformed(error.to_string()))?;
        Ok(Self { app: app.clone(), name: name.to_owned(), address })
    }
}

/// What a version of an app says of one of its resources.
#[derive(Clone)]
pub struct Version {
    /// The revision of the app that is in effect; for an app that only starts again the same as `to`.
    pub from: u64,
    /// The revision that this version will be.
    pub to: u64,
    /// The resource's settings, which fit the schema of its kind.
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
    /// The paths and bytes of the files in a folder, which has a slash at its end, in the order of their paths. Errors with 500 when
    /// one can't be read.
    pub async fn below(&self, folder: &str) -> Result<Vec<(String, Bytes)>, Failure> {
        let mut files = Vec::new();
        for (path, entry) in self.entries.iter().filter(|(path, _)| path.starts_with(folder)) {
            let bytes = self.host.blob(&entry.sha256, entry.size).await;
            files.push((path.clone(), bytes.map_err(|error| Failure::internal(error.to_string()))?));
        }
        Ok(files)
    }
}

/// What the resources of a kind keep on this host.
#[derive(Clone)]
pub struct Kept {
    /// The file or folder that holds it, at the top of the place where the host keeps everything.
    pub name: &'static str,
    /// Copies it, on any thread and beside traffic: each resource as it was at one moment.
    pub backup: Arc<BackUp>,
}

/// Copies into an archive all that the resources of a kind keep.
pub type BackUp = dyn Fn(&mut dyn Archive) -> io::Result<()> + Send + Sync;

/// Where a backup goes.
pub trait Archive {
    /// Adds a file of `size` bytes. Its path begins with the name of what is [`Kept`].
    fn add(&mut self, path: &str, size: u64, content: &mut dyn io::Read) -> io::Result<()>;
}

/// The resources that a host serves: a [`Registry`].
pub trait Resources {
    /// The kinds that there are drivers for.
    fn kinds(&self) -> KindSet;
    /// Prepares the resources of a version of an app: it replaces the revision `from` and will be the revision `to`.
    fn prepare(
        &self,
        host: &Host,
        app: &VerifiedApp,
        revisions: (u64, u64),
    ) -> LocalBoxFuture<'static, Result<Box<dyn Prepared>, Failure>>;
    /// Prepares the resources of an app that is launched, and installs it with them.
    fn launch(
        &self,
        host: &Host,
        app: VerifiedApp,
        record: AppRecord,
        how: (bool, Pin),
    ) -> LocalBoxFuture<'static, Result<(), Failure>>;
    /// The resources of an app, to remove what they keep when the app is gone.
    fn of(&self, app: &VerifiedApp) -> Result<Vec<Rc<dyn Resource>>, Failure>;
}

/// The resources of a version of an app that is ready to take effect. Dropped, it is abandoned.
pub trait Prepared {
    /// Puts it in effect. The resources are served until what this gives is dropped.
    fn switch(self: Box<Self>) -> Box<dyn Any>;
    /// Takes it back; the app goes on as it was.
    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

impl Host {
    /// The kinds of resources that this host has drivers for.
    pub fn kinds(&self) -> KindSet {
        self.0.config.resources.as_ref().map(|resources| resources.kinds()).unwrap_or_default()
    }

    /// Prepares the resources of a version of an app that are placed on this host: it replaces the revision `from` and will be the
    /// revision `to`. Nothing takes effect before [`install`](Host::install). Gives none for a host without drivers.
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

    /// The resources of an app, to remove what they keep once the app is uninstalled.
    pub fn resources_of(&self, app: &VerifiedApp) -> Result<Vec<Rc<dyn Resource>>, Failure> {
        self.0.config.resources.as_ref().map_or(Ok(Vec::new()), |resources| resources.of(app))
    }
}

/// The resources of an app on one side, by name, as [`VerifiedApp::resources`] has them.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, AppResource>, Failure> {
    match text {
        "" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text).map_err(|error| Failure::internal(error.to_string())),
    }
}
