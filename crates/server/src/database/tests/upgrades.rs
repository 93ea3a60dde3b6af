//! Migrations: all are applied or none, they have the restrictions of messages, and a failure does not affect the
//! running app.

use super::*;

const FIRST: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY, n TEXT);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) ON DELETE CASCADE);
    INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (7, 1);";

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with("sqlite") || name.contains(".part"));
    names.sort();
    names
}

async fn at_first(folder: &tempfile::TempDir) -> Database {
    open_with(folder.path(), &[FIRST], &limiter(|limits| limits.set(Limit::MigrationTime, 1_000).unwrap()))
        .await
        .unwrap()
}

async fn is_as_before(folder: &tempfile::TempDir, database: &Database, why: &str) {
    assert_eq!(files(folder.path()), ["db.1.sqlite"], "{why}");
    let rows = query(database, "SELECT p.n, c.id FROM p JOIN c ON c.p = p.id").await.unwrap();
    assert_eq!(rows["rows"], json!([{ "n": "a", "id": 7 }]), "{why}");
    let none = query(
        database,
        "SELECT count(*) AS n FROM sqlite_schema WHERE name NOT IN ('p', 'c', 'starlane_migrations') AND type = 'table'",
    );
    assert_eq!(none.await.unwrap()["rows"][0]["n"], 0, "{why}");
    ask(database, "execute", json!({ "sql": "UPDATE p SET n = 'a'" })).await.unwrap();
}

#[tokio::test]
async fn a_migration_has_the_restrictions_of_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    let other = folder.path().join("other.sqlite");
    let (path, endless) = (other.display(), "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)");
    for (sql, says) in [
        (format!("COMMIT; ATTACH '{path}' AS o; CREATE TABLE o.t (x)"), "COMMIT"),
        ("END".to_owned(), "COMMIT"),
        ("ROLLBACK; BEGIN".to_owned(), "ROLLBACK"),
        ("SAVEPOINT s; RELEASE s".to_owned(), "SAVEPOINT"),
        (format!("ATTACH '{path}' AS o"), "ATTACH"),
        (format!("VACUUM INTO '{path}'"), ""),
        ("VACUUM".to_owned(), ""),
        ("PRAGMA journal_mode = OFF".to_owned(), "journal_mode"),
        ("PRAGMA writable_schema = ON".to_owned(), "writable_schema"),
        ("PRAGMA trusted_schema = ON".to_owned(), "trusted_schema"),
        ("PRAGMA temp_store_directory = '/tmp'".to_owned(), "temp_store_directory"),
        ("PRAGMA defer_foreign_keys = ON".to_owned(), "foreign keys are off"),
        ("PRAGMA main.max_page_count = 1000000".to_owned(), "max_page_count"),
        ("SELECT load_extension('x')".to_owned(), "load_extension"),
        ("CREATE VIEW v AS SELECT load_extension('x') AS x; SELECT * FROM v".to_owned(), "load_extension"),
        ("CREATE VIRTUAL TABLE v USING dbstat(main)".to_owned(), "virtual tables"),
        ("CREATE VIRTUAL TABLE v USING fts3tokenize('simple')".to_owned(), "virtual tables"),
        ("DELETE FROM starlane_migrations".to_owned(), "starlane_migrations"),
        ("CREATE TABLE x (y); INSERT INTO sqlite_schema VALUES ('table', 'z', 'z', 0, 'x')".to_owned(), "sqlite_"),
        (format!("CREATE TABLE t AS {endless} SELECT count(*) AS n FROM c"), "migration-time"),
        (format!("CREATE TABLE t AS {endless} SELECT sum(x LIKE '%1%2%') AS n FROM c"), "migration-time"),
        ("CREATE TABLE t AS SELECT hex(zeroblob(10000000)) AS x".to_owned(), "sql-value"),
        ("INSERT OR ROLLBACK INTO p VALUES (1, 'b')".to_owned(), "UNIQUE"),
        ("CREATE TABLE t (x); INSERT INTO t VALUES (?)".to_owned(), "parameters"),
    ] {
        let before = std::time::Instant::now();
        let failure = upgrade(&database, 1, &[FIRST, "CREATE TABLE ok (x)", &sql]).await.unwrap_err();
        assert!(matches!(failure.status, 408 | 409 | 413), "{sql}: {failure}");
        assert!(failure.message.contains("/m/3.sql") && failure.message.contains(says), "{sql}: {failure}");
        assert!(before.elapsed() < Duration::from_secs(10), "{sql}");
        assert!(!other.exists(), "{sql}");
        is_as_before(&folder, &database, &sql).await;
    }
}

#[tokio::test]
async fn rebuilding_a_table_keeps_the_rows_that_refer_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    let rebuild = "PRAGMA foreign_keys=OFF; CREATE TABLE p2 (id INTEGER PRIMARY KEY, n TEXT NOT NULL);
        INSERT INTO p2 SELECT * FROM p; DROP TABLE p; ALTER TABLE p2 RENAME TO p; PRAGMA foreign_keys=ON;";
    upgrade(&database, 1, &[FIRST, rebuild]).await.unwrap();
    assert_eq!(query(&database, "SELECT * FROM c").await.unwrap()["rows"], json!([{ "id": 7, "p": 1 }]));
    let refused = ask(&database, "execute", json!({ "sql": "INSERT INTO c VALUES (8, 99)" })).await.unwrap_err();
    assert_eq!(refused.code, "conflict", "foreign keys are on again");
    let orphan = "DELETE FROM p";
    let failure = upgrade(&database, 2, &[FIRST, rebuild, orphan]).await.unwrap_err();
    assert!(failure.code == "conflict" && failure.message.contains("table c"), "{failure}");
    assert_eq!(query(&database, "SELECT * FROM c").await.unwrap()["rows"], json!([{ "id": 7, "p": 1 }]));
}

#[tokio::test]
async fn a_migration_can_use_full_text_and_temporary_tables() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    let sql = "CREATE TEMP TABLE kept AS SELECT * FROM p; CREATE VIRTUAL TABLE words USING fts5(n);
        INSERT INTO words SELECT n FROM kept; DROP TABLE kept; CREATE VIRTUAL TABLE boxes USING rtree(id, a, b);";
    upgrade(&database, 1, &[FIRST, sql]).await.unwrap();
    let found = query(&database, "SELECT n, rank FROM words WHERE words MATCH 'a' ORDER BY bm25(words)").await.unwrap();
    assert_eq!(found["rows"][0]["n"], "a");
    ask(&database, "execute", json!({ "sql": "INSERT INTO words VALUES ('b')" })).await.unwrap();
}

#[tokio::test]
async fn a_failed_change_keeps_concurrent_writes() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    let held = database.hold().await;
    let other = database.clone();
    let write =
        tokio::spawn(async move { ask(&other, "execute", json!({ "sql": "INSERT INTO p VALUES (2, 'b')" })).await });
    // A concurrent read continues.
    assert_eq!(query(&database, "SELECT count(*) AS n FROM p").await.unwrap()["rows"][0]["n"], 1);
    let migrations = [FIRST, "CREATE TABLE ok (x)"].iter().enumerate();
    let migrations = migrations.map(|(at, sql)| Migration::new(&format!("/m/{}.sql", at + 1), sql)).collect();
    let held = held.stage(1, 2, migrations).await.unwrap();
    assert_eq!(files(folder.path()), ["db.1.sqlite", "db.2.sqlite"]);
    held.abandon().await;
    assert_eq!(write.await.unwrap().unwrap()["changed"], 1);
    assert_eq!(files(folder.path()), ["db.1.sqlite"]);
    assert_eq!(query(&database, "SELECT count(*) AS n FROM p").await.unwrap()["rows"][0]["n"], 2);
}

#[tokio::test]
async fn after_a_killed_change_the_record_decides() {
    let folder = tempfile::tempdir().unwrap();
    let limiter = limiter(|_| ());
    drop(at_first(&folder).await);
    // This file is for revision 2, whose record was not written.
    std::fs::copy(folder.path().join("db.1.sqlite"), folder.path().join("db.2.sqlite")).unwrap();
    std::fs::write(folder.path().join(".db.sqlite.part"), "half").unwrap();
    generations::clear(folder.path(), 1).unwrap();
    assert_eq!(files(folder.path()), ["db.1.sqlite"]);
    let database = Database::new(folder.path(), "db", &limiter, &Arc::new(Semaphore::new(16)));
    let migrations = || vec![Migration::new("/m/1.sql", FIRST)];
    database.hold().await.stage(1, 1, migrations()).await.unwrap().switch();
    is_as_before(&folder, &database, "restarted").await;
    // A file of an older server, for example from a backup, with a migration that it has not applied.
    let old = tempfile::tempdir().unwrap();
    crate::database::open_file(&old.path().join("db.sqlite"), rusqlite::OpenFlags::default())
        .unwrap()
        .execute_batch("CREATE TABLE q (x)")
        .unwrap();
    let database = Database::new(old.path(), "db", &limiter, &Arc::new(Semaphore::new(16)));
    database.hold().await.stage(3, 3, migrations()).await.unwrap().switch();
    assert_eq!(query(&database, "SELECT count(*) AS n FROM q, p").await.unwrap()["rows"][0]["n"], 0);
    assert!(files(old.path()).contains(&"db.3.sqlite".to_owned()));
}

#[tokio::test]
async fn migrations_run_once_and_must_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    upgrade(&database, 1, &[&FIRST.replace('\n', "\r\n")]).await.unwrap();
    is_as_before(&folder, &database, "line ends").await;
    let failure = upgrade(&database, 1, &["CREATE TABLE t (x)"]).await.unwrap_err();
    assert!(failure.message.contains("changed after it was applied"), "{failure}");
    let failure = upgrade(&database, 1, &[FIRST, "CREATE"]).await.unwrap_err();
    assert!(failure.message.contains("/m/2.sql"), "{failure}");
}

/// Migrations accept each ordinary schema and schema change that SQLite accepts. Messages accept the changes.
#[tokio::test]
async fn ordinary_schema_changes_are_accepted_as_in_sqlite() {
    let tables = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER) STRICT",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, CHECK (b < 10))",
        "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT NOT NULL DEFAULT 'x', b INTEGER CHECK (b > 0)) STRICT, WITHOUT ROWID",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c INTEGER AS (b + 1) STORED); CREATE INDEX i ON t (a)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER REFERENCES t (id)); CREATE VIEW v AS SELECT a FROM t; \
         CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET b = 1 WHERE id = new.id; END",
    ];
    let changes = [
        "ALTER TABLE t ADD COLUMN d TEXT",
        "ALTER TABLE t ADD COLUMN d TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE t ADD COLUMN d TEXT NOT NULL",
        "ALTER TABLE t ADD COLUMN d INTEGER CHECK (d IS NULL OR d > 3) DEFAULT 5",
        "ALTER TABLE t ADD COLUMN d INTEGER CHECK (d > 3) DEFAULT 1",
        "ALTER TABLE t ADD COLUMN d INTEGER AS (b * 2)",
        "ALTER TABLE t ADD COLUMN d INTEGER REFERENCES t (id)",
        "ALTER TABLE t DROP COLUMN b",
        "ALTER TABLE t RENAME COLUMN a TO z",
        "ALTER TABLE t RENAME TO u",
        "CREATE INDEX j ON t (b) WHERE b IS NOT NULL",
        "CREATE UNIQUE INDEX j ON t (lower(a))",
        "CREATE VIEW w AS WITH x AS (SELECT a FROM t) SELECT count(*) OVER () AS n FROM x",
        "CREATE TABLE n AS SELECT * FROM t",
        "INSERT INTO t (id, a, b) VALUES (2, 'b', 2) ON CONFLICT DO UPDATE SET a = excluded.a",
        "REINDEX t",
        "ANALYZE t",
        "DROP TABLE t",
    ];
    let rows = "INSERT INTO t (id, a, b) VALUES (1, 'a', 1)";
    let (mut tried, mut differ) = (0, Vec::new());
    for table in tables {
        for change in changes {
            let plain = crate::database::open_in_memory().unwrap();
            plain.execute_batch(&format!("{table}; {rows}")).unwrap();
            let expected = plain.execute_batch(change).map_err(|error| error.to_string());
            let folder = tempfile::tempdir().unwrap();
            let first = format!("{table}; {rows}");
            let database = open_with(folder.path(), &[&first], &limiter(|_| ())).await.unwrap();
            let migrated = upgrade(&database, 1, &[&first, change]).await;
            tried += 1;
            if migrated.is_ok() != expected.is_ok() {
                differ.push(format!("{table} / {change}: {migrated:?}, SQLite {expected:?}"));
            }
            let folder = tempfile::tempdir().unwrap();
            let database = open_with(folder.path(), &[&first], &limiter(|_| ())).await.unwrap();
            let executed = ask(&database, "execute", json!({ "sql": change })).await;
            tried += 1;
            if executed.is_ok() != expected.is_ok() {
                differ.push(format!("{table} / {change} as a message: {executed:?}, SQLite {expected:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} of {tried}: {differ:#?}", differ.len());
}

#[tokio::test]
async fn version_with_fewer_migrations_is_refused_and_starts_where_it_was_accepted_before() {
    let folder = tempfile::tempdir().unwrap();
    let database = at_first(&folder).await;
    let second = "ALTER TABLE p ADD COLUMN m TEXT";
    upgrade(&database, 1, &[FIRST, second]).await.unwrap();
    for fewer in [&[FIRST][..], &[]] {
        let failure = upgrade(&database, 2, fewer).await.unwrap_err();
        assert_eq!((failure.status, failure.code.as_str()), (409, "conflict"), "{failure}");
        assert!(failure.message.contains("/m/2.sql"), "{failure}");
        assert_eq!(query(&database, "SELECT m FROM p").await.unwrap()["rows"], json!([{ "m": null }]));
    }
    // The server restarts an app that an earlier server accepted.
    let first = vec![Migration::new("/m/1.sql", FIRST)];
    database.hold().await.stage(2, 2, first).await.unwrap().switch();
    upgrade(&database, 2, &[FIRST, second, "CREATE TABLE q (x)"]).await.unwrap();
}
