#![doc = include_str!("../README.md")]

mod actor;
mod actors;
mod allow;
mod app;
mod crashes;
mod dead_letters;
mod effect;
mod entry;
mod events;
mod forget;
pub mod guest;
mod inspect;
mod limits;
mod link;
mod links;
mod node;
mod overdue;
mod principal;
mod reports;
mod requests;
mod shares;
mod starts;
mod stats;
mod timers;
mod topics;
mod uplink;
mod usage;

pub use app::{Allow, AppPlan, MechtronPlan};
pub use effect::{Effect, HandlerId, Incoming, LinkState, Notice, Origin, RequestId, SocketId, SubscriptionId};
pub use inspect::{ActorView, LinkView};
pub use limits::ActorLimits;
pub use link::{Goodbye, LinkConfig};
pub use node::{Node, NodeConfig, Operations};
pub use principal::{Authenticated, Authentication, Principal};
pub use stats::{LATENCY_MS, Stats};
pub use usage::PrincipalLimits;
