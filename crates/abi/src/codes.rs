//! Statuses and codes of failures. The SDK uses them, and a test checks that hosts use the same.

/// A status with HTTP's meaning, and a stable code for programs.
pub type Code = (u16, &'static str);

/// Codes of both hosts and guests.
pub mod shared {
    use super::Code;

    /// The message cannot be read.
    pub const MALFORMED: Code = (400, "malformed");
    /// The requested thing does not exist.
    pub const NOT_FOUND: Code = (404, "not-found");
    /// The resource has no such operation.
    pub const NO_OPERATION: Code = (404, "no-operation");
    /// The present state does not allow the operation.
    pub const CONFLICT: Code = (409, "conflict");
    /// A limit on size was exceeded.
    pub const TOO_LARGE: Code = (413, "too-large");
    /// The guest trapped, broke a rule, or failed by its own account.
    pub const GUEST_FAILED: Code = (500, "guest-failed");
}

/// Codes of hosts only: the SDK has no constructors for them.
pub mod host {
    use super::Code;

    /// No grant allows the message, so it did not reach the resource.
    pub const NO_GRANT: Code = (403, "no-grant");
    /// The body does not match the bind's schema.
    pub const SCHEMA_MISMATCH: Code = (422, "schema-mismatch");
    /// The host itself failed.
    pub const INTERNAL: Code = (500, "internal");
}

/// Codes of guests only: they show a caller that the resource itself decided.
pub mod guest {
    use super::Code;

    /// The resource refuses this caller, although a grant allowed the message.
    pub const FORBIDDEN: Code = (403, "forbidden");
    /// The body matches the schema, but a value in it is not allowed.
    pub const INVALID: Code = (422, "invalid");
}
