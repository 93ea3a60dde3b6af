#![doc = include_str!("../README.md")]

mod actor;
mod actors;
mod admission;
mod allow;
mod app;
mod bucket;
mod crashes;
mod dead_letters;
mod detached;
#[cfg(test)]
mod drive;
mod effect;
mod entry;
mod events;
mod forget;
pub mod guest;
mod guest_streams;
mod inspect;
mod leaving;
mod limits;
mod link;
mod links;
mod mail;
mod maps;
mod node;
mod overdue;
mod owner;
mod parcels;
mod principal;
mod reports;
mod requests;
mod saving;
mod shares;
mod starts;
pub mod state;
mod stats;
mod streams;
mod timers;
mod topics;
mod uplink;
mod usage;

pub use app::{Allow, AppPlan, MechtronPlan};
pub use effect::{
    Effect, HandlerId, LinkState, LinkStatus, LogLine, Notice, Origin, PeerId, RequestId, SocketId, SubscriptionId,
};
pub use inspect::{ActorView, LinkView};
pub use limits::ActorLimits;
pub use link::{CloseCode, Goodbye, LinkConfig};
pub use node::{Node, NodeConfig, Operations};
pub use principal::{Authenticated, Authentication, Principal};
pub use stats::{LATENCY_MS, Stats};
pub use usage::PrincipalLimits;
