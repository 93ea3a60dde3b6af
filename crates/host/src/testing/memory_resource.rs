//! A driver whose resources store texts by key in memory. It does only what the contract suite requires.

use std::{
    collections::BTreeMap,
    future::ready,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::LocalBoxFuture;
use serde_json::{Map, Value};
use starlane_bundle::ResourceKind;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

use crate::{
    bound::Bound,
    handler::Handler,
    resource::{Archive, Change, Driver, Kept, Place, Resource, Version},
};

/// The folder that stands for memory in a backup.
const FOLDER: &str = "memory";

type Texts = BTreeMap<String, String>;

/// Stores texts by key. Clones share them.
#[derive(Clone)]
pub struct MemoryDriver {
    bound: Bound,
    all: Arc<Mutex<BTreeMap<Address, Texts>>>,
}

impl MemoryDriver {
    /// Makes an empty driver. The bind has the operations `put { key, text }` and `all`.
    pub fn new(bound: Bound) -> Self {
        Self { bound, all: Arc::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Address, Texts>) -> T) -> T {
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Driver for MemoryDriver {
    fn kind(&self) -> ResourceKind {
        ResourceKind::Keyvalue
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn open(&self, place: &Place) -> Result<Rc<dyn Resource>, Failure> {
        Ok(Rc::new(MemoryResource { driver: self.clone(), address: place.address.clone() }))
    }

    fn kept(&self) -> Option<Kept> {
        let all = Arc::clone(&self.all);
        let backup = move |archive: &mut dyn Archive| {
            let all = all.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (address, texts) in all {
                let bytes = serde_json::to_vec(&texts)?;
                archive.add(&format!("{FOLDER}/{address}"), bytes.len() as u64, &mut bytes.as_slice())?;
            }
            Ok(())
        };
        Some(Kept { name: FOLDER, backup: Arc::new(backup) })
    }
}

/// The texts at one address, from the first version in effect.
#[derive(Clone)]
struct MemoryResource {
    driver: MemoryDriver,
    address: Address,
}

impl MemoryResource {
    fn answer(&self, message: &Message) -> Outcome {
        let body: Map<String, Value> = serde_json::from_slice(&message.payload.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.driver.with(|all| {
            let gone = || Failure::not_running("no version of its app is in effect");
            let texts = all.get_mut(&self.address).ok_or_else(gone)?;
            match message.operation.as_str() {
                "put" => {
                    texts.insert(text("key"), text("text"));
                    Ok(Payload::nothing())
                }
                "all" => Ok(Payload::json(serde_json::to_vec(texts).unwrap_or_default())),
                other => Err(Failure::no_operation(format!("no operation `{other}` here"))),
            }
        })
    }
}

impl Handler for MemoryResource {
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome> {
        let resource = self.clone();
        Box::pin(async move { resource.answer(&message).map_err(|failure| failure.at(&message.to)) })
    }
}

impl Resource for MemoryResource {
    fn prepare(&self, _: Version) -> LocalBoxFuture<'static, Result<Box<dyn Change>, Failure>> {
        Box::pin(ready(Ok(Box::new(self.clone()) as Box<dyn Change>)))
    }

    fn remove(&self) -> LocalBoxFuture<'static, Result<(), Failure>> {
        self.driver.with(|all| all.remove(&self.address));
        Box::pin(ready(Ok(())))
    }
}

impl Change for MemoryResource {
    fn switch(self: Box<Self>) {
        self.driver.with(|all| all.entry(self.address.clone()).or_default().clone());
    }

    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}
