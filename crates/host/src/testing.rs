//! In-memory ports, virtual time, and the contract suites that every back-end runs in its own tests.

pub mod actor_suite;
pub mod launch_suite;
pub mod launch_tries;
pub mod launch_world;
pub mod memory;
pub mod memory_resource;
pub mod module_table;
pub mod resource_suite;
pub mod sandbox_suite;
pub mod schema_suite;
pub mod state_suite;
pub mod store_suite;
pub mod virtual_time;
