#![doc = include_str!("../README.md")]

mod apps;
mod auth;
mod backup;
mod body;
mod database;
mod disk;
mod handle;
mod http;
mod limits;
mod log;
mod operator;
mod sandbox;
mod serve;
mod socket;
mod store;
mod time;
mod tls;

pub use backup::{RestoreError, restore};
pub use limits::{Limit, LimitError, Limits, Unit};
pub use log::LogLines;
pub use sandbox::check_module;
pub use serve::{Ready, ServeConfig, ServeError, serve};
pub use tls::TlsFiles;
