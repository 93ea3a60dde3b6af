//! Statuses and codes of failures. The SDK makes its failures of them, and a test compares those of hosts.

/// A status, with HTTP's meaning, and a stable word for programs.
pub type Code = (u16, &'static str);

/// Codes that hosts and guests give alike.
pub mod shared {
    use super::Code;

    /// The message cannot be read.
    pub const MALFORMED: Code = (400, "malformed");
    /// The resource has no such thing.
    pub const NOT_FOUND: Code = (404, "not-found");
    /// The resource has no such operation.
    pub const NO_OPERATION: Code = (404, "no-operation");
    /// The present state does not allow it.
    pub const CONFLICT: Code = (409, "conflict");
    /// A limit on size was exceeded.
    pub const TOO_LARGE: Code = (413, "too-large");
    /// The guest trapped, broke a rule, or failed by its own account.
    pub const GUEST_FAILED: Code = (500, "guest-failed");
}

/// Codes that hosts give, and no constructor of the SDK.
pub mod host {
    use super::Code;

    /// No grant allows it: the message did not reach the resource.
    pub const NO_GRANT: Code = (403, "no-grant");
    /// The body does not fit the bind's schema.
    pub const SCHEMA_MISMATCH: Code = (422, "schema-mismatch");
    /// The host itself could not do its part.
    pub const INTERNAL: Code = (500, "internal");
}

/// Codes that guests give: a caller can tell from them that the resource itself decided.
pub mod guest {
    use super::Code;

    /// The resource does not allow it to this caller, whatever grants say.
    pub const FORBIDDEN: Code = (403, "forbidden");
    /// The body fits the schema, and a value in it is not allowed.
    pub const INVALID: Code = (422, "invalid");
}
