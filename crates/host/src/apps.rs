//! Installing an app on this host: from its verified manifest to what the node runs and what the bundle's address serves.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use litemap::LiteMap;
use starlane_bundle::{AppRecord, Digest, FileEntry, PublicKey};
use starlane_node::{Allow, Operations, Principal};
use starlane_protocol::{Address, Failure};

use crate::{
    bundle_files,
    handler::Served,
    host::Host,
    pin::Pin,
    ports::SandboxError,
    verified::{BundleFiles, VerifiedApp},
};

/// Says whether somebody may read a bundle by message; the error says why not.
pub type MayRead = Rc<dyn Fn(&Principal, &Address) -> Result<(), Failure>>;

/// What is installed on a host, beside the node's own part.
#[derive(Default)]
pub(crate) struct InstalledApps {
    /// Who may read which bundle; without it, whoever may send it messages.
    pub(crate) may_read: Option<MayRead>,
    pub(crate) apps: LiteMap<Address, Installed>,
    /// Bundles that are served by message, one for all apps that came from it.
    bundles: LiteMap<Address, Weak<ServedBundle>>,
    /// The highest revision of each app that was seen since the host was opened, whatever its store has kept.
    seen: LiteMap<Address, u64>,
}

/// One installed app.
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
    _pin: Option<Pin>,
}

/// The files of a bundle, served until the last app that came from it is gone.
struct ServedBundle {
    files: Rc<LiteMap<String, FileEntry>>,
    _served: Served,
}

impl InstalledApps {
    /// The size of a file of an installed bundle, by its digest; 0 for others.
    pub(crate) fn size_of(&self, digest: &Digest) -> u64 {
        let bundles = self.apps.values().flat_map(|installed| &installed.bundles);
        let found = bundles.flat_map(|bundle| bundle.files.values()).find(|file| file.sha256 == *digest);
        found.map(|file| file.size).unwrap_or_default()
    }

    /// Notes a revision of an app. Errors with the highest one, if that is higher.
    pub(crate) fn saw(&mut self, app: &Address, revision: u64) -> Result<(), u64> {
        match self.seen.get(app) {
            Some(seen) if *seen > revision => Err(*seen),
            _ => {
                self.seen.insert(app.clone(), revision);
                Ok(())
            }
        }
    }

    /// Whether an app other than this one serves the files of a bundle.
    fn is_shared(&self, bundle: &Rc<ServedBundle>, app: &Address) -> bool {
        let mut others = self.apps.iter().filter(|(other, _)| *other != app);
        others.any(|(_, installed)| installed.bundles.iter().any(|served| Rc::ptr_eq(served, bundle)))
    }
}

impl Host {
    /// Whether `install` would take an app now: no other app serves other files at the addresses of its bundles.
    pub fn check_install(&self, app: &VerifiedApp) -> Result<(), Failure> {
        app.bundles.iter().try_for_each(|bundle| self.check_files(&app.plan.app, bundle))
    }

    /// Loads and compiles the modules of an app, at the expense of its space. They stay in memory until this is dropped, or as
    /// long as an installed app uses them. Errors when one is missing or cannot be compiled.
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

    /// The limits of memory for which a module of an app has not been compiled yet.
    pub(crate) fn missing(&self, app: &VerifiedApp, module: &FileEntry) -> Vec<u64> {
        let mut memories = app.memories(&module.sha256);
        memories.retain(|memory| !self.0.ports.sandbox.has_module(&module.sha256, *memory));
        memories
    }

    /// Compiles a module for each of these limits of memory.
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

    /// Installs an app, in place of another version. Its actors start when they are used.
    pub fn install(&self, app: VerifiedApp, record: AppRecord, inline: bool) -> Result<(), Failure> {
        self.install_pinned(app, record, inline, None)
    }

    /// The same, and the pin is held for as long as the app is installed.
    pub(crate) fn install_pinned(
        &self,
        verified: VerifiedApp,
        record: AppRecord,
        inline: bool,
        pin: Option<Pin>,
    ) -> Result<(), Failure> {
        let VerifiedApp { publisher, expires, modules, wasm, bundles, mut plan } = verified;
        let app = plan.app.clone();
        let bundles = bundles.into_iter().map(|bundle| self.serve_files(&app, bundle)).collect::<Result<_, _>>()?;
        let modules = modules.iter().map(|file| file.sha256).collect();
        let installed = Installed { record, publisher, expires, inline, wasm, modules, bundles, _pin: pin };
        let before = self.0.apps.borrow_mut().apps.insert(app, installed);
        let modules_before = before.as_ref().map(|before| before.modules.clone());
        // What it served alone is released, which is a turn of its own.
        drop(before);
        plan.mechtrons.iter_mut().for_each(|mechtron| mechtron.inline = inline);
        self.turn(|node, now| node.handle_install(now, plan));
        self.forget_unused(&modules_before.unwrap_or_default());
        Ok(())
    }

    /// Errors with 409 `conflict` when another app has other files at a bundle's address.
    fn check_files(&self, app: &Address, bundle: &BundleFiles) -> Result<(), Failure> {
        let apps = self.0.apps.borrow();
        match apps.bundles.get(&bundle.address).and_then(Weak::upgrade) {
            Some(served) if *served.files != bundle.files && apps.is_shared(&served, app) => {
                Err(Failure::conflict("another app has other files at this bundle's address").at(&bundle.address))
            }
            _ => Ok(()),
        }
    }

    /// Serves the files of a bundle by message, at its address. Errors with 409 `conflict` when another app has other files
    /// there: one publisher must not say what is in another's bundle.
    fn serve_files(&self, app: &Address, bundle: BundleFiles) -> Result<Rc<ServedBundle>, Failure> {
        self.check_files(app, &bundle)?;
        let BundleFiles { address, files } = bundle;
        let known = self.0.apps.borrow().bundles.get(&address).and_then(Weak::upgrade);
        match known {
            Some(served) if *served.files == files => return Ok(served),
            // Only the app itself had these before.
            Some(served) => {
                drop(served);
                self.uninstall(app);
            }
            None => {}
        }
        let files = Rc::new(files);
        let handler = bundle_files::handler(self, Rc::clone(&files));
        let names = bundle_files::OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
        let served = self.serve(&address, Operations::Named(names), handler)?.with_events(&[]);
        let served = Rc::new(ServedBundle { files, _served: served });
        self.0.apps.borrow_mut().bundles.insert(address, Rc::downgrade(&served));
        Ok(served)
    }

    /// Changes what mechtrons of an app may do, from their next message on; their actors go on.
    pub fn allow(&self, app: &Address, allow: &[Allow]) {
        self.turn(|node, _| node.handle_allow(app, allow));
    }

    /// Asks from now on who may read a bundle by message, its own files aside that a mechtron reads.
    pub fn guard_bundles(&self, may_read: MayRead) {
        self.0.apps.borrow_mut().may_read = Some(may_read);
    }

    /// Removes an app: its actors here end, and its bundle may go when the store needs room.
    pub fn uninstall(&self, app: &Address) {
        let before = self.0.apps.borrow_mut().apps.remove(app);
        self.turn(|node, now| node.handle_uninstall(now, app));
        let modules = before.as_ref().map(|before| before.modules.clone());
        drop(before);
        self.forget_unused(&modules.unwrap_or_default());
        self.0.apps.borrow_mut().bundles.retain(|_, bundle| bundle.strong_count() > 0);
    }
}

/// Modules that are in memory, for an app that is about to be installed.
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
    /// Drops those of these modules from memory that no installed app uses.
    pub(crate) fn forget_unused(&self, modules: &[Digest]) {
        let apps = self.0.apps.borrow();
        let is_used = |digest: &&Digest| apps.apps.values().any(|installed| installed.modules.contains(digest));
        let unused: Vec<Digest> = modules.iter().filter(|digest| !is_used(digest)).copied().collect();
        drop(apps);
        unused.iter().for_each(|digest| self.0.ports.sandbox.forget(digest));
    }
}
