//! What a host decides.
