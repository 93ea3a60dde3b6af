//! What a host and a guest agree on.
