//! Installs an app on this host: plans its actors in the node, and serves its bundle's files at the bundle's address.

use std::{
    any::Any,
    rc::{Rc, Weak},
};

use bytes::Bytes;
use litemap::LiteMap;
use starlane_bundle::{AppRecord, Digest, FileEntry, PublicKey};
use starlane_node::{Allow, Operations, Principal};
use starlane_protocol::{Address, Failure};

use crate::{
    bound::Bound,
    bundle_files,
    handler::{Handler, Served},
    host::Host,
    pin::Pin,
    ports::SandboxError,
    resource::Prepared,
    verified::{BundleFiles, VerifiedApp},
};

/// Checks whether a principal may read a bundle by message. The error says why not.
pub type MayRead = Rc<dyn Fn(&Principal, &Address) -> Result<(), Failure>>;

/// Checks the messages of a handler against a bind.
type Hold = Rc<dyn Fn(Rc<dyn Handler>) -> (Operations, Rc<dyn Handler>)>;

/// The installed apps of a host, except the state of the node.
#[derive(Default)]
pub(crate) struct InstalledApps {
    /// Checks who may read a bundle. Without it, every principal that may send messages to it.
    pub(crate) may_read: Option<MayRead>,
    /// Checks messages to bundles against their bind.
    hold: Option<Hold>,
    pub(crate) apps: LiteMap<Address, Installed>,
    /// The bundles that are served by message. All apps of a bundle share one entry.
    bundles: LiteMap<Address, Weak<ServedBundle>>,
    /// The highest known revision of each app since the host was opened. It does not depend on the store.
    seen: LiteMap<Address, u64>,
}

/// An installed app.
pub(crate) struct Installed {
    pub(crate) record: AppRecord,
    pub(crate) publisher: PublicKey,
    pub(crate) expires: Option<u64>,
    pub(crate) inline: bool,
    /// The modules of its bundle, by path.
    pub(crate) wasm: LiteMap<String, Digest>,
    /// The modules of its mechtrons on this side.
    modules: Vec<Digest>,
    bundles: Vec<Rc<ServedBundle>>,
    /// Its other resources, which are served until this is dropped.
    _resources: Option<Box<dyn Any>>,
    _pin: Option<Pin>,
}

/// The files of a bundle, which are served until its last app is uninstalled.
struct ServedBundle {
    files: Rc<LiteMap<String, FileEntry>>,
    _served: Served,
}

impl InstalledApps {
    /// Returns the size of a file of an installed bundle, by its digest; 0 for other files.
    pub(crate) fn size_of(&self, digest: &Digest) -> u64 {
        let bundles = self.apps.values().flat_map(|installed| &installed.bundles);
        let found = bundles.flat_map(|bundle| bundle.files.values()).find(|file| file.sha256 == *digest);
        found.map(|file| file.size).unwrap_or_default()
    }

    /// Records a revision of an app. The error is the highest known revision, if that is higher.
    pub(crate) fn saw(&mut self, app: &Address, revision: u64) -> Result<(), u64> {
        match self.seen.get(app) {
            Some(seen) if *seen > revision => Err(*seen),
            _ => {
                self.seen.insert(app.clone(), revision);
                Ok(())
            }
        }
    }

    /// Returns whether another app serves the files of a bundle.
    fn is_shared(&self, bundle: &Rc<ServedBundle>, app: &Address) -> bool {
        let mut others = self.apps.iter().filter(|(other, _)| *other != app);
        others.any(|(_, installed)| installed.bundles.iter().any(|served| Rc::ptr_eq(served, bundle)))
    }
}

impl Host {
    /// Checks whether `install` would accept an app now: no other app may serve other files at the addresses of its
    /// bundles.
    pub fn check_install(&self, app: &VerifiedApp) -> Result<(), Failure> {
        app.bundles.iter().try_for_each(|bundle| self.check_files(&app.plan.app, bundle))
    }

    /// Loads and compiles the modules of an app, within the quota of its space. They stay in memory until the result is
    /// dropped, and as long as an installed app uses them. Returns an error if a module is missing or cannot be
    /// compiled.
    pub async fn load_modules(&self, app: &VerifiedApp) -> Result<LoadedModules, Failure> {
        let loaded =
            LoadedModules { host: self.clone(), modules: app.modules.iter().map(|file| file.sha256).collect() };
        for file in &app.modules {
            let missing = self.missing(app, file);
            if !missing.is_empty() {
                let wasm = self.blob(&file.sha256, file.size).await;
                let wasm = wasm.map_err(|error| Failure::not_running(error.to_string()))?;
                let compiled = self.compile(app.plan.app.space(), &file.sha256, &missing, wasm).await;
                compiled.map_err(|error| Failure::conflict(error.to_string()))?;
            }
        }
        Ok(loaded)
    }

    /// Returns the memory limits for which a module of an app has not been compiled yet.
    pub(crate) fn missing(&self, app: &VerifiedApp, module: &FileEntry) -> Vec<u64> {
        let mut memories = app.memories(&module.sha256);
        memories.retain(|memory| !self.0.ports.sandbox.has_module(&module.sha256, *memory));
        memories
    }

    /// Compiles a module for each of these memory limits.
    pub(crate) async fn compile(
        &self,
        space: &str,
        digest: &Digest,
        memories: &[u64],
        wasm: Bytes,
    ) -> Result<(), SandboxError> {
        for memory in memories {
            self.0.ports.sandbox.compile(space, *digest, *memory, wasm.clone()).await?;
        }
        Ok(())
    }

    /// Installs an app with its prepared resources, and replaces an earlier version. Its actors start when they are
    /// first used.
    pub fn install(
        &self,
        app: VerifiedApp,
        record: AppRecord,
        inline: bool,
        resources: Option<Box<dyn Prepared>>,
    ) -> Result<(), Failure> {
        self.install_pinned(app, record, inline, resources, None)
    }

    /// The same, and holds the pin as long as the app is installed.
    pub(crate) fn install_pinned(
        &self,
        verified: VerifiedApp,
        record: AppRecord,
        inline: bool,
        resources: Option<Box<dyn Prepared>>,
        pin: Option<Pin>,
    ) -> Result<(), Failure> {
        let VerifiedApp { publisher, expires, modules, wasm, bundles, mut plan, .. } = verified;
        let app = plan.app.clone();
        let bundles = bundles.into_iter().map(|bundle| self.serve_files(&app, bundle)).collect::<Result<_, _>>()?;
        let modules = modules.iter().map(|file| file.sha256).collect();
        let _resources = resources.map(Prepared::switch);
        let installed = Installed { record, publisher, expires, inline, wasm, modules, bundles, _resources, _pin: pin };
        let before = self.0.apps.borrow_mut().apps.insert(app, installed);
        let modules_before = before.as_ref().map(|before| before.modules.clone());
        // Dropping the replaced app may release addresses, which needs its own turn of the node.
        drop(before);
        plan.mechtrons.iter_mut().for_each(|mechtron| mechtron.inline = inline);
        self.turn(|node, now| node.handle_install(now, plan));
        self.forget_unused(&modules_before.unwrap_or_default());
        Ok(())
    }

    /// Returns 409 `conflict` if another app has other files at a bundle's address.
    fn check_files(&self, app: &Address, bundle: &BundleFiles) -> Result<(), Failure> {
        let apps = self.0.apps.borrow();
        match apps.bundles.get(&bundle.address).and_then(Weak::upgrade) {
            Some(served) if *served.files != bundle.files && apps.is_shared(&served, app) => {
                Err(Failure::conflict("another app has other files at this bundle's address").at(&bundle.address))
            }
            _ => Ok(()),
        }
    }

    /// Serves the files of a bundle by message, at its address. Returns 409 `conflict` if another app has other files
    /// there: a publisher must not decide the content of another publisher's bundle.
    fn serve_files(&self, app: &Address, bundle: BundleFiles) -> Result<Rc<ServedBundle>, Failure> {
        self.check_files(app, &bundle)?;
        let BundleFiles { address, files } = bundle;
        let known = self.0.apps.borrow().bundles.get(&address).and_then(Weak::upgrade);
        match known {
            Some(served) if *served.files == files => return Ok(served),
            // No other app used the earlier files.
            Some(served) => {
                drop(served);
                self.uninstall(app);
            }
            None => {}
        }
        let files = Rc::new(files);
        let handler = bundle_files::handler(self, Rc::clone(&files));
        let hold = self.0.apps.borrow().hold.clone();
        let (operations, handler) = match hold {
            Some(hold) => hold(handler),
            None => {
                let names = bundle_files::OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
                (Operations::Named(names), handler)
            }
        };
        let served = self.serve(&address, operations, handler)?.with_events(&[]);
        let served = Rc::new(ServedBundle { files, _served: served });
        self.0.apps.borrow_mut().bundles.insert(address, Rc::downgrade(&served));
        Ok(served)
    }

    /// Changes the grants of an app's mechtrons, from their next message on. Their actors continue.
    pub fn allow(&self, app: &Address, allow: &[Allow]) {
        self.turn(|node, _| node.handle_allow(app, allow));
    }

    /// Sets the check for readers of bundles by message. It does not apply to a mechtron that reads its own bundle.
    pub fn guard_bundles(&self, may_read: MayRead) {
        self.0.apps.borrow_mut().may_read = Some(may_read);
    }

    /// Sets the bind of bundles: messages to them are checked against it from now on.
    pub fn bind_bundles(&self, bound: Bound) {
        self.0.apps.borrow_mut().hold = Some(Rc::new(move |handler| bound.hold(handler)));
    }

    /// Uninstalls an app: its actors on this host end, and the store may evict its bundle.
    pub fn uninstall(&self, app: &Address) {
        let before = self.0.apps.borrow_mut().apps.remove(app);
        self.turn(|node, now| node.handle_uninstall(now, app));
        let modules = before.as_ref().map(|before| before.modules.clone());
        drop(before);
        self.forget_unused(&modules.unwrap_or_default());
        self.0.apps.borrow_mut().bundles.retain(|_, bundle| bundle.strong_count() > 0);
    }
}

/// The loaded modules of an app that is not installed yet.
pub struct LoadedModules {
    host: Host,
    modules: Vec<Digest>,
}

impl Drop for LoadedModules {
    fn drop(&mut self) {
        self.host.forget_unused(&self.modules);
    }
}

impl Host {
    /// Drops modules from memory that no installed app uses.
    pub(crate) fn forget_unused(&self, modules: &[Digest]) {
        let apps = self.0.apps.borrow();
        let is_used = |digest: &&Digest| apps.apps.values().any(|installed| installed.modules.contains(digest));
        let unused: Vec<Digest> = modules.iter().filter(|digest| !is_used(digest)).copied().collect();
        drop(apps);
        unused.iter().for_each(|digest| self.0.ports.sandbox.forget(digest));
    }
}
