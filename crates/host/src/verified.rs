//! The parts of a verified bundle that one side runs. Its form is CBOR, because a page verifies bundles in a separate
//! module, which it loads when it launches its first app.

use std::future::ready;

use futures_util::future::LocalBoxFuture;
use litemap::LiteMap;
use minicbor::{Decode, Encode};
use serde_json::{Map, Value};
use starlane_bundle::{
    AppMechtron, Digest, FileEntry, KindSet, Manifest, Placement, PublicKey, ResourceKind, Signature, SignedManifest,
    table,
};
use starlane_node::{AppPlan, MechtronPlan, guest::GuestLimits};
use starlane_protocol::{Address, AddressError, Failure, Grant};

/// The side of an app that a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The mechtrons and resources in browsers: in every page that launches the app.
    Browser,
    /// The mechtrons and resources on the server.
    Server,
}

impl Side {
    fn host(self) -> &'static str {
        match self {
            Self::Browser => "this page",
            Self::Server => "this server",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Browser => "set `placement = \"server\"` in app.toml, and publish the bundle again",
            Self::Server => "remove it from app.toml, or use a server that has a driver for it",
        }
    }

    fn runs(self, placement: Placement) -> bool {
        match placement {
            Placement::Both => true,
            Placement::Browser => self == Self::Browser,
            Placement::Server => self == Self::Server,
        }
    }
}

/// The parts of a verified app that one side runs.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct VerifiedApp {
    /// The key that signed its manifest.
    #[n(0)]
    pub publisher: PublicKey,
    /// When it expires, in seconds since the Unix epoch.
    #[n(1)]
    pub expires: Option<u64>,
    /// The modules of its mechtrons on this side, without duplicates.
    #[n(2)]
    pub modules: Vec<FileEntry>,
    /// The modules of all mechtrons of its bundle, by path.
    #[cbor(n(5), with = "table::cbor")]
    pub wasm: LiteMap<String, Digest>,
    /// The files of its bundle, and of each bundle that it uses.
    #[n(3)]
    pub bundles: Vec<BundleFiles>,
    /// Its mechtrons on this side.
    #[n(4)]
    pub plan: AppPlan,
    /// Its other resources on this side, as JSON. Only a host with drivers reads it.
    #[n(6)]
    pub resources: String,
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
    /// Returns the parts of a manifest that a side runs, for the app at `app`. `kinds` are the kinds of resources with
    /// drivers. Returns 501 `not-supported` for a resource of another kind, and 503 `not-running` if a mechtron cannot
    /// be planned.
    pub fn of(manifest: &Manifest, app: &Address, side: Side, kinds: KindSet) -> Result<Self, Failure> {
        let resources = resources(manifest, app, side, kinds)?;
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
            resources,
        })
    }

    /// Returns the memory limits of a module's mechtrons on this side, in bytes, without duplicates.
    pub(crate) fn memories(&self, module: &Digest) -> Vec<u64> {
        let mut memories = Vec::new();
        for mechtron in self.plan.mechtrons.iter().filter(|mechtron| mechtron.wasm == *module) {
            if !memories.contains(&mechtron.limits.memory) {
                memories.push(mechtron.limits.memory);
            }
        }
        memories
    }

    /// Reads the reply of [`verify`]. Returns its failure, or 500 `internal` for invalid bytes.
    pub fn from_answer(answer: &[u8]) -> Result<Self, Failure> {
        minicbor::decode(answer)
            .unwrap_or_else(|_| Err(Failure::internal("the verifier of bundles has another version")))
    }
}

/// The request to a [`Verifier`](crate::ports::Verifier). It checks that a manifest belongs to a bundle, has the digest
/// of the app record, has a trusted signature of exactly these bytes, follows all rules, and has not expired.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Verification {
    /// The manifest's exact bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// The signature over them.
    #[n(1)]
    pub signature: Signature,
    /// The bundle to which it must belong.
    #[n(2)]
    pub bundle: Address,
    /// The digest that it must have.
    #[n(3)]
    pub digest: Digest,
    /// The trusted keys.
    #[n(4)]
    pub trusted: Vec<PublicKey>,
    /// The time, in seconds since the Unix epoch.
    #[n(5)]
    pub now: u64,
    /// The app.
    #[n(6)]
    pub app: Address,
    /// The kinds of resources for which the page has drivers.
    #[n(7)]
    pub kinds: KindSet,
}

impl Verification {
    /// Returns this as bytes for [`verify`].
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Verifies the manifest, and returns the parts that pages run. Returns 403 with the code of a
    /// [`VerifyError`](starlane_bundle::VerifyError).
    pub fn run(self) -> Result<VerifiedApp, Failure> {
        let Self { manifest, signature, bundle, digest, trusted, now, app, kinds } = self;
        let signed = SignedManifest { bytes: manifest, signature };
        let manifest = Manifest::verify(&signed, &bundle, &digest, &trusted, now)
            .map_err(|error| Failure::new(403, error.code(), error.to_string()))?;
        VerifiedApp::of(&manifest, &app, Side::Browser, kinds)
    }
}

/// Performs a [`Verification`] in the form of bytes. [`VerifiedApp::from_answer`] reads the reply. The reply to invalid
/// bytes is 400 `malformed`.
pub fn verify(question: &[u8]) -> Vec<u8> {
    let question = minicbor::decode(question).map_err(|_| Failure::malformed("the request is not a verification"));
    to_bytes(&question.and_then(Verification::run))
}

/// Writing to memory never fails.
fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

/// Verifies in this program, on the same thread.
pub struct LocalVerifier;

impl crate::ports::Verifier for LocalVerifier {
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>> {
        Box::pin(ready(verification.run()))
    }
}

/// Returns the module files of a manifest that a side runs.
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

/// Returns the mechtrons of a manifest's app that a side runs.
fn mechtrons(manifest: &Manifest, side: Side) -> impl Iterator<Item = (&String, &AppMechtron)> {
    let all = manifest.app.iter().flat_map(|app| &app.mechtrons);
    all.filter(move |(_, placed)| side.runs(placed.placement))
}

/// Returns the resources of a manifest's app that a side serves, as JSON.
fn resources(manifest: &Manifest, app: &Address, side: Side, kinds: KindSet) -> Result<String, Failure> {
    let all = manifest.app.iter().flat_map(|config| &config.resources);
    let mut served = Map::new();
    for (name, resource) in all.filter(|(_, resource)| side.runs(resource.placement)) {
        if !kinds.contains(resource.kind) {
            let missing = NoDriver { name: name.clone(), kind: resource.kind, side, kinds };
            return Err(Failure::new(501, "not-supported", missing.to_string()).at(app));
        }
        served.insert(name.clone(), resource.written().into());
    }
    Ok(if served.is_empty() { String::new() } else { Value::Object(served).to_string() })
}

/// The error for a resource of a kind for which a host has no driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the resource `{name}` is of kind `{kind}`, which {} can't serve; it serves: {kinds}; {}", .side.host(), .side.advice())]
pub struct NoDriver {
    /// The resource, by its name in the app.
    pub name: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// The side that should serve it.
    pub side: Side,
    /// The kinds for which this host has drivers.
    pub kinds: KindSet,
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
            contract: bind.contract(&manifest.schemas).into(),
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
