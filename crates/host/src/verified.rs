//! What one side runs of a bundle, made of its manifest once that is verified. It travels as CBOR: a page has its bundles verified by
//! code that it loads when an app is launched first.

use std::{future::ready, rc::Rc};

use futures_util::future::LocalBoxFuture;
use litemap::LiteMap;
use minicbor::{Decode, Encode};
use serde_json::{Map, Value};
use starlane_bundle::{
    AppMechtron, Bind, Body, Digest, FileEntry, Manifest, Placement, PublicKey, Signature, SignedManifest, table,
};
use starlane_node::{AppPlan, MechtronPlan, guest::GuestLimits};
use starlane_protocol::{Address, AddressError, Failure, Grant};

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

/// An app whose manifest was verified, as far as one side runs it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct VerifiedApp {
    /// Who signed its manifest.
    #[n(0)]
    pub publisher: PublicKey,
    /// From when on it is not to be used, in seconds since the Unix epoch.
    #[n(1)]
    pub expires: Option<u64>,
    /// The modules of its mechtrons on this side, each once.
    #[n(2)]
    pub modules: Vec<FileEntry>,
    /// The modules of all mechtrons of its bundle, by path.
    #[cbor(n(5), with = "table::cbor")]
    pub wasm: LiteMap<String, Digest>,
    /// The files of its bundle, and of each that this one uses.
    #[n(3)]
    pub bundles: Vec<BundleFiles>,
    /// Its mechtrons on this side.
    #[n(4)]
    pub plan: AppPlan,
}

/// The files of a bundle.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct BundleFiles {
    /// The bundle's address.
    #[n(0)]
    pub address: Address,
    /// Its files, by path.
    #[cbor(n(1), with = "table::cbor")]
    pub files: LiteMap<String, FileEntry>,
}

impl VerifiedApp {
    /// What a side runs of a manifest, as the app at `app`. Errors with 503 `not-running` when a mechtron cannot be planned.
    pub fn of(manifest: &Manifest, app: &Address, side: Side) -> Result<Self, Failure> {
        let mut bundles = vec![BundleFiles { address: manifest.address.clone(), files: manifest.files.clone() }];
        for (bundle, used) in &manifest.uses {
            let address = Address::parse(bundle).map_err(AddressError::failure)?;
            bundles.push(BundleFiles { address, files: used.files.clone() });
        }
        let configs = manifest.mechtrons.values();
        let wasm =
            configs.filter_map(|config| Some((config.wasm.clone(), manifest.file(&config.wasm)?.sha256))).collect();
        Ok(Self {
            publisher: manifest.publisher,
            expires: manifest.expires,
            modules: modules(manifest, side),
            wasm,
            bundles,
            plan: plan(manifest, app, side)?,
        })
    }

    /// How much memory its mechtrons on this side give a module, in bytes; each limit once.
    pub(crate) fn memories(&self, module: &Digest) -> Vec<u64> {
        let mut memories = Vec::new();
        for mechtron in self.plan.mechtrons.iter().filter(|mechtron| mechtron.wasm == *module) {
            if !memories.contains(&mechtron.limits.memory) {
                memories.push(mechtron.limits.memory);
            }
        }
        memories
    }

    /// Reads what [`verify`] answers. Errors with what was refused, and with 500 `internal` for other bytes.
    pub fn from_answer(answer: &[u8]) -> Result<Self, Failure> {
        minicbor::decode(answer)
            .unwrap_or_else(|_| Err(Failure::internal("what verifies bundles is of another version")))
    }
}

/// What is asked of a [`Verifier`](crate::ports::Verifier): that a manifest is a bundle's, has the digest that the app record names, is
/// signed by a trusted key over these very bytes, obeys every rule, and is unexpired.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Verification {
    /// The manifest's exact bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// The signature over them.
    #[n(1)]
    pub signature: Signature,
    /// Whose manifest it must be.
    #[n(2)]
    pub bundle: Address,
    /// The digest that it must have.
    #[n(3)]
    pub digest: Digest,
    /// Whose signature counts.
    #[n(4)]
    pub trusted: Vec<PublicKey>,
    /// The time, in seconds since the Unix epoch.
    #[n(5)]
    pub now: u64,
    /// The app that is made of it.
    #[n(6)]
    pub app: Address,
}

impl Verification {
    /// This as bytes, for [`verify`].
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Verifies, and gives what pages run. Errors with 403 and the code of a [`VerifyError`](starlane_bundle::VerifyError).
    pub fn run(self) -> Result<VerifiedApp, Failure> {
        let Self { manifest, signature, bundle, digest, trusted, now, app } = self;
        let signed = SignedManifest { bytes: manifest, signature };
        let manifest = Manifest::verify(&signed, &bundle, &digest, &trusted, now)
            .map_err(|error| Failure::new(403, error.code(), error.to_string()))?;
        VerifiedApp::of(&manifest, &app, Side::Browser)
    }
}

/// Answers a [`Verification`] given as bytes, for who asks from elsewhere; [`VerifiedApp::from_answer`] reads the answer. Bytes that are
/// not a verification are refused with 400 `malformed`.
pub fn verify(question: &[u8]) -> Vec<u8> {
    let question = minicbor::decode(question).map_err(|_| Failure::malformed("what was asked is not a verification"));
    to_bytes(&question.and_then(Verification::run))
}

/// Memory takes whatever is written to it.
fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

/// Verifies in this program, on this thread.
pub struct LocalVerifier;

impl crate::ports::Verifier for LocalVerifier {
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>> {
        Box::pin(ready(verification.run()))
    }
}

/// The files that a side runs of a manifest: the modules of its mechtrons.
fn modules(manifest: &Manifest, side: Side) -> Vec<FileEntry> {
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

/// The mechtrons of a manifest's app that a side runs.
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

fn plan(manifest: &Manifest, app: &Address, side: Side) -> Result<AppPlan, Failure> {
    let broken = |what: String| Failure::not_running(what).at(&manifest.address);
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
        let allow = placed.allow.iter().map(|text| Grant::parse(text, Some(app)));
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
            bind: bind.clone(),
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
            inline: false,
        });
    }
    Ok(AppPlan { app: app.clone(), mechtrons: plans })
}
