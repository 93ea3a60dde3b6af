//! The ports on a server.
