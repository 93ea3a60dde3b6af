//! The views of a node for people.

use serde::Serialize;
use starlane_bundle::Digest;
use starlane_protocol::Address;

use crate::{actor::Life, guest::InstanceId, leaving::Leave, node::Node, stats::Stats};

/// An actor, for people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorView {
    /// Its address.
    pub address: Address,
    /// `asleep`, `starting` (or it waits for others to sleep), `awake`, `back-off` or `quarantined`.
    pub state: &'static str,
    /// Its instance, while it has one.
    #[serde(skip)]
    pub instance: Option<InstanceId>,
    /// The module that it runs.
    pub wasm: Digest,
    /// The number of waiting messages.
    pub mailbox: usize,
    /// The number of messages that it has received and not ended.
    pub unfinished: usize,
    /// The number of recent crashes.
    pub crashes: usize,
    /// Whether some of its state is not saved yet.
    pub unsaved: bool,
    /// When its state was last saved, on the clock of the node, which may have started later.
    #[serde(skip)]
    pub saved_at: Option<i64>,
}

/// A link, for people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// The name of the other host, known after its hello.
    pub peer: Option<String>,
    /// The principal of the link.
    pub principal: String,
    /// Whether the link carries messages.
    pub up: bool,
    /// The addresses that the peer serves.
    pub serves: Vec<Address>,
}

impl Node {
    /// The actors of this node: those in memory by address, then those that are only in the store.
    pub fn actors(&self) -> Vec<ActorView> {
        let in_memory = self
            .by_address
            .values()
            .filter_map(|id| self.actors.get(id))
            .filter(|actor| !matches!(actor.leave, Some(Leave::End)))
            .map(|actor| ActorView {
                address: actor.address.clone(),
                state: match actor.life {
                    Life::Asleep => "asleep",
                    Life::Waiting | Life::Starting(_) => "starting",
                    Life::Awake(_) => "awake",
                    Life::BackOff(_) => "back-off",
                    Life::Quarantined(_) => "quarantined",
                },
                instance: actor.instance(),
                wasm: actor.role.plan.wasm,
                mailbox: actor.mailbox.len(),
                unfinished: actor.unfinished.len(),
                crashes: actor.crashes.len(),
                unsaved: actor.keeping.is_unsaved(),
                saved_at: actor.keeping.saved_at,
            });
        let away = self.owners.away().filter_map(|(address, away)| {
            Some(ActorView {
                address: address.clone(),
                state: "asleep",
                instance: None,
                wasm: self.apps.role(address)?.plan.wasm,
                mailbox: 0,
                unfinished: 0,
                crashes: 0,
                unsaved: false,
                saved_at: away.saved_at,
            })
        });
        in_memory.chain(away).collect()
    }

    /// The links of this node.
    pub fn links(&self) -> Vec<LinkView> {
        let view = |link: &crate::link::Link| LinkView {
            peer: link.session.peer.map(|peer| peer.to_string()),
            principal: link.session.principal.name().to_owned(),
            up: link.is_up(),
            serves: link.session.served.keys().cloned().collect(),
        };
        // A link that was never up and has no socket is not shown.
        let shown = self.links.values().filter(|link| link.socket().is_some() || link.is_detached());
        shown.map(|link| view(link)).collect()
    }

    /// The counters of this node.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The number of open requests.
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }
}
