//! Dev-only helpers of tests.
