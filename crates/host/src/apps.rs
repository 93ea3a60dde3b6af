//! Installing an app on this host: from its manifest to what the node runs and what the bundle's address serves.

use std::rc::{Rc, Weak};

use litemap::LiteMap;
use serde_json::{Map, Value};
use starlane_bundle::{AppMechtron, AppRecord, Bind, Body, Digest, FileEntry, Manifest, Placement};
use starlane_node::{Allow, AppPlan, MechtronPlan, Operations, Principal, guest::GuestLimits};
use starlane_protocol::{Address, AddressError, Failure, Grant};

use crate::{bundle_files, handler::Served, host::Host, pin::Pin};

/// Which of an app's mechtrons a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those placed in browsers, in every page that launches the app.
    Browser,
    /// Those placed on the server.
    Server,
}

impl Side {
    fn runs(self, placement: Placement) -> bool {
        match placement {
            Placement::Both => true,
            Placement::Browser => self == Self::Browser,
            Placement::Server => self == Self::Server,
        }
    }
}

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
    pub(crate) manifest: Rc<Manifest>,
    pub(crate) inline: bool,
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
    /// Whether `install` would take a manifest now: its mechtrons can be planned, and no other app serves other files at the
    /// addresses of its bundles.
    pub fn check_install(&self, manifest: &Manifest, record: &AppRecord, side: Side) -> Result<(), Failure> {
        plan(manifest, record, side, false)?;
        self.check_files(&record.app, &record.bundle, &manifest.files)?;
        for (bundle, used) in &manifest.uses {
            let bundle = Address::parse(bundle).map_err(AddressError::failure)?;
            self.check_files(&record.app, &bundle, &used.files)?;
        }
        Ok(())
    }

    /// Loads and compiles the modules that a side runs of a manifest, at the expense of the app's space. They stay in memory until
    /// this is dropped, or as long as an installed app uses them. Errors when one is missing or cannot be compiled.
    pub async fn load_modules(&self, app: &Address, manifest: &Manifest, side: Side) -> Result<LoadedModules, Failure> {
        let files = modules(manifest, side);
        let loaded = LoadedModules { host: self.clone(), modules: files.iter().map(|file| file.sha256).collect() };
        for file in files {
            if !self.0.ports.sandbox.has_module(&file.sha256) {
                let wasm = self.blob(&file.sha256, file.size).await;
                let wasm = wasm.map_err(|error| Failure::not_running(error.to_string()))?;
                let compiled = self.0.ports.sandbox.compile(app.space(), file.sha256, wasm).await;
                compiled.map_err(|error| Failure::conflict(error.to_string()))?;
            }
        }
        Ok(loaded)
    }

    /// Installs an app from its verified manifest, in place of another version. Its actors start when they are used.
    pub fn install(&self, manifest: Manifest, record: AppRecord, side: Side, inline: bool) -> Result<(), Failure> {
        self.install_pinned(manifest, record, side, inline, None)
    }

    /// The same, and the pin is held for as long as the app is installed.
    pub(crate) fn install_pinned(
        &self,
        manifest: Manifest,
        record: AppRecord,
        side: Side,
        inline: bool,
        pin: Option<Pin>,
    ) -> Result<(), Failure> {
        let manifest = Rc::new(manifest);
        let plan = plan(&manifest, &record, side, inline)?;
        let app = record.app.clone();
        let mut bundles = vec![self.serve_files(&app, &record.bundle, &manifest.files)?];
        for (bundle, used) in &manifest.uses {
            let bundle = Address::parse(bundle).map_err(AddressError::failure)?;
            bundles.push(self.serve_files(&app, &bundle, &used.files)?);
        }
        let modules = modules(&manifest, side).into_iter().map(|file| file.sha256).collect();
        let installed = Installed { record, manifest, inline, modules, bundles, _pin: pin };
        let before = self.0.apps.borrow_mut().apps.insert(app, installed);
        let modules_before = before.as_ref().map(|before| before.modules.clone());
        // What it served alone is released, which is a turn of its own.
        drop(before);
        self.turn(|node, now| node.handle_install(now, plan));
        self.forget_unused(&modules_before.unwrap_or_default());
        Ok(())
    }

    /// Errors with 409 `conflict` when another app has other files at a bundle's address.
    fn check_files(&self, app: &Address, bundle: &Address, files: &LiteMap<String, FileEntry>) -> Result<(), Failure> {
        let apps = self.0.apps.borrow();
        match apps.bundles.get(bundle).and_then(Weak::upgrade) {
            Some(served) if *served.files != *files && apps.is_shared(&served, app) => {
                Err(Failure::conflict("another app has other files at this bundle's address").at(bundle))
            }
            _ => Ok(()),
        }
    }

    /// Serves the files of a bundle by message, at its address. Errors with 409 `conflict` when another app has other files
    /// there: one publisher must not say what is in another's bundle.
    fn serve_files(
        &self,
        app: &Address,
        bundle: &Address,
        files: &LiteMap<String, FileEntry>,
    ) -> Result<Rc<ServedBundle>, Failure> {
        let known = self.0.apps.borrow().bundles.get(bundle).and_then(Weak::upgrade);
        match known {
            Some(served) if *served.files == *files => return Ok(served),
            Some(served) if self.0.apps.borrow().is_shared(&served, app) => {
                return Err(Failure::conflict("another app has other files at this bundle's address").at(bundle));
            }
            // Only the app itself had these before.
            Some(served) => {
                drop(served);
                self.uninstall(app);
            }
            None => {}
        }
        let files = Rc::new(files.clone());
        let handler = bundle_files::handler(self, Rc::clone(&files));
        let names = bundle_files::OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
        let served = self.serve(bundle, Operations::Named(names), handler)?.with_events(&[]);
        let served = Rc::new(ServedBundle { files, _served: served });
        self.0.apps.borrow_mut().bundles.insert(bundle.clone(), Rc::downgrade(&served));
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

/// The files that a side runs of a manifest: the modules of its mechtrons.
pub(crate) fn modules(manifest: &Manifest, side: Side) -> Vec<FileEntry> {
    let mut modules: Vec<FileEntry> = Vec::new();
    for placed in mechtrons(manifest, side).map(|(_, placed)| placed) {
        let config = manifest.mechtrons.get(&placed.config);
        if let Some(file) = config.and_then(|config| manifest.file(&config.wasm))
            && !modules.iter().any(|known| known.sha256 == file.sha256)
        {
            modules.push(file.clone());
        }
    }
    modules
}

fn mechtrons(manifest: &Manifest, side: Side) -> impl Iterator<Item = (&String, &AppMechtron)> {
    let all = manifest.app.iter().flat_map(|app| &app.mechtrons);
    all.filter(move |(_, placed)| side.runs(placed.placement))
}

/// The schemas of a bind, as sandboxes take them.
fn contract(manifest: &Manifest, bind: &Bind) -> Rc<str> {
    let mut tables = [Map::new(), Map::new(), Map::new()];
    let [requests, responses, events] = &mut tables;
    let add = |table: &mut Map<String, Value>, name: &String, body: &Body| {
        let schema = body.schema.as_ref().and_then(|path| manifest.schemas.get(path));
        table.extend(schema.map(|schema| (name.clone(), schema.clone())));
    };
    for (name, operation) in &bind.operations {
        add(requests, name, &operation.request);
        if let Some(response) = &operation.response {
            add(responses, name, response);
        }
    }
    for (name, body) in &bind.events {
        add(events, name, body);
    }
    if tables.iter().all(Map::is_empty) {
        return "".into();
    }
    let mut contract = Map::new();
    for (name, table) in ["requests", "responses", "events"].into_iter().zip(tables) {
        contract.insert(name.to_owned(), Value::Object(table));
    }
    Value::Object(contract).to_string().into()
}

fn plan(manifest: &Manifest, record: &AppRecord, side: Side, inline: bool) -> Result<AppPlan, Failure> {
    let broken = |what: String| Failure::not_running(what).at(&record.bundle);
    let mut plans = Vec::new();
    for (pattern, placed) in mechtrons(manifest, side) {
        let config = manifest.mechtrons.get(&placed.config);
        let config = config.ok_or_else(|| broken(format!("the bundle has no mechtron config {}", placed.config)))?;
        let file = manifest.file(&config.wasm);
        let file = file.ok_or_else(|| broken(format!("the bundle has no file {}", config.wasm)))?;
        let bind = manifest.binds.get(&config.bind);
        let bind = bind.ok_or_else(|| broken(format!("the bundle has no bind {}", config.bind)))?;
        let (name, keyed) = match pattern.strip_suffix(":{key}") {
            Some(name) => (name, true),
            None => (pattern.as_str(), false),
        };
        let allow = placed.allow.iter().map(|text| Grant::parse(text, Some(&record.app)));
        let allow =
            allow.collect::<Result<_, _>>().map_err(|error| broken(format!("`allow` of {pattern}: {error}")))?;
        let (bundle, publisher) = manifest.origin(&config.wasm);
        plans.push(MechtronPlan {
            name: name.to_owned(),
            keyed,
            bundle,
            publisher: publisher.to_string(),
            wasm: file.sha256,
            mechtron: config.name.clone(),
            contract: contract(manifest, bind),
            bind: Rc::new(bind.clone()),
            settings: placed.settings_over(&config.settings).to_string(),
            allow,
            state: config.state,
            limits: GuestLimits {
                memory: config.limits.memory,
                call_ms: config.limits.call_ms,
                concurrency: config.limits.concurrency,
            },
            mailbox: config.limits.mailbox as usize,
            restart_intensity: config.limits.restart.intensity,
            restart_within_ms: config.limits.restart.within_ms,
            inline,
        });
    }
    Ok(AppPlan { app: record.app.clone(), mechtrons: plans })
}
