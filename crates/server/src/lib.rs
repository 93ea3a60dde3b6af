#![doc = include_str!("../README.md")]

mod apps;
mod audit;
mod auth;
mod backup;
mod body;
mod builtin;
mod check;
mod contract;
mod data_folder;
mod data_path;
mod database;
mod disk;
mod fair;
mod handle;
mod http;
mod joint;
mod limits;
mod log;
mod names;
mod operator;
mod readiness;
mod sandbox;
mod serve;
mod socket;
mod state_store;
mod storage;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod tls;

pub use backup::{Keys, RestoreError, restore};
pub use builtin::{OWN, own_bind};
pub use check::{CheckReport, Problem, check};
pub use data_folder::server_id;
pub use http::BUILT_IN;
pub use limits::{Limit, LimitError, ServerLimits, Unit};
pub use log::{LogGuard, LogLayer, LogLines, LogShape};
pub use names::{Authority, NameError, Origin, SpaceName};
pub use sandbox::compile::child::{COMMAND as COMPILE_COMMAND, CompileBounds, compile_module, own_program};
pub use serve::{Ready, ServeConfig, ServeError, serve};
pub use tls::TlsFiles;
