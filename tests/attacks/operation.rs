//! The grants that an admin of one space can give, the effect of revocations, and the audit log.

use serde_json::{Value, json};
use starlane_testkit::{attack, field_fault};

use crate::world::{Server, folder, starlane, through_shell};

#[test]
fn an_admin_of_a_space_cannot_use_subjects_outside_of_it() {
    let server = Server::start();
    let lead = server.token_for("lead", &["admin acme:**"]);
    server.command("starlane:grants", "add", &json!({ "principal": "ada", "grants": ["request acme:**"] }));
    let ada = server.command("starlane:tokens", "create", &json!({ "subject": "ada" })).json();
    let (id, token) = (ada["id"].as_str().unwrap(), ada["token"].as_str().unwrap());
    let outside = [
        "ada",
        "admin",
        "ACME/ada",
        "acme",
        "acme/",
        "/acme/ada",
        "acme.ada",
        "acme-x/ada",
        "other/ada",
        "other/acme/ada",
        " acme/ada",
        "acme /ada",
        "\u{202e}acme/ada",
        "lead",
    ];
    let (mut tried, mut through) = (0, Vec::new());
    let mut try_it = |to: &str, operation: &str, body: Value| {
        tried += 1;
        if server.ask(&lead, to, operation, &body).status < 300 {
            through.push(format!("{operation} {body}"));
        }
    };
    for subject in outside {
        try_it("starlane:tokens", "create", json!({ "subject": subject }));
        try_it("starlane:tokens", "create", json!({ "subject": subject, "grants": ["request acme:**"] }));
        try_it("starlane:tokens", "revoke", json!({ "subject": subject }));
        try_it("starlane:grants", "add", json!({ "principal": subject, "grants": ["request acme:**"] }));
        try_it("starlane:grants", "add", json!({ "principal": subject, "grants": [] }));
        try_it("starlane:grants", "remove", json!({ "principal": subject, "grants": ["request acme:**"] }));
        try_it("starlane:grants", "remove", json!({ "principal": subject }));
    }
    for grant in ["request other:**", "request **", "admin ~*::acme:**", "subscribe starlane:server#logs", "admin **"] {
        try_it("starlane:tokens", "create", json!({ "subject": "acme/ada", "grants": [grant] }));
        try_it("starlane:grants", "add", json!({ "principal": "acme/ada", "grants": [grant] }));
    }
    assert!(through.is_empty(), "{through:?}");
    // It can revoke neither another subject's token by its id, nor an unknown id.
    server.ask(&lead, "starlane:tokens", "revoke", &json!({ "id": id })).fails(403, "no-grant");
    server.ask(&lead, "starlane:tokens", "revoke", &json!({ "id": "unknown0" })).fails(404, "not-found");
    assert_eq!(server.ask(token, "starlane:apps", "list", &json!({})).status, 200);
    // Within its namespace it can do all of this.
    let own = json!({ "subject": "acme/ada", "grants": ["request acme:**"] });
    let made = server.ask(&lead, "starlane:tokens", "create", &own).json();
    let of_own = made["token"].as_str().unwrap();
    assert_eq!(server.ask(of_own, "starlane:apps", "list", &json!({})).status, 200);
    assert_eq!(server.ask(&lead, "starlane:tokens", "revoke", &json!({ "id": made["id"] })).status, 200);
    server.ask(of_own, "starlane:apps", "list", &json!({})).fails(401, "auth-refused");
    let granted = json!({ "principal": "acme/ada", "grants": ["launch acme:x"] });
    assert_eq!(server.ask(&lead, "starlane:grants", "add", &granted).status, 200);
    assert_eq!(server.ask(&lead, "starlane:tokens", "revoke", &json!({ "subject": "acme/ada" })).status, 200);
    attack("A6", tried + 1, through.len());
}

#[test]
fn revocations_survive_kills_and_apply_only_to_earlier_tokens() {
    let mut server = Server::start();
    let mut revoked = Vec::new();
    for n in 0..20 {
        let made =
            server.command("starlane:tokens", "create", &json!({ "subject": "eve", "ttlSeconds": 3_600 })).json();
        let what = if n % 2 == 0 { json!({ "id": made["id"] }) } else { json!({ "subject": "eve" }) };
        assert_eq!(server.command("starlane:tokens", "revoke", &what).status, 200);
        revoked.push(made["token"].as_str().unwrap().to_owned());
        if n % 5 == 0 {
            server.start_again();
        }
    }
    let good = server.token_for("eve", &[]);
    server.start_again();
    let list = |token: &str| server.ask(token, "starlane:apps", "list", &json!({})).status;
    let through = revoked.iter().filter(|token| list(token) == 200).count();
    assert_eq!(list(&good), 200, "a later token of the same second is valid");
    attack("A8", revoked.len(), through);
}

#[test]
fn every_change_is_logged_with_its_principal_and_outcome() {
    let mut server = Server::start();
    let ci = server.token_for("ci", &["deploy acme:**"]);
    let bundle = folder(&[
        ("bundle.toml", "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        ("app.toml", "[app]\nname = \"n\"\n"),
        ("site/a.html", "a"),
    ]);
    server.publish(&ci, 1, bundle.path(), "acme:repo:n:1.0.0");
    assert_eq!(server.create(&ci, "acme:n", "acme:repo:n:1.0.0").status, 200);
    server.create(&ci, "other:n", "acme:repo:n:1.0.0").fails(403, "no-grant");
    server.ask(&ci, "starlane:tokens", "create", &json!({ "subject": "eve" })).fails(403, "no-grant");
    server.with_token(&ci, "GET", "/backup", b"").fails(403, "no-grant");
    server.command("starlane:grants", "add", &json!({ "principal": "ada", "grants": ["launch acme:n"] }));
    // These requests change nothing: the grant exists, and the app has the version already.
    server.command("starlane:grants", "add", &json!({ "principal": "ada", "grants": ["launch acme:n"] }));
    server.command("starlane:grants", "remove", &json!({ "principal": "ada" }));
    assert_eq!(server.create(&ci, "acme:n", "acme:repo:n:1.0.0").status, 200);
    server.with_token(&ci, "PUT", "/bundles/other:repo:n:1.0.0", b"").fails(403, "no-grant");
    let reader = server.token_for("reader", &["request **"]);
    let output =
        server.starlane(&["publish", bundle.path().to_str().unwrap(), "acme:repo:n:1.0.1", "--token", &reader]);
    assert_eq!(output.status.code(), Some(1));
    server.command("starlane:apps", "delete", &json!({ "app": "nope:x" })).fails(404, "not-found");
    assert!(server.starlane(&["backup", "b.tar"]).status.success());
    server.command("starlane:tokens", "revoke", &json!({ "subject": "ci" }));
    let once = server.command("starlane:tokens", "create", &json!({ "subject": "once" })).json();
    for _ in 0..2 {
        assert_eq!(server.command("starlane:tokens", "revoke", &json!({ "id": once["id"] })).status, 200);
    }
    assert_eq!(server.command("starlane:apps", "delete", &json!({ "app": "acme:n" })).status, 204);
    server.start_again();
    let output = server.starlane(&["audit", "--output", "json"]);
    let lines: Value = serde_json::from_slice(&output.stdout).unwrap();
    let noted: Vec<String> = lines["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| ["principal", "action", "outcome"].map(|field| line[field].as_str().unwrap_or_default()).join(" "))
        .collect();
    let expected = [
        "admin token.create done",
        "ci bundle.publish done",
        "ci app.create done",
        "ci app.create no-grant",
        "ci token.create no-grant",
        "ci backup no-grant",
        "admin grant.add done",
        "admin grant.remove done",
        "ci bundle.publish no-grant",
        "admin token.create done",
        "reader bundle.upload no-grant",
        "admin app.delete not-found",
        "admin backup done",
        "admin token.revoke done",
        "admin token.create done",
        "admin token.revoke done",
        "admin app.delete done",
    ];
    assert_eq!(noted, expected);
    let target = |action: &str| {
        let line = lines["lines"].as_array().unwrap().iter().find(|line| line["action"] == action);
        line.unwrap()["target"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(target("grant.remove"), "ada grants [\"launch acme:n\"]");
    assert_eq!(target("token.revoke"), "subject ci");
    let text = lines.to_string();
    assert!(!text.contains(&ci) && !text.contains(&server.token), "no token is in it");
    // A thousand refusals displace no earlier line.
    let eve = server.token_for("eve", &[]);
    for _ in 0..100 {
        server.ask(&eve, "starlane:tokens", "create", &json!({ "subject": "eve" })).fails(403, "no-grant");
    }
    server.ask(&eve, "starlane:server", "audit", &json!({ "last": 1 })).fails(403, "no-grant");
    let all = server.command("starlane:server", "audit", &json!({ "last": 1_000 })).json();
    let of_eve = all["lines"].as_array().unwrap().iter().filter(|line| line["principal"] == "eve").count();
    assert!((1..=20).contains(&of_eve), "{of_eve}");
    attack("A8", 100, 0);
}

/// Every command ends silently when its reader has closed the pipe.
#[test]
fn a_broken_pipe_ends_every_command_silently() {
    let server = Server::start();
    let bundle = folder(&[
        ("bundle.toml", "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        ("site/a.html", "a"),
    ]);
    let path = bundle.path().to_str().unwrap();
    let commands = [
        "--help",
        "help serve",
        "--version",
        "completions bash",
        "completions zsh",
        "completions fish",
        "schema bundle",
        "schema app",
        "schema bind",
        "schema mechtron",
        "config show",
        "config check",
        "config show --output json",
        "status",
        "status --output json",
        "logs",
        "logs --output json",
        "audit",
        "check",
        "app list",
        "bundle list",
        "bundle list --output json",
        "resource list",
        "grant",
        "grant ada",
        "grant ada launch:x",
        "token create --subject ada",
        "keys new",
        "keys show",
        "send starlane:apps list --json {}",
        "logs --follow",
        "send nobody:x y",
        "app delete acme:no",
        "cat acme:repo:n:1.0.0:/site/a.html",
        "ls acme:repo:n:1.0.0",
        "new mechtron hello",
    ];
    let publish = format!("publish {path} acme:repo:n:1.0.0");
    let mut failing = Vec::new();
    for words in [publish.as_str()].iter().chain(&commands) {
        // Both outputs are pipes whose readers have ended before the command writes.
        for (silent, redirect) in [(false, ">&3 2>err"), (true, ">&3 2>&3")] {
            let mut command = starlane(server.folder());
            command.args(words.split(' '));
            // Descriptor 3 is the writing end of a pipe whose reader has ended.
            let script =
                format!("mkfifo p 2>/dev/null; exec 4<>p 3>p 4<&-; timeout 60 \"$@\" {redirect}; echo \"code $?\"");
            let mut shell = through_shell(&command, server.folder(), &script);
            shell.env("STARLANE_SERVER", &server.url).env("STARLANE_DATA", &server.data);
            let output = shell.output().unwrap();
            let said = std::fs::read_to_string(server.folder().join("err")).unwrap_or_default();
            let code = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let loud = !silent && ["panicked", "roken pipe", "os error 32"].iter().any(|word| said.contains(word));
            if loud || code == "code 101" || code == "code 134" || code == "code 124" {
                failing.push(format!("{words}: {code} {said}"));
            }
        }
    }
    assert!(failing.is_empty(), "{failing:#?}");
    field_fault("F18", 2 * (commands.len() + 1), failing.len());
}
