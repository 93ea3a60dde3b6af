#![doc = include_str!("../README.md")]

mod apps;
mod audit;
mod auth;
mod backup;
mod body;
mod check;
mod data_folder;
mod data_path;
mod database;
mod disk;
mod handle;
mod http;
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
mod time;
mod tls;

pub use backup::{Keys, RestoreError, restore};
pub use check::{CheckReport, Problem, check};
pub use data_folder::server_id;
pub use http::BUILT_IN;
pub use limits::{Limit, LimitError, Limits, Unit};
pub use log::{LogGuard, LogLayer, LogLines, LogShape};
pub use names::{Authority, NameError, Origin, SpaceName};
pub use sandbox::compile::child::{COMMAND as COMPILE_COMMAND, CompileBounds, compile_module, own_program};
pub use serve::{Ready, ServeConfig, ServeError, serve};
pub use tls::TlsFiles;
