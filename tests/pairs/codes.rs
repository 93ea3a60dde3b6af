//! Codes of failures: hosts and the SDK use the table of `starlane-abi`.

use starlane_abi::codes::{Code, guest, host, shared};

type Cases<F, const N: usize> = [(fn(&str) -> F, Code); N];

#[test]
fn hosts_use_the_codes_of_the_table() {
    use starlane_protocol::Failure;
    let cases: Cases<Failure, 9> = [
        (|text| Failure::malformed(text), shared::MALFORMED),
        (|text| Failure::not_found(text), shared::NOT_FOUND),
        (|text| Failure::no_operation(text), shared::NO_OPERATION),
        (|text| Failure::conflict(text), shared::CONFLICT),
        (|text| Failure::too_large(text), shared::TOO_LARGE),
        (|text| Failure::guest_failed(text), shared::GUEST_FAILED),
        (|text| Failure::no_grant(text), host::NO_GRANT),
        (|text| Failure::schema_mismatch(text), host::SCHEMA_MISMATCH),
        (|text| Failure::internal(text), host::INTERNAL),
    ];
    for (make, (status, code)) in cases {
        let failure = make("why");
        assert_eq!((failure.status, failure.code.as_str()), (status, code));
    }
}

#[test]
fn guests_use_the_codes_of_the_table() {
    use mechtron::Failure;
    let cases: Cases<Failure, 8> = [
        (|text| Failure::malformed(text), shared::MALFORMED),
        (|text| Failure::not_found(text), shared::NOT_FOUND),
        (|text| Failure::no_operation(text, &[]), shared::NO_OPERATION),
        (|text| Failure::conflict(text), shared::CONFLICT),
        (|text| Failure::too_large(text), shared::TOO_LARGE),
        (|text| Failure::internal(text), shared::GUEST_FAILED),
        (|text| Failure::forbidden(text), guest::FORBIDDEN),
        (|text| Failure::invalid(text), guest::INVALID),
    ];
    for (make, (status, code)) in cases {
        let failure = make("why");
        assert_eq!((failure.status, &*failure.code), (status, code));
    }
}

/// A host changes invalid codes of a guest. Every code of the table must pass unchanged.
#[test]
fn codes_of_guests_pass_the_check_of_hosts() {
    for (status, code) in [guest::FORBIDDEN, guest::INVALID, shared::CONFLICT, shared::GUEST_FAILED] {
        let checked = starlane_protocol::Failure::new(status, code, "why").checked();
        assert_eq!((checked.status, checked.code.as_str()), (status, code));
    }
}
