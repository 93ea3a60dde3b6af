//! The inspection of a host.

use serde::Serialize;
use starlane_node::{ActorView, LinkView, Stats};
use starlane_protocol::{Address, HostName};

use crate::{blobs::BlobCounts, host::Host};

/// The state of a host at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Inspection {
    /// Its name.
    pub host: HostName,
    /// The link to its server: `connecting`, `up`, `down` or `refused`.
    pub link: &'static str,
    /// All links.
    pub links: Vec<LinkView>,
    /// The installed apps.
    pub apps: Vec<InstalledView>,
    /// The actors that have been used.
    pub actors: Vec<PlacedActor>,
    /// The numbers of loaded blobs by origin.
    pub blobs: BlobCounts,
    /// The number of open requests.
    pub open_requests: usize,
    /// The number of streams that have not ended at both ends.
    pub open_streams: usize,
}

/// An installed app.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InstalledView {
    /// The app.
    pub app: Address,
    /// The revision of its record.
    pub revision: u64,
    /// Its bundle.
    pub bundle: Address,
    /// The module files of its mechtrons: path and digest.
    pub wasm: Vec<(String, String)>,
}

/// An actor and its place.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlacedActor {
    /// The actor.
    #[serde(flatten)]
    pub actor: ActorView,
    /// Its place: `worker 2`, `inline`, `thread 0`; `None` while it sleeps.
    pub place: Option<String>,
    /// The time since its state was saved, in milliseconds; `None` if that was not since the host was opened.
    pub saved_ago_ms: Option<u64>,
}

impl Host {
    /// The counters of this host.
    pub fn stats(&self) -> Stats {
        self.0.node.borrow().stats().clone()
    }

    /// Returns the current state of this host.
    pub fn inspect(&self) -> Inspection {
        let node = self.0.node.borrow();
        let now = self.0.ports.time.now_ms();
        let place = |actor: ActorView| PlacedActor {
            saved_ago_ms: actor
                .saved_at
                .map(|at| i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(at).unsigned_abs()),
            place: actor.instance.map(|instance| self.0.ports.sandbox.place(instance)),
            actor,
        };
        let apps = self.0.apps.borrow();
        let installed = apps.apps.values().map(|installed| InstalledView {
            app: installed.record.app.clone(),
            revision: installed.record.revision,
            bundle: installed.record.bundle.clone(),
            wasm: installed.wasm.iter().map(|(path, digest)| (path.clone(), digest.to_string())).collect(),
        });
        Inspection {
            host: node.name(),
            link: self.0.link_status.borrow().state.as_str(),
            links: node.links(),
            apps: installed.collect(),
            actors: node.actors().into_iter().map(place).collect(),
            blobs: self.blob_counts(),
            open_requests: node.open_requests(),
            open_streams: node.open_streams(),
        }
    }
}
