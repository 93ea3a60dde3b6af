//! Settings are checked when they are read: invalid ones are refused at the start, and by `config check`.

use std::fs;

use starlane_testkit::field_fault;

use crate::world::{Server, starlane};

#[test]
fn an_invalid_setting_is_refused_with_the_expected_form() {
    let folder = tempfile::tempdir().unwrap();
    // The flag, its value, and the expected message.
    let flags = [
        ("--allow-origin", "*", "name each origin"),
        ("--allow-origin", "localhost:5173", "http://localhost:5173"),
        ("--allow-origin", "null", "https://shop.example"),
        ("--allow-origin", "https://*.example", "name each origin"),
        ("--allow-origin", "http://a.example/path", "without a path"),
        ("--allow-origin", "http://a.example:99999", "port"),
        ("--allow-origin", "ws://a.example", "http"),
        ("--allow-origin", "http://a.example, http://b.example", ""),
        ("--allow-origin", "", ""),
        ("--allow-host", "https://mesh.example/", "write mesh.example"),
        ("--allow-host", "*.mesh.example", "name each host"),
        ("--allow-host", "mesh.example/", "mesh.example"),
        ("--allow-host", "::1", "[::1]"),
        ("--allow-host", "mesh.example:0", "65535"),
        ("--space", "acme", "acme=acme.test"),
        ("--space", "Acme=acme.test", "lower-case"),
        ("--space", "acme=https://acme.test", "write acme.test"),
        ("--space", "acme=", ""),
        ("--listen", "localhost", "127.0.0.1:7711"),
        ("--listen", "127.0.0.1", "127.0.0.1:7711"),
        ("--listen", "127.0.0.1:99999", "127.0.0.1:7711"),
        ("--log", "inof", "TARGET=LEVEL"),
        ("--log", "starlane_server=loud", "TARGET=LEVEL"),
        ("--log", "", ""),
        ("--cert", "missing.pem", "--key"),
        ("--data", "starlane.toml", "folder"),
    ];
    let mut failing = Vec::new();
    fs::write(folder.path().join("starlane.toml"), "").unwrap();
    for (flag, value, says) in flags {
        for words in [vec!["config", "check"], vec!["serve", "--listen", "127.0.0.1:0"]] {
            if words[0] == "serve" && flag == "--listen" {
                continue;
            }
            let output = starlane(folder.path()).args(&words).args([flag, value]).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let refused =
                matches!(output.status.code(), Some(1 | 2)) && told.contains(says) && !told.contains("panicked");
            if !refused {
                failing.push(format!("{words:?} {flag} {value}: {:?} {told}", output.status.code()));
            }
        }
    }
    let settings = [
        ("allow-origin = [\"*\"]", "name each origin"),
        ("allow-origin = \"http://a.example\"", "line 1"),
        ("allow-host = [\"https://mesh.example\"]", "write mesh.example"),
        ("[spaces]\nAcme = [\"acme.test\"]", "lower-case"),
        ("[spaces]\nacme = [\"acme.test\"]\nother = [\"ACME.test\"]", "two spaces"),
        ("[spaces]\nacme = [\"acme.test:80\"]\nother = [\"acme.test\"]", "two spaces"),
        ("[spaces]\nacme = \"acme.test\"", "line 2"),
        ("listen = \"localhost:7711\"", "line 1"),
        ("log = \"inof\"", "TARGET=LEVEL"),
        ("log-format = \"xml\"", "line 1"),
        ("data = \"\"", "data"),
        ("cert = \"\"\nkey = \"\"", "cert"),
        ("behind-proxy = \"yes\"", "line 1"),
        ("[limits]\nlinks = -1", ""),
        ("[limits]\nlog-line = 1", "from 256 bytes"),
        ("[limits]\nspace-storage = \"many\"", "16 MiB"),
        ("nonsense = 1", "nonsense"),
    ];
    for (text, says) in settings {
        fs::write(folder.path().join("starlane.toml"), text).unwrap();
        for words in [&["config", "check"][..], &["serve"]] {
            let output = starlane(folder.path()).args(words).args(["--config", "starlane.toml"]).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.code() != Some(1) || !told.contains(says) || told.contains("panicked") {
                failing.push(format!("{words:?} {text}: {:?} {told}", output.status.code()));
            }
        }
    }
    assert!(failing.is_empty(), "{failing:#?}");
    field_fault("F17", flags.len() * 2 + settings.len() * 2 - 3, failing.len());
}

#[test]
fn equivalent_forms_of_a_setting_are_accepted() {
    let mut failing = Vec::new();
    for (written, sent) in [
        ("http://localhost:5173/", "http://localhost:5173"),
        ("HTTP://Localhost:5173", "http://localhost:5173"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80/", "http://shop.example"),
        ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
        ("http://[0:0:0:0:0:0:0:1]:5173", "http://[::1]:5173"),
    ] {
        let server = Server::start_with(&format!("allow-origin = [\"{written}\"]\nallow-host = [\"Mesh.Example\"]\n"));
        let with = |origin: &str| server.send("GET", "/healthz", &[("origin", origin)], b"").status;
        let named = server.raw(b"GET /healthz HTTP/1.1\r\nhost: mesh.example\r\nconnection: close\r\n\r\n");
        if with(sent) != 200 || with("https://evil.example") != 403 || !named.starts_with("HTTP/1.1 200") {
            failing.push(format!("{written}: {} {named}", with(sent)));
        }
    }
    assert!(failing.is_empty(), "{failing:#?}");
    field_fault("F17", 6, failing.len());
}
