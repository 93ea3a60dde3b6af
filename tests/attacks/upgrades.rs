//! Failed and killed upgrades: the app has the old version or the new one, never a mixture.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use serde_json::{Value, json};
use starlane_testkit::{
    attack, field_fault,
    figure::{Sizes, figure},
    random::Random,
};

use crate::{
    sql::bundle,
    world::{Server, folder},
};

const APP: &str = "acme:t";
/// The number of upgrades that are killed.
const KILLS: Sizes = Sizes { ci: 20, full: 200 };
const FIRST: &str =
    "CREATE TABLE written (n INTEGER PRIMARY KEY); CREATE TABLE versions (v INTEGER); INSERT INTO versions VALUES (1)";

/// The migration of a version. It is slow enough for a kill to hit it, and changes both schema and rows.
fn migration(version: usize) -> String {
    format!(
        "CREATE TABLE v{version} (x); INSERT INTO v{version} WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c \
         LIMIT 20000) SELECT x FROM c; INSERT INTO versions VALUES ({version})"
    )
}

fn query(server: &Server, database: &str, sql: &str) -> Value {
    let answer = server.command(&format!("{APP}:{database}"), "query", &json!({ "sql": sql }));
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    answer.json()["rows"].clone()
}

/// The version of a database, if its schema and its rows agree.
fn version_of(server: &Server, database: &str) -> Result<u64, String> {
    let rows = query(server, database, "SELECT max(v) AS v, count(*) AS n FROM versions");
    let tables =
        query(server, database, "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table' AND name GLOB 'v[0-9]*'");
    let migrations = query(server, database, "SELECT count(*) AS n FROM starlane_migrations");
    let of = |value: &Value| value.as_u64().unwrap();
    let seen = (of(&rows[0]["v"]), of(&rows[0]["n"]), of(&tables[0]["n"]) + 1, of(&migrations[0]["n"]));
    match seen.0 == seen.1 && seen.1 == seen.2 && seen.2 == seen.3 {
        true => Ok(seen.0),
        false => Err(format!("{database}: {seen:?}")),
    }
}

/// A bundle with two databases, each with all migrations up to a version.
fn two_databases(version: usize) -> tempfile::TempDir {
    let later: Vec<String> = (2..=version).map(migration).collect();
    let migrations: Vec<&str> = [FIRST].into_iter().chain(later.iter().map(String::as_str)).collect();
    let made = bundle("/q", &migrations);
    let file = made.path().join("app.toml");
    let app = std::fs::read_to_string(&file).unwrap();
    let other = "[resources.other]\nkind = \"database\"\nmigrations = \"migrations/\"\n[http]";
    std::fs::write(&file, app.replace("[http]", other)).unwrap();
    made
}

#[test]
fn a_killed_upgrade_leaves_the_old_version_or_the_new() {
    let kills = KILLS.of_this_run();
    let mut server = Server::start();
    let admin = server.token.clone();
    server.publish(&admin, 1, two_databases(1).path(), "acme:repo:t:1.0.0");
    assert_eq!(server.create(&admin, APP, "acme:repo:t:1.0.0").status, 200);
    let mut random = Random::new(1);
    // How long an upgrade takes here, so that kills are spread over all of it.
    server.publish(&admin, 1, two_databases(2).path(), "acme:repo:t:2.0.0");
    let begun = Instant::now();
    assert_eq!(server.create(&admin, APP, "acme:repo:t:2.0.0").json()["revision"], 2);
    let mut whole = begun.elapsed();
    let (mut torn, mut version, mut published) = (Vec::new(), 2, 2);
    let mut revisions: BTreeMap<u64, String> = BTreeMap::new();
    revisions.insert(2, "acme:repo:t:2.0.0".to_owned());
    let (next, acknowledged) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    for round in 0..kills {
        let wanted = version + 1;
        let name = format!("acme:repo:t:{wanted}.0.0");
        if published < wanted {
            server.publish(&admin, 1, two_databases(wanted).path(), &name);
            published = wanted;
        }
        let over = AtomicBool::new(false);
        let delay = whole * u32::try_from(random.below(1_300)).unwrap() / 1_000;
        let pid = server.pid().to_string();
        let answered = std::thread::scope(|scope| {
            let (server, over) = (&server, &over);
            let upgrade = scope.spawn(|| {
                let begun = Instant::now();
                let body = json!({ "app": APP, "bundle": name }).to_string();
                let bearer = format!("Bearer {}", server.token);
                let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                let answer = server.try_send("POST", "/messages/starlane:apps/create", &headers, body.as_bytes());
                answer.ok().filter(|answer| answer.status == 200).map(|answer| (answer.json(), begun.elapsed()))
            });
            // A client writes meanwhile. Every answered write must exist afterwards.
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let n = next.fetch_add(1, SeqCst);
                    let body = json!({ "sql": "INSERT INTO written VALUES (?)", "params": [n] }).to_string();
                    let bearer = format!("Bearer {}", server.token);
                    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                    match server.try_send("POST", "/messages/acme:t:db/execute", &headers, body.as_bytes()) {
                        Ok(answer) if answer.status == 200 => acknowledged.lock().unwrap().push(n),
                        Ok(answer) => panic!("a write was refused: {}", answer.text()),
                        Err(_) => return,
                    }
                }
            });
            std::thread::sleep(delay);
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            over.store(true, SeqCst);
            upgrade.join().unwrap()
        });
        server.start_again();
        let record = server.command("starlane:apps", "get", &json!({ "app": APP })).json();
        let (revision, of) = (record["revision"].as_u64().unwrap(), record["bundle"].as_str().unwrap().to_owned());
        if let Some((answer, took)) = &answered {
            whole = *took;
            if answer["revision"].as_u64() != Some(revision) {
                torn.push(format!("{round}: answered {answer}, and found {record}"));
            }
        } else if delay >= whole {
            // Upgrades can take longer than the measured one, because of the writes and other load.
            whole = whole * 3 / 2;
        }
        match revisions.insert(revision, of.clone()) {
            Some(before) if before != of => torn.push(format!("{round}: revision {revision} is {before} and {of}")),
            _ => {}
        }
        let is: usize = of.rsplit(':').next().unwrap().split('.').next().unwrap().parse().unwrap();
        for database in ["db", "other"] {
            match version_of(&server, database) {
                Ok(found) if found == is as u64 => {}
                found => torn.push(format!("{round}: the record is of {is}, the database: {found:?}")),
            }
        }
        let kept = query(&server, "db", "SELECT count(*) AS n FROM written")[0]["n"].as_u64().unwrap();
        let answered = acknowledged.lock().unwrap().len() as u64;
        if kept < answered {
            torn.push(format!("{round}: {answered} writes were answered, and {kept} are there"));
        }
        version = is;
    }
    for line in &torn {
        println!("torn: {line}");
    }
    println!("{kills} kills, now at version {version}, {} writes answered", acknowledged.lock().unwrap().len());
    figure("upgrade.kills", kills as f64, "kills");
    figure("upgrade.torn", torn.len() as f64, "upgrades");
    attack("C2", kills, torn.len());
    assert_eq!(torn.len(), 0);
    // Finally, an upgrade without a kill succeeds.
    let name = format!("acme:repo:t:{}.0.0", version + 1);
    if published == version {
        server.publish(&admin, 1, two_databases(version + 1).path(), &name);
    }
    assert_eq!(server.create(&admin, APP, &name).status, 200);
    for database in ["db", "other"] {
        assert_eq!(version_of(&server, database), Ok(version as u64 + 1), "{database}");
    }
}

#[test]
fn a_failed_upgrade_leaves_the_old_version_unchanged() {
    let server = Server::start_with("[limits]\ndatabase-size = \"2 MiB\"\nmigration-time = \"3 s\"\n");
    let admin = server.token.clone();
    server.publish(&admin, 1, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0");
    assert_eq!(server.create(&admin, APP, "acme:repo:t:1.0.0").status, 200);
    server.publish(&admin, 1, bundle("/taken", &[FIRST]).path(), "acme:repo:other:1.0.0");
    assert_eq!(server.create(&admin, "acme:other", "acme:repo:other:1.0.0").status, 200);
    let second = "CREATE TABLE v2 (x); INSERT INTO versions VALUES (2)";
    let with = |change: &dyn Fn(&str) -> String| {
        let made = bundle("/q", &[FIRST, second]);
        let file = made.path().join("app.toml");
        let app = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&app)).unwrap();
        made
    };
    let endless =
        "CREATE TABLE t AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c";
    let large = "CREATE TABLE t AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 30) SELECT randomblob(100000) \
                 AS b FROM c";
    let wrong_module = || {
        let made =
            with(&|app| format!("{app}\n[mechtrons.m]\nconfig = \"mechtrons/m.toml\"\nplacement = \"server\"\n"));
        let write = |name: &str, text: &str| {
            let file = made.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("mechtrons/m.toml", "[mechtron]\nwasm = \"wasm/m.wasm\"\nname = \"m\"\nbind = \"binds/m.toml\"\n");
        write("binds/m.toml", "[bind]\nname = \"m\"\n[operations.o]\nrequest = {}\nresponse = {}\n");
        write("wasm/m.wasm", "not a module");
        made
    };
    let cases: Vec<(&str, tempfile::TempDir, &[u16])> = vec![
        ("a second migration fails", bundle("/q", &[FIRST, second, "ALTER TABLE nowhere ADD x"]), &[409]),
        ("a migration is endless", bundle("/q", &[FIRST, second, endless]), &[408]),
        ("the quota is full", bundle("/q", &[FIRST, second, large]), &[507]),
        ("a migration was changed", bundle("/q", &["CREATE TABLE z (x)", second]), &[409]),
        ("a route is another app's", bundle("/taken", &[FIRST, second]), &[409]),
        (
            "a second database fails",
            with(&|app| app.replace("[http]", "[resources.zz]\nkind = \"database\"\nmigrations = \"broken/\"\n[http]")),
            &[409],
        ),
        (
            "a kind of resource is not there",
            with(&|app| app.replace("[http]", "[resources.jobs]\nkind = \"queue\"\n[http]")),
            &[501],
        ),
        ("a module is none", wrong_module(), &[0, 409]),
        (
            "the bundle has no app.toml",
            folder(&[("bundle.toml", "[bundle]\nname = \"p\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = []\n")]),
            &[409],
        ),
    ];
    let (tried, mut through) = (cases.len(), 0);
    for (at, (why, made, wanted)) in cases.into_iter().enumerate() {
        if why == "a second database fails" {
            std::fs::create_dir(made.path().join("broken")).unwrap();
            std::fs::write(made.path().join("broken/1.sql"), "CREATE TABLE b (x); ALTER TABLE nowhere ADD x").unwrap();
            let file = made.path().join("bundle.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace("\"migrations/*.sql\"", "\"migrations/*.sql\", \"broken/*.sql\""))
                .unwrap();
        }
        let name = format!("acme:repo:t:2.{at}.0");
        let write = json!({ "sql": "INSERT INTO written VALUES (?)", "params": [at] });
        assert_eq!(server.command("acme:t:db", "execute", &write).status, 200);
        let status = publish(&server, made.path(), &name).map(|()| server.create(&admin, APP, &name));
        let refused = status.as_ref().map_or(0, |answer| answer.status);
        let record = server.command("starlane:apps", "get", &json!({ "app": APP })).json();
        let rows = query(&server, "db", "SELECT count(*) AS n FROM written")[0]["n"].as_u64();
        let others =
            query(&server, "db", "SELECT count(*) AS n FROM sqlite_schema WHERE name IN ('v2', 't', 'z', 'b')");
        let same = record["revision"] == 1
            && record["bundle"] == "acme:repo:t:1.0.0"
            && version_of(&server, "db") == Ok(1)
            && rows == Some(at as u64 + 1)
            && others[0]["n"] == 0
            && server.get("/q?sql=SELECT%201%20AS%20one").status == 200
            && server.get("/taken?sql=SELECT%201%20AS%20one").status == 200;
        if !(same && wanted.contains(&refused)) {
            println!("through: {why}: {refused}, {record}");
            through += 1;
        }
    }
    // Then it continues as revision 2.
    server.publish(&admin, 1, bundle("/q", &[FIRST, second]).path(), "acme:repo:t:3.0.0");
    let record = server.create(&admin, APP, "acme:repo:t:3.0.0").json();
    assert_eq!(record["revision"], 2, "{record}");
    assert_eq!(version_of(&server, "db"), Ok(2));
    assert_eq!(query(&server, "db", "SELECT count(*) AS n FROM written")[0]["n"], tried);
    attack("C2", tried, through);
    field_fault("F3", 2, through);
    assert_eq!(through, 0);
}

/// Publishes, and ignores a refusal.
fn publish(server: &Server, folder: &std::path::Path, bundle: &str) -> Option<()> {
    use starlane_bundle::{SecretKey, authoring::Draft};
    let draft = Draft::read(folder).ok()?;
    server.upload(&server.token, &draft);
    let address = starlane_protocol::Address::parse(bundle).unwrap();
    let signed = draft.sign(&address, &SecretKey::from_seed([1; 32]), 1_700_000_000);
    (server.publish_manifest(&server.token, bundle, &signed).status == 204).then_some(())
}

#[test]
fn messages_during_upgrades_are_all_answered() {
    let server = Server::start();
    let admin = server.token.clone();
    server.publish(&admin, 1, two_databases(1).path(), "acme:repo:t:1.0.0");
    assert_eq!(server.create(&admin, APP, "acme:repo:t:1.0.0").status, 200);
    for version in 2..=5 {
        server.publish(&admin, 1, two_databases(version).path(), &format!("acme:repo:t:{version}.0.0"));
    }
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|asker| {
                let (server, over, sent) = (&server, &over, &sent);
                scope.spawn(move || {
                    let mut failed = Vec::new();
                    while !over.load(SeqCst) {
                        let n = sent.fetch_add(1, SeqCst);
                        let (operation, body) = match asker % 2 {
                            0 => ("execute", json!({ "sql": "INSERT INTO written VALUES (?)", "params": [n] })),
                            _ => ("query", json!({ "sql": "SELECT count(*) AS n FROM written" })),
                        };
                        let answer = server.command("acme:t:db", operation, &body);
                        if answer.status != 200 {
                            failed.push(answer.text());
                        }
                    }
                    failed
                })
            })
            .collect();
        for version in 2..=5 {
            let answer = server.create(&admin, APP, &format!("acme:repo:t:{version}.0.0"));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        over.store(true, SeqCst);
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect::<Vec<_>>()
    });
    attack("C2", usize::try_from(sent.load(SeqCst)).unwrap(), failed.len());
    assert!(failed.is_empty(), "{} of {}: {}", failed.len(), sent.load(SeqCst), failed[0]);
    assert_eq!(version_of(&server, "db"), Ok(5));
}

#[test]
fn running_write_gets_its_outcome_while_its_app_is_deleted() {
    let server = Server::start();
    server.publish(&server.token, 1, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0");
    assert_eq!(server.create(&server.token, APP, "acme:repo:t:1.0.0").status, 200);
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000000)";
    let write = json!({ "sql": format!("INSERT INTO versions {endless} SELECT count(*) FROM c") });
    let database = format!("{APP}:db");
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| server.command(&database, "execute", &write));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(server.command("starlane:apps", "delete", &json!({ "app": APP })).status, 204);
        writing.join().unwrap()
    });
    assert_eq!(written.status, 200, "{}", written.text());
    assert_eq!(server.create(&server.token, APP, "acme:repo:t:1.0.0").status, 200);
    assert_eq!(query(&server, "db", "SELECT count(*) AS n FROM versions")[0]["n"], 2);
}
