//! Launches an app in a browser host: gets its record over the link or from the cache, and verifies its manifest and
//! modules.
//!
//! The publisher's signature covers the bytes. The server decides the version.

use std::{future::ready, rc::Rc};

use futures_util::{FutureExt, StreamExt, future, pin_mut};
use serde::Serialize;
use starlane_bundle::{AppRecord, PublicKey, SignedManifest, json};
use starlane_node::{LinkState, LinkStatus, Origin, Principal};
use starlane_protocol::{Address, Failure, Payload};

use crate::{
    apps::Installed,
    blobs::BlobError,
    host::Host,
    pin::Pin,
    verified::{Verification, VerifiedApp},
};

/// The timeout for an app's record from the server, in milliseconds.
const RECORD_TIMEOUT_MS: u32 = 10_000;
/// The same if the store has a record. It is short, because some browsers do not report that no server listens.
const AT_HAND_TIMEOUT_MS: u32 = 3_000;

/// The codes of an intact manifest that does not verify. Fetching it again would not help.
const FINAL: [&str; 2] = ["expired", "untrusted"];

/// The request for an app's record.
#[derive(Serialize)]
struct Asked<'a> {
    app: &'a Address,
}

/// The options of a launch.
pub struct LaunchOptions {
    /// The trusted publishers, whose bundles may run here.
    pub trust: Vec<PublicKey>,
    /// Whether to run guests in the page's own thread. It has less latency, but only trusted guests should run there.
    pub inline: bool,
    /// Called while modules are loaded.
    pub on_progress: Option<Rc<dyn Fn(Progress)>>,
}

/// The progress of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The loaded bytes of modules.
    pub loaded: u64,
    /// The bytes of all required modules.
    pub total: u64,
}

/// A launched app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The app.
    pub app: Address,
    /// The revision of its record.
    pub revision: u64,
    /// Its bundle.
    pub bundle: Address,
}

impl Launched {
    fn of(record: &AppRecord) -> Self {
        Self { app: record.app.clone(), revision: record.revision, bundle: record.bundle.clone() }
    }
}

/// The reason why an app can't be launched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// It is not cached, and the server can't be reached.
    #[error("{app} is not cached here, and the server can't be reached: {reason}")]
    Offline {
        /// The app.
        app: Address,
        /// What failed.
        reason: String,
    },
    /// The server refused its record.
    #[error("the server refuses the record of {app}: {failure}")]
    Refused {
        /// The app.
        app: Address,
        /// Its answer.
        failure: Failure,
    },
    /// The record can't be used.
    #[error("the record of {app} can't be used: {reason}")]
    Record {
        /// The app.
        app: Address,
        /// What is wrong.
        reason: String,
    },
    /// The server returned an older revision than an earlier one.
    #[error(
        "the server returned revision {given} of {app}, but revision {seen} was seen earlier: an old version is refused"
    )]
    Rollback {
        /// The app.
        app: Address,
        /// The revision from the server.
        given: u64,
        /// The highest revision so far.
        seen: u64,
    },
    /// The manifest does not verify.
    #[error("the bundle {bundle} does not verify: {}", .failure.message)]
    Unverified {
        /// The bundle.
        bundle: Address,
        /// The reason, with the status 403.
        failure: Failure,
    },
    /// Its manifest or a blob can't be loaded.
    #[error("{app} can't be launched: {source}")]
    Fetch {
        /// The app.
        app: Address,
        /// Why.
        source: BlobError,
    },
    /// The bundle can't be verified now, a module can't be run, or the host refuses the app.
    #[error("{app} can't be launched: {failure}")]
    Install {
        /// The app.
        app: Address,
        /// Why.
        failure: Failure,
    },
}

impl LaunchError {
    /// Makes the error from a verifier's failure. 403 means that the bundle does not verify; any other status, that it
    /// could not be verified.
    fn of_verifier(record: &AppRecord, failure: Failure) -> Self {
        match failure.status {
            403 => Self::Unverified { bundle: record.bundle.clone(), failure },
            _ => Self::Install { app: record.app.clone(), failure },
        }
    }

    /// Returns the stable code, which JavaScript sees.
    pub fn code(&self) -> &str {
        match self {
            Self::Offline { .. } => "offline",
            Self::Refused { failure, .. } | Self::Install { failure, .. } | Self::Unverified { failure, .. } => {
                &failure.code
            }
            Self::Record { .. } => "malformed",
            Self::Rollback { .. } => "rollback",
            Self::Fetch { source: BlobError::Source(source), .. } => source.word().0,
            Self::Fetch { .. } => "digest-mismatch",
        }
    }

    /// The HTTP-like status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { failure, .. } | Self::Install { failure, .. } | Self::Unverified { failure, .. } => {
                failure.status
            }
            Self::Record { .. } => 400,
            Self::Rollback { .. } => 403,
            Self::Fetch { source: BlobError::Source(source), .. } => source.word().1,
            Self::Offline { .. } | Self::Fetch { .. } => 503,
        }
    }
}

impl Host {
    /// Launches an app: runs its browser mechtrons on this host. Completes when their modules are verified and
    /// compiled.
    pub async fn launch(&self, app: &Address, options: LaunchOptions) -> Result<Launched, LaunchError> {
        let record = self.record(app).await?;
        self.runs_elsewhere(app, &options)?;
        if let Some(launched) = self.runs_already(&record, &options) {
            return Ok(launched);
        }
        let (verified, fetched) = self.verified(&record, &options.trust).await?;
        if verified.modules.iter().any(|file| !self.missing(&verified, file).is_empty()) {
            self.0.ports.sandbox.prepare();
        }
        let (pin, told) = Pin::new(&self.0.ports.bundles, &record.bundle, &verified).await;
        self.store_said(told, "that a bundle is in use can't be kept");
        if let Some(fetched) = fetched {
            let kept = self.0.ports.bundles.put_manifest(&record.bundle, fetched).await;
            self.store_said(kept, "a manifest can't be kept");
        }
        let total = verified.modules.iter().map(|file| file.size).sum();
        let mut loaded = 0;
        let progress = |loaded| {
            if let Some(on_progress) = &options.on_progress {
                on_progress(Progress { loaded, total });
            }
        };
        progress(loaded);
        for file in &verified.modules {
            let missing = self.missing(&verified, file);
            if !missing.is_empty() {
                let wasm = self.blob(&file.sha256, file.size).await;
                let wasm = wasm.map_err(|source| LaunchError::Fetch { app: app.clone(), source })?;
                let compiled = self.compile(app.space(), &file.sha256, &missing, wasm).await;
                compiled.map_err(|error| LaunchError::Install { app: app.clone(), failure: error.failure() })?;
            }
            loaded += file.size;
            progress(loaded);
        }
        // Another launch of the same or of a newer revision may have finished first.
        self.saw(&record)?;
        self.runs_elsewhere(app, &options)?;
        if let Some(launched) = self.runs_already(&record, &options) {
            return Ok(launched);
        }
        let launched = Launched::of(&record);
        let installed = match &self.0.config.resources {
            Some(resources) => resources.launch(self, verified, record, (options.inline, pin)).await,
            None => self.install_pinned(verified, record, options.inline, None, Some(pin)),
        };
        installed.map_err(|failure| LaunchError::Install { app: app.clone(), failure })?;
        Ok(launched)
    }

    /// Returns an app that already runs in the same way. It keeps its actors, because several parts of a page may
    /// launch it.
    fn runs_already(&self, record: &AppRecord, options: &LaunchOptions) -> Option<Launched> {
        let apps = self.0.apps.borrow();
        let Installed { record: running, publisher, expires, inline, .. } = apps.apps.get(&record.app)?;
        let as_it_runs = running == record && *inline == options.inline;
        let may_run = options.trust.contains(publisher) && expires.is_none_or(|at| self.unix_seconds() < at);
        (as_it_runs && may_run).then(|| Launched::of(record))
    }

    /// Returns 409 `conflict` if the app runs in workers but should run inline, or the reverse: a change would end
    /// actors that are in use.
    fn runs_elsewhere(&self, app: &Address, options: &LaunchOptions) -> Result<(), LaunchError> {
        let runs_inline = self.0.apps.borrow().apps.get(app).map(|installed| installed.inline);
        let message = match runs_inline {
            Some(true) if !options.inline => "it already runs inline: launch it with `inline: true`, or stop it first",
            Some(false) if options.inline => "it already runs in workers: launch it without `inline`, or stop it first",
            _ => return Ok(()),
        };
        Err(LaunchError::Install { app: app.clone(), failure: Failure::conflict(message) })
    }

    /// Records the revision of a record. Returns an error if an earlier record was newer.
    fn saw(&self, record: &AppRecord) -> Result<(), LaunchError> {
        let saw = self.0.apps.borrow_mut().saw(&record.app, record.revision);
        saw.map_err(|seen| LaunchError::Rollback { app: record.app.clone(), given: record.revision, seen })
    }

    /// Returns the record of an app from the server, or from the store if the server can't be reached.
    async fn record(&self, app: &Address) -> Result<AppRecord, LaunchError> {
        let kept = self.0.ports.records.record(app).await.unwrap_or_else(|error| {
            self.store_said(Err(error), "an app record can't be read");
            None
        });
        if let Some(kept) = &kept {
            let _ = self.saw(kept);
        }
        let failure = match self.record_from_server(app, kept.is_some()).await {
            Ok(reply) => {
                let record: AppRecord = json::from_slice(&reply.body)
                    .map_err(|error| LaunchError::Record { app: app.clone(), reason: error.to_string() })?;
                if record.app != *app {
                    let reason = format!("it is the record of {}", record.app);
                    return Err(LaunchError::Record { app: app.clone(), reason });
                }
                self.saw(&record)?;
                // Another tab may have stored a higher revision meanwhile, which also applies here.
                let record = self.0.ports.records.put_record(record.clone()).await.unwrap_or_else(|error| {
                    self.store_said(Err(error), "an app record can't be kept");
                    record
                });
                self.saw(&record)?;
                return Ok(record);
            }
            Err(failure) => failure,
        };
        let away = ["unreachable", "link-lost", "deadline"].contains(&failure.code.as_str());
        match kept {
            // A server that can't answer now counts as unreachable. A refusal of the server is final.
            Some(kept) if away || failure.status == 429 || failure.status >= 500 => self.saw(&kept).map(|()| kept),
            None if away => Err(LaunchError::Offline { app: app.clone(), reason: failure.message }),
            _ => Err(LaunchError::Refused { app: app.clone(), failure }),
        }
    }

    /// Requests the record from the server. If the store has a record, waits for a shorter time, and only while the
    /// link is up.
    async fn record_from_server(&self, app: &Address, at_hand: bool) -> Result<Payload, Failure> {
        let apps = Address::parse("starlane:apps").map_err(|error| Failure::internal(error.to_string()))?;
        let asked = serde_json::to_string(&Asked { app });
        let body = Payload::json(asked.map_err(|error| Failure::internal(error.to_string()))?);
        let origin = Origin { address: self.own_address(), caller: Principal::default() };
        let patience = if at_hand { AT_HAND_TIMEOUT_MS } else { RECORD_TIMEOUT_MS };
        let asked = self.request(&origin, &apps, "get", body, patience);
        if !at_hand {
            return asked.await;
        }
        let down = || Failure::unreachable("the link to the server is down");
        let is_down = |status: &LinkStatus| status.state == LinkState::Down;
        if is_down(&self.link_status()) {
            return Err(down());
        }
        let went_down = self.watch_link().filter(|status| ready(is_down(status))).into_future();
        pin_mut!(asked);
        match future::select(asked, went_down.boxed_local()).await {
            future::Either::Left((reply, _)) => reply,
            future::Either::Right(_) => Err(down()),
        }
    }

    /// Verifies the app of a record. The manifest comes from the store, or else from the source; a fetched one is also
    /// returned.
    async fn verified(
        &self,
        record: &AppRecord,
        trust: &[PublicKey],
    ) -> Result<(VerifiedApp, Option<SignedManifest>), LaunchError> {
        let (store, source) = (&self.0.ports.bundles, &self.0.ports.source);
        match store.manifest(&record.bundle).await {
            Ok(Some(kept)) => {
                let is_named = kept.digest() == record.manifest;
                match self.verify(kept, record, trust).await {
                    Ok(verified) => return Ok((verified, None)),
                    // The manifest is intact and signed, and has the record's digest. Fetching it again would give the
                    // same.
                    Err(failure) if failure.status != 403 || (is_named && FINAL.contains(&failure.code.as_str())) => {
                        return Err(LaunchError::of_verifier(record, failure));
                    }
                    Err(_) => {}
                }
            }
            Ok(None) => {}
            Err(error) => self.store_said(Err(error), "a manifest can't be read"),
        }
        let fetched = source.manifest(&record.bundle).await;
        let fetched = fetched
            .map_err(|error| LaunchError::Fetch { app: record.app.clone(), source: BlobError::Source(error) })?;
        let verified = self
            .verify(fetched.clone(), record, trust)
            .await
            .map_err(|failure| LaunchError::of_verifier(record, failure))?;
        Ok((verified, Some(fetched)))
    }

    async fn verify(
        &self,
        signed: SignedManifest,
        record: &AppRecord,
        trust: &[PublicKey],
    ) -> Result<VerifiedApp, Failure> {
        let verification = Verification {
            manifest: signed.bytes,
            signature: signed.signature,
            bundle: record.bundle.clone(),
            digest: record.manifest,
            trusted: trust.to_vec(),
            now: self.unix_seconds(),
            app: record.app.clone(),
            kinds: self.kinds(),
        };
        self.0.ports.verifier.verify(verification).await
    }

    fn unix_seconds(&self) -> u64 {
        self.0.ports.time.unix_ms() / 1000
    }
}
