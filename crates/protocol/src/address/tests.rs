use proptest::prelude::*;

use super::*;

const HOST: &str = "~abcdefghijklmnopqrstuvwxyz";

#[test]
fn the_parts_of_an_address_are_found() {
    let bundle = Address::parse("acme:repo:profiles:1.4.0-rc.1:/site/index.html").unwrap();
    assert_eq!(bundle.segments().collect::<Vec<_>>(), ["acme", "repo", "profiles"]);
    assert_eq!(bundle.version(), Some("1.4.0-rc.1"));
    assert_eq!(bundle.path(), Some("/site/index.html"));
    assert_eq!(bundle.without_path().as_str(), "acme:repo:profiles:1.4.0-rc.1");
    assert_eq!(bundle.without_path().path(), None);

    let there = Address::parse(&format!("{HOST}::acme:profiles:profile:ada")).unwrap();
    assert_eq!(there.host().unwrap().to_string(), HOST);
    assert_eq!(there.space(), "acme");
    assert_eq!(there.without_host().as_str(), "acme:profiles:profile:ada");
    assert_eq!(there.without_host().on_host(&there.host().unwrap()), Some(there.clone()));
    let long = Address::parse(&["a"; 250].join(":")).unwrap();
    assert_eq!(long.on_host(&HostName::parse(&format!("~{}", "a".repeat(26))).unwrap()), None, "over 512 bytes");
    assert!(there.is_within(&Address::parse("acme:profiles").unwrap()));
    assert!(!there.is_within(&Address::parse("acme:profile").unwrap()));

    let files = Address::parse("acme:files:/a/b").unwrap();
    assert_eq!((files.version(), files.path()), (None, Some("/a/b")));
}

#[test]
fn relative_addresses_belong_to_their_app() {
    let app = Address::parse("acme:profiles").unwrap();
    assert_eq!(Address::resolve(".:profile:ada", &app).unwrap().as_str(), "acme:profiles:profile:ada");
    assert_eq!(Topic::resolve(".:directory#changes", &app).unwrap().to_string(), "acme:profiles:directory#changes");
    assert_eq!(Address::resolve("bob:x", &app).unwrap().as_str(), "bob:x");
}

#[test]
fn invalid_addresses_are_refused_with_the_byte() {
    for (text, offset) in [
        ("", 0),
        (":", 0),
        ("acme:", 5),
        ("acme::x", 0),
        ("Acme", 0),
        ("acme:pröfile", 7),
        ("acme:-x", 5),
        ("1.0.0", 0),
        ("acme:1.0.0:x", 11),
        ("acme:1.0.x", 5),
        ("/x", 0),
        ("acme:/", 6),
        ("acme:/a/../b", 8),
        ("acme:/a//b", 8),
        ("acme:/a b", 7),
        ("~short::acme", 0),
        ("acme profile", 4),
    ] {
        assert_eq!(Address::parse(text).unwrap_err().offset, offset, "{text}");
    }
    assert!(Address::parse(&"a".repeat(64)).is_err());
    assert!(Address::parse(&vec!["a"; 300].join(":")).is_err());
    assert!(Topic::parse("acme:x").is_err());
    assert!(Topic::parse("acme:x#").is_err());
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_and_what_parses_prints_itself(text in "[a-z0-9:./~#_-]{0,40}") {
        if let Ok(address) = Address::parse(&text) {
            prop_assert_eq!(address.as_str(), &text);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = (Address::parse(&text), Topic::parse(&text));
    }
}
