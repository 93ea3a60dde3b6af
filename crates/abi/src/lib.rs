#![doc = include_str!("../README.md")]

/// The guest interface, as text.
pub const WIT: &str = include_str!("../wit/mechtron.wit");

pub mod batch;
pub mod checking;
pub mod codes;
pub mod layout;
pub mod limits;
pub mod names;
