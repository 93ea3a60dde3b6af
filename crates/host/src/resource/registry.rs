//! The drivers of a host, and the resources that are open.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use futures_util::future::LocalBoxFuture;
use starlane_bundle::{AppRecord, KindSet, ResourceKind};
use starlane_protocol::{Address, Failure, Message, Outcome};

use super::{Change, Driver, Files, Kept, Place, Prepared, Resource, Resources, Version, read};
use crate::{
    handler::{Handler, Served},
    host::Host,
    pin::Pin,
    verified::VerifiedApp,
};

/// The drivers of a host, and the resources that are open. Clones share both.
#[derive(Clone)]
pub struct Registry(Rc<Inner>);

struct Inner {
    drivers: Vec<Rc<dyn Driver>>,
    open: RefCell<BTreeMap<Address, Weak<Open>>>,
}

/// A resource that is served.
struct Open {
    kind: ResourceKind,
    resource: Rc<dyn Resource>,
    _served: Served,
}

/// A resource as the handler at its address.
struct Answers(Rc<dyn Resource>);

impl Handler for Answers {
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome> {
        self.0.handle(message)
    }
}

impl Registry {
    /// A registry of these drivers, one for each kind.
    pub fn new(drivers: Vec<Rc<dyn Driver>>) -> Self {
        Self(Rc::new(Inner { drivers, open: RefCell::default() }))
    }

    /// The stored data of the resources of all kinds on this host.
    pub fn kept(&self) -> Vec<Kept> {
        self.0.drivers.iter().filter_map(|driver| driver.kept()).collect()
    }

    fn driver(&self, kind: ResourceKind) -> Result<&Rc<dyn Driver>, Failure> {
        let found = self.0.drivers.iter().find(|driver| driver.kind() == kind);
        found.ok_or_else(|| Failure::not_running(format!("this host has no driver for the kind `{kind}`")))
    }

    fn known(&self, address: &Address) -> Option<Rc<Open>> {
        self.0.open.borrow().get(address).and_then(Weak::upgrade)
    }

    /// The resource at a place, served.
    fn open(&self, host: &Host, place: &Place, kind: ResourceKind) -> Result<Rc<Open>, Failure> {
        if let Some(known) = self.known(&place.address) {
            return match known.kind == kind {
                true => Ok(known),
                false => Err(Failure::conflict(format!(
                    "`{}` is a resource of kind `{}` now, and can't become one of kind `{kind}`; give the new one another name",
                    place.name, known.kind
                ))),
            };
        }
        let driver = self.driver(kind)?;
        let resource = driver.open(place)?;
        let answers = Rc::new(Answers(Rc::clone(&resource)));
        let served = driver.bound().serve(host, &place.address, answers)?;
        let open = Rc::new(Open { kind, resource, _served: served });
        let mut all = self.0.open.borrow_mut();
        all.retain(|_, open| open.strong_count() > 0);
        all.insert(place.address.clone(), Rc::downgrade(&open));
        Ok(open)
    }

    async fn prepare_all(
        self,
        host: Host,
        app: Address,
        resources: String,
        files: Files,
        (from, to): (u64, u64),
    ) -> Result<Box<dyn Prepared>, Failure> {
        let resources = read(&resources)?;
        for driver in &self.0.drivers {
            driver.settle(&app, from).await?;
        }
        let mut prepared = Ready::default();
        for (name, wanted) in resources {
            let place = Place::new(&app, &name)?;
            let version = Version { from, to, settings: wanted.settings, files: files.clone() };
            let changed = match self.open(&host, &place, wanted.kind) {
                Ok(open) => open.resource.prepare(version).await.map(|change| (open, change)),
                Err(failure) => Err(failure),
            };
            match changed {
                Ok((open, change)) => {
                    prepared.open.push(open);
                    prepared.changes.push(change);
                }
                Err(failure) => {
                    Box::new(prepared).abandon().await;
                    return Err(failure.at(&place.address));
                }
            }
        }
        Ok(Box::new(prepared))
    }
}

impl Resources for Registry {
    fn kinds(&self) -> KindSet {
        self.0.drivers.iter().map(|driver| driver.kind()).collect()
    }

    fn prepare(
        &self,
        host: &Host,
        app: &VerifiedApp,
        revisions: (u64, u64),
    ) -> LocalBoxFuture<'static, Result<Box<dyn Prepared>, Failure>> {
        // The bundle of the app itself is the first.
        let entries = app.bundles.first().map(|bundle| bundle.files.clone()).unwrap_or_default();
        let files = Files { host: host.clone(), entries: Rc::new(entries) };
        let (app, resources) = (app.plan.app.clone(), app.resources.clone());
        Box::pin(self.clone().prepare_all(host.clone(), app, resources, files, revisions))
    }

    fn launch(
        &self,
        host: &Host,
        app: VerifiedApp,
        record: AppRecord,
        (inline, pin): (bool, Pin),
    ) -> LocalBoxFuture<'static, Result<(), Failure>> {
        let running = host.0.apps.borrow().apps.get(&record.app).map(|installed| installed.record.revision);
        let prepared = self.prepare(host, &app, (running.unwrap_or(record.revision), record.revision));
        let host = host.clone();
        Box::pin(async move {
            let prepared = prepared.await?;
            let saw = host.0.apps.borrow_mut().saw(&record.app, record.revision);
            if let Err(newer) = saw {
                prepared.abandon().await;
                let message = format!("revision {newer} of it was launched meanwhile");
                return Err(Failure::conflict(message).at(&record.app));
            }
            host.install_pinned(app, record, inline, Some(prepared), Some(pin))
        })
    }

    fn of(&self, app: &VerifiedApp) -> Result<Vec<Rc<dyn Resource>>, Failure> {
        let of_kind = |(name, wanted): (String, starlane_bundle::AppResource)| {
            let place = Place::new(&app.plan.app, &name)?;
            match self.known(&place.address) {
                Some(open) => Ok(Rc::clone(&open.resource)),
                None => self.driver(wanted.kind)?.open(&place),
            }
        };
        read(&app.resources)?.into_iter().map(of_kind).collect()
    }
}

/// The prepared resources.
#[derive(Default)]
struct Ready {
    open: Vec<Rc<Open>>,
    changes: Vec<Box<dyn Change>>,
}

impl Prepared for Ready {
    fn switch(self: Box<Self>) -> Box<dyn Any> {
        self.changes.into_iter().for_each(|change| change.switch());
        Box::new(self.open)
    }

    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            for change in self.changes {
                change.abandon().await;
            }
        })
    }
}
