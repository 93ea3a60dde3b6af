//! Attacks with SQL by authors of migrations, by principals that can query, and by visitors of a route.

use std::{fs, path::Path, time::Instant};

use serde_json::json;
use starlane_testkit::{attack, field_fault};
use tempfile::TempDir;

use crate::world::{Server, folder};

const FIRST: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY, n TEXT);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) ON DELETE CASCADE);
    INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (7, 1);";
const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";

/// A bundle with a database and a public route to its `query`.
pub(crate) fn bundle(route: &str, migrations: &[&str]) -> TempDir {
    let app = format!(
        "[app]\nname = \"t\"\n[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n[http]\n\"GET {route}\" = {{ to = \
         \".:db\", operation = \"query\" }}\n"
    );
    let bundle = "[bundle]\nname = \"t\"\ndescription = \"t\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"migrations/*.sql\"]\n";
    let made = folder(&[("bundle.toml", bundle), ("app.toml", &app)]);
    fs::create_dir(made.path().join("migrations")).unwrap();
    for (at, sql) in migrations.iter().enumerate() {
        fs::write(made.path().join(format!("migrations/{:04}.sql", at + 1)), sql).unwrap();
    }
    made
}

/// `query` by the public route, without a token.
fn q(server: &Server, route: &str, sql: &str) -> crate::world::Answer {
    let encoded: String = sql.bytes().map(|byte| format!("%{byte:02X}")).collect();
    server.get(&format!("{route}?sql={encoded}"))
}

fn run(server: &Server, token: &str, folder: &Path, bundle: &str, app: &str) {
    server.publish(token, 1, folder, bundle);
    let answer = server.create(token, app, bundle);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_migration_reaches_only_its_own_database() {
    let server = Server::start_with("[limits]\nmigration-time = \"2 s\"\n");
    let admin = server.token.clone();
    run(&server, &admin, bundle("/bob", &[FIRST]).path(), "bob:repo:n:1.0.0", "bob:n");
    let mallory = server.token_for("mallory", &["deploy mallory:**", "request mallory:** query execute"]);
    let folder_of_bob = server.data.join("databases/bob:n");
    let of_bob = fs::read_dir(&folder_of_bob).unwrap().map(|entry| entry.unwrap().path());
    let of_bob =
        of_bob.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "sqlite")).unwrap();
    let (victim, elsewhere) = (of_bob.display(), server.folder().join("stolen.sqlite"));
    let stolen = elsewhere.display();
    let migrations = [
        format!("COMMIT; ATTACH '{victim}' AS o; UPDATE o.p SET n = 'mallory'; BEGIN"),
        format!("COMMIT; VACUUM INTO '{stolen}'"),
        format!("ATTACH '{victim}' AS o"),
        format!("ROLLBACK; ATTACH '{victim}' AS o; DELETE FROM o.p"),
        format!("END; ATTACH '{stolen}' AS o; CREATE TABLE o.t (x)"),
        format!("VACUUM INTO '{stolen}'"),
        format!("SAVEPOINT s; RELEASE s; COMMIT; ATTACH '{stolen}' AS o"),
        "SELECT load_extension('/lib/x.so')".to_owned(),
        "PRAGMA writable_schema = ON".to_owned(),
        "PRAGMA journal_mode = OFF".to_owned(),
        "CREATE VIRTUAL TABLE v USING dbstat(main)".to_owned(),
        "CREATE VIEW v AS SELECT 1; CREATE TRIGGER t INSTEAD OF INSERT ON v BEGIN SELECT load_extension('x'); END; \
         INSERT INTO v VALUES (1)"
            .to_owned(),
        format!("CREATE TABLE t AS {ENDLESS} SELECT count(*) AS n FROM c"),
        "CREATE TABLE t AS SELECT instr(hex(zeroblob(400000)), hex(zeroblob(200000)) || '1') AS n".to_owned(),
    ];
    let (tried, mut through) = (migrations.len(), 0);
    for (at, sql) in migrations.iter().enumerate() {
        let (bundle_of, app) = (format!("mallory:repo:m{at}:1.0.0"), format!("mallory:m{at}"));
        server.publish(&mallory, 2, bundle(&format!("/m{at}"), &[FIRST, sql]).path(), &bundle_of);
        let answer = server.create(&mallory, &app, &bundle_of);
        let quiet = sql.contains("instr(");
        if !(matches!(answer.status, 408 | 409) || (quiet && answer.status == 200)) || elsewhere.exists() {
            println!("through: {sql}: {}", answer.text());
            through += 1;
        }
        let bobs = q(&server, "/bob", "SELECT n FROM p").json();
        assert_eq!(bobs["rows"], json!([{ "n": "a" }]), "{sql}");
        if !quiet {
            server.command("starlane:apps", "get", &json!({ "app": app })).fails(404, "not-found");
        }
    }
    attack("A3", tried, through);
    assert_eq!(through, 0);
}

#[test]
fn an_endless_migration_does_not_delay_others() {
    let server = Server::start_with("[limits]\nmigration-time = \"15 s\"\n");
    let admin = server.token.clone();
    let endless = format!("CREATE TABLE t AS {ENDLESS} SELECT count(*) AS n FROM c");
    server.publish(&admin, 1, bundle("/e", &[&endless]).path(), "acme:repo:e:1.0.0");
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| server.create(&server.token, "acme:e", "acme:repo:e:1.0.0"));
        let mut made = 0;
        while !endless.is_finished() && made < 5 {
            let (name, route) = (format!("acme:repo:n{made}:1.0.0"), format!("/n{made}"));
            run(&server, &admin, bundle(&route, &[FIRST]).path(), &name, &format!("acme:n{made}"));
            assert_eq!(q(&server, &route, "SELECT 1 AS one").status, 200);
            made += 1;
        }
        assert!(made >= 2, "{made} apps were made beside it");
        endless.join().unwrap().fails(408, "too-slow");
    });
    attack("A3", 1, 0);
}

#[test]
fn a_query_does_not_write() {
    let server = Server::start();
    let admin = server.token.clone();
    run(&server, &admin, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0", "acme:t");
    let statements = [
        "DELETE FROM c",
        "DELETE FROM c RETURNING id",
        "INSERT INTO p VALUES (2, 'b') RETURNING *",
        "WITH x AS (SELECT 1) DELETE FROM p RETURNING id",
        "UPDATE p SET n = 'b'",
        "REPLACE INTO p VALUES (1, 'b')",
        "DROP TABLE c",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x (y)",
        "ALTER TABLE p RENAME TO r",
        "PRAGMA user_version = 7",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "BEGIN IMMEDIATE",
        "VACUUM",
        "REINDEX",
        "ANALYZE",
    ];
    let mut through = 0;
    for sql in statements {
        let answer = q(&server, "/q", sql);
        let rows = q(&server, "/q", "SELECT p.n, c.id FROM p JOIN c ON c.p = p.id").json()["rows"].clone();
        if !matches!(answer.status, 400 | 403) || rows != json!([{ "n": "a", "id": 7 }]) {
            println!("through: {sql}: {}", answer.text());
            through += 1;
        }
    }
    attack("A4", statements.len(), through);
    field_fault("F4", 1, 0);
    assert_eq!(through, 0);
    assert!(q(&server, "/q", "DELETE FROM c").fails(400, "malformed").contains("`execute`"));
}

#[test]
fn no_sql_uses_up_the_servers_memory_or_time() {
    let server = Server::start();
    let admin = server.token.clone();
    run(&server, &admin, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0", "acme:t");
    assert_eq!(q(&server, "/q", "SELECT 1 AS one").status, 200);
    let before = server.rss_mib();
    let wide = |value: &str| format!("SELECT {}", vec![value; 100].join(","));
    let mut nested = "SELECT 1 AS x".to_owned();
    for _ in 0..60 {
        nested = format!("SELECT x + x AS x FROM ({nested})");
    }
    let statements = [
        wide("randomblob(1000000)"),
        wide("hex(zeroblob(500000))"),
        wide("zeroblob(16000000)"),
        wide("printf('%.*c', 1000000, 'x')"),
        format!("SELECT group_concat(hex(randomblob(100000))) FROM ({ENDLESS} SELECT x FROM c)"),
        format!("SELECT json_group_array(hex(randomblob(100000))) FROM ({ENDLESS} SELECT x FROM c)"),
        "SELECT json_pretty('[[[[[1,2,3]]]]]', hex(zeroblob(500000)))".to_owned(),
        "SELECT instr(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1')".to_owned(),
        "SELECT replace(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1', '')".to_owned(),
        "SELECT hex(zeroblob(500000)) LIKE '%0%0%0%0%0%0%0%0%0%1%'".to_owned(),
        format!("SELECT hex(zeroblob(500000)) LIKE '%{}1'", "_0".repeat(240)),
        format!("SELECT hex(zeroblob(500000)) GLOB '*{}1'", "[0-9]?".repeat(80)),
        "SELECT trim(hex(zeroblob(500000)), replace(hex(zeroblob(250000)), '0', 'ab') || '0')".to_owned(),
        "SELECT unhex(hex(zeroblob(500000)), replace(hex(zeroblob(250000)), '0', ' '))".to_owned(),
        format!("SELECT sum(hex(zeroblob(400000)) LIKE '%1%' || x) FROM ({ENDLESS} SELECT x FROM c)"),
        format!("SELECT count(*) FROM ({ENDLESS} SELECT x FROM c)"),
        format!("SELECT x FROM ({ENDLESS} SELECT x FROM c) ORDER BY randomblob(1000)"),
        format!("{ENDLESS} SELECT randomblob(100000) AS b FROM c"),
        nested,
    ];
    let mut through = 0;
    for sql in &statements {
        let begun = Instant::now();
        let answer = q(&server, "/q", sql);
        let bounded = begun.elapsed().as_secs() < 40 && answer.body.len() <= 9 << 20;
        // A fast statement can succeed; every other answer names a limit.
        let named =
            answer.status == 200 || (matches!(answer.status, 400 | 408 | 413) && answer.text().contains("code"));
        if !(bounded && named) {
            let shown: String = sql.chars().take(80).collect();
            println!("through: {shown}: {} in {} s: {}", answer.status, begun.elapsed().as_secs(), &answer.text());
            through += 1;
        }
        assert_eq!(q(&server, "/q", "SELECT 1 AS one").status, 200, "others are answered");
    }
    // The memory of a statement is limited during its execution, not only in its answer.
    assert!(q(&server, "/q", &wide("randomblob(1000000)")).fails(413, "too-large").contains("sql-memory"));
    // All at once, on all read connections.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for sql in statements.iter().take(7) {
                    q(&server, "/q", sql);
                }
            });
        }
    });
    let peak = server.peak_rss_mib();
    starlane_testkit::figure::figure("sql.rss", peak.saturating_sub(before) as f64, "MiB");
    assert!(peak < before + 700, "{before} MiB became {peak} MiB");
    attack("B4", statements.len(), through);
    assert_eq!(through, 0);
}

#[test]
fn a_database_has_a_maximum_size() {
    let server = Server::start_with("[limits]\ndatabase-size = \"4 MiB\"\n");
    let admin = server.token.clone();
    run(&server, &admin, bundle("/q", &["CREATE TABLE t (x)"]).path(), "acme:repo:t:1.0.0", "acme:t");
    let insert = json!({ "sql": "INSERT INTO t VALUES (randomblob(500000))" });
    let mut kept = 0;
    let refused = loop {
        let answer = server.command("acme:t:db", "execute", &insert);
        if answer.status != 200 || kept > 100 {
            break answer;
        }
        kept += 1;
    };
    assert!(refused.fails(507, "storage-full").contains("database-size"), "after {kept}");
    assert_eq!(q(&server, "/q", "SELECT count(*) AS n FROM t").json()["rows"][0]["n"], kept);
    attack("B4", 1, 0);
}

#[test]
fn values_are_stored_and_returned_exactly() {
    let server = Server::start();
    let admin = server.token.clone();
    run(&server, &admin, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0", "acme:t");
    let joined = q(&server, "/q", "SELECT p.id, c.id FROM p JOIN c ON c.p = p.id").json();
    assert_eq!(joined, json!({ "columns": ["id", "id:1"], "rows": [{ "id": 1, "id:1": 7 }] }));
    field_fault("F1", 1, 0);
    let odd = q(&server, "/q", "SELECT 9e999 AS i, CAST(x'ff41' AS TEXT) AS t, 9223372036854775807 AS n").json();
    let right =
        json!([{ "i": { "$real": "Infinity" }, "t": { "$text": "/0E=" }, "n": { "$integer": "9223372036854775807" } }]);
    assert_eq!(odd["rows"], right);
    let beyond = br#"{"sql":"SELECT ? AS n","params":[9223372036854775808]}"#;
    let answer = server.with_token(&admin, "POST", "/messages/acme:t:db/query", beyond);
    assert!(answer.fails(400, "malformed").contains("9223372036854775808"));
    let back = json!({ "sql": "SELECT ?1 AS i, ?2 AS t, typeof(?2) AS k", "params": [{ "$real": "-Infinity" }, { "$text": "/0E=" }] });
    let back = server.command("acme:t:db", "query", &back).json();
    assert_eq!(back["rows"], json!([{ "i": { "$real": "-Infinity" }, "t": { "$text": "/0E=" }, "k": "text" }]));
    field_fault("F5", 4, 0);
}

#[test]
fn a_migration_keeps_referring_rows_and_ignores_line_ends() {
    let server = Server::start();
    let admin = server.token.clone();
    run(&server, &admin, bundle("/q", &[FIRST]).path(), "acme:repo:t:1.0.0", "acme:t");
    let rebuild = "PRAGMA foreign_keys=OFF;\nCREATE TABLE p2 (id INTEGER PRIMARY KEY, n TEXT NOT NULL);\nINSERT INTO p2 SELECT * FROM p;\n\
                   DROP TABLE p;\nALTER TABLE p2 RENAME TO p;\nPRAGMA foreign_keys=ON;\n";
    run(&server, &admin, bundle("/q", &[FIRST, rebuild]).path(), "acme:repo:t:1.1.0", "acme:t");
    assert_eq!(q(&server, "/q", "SELECT * FROM c").json()["rows"], json!([{ "id": 7, "p": 1 }]));
    field_fault("F2", 1, 0);
    for (at, end) in ["\r\n", "\r"].into_iter().enumerate() {
        let changed: Vec<String> = [FIRST, rebuild].map(|sql| sql.replace('\n', end)).to_vec();
        let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        run(&server, &admin, bundle("/q", &changed).path(), &format!("acme:repo:t:1.{}.0", at + 2), "acme:t");
    }
    field_fault("F6", 2, 0);
}

#[test]
fn full_text_search_has_only_interruptible_functions() {
    let server = Server::start();
    let admin = server.token.clone();
    let index = "CREATE VIRTUAL TABLE ft USING fts5(x)";
    run(&server, &admin, bundle("/q", &[FIRST, index]).path(), "acme:repo:t:1.0.0", "acme:t");
    let insert = json!({ "sql": "INSERT INTO ft VALUES (?1)", "params": ["a ".repeat(200_000)] });
    assert_eq!(server.command("acme:t:db", "execute", &insert).status, 200);
    let started = std::time::Instant::now();
    let calls =
        ["snippet(ft, 0, '', '', '', 64)", "Snippet(ft, -1, '[', ']', '…', 8)", "\"snippet\"(ft, 0, '', '', '', 64)"];
    for call in calls {
        let sql = format!("SELECT length({call}) AS n FROM ft WHERE ft MATCH 'a'");
        server.command("acme:t:db", "query", &json!({ "sql": sql })).fails(403, "no-grant");
    }
    let shown = json!({ "sql": "SELECT length(highlight(ft, 0, '[', ']')) AS n FROM ft WHERE ft MATCH 'a'" });
    assert_eq!(server.command("acme:t:db", "query", &shown).json()["rows"][0]["n"], 800_000);
    let ranked = json!({ "sql": "SELECT bm25(ft) < 0 AS n FROM ft WHERE ft MATCH 'a' ORDER BY rank" });
    assert_eq!(server.command("acme:t:db", "query", &ranked).json()["rows"][0]["n"], 1);
    println!("{} ms", started.elapsed().as_millis());
    attack("B4", calls.len(), 0);
}
