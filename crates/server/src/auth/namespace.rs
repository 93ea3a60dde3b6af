//! The subjects that a limited admin can use: those of its own namespace.
//!
//! A subject that begins with `SPACE/` belongs to that space: `acme/ada`. A principal with `admin acme:**` can create and revoke
//! tokens and grants only for such subjects. A principal with `admin acme:shop:**` is limited to subjects that begin with
//! `acme/shop/`. Subjects without a space belong to the whole server and require every permission (`admin ~*::**`).

use starlane_host::Principal;
use starlane_protocol::{Address, Failure, Verb};

use super::may_everything;

/// The namespaces of a subject, outermost first: that of all spaces, `""`, then `acme` and `acme/shop` for `acme/shop/ada`. Empty
/// for a subject without a space.
pub(super) fn namespaces_of(subject: &str) -> impl Iterator<Item = &str> {
    let of_space = subject.split_once('/').is_some_and(|(space, rest)| {
        !rest.is_empty() && Address::parse(space).is_ok_and(|address| address.as_str() == address.space())
    });
    let ends = std::iter::once(0).chain(subject.match_indices('/').map(|(at, _)| at));
    ends.filter_map(move |end| subject.get(..end)).filter(move |_| of_space)
}

/// The namespaces that a principal administers, in the form of [`namespaces_of`].
pub(super) fn administered(caller: &Principal) -> Vec<String> {
    let admin = caller.grants().iter().filter(|held| held.verb() == Verb::Admin);
    let above = admin.filter_map(|held| {
        let pattern = held.pattern().to_string();
        let bare = pattern.strip_prefix("~*::").unwrap_or(&pattern);
        let above = bare.strip_suffix("**")?.trim_end_matches(':').replace(':', "/");
        (!above.contains('*')).then_some(above)
    });
    above.collect()
}

/// Errors with 403 if the caller cannot use a subject; the message names the allowed subjects.
pub(super) fn check(caller: &Principal, subject: &str) -> Result<(), Failure> {
    let own = administered(caller);
    if may_everything(caller) || namespaces_of(subject).any(|namespace| own.iter().any(|own| own == namespace)) {
        return Ok(());
    }
    let example = own.first().filter(|own| !own.is_empty()).map_or("SPACE", String::as_str);
    Err(Failure::no_grant(format!(
        "`{subject}` is not in your namespace: use a subject that begins with `{example}/`, or ask an admin of the whole server"
    )))
}

#[cfg(test)]
mod tests {
    use starlane_protocol::Grant;

    use super::*;

    #[test]
    fn a_limited_admin_can_use_only_subjects_of_its_namespace() {
        let may =
            |grant: &str, subject: &str| check(&Principal::new("lead", Grant::parse(grant, None)), subject).is_ok();
        for (grant, subject, expected) in [
            ("admin ~*::**", "ada", true),
            ("admin ~*::**", "acme/ada", true),
            ("admin **", "ada", false),
            ("admin **", "acme/ada", true),
            ("admin acme:**", "acme/ada", true),
            ("admin ~*::acme:**", "acme/ada", true),
            ("admin acme:**", "acme/ada@mail.example", true),
            ("admin acme:**", "acme/shop/ada", true),
            ("admin acme:**", "ada", false),
            ("admin acme:**", "acme", false),
            ("admin acme:**", "acme/", false),
            ("admin acme:**", "acme.ada", false),
            ("admin acme:**", "acme-2/ada", false),
            ("admin acme:**", "other/ada", false),
            ("admin acme:**", "other/acme/ada", false),
            ("admin acme:**", "ACME/ada", false),
            ("admin acme:**", "/acme/ada", false),
            ("admin acme:shop:**", "acme/ada", false),
            ("admin acme:shop:**", "acme/shop/ada", true),
            ("admin acme:shop:**", "acme/shop", false),
            ("admin acme:shop:**", "acme/shop-2/ada", false),
            ("admin acme:subject", "acme/ada", false),
            ("admin acme:*", "acme/ada", false),
            ("admin *:**", "acme/ada", false),
            ("admin acme:shop", "acme/ada", false),
            ("admin acme:shop", "acme/shop/ada", false),
            ("deploy acme:**", "acme/ada", false),
        ] {
            assert_eq!(may(grant, subject), expected, "{grant}: {subject}");
        }
    }
}
