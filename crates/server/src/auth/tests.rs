use starlane_protocol::{Address, HostSecret};

use super::*;

fn open(folder: &Path) -> Auth {
    Auth::open(folder, HostSecret([1; 32]).name(), true).unwrap()
}

#[test]
fn the_admin_token_is_created_once_and_only_its_owner_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let again = open(folder.path());
    assert_eq!(first.0.admin, again.0.admin);
    assert_eq!(again.principal(Some(&first.0.admin)).unwrap().name(), ADMIN);
    assert_eq!(again.principal(None).unwrap().name(), "");
    assert_eq!(again.principal(Some("")).unwrap_err().code, "auth-refused");
    assert_eq!(again.principal(Some(&format!("{}x", first.0.admin))).unwrap_err().code, "auth-refused");
    #[cfg(unix)]
    for file in ["admin.token", "token.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn an_empty_secret_is_refused() {
    for file in ["admin.token", "token.key"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), "\n").unwrap();
        let error = Auth::open(folder.path(), HostSecret([1; 32]).name(), true).err().unwrap();
        assert!(error.to_string().contains("delete it"));
    }
}

#[test]
fn the_first_token_turns_anonymous_access_off() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
    let (app, anybody) = (Address::parse("acme:app").unwrap(), auth.principal(None).unwrap());
    for (verb, may) in [
        (Verb::Launch, true),
        (Verb::Request, true),
        (Verb::Notify, true),
        (Verb::Serve, true),
        (Verb::Deploy, false),
        (Verb::Override, false),
        (Verb::Admin, false),
    ] {
        assert_eq!(anybody.may(verb, &app, "go"), may, "{verb:?}");
    }
    auth.create("ada", &[], 60).unwrap();
    assert!(auth.principal(None).unwrap_err().message.contains("starlane token create"));
    assert!(open(folder.path()).principal(None).is_err(), "after a restart too");
    let folder = tempfile::tempdir().unwrap();
    assert!(Auth::open(folder.path(), HostSecret([1; 32]).name(), false).unwrap().principal(None).is_err());
}

#[test]
fn tokens_and_ids_do_not_look_like_flags() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
    let made = (0..64).map(|_| auth.create("ada", &[], 60).unwrap().id);
    for typed in made.chain([fs::read_to_string(token_file(folder.path())).unwrap().trim().to_owned()]) {
        assert!(typed.chars().all(|c| c.is_ascii_alphanumeric()), "{typed}");
    }
}

#[test]
fn grants_of_a_token_and_of_the_registry_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
    let made = auth.create("ada", &["request acme:profile:{sub}".into()], 60).unwrap();
    auth.grant("ada", &["launch acme:profiles".into()]).unwrap();
    let ada = auth.authenticate(Some(&made.token)).unwrap();
    assert!(ada.remaining_ms.unwrap() > 50_000);
    let at = |text: &str| Address::parse(text).unwrap();
    assert!(ada.principal.may(Verb::Request, &at("acme:profile:ada"), "x"));
    assert!(!ada.principal.may(Verb::Request, &at("acme:profile:grace"), "x"));
    assert!(ada.principal.may(Verb::Launch, &at("acme:profiles"), ""));
    auth.remove_grants("ada", &[]).unwrap();
    assert!(!auth.principal(Some(&made.token)).unwrap().may(Verb::Launch, &at("acme:profiles"), ""));
}

#[test]
fn revocations_are_permanent_and_do_not_affect_later_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let auth = open(folder.path());
    let make = |auth: &Auth| auth.create("ada", &[], 60).unwrap();
    let (one, two) = (make(&auth), make(&auth));
    auth.revoke(&Revoke::Id(one.id.clone())).unwrap();
    assert!(auth.principal(Some(&one.token)).is_err());
    assert!(auth.principal(Some(&two.token)).is_ok());
    auth.revoke(&Revoke::Subject("ada".into())).unwrap();
    let three = make(&auth);
    let auth = open(folder.path());
    assert!(auth.principal(Some(&two.token)).unwrap_err().message.contains("revoked"));
    assert!(auth.principal(Some(&three.token)).is_ok());
    auth.revoke(&Revoke::Subject("ada".into())).unwrap();
    assert!(auth.principal(Some(&three.token)).is_err(), "in the same second too");
    assert!(auth.principal(Some(&make(&auth).token)).is_ok());
}

#[test]
fn a_principals_name_must_not_look_like_an_address() {
    for name in ["", "acme:profiles", "http:acme:x", "admin", "a\nb", &"a".repeat(201)] {
        assert_eq!(check_name(name).unwrap_err().code, "malformed", "{name}");
    }
    assert!(check_name("ada@mesh.test").is_ok());
}
