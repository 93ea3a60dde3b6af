//! How decisions get done.
