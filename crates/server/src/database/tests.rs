use std::time::Duration;

use serde_json::{Value, json};
use starlane_protocol::{Address, Payload};

use super::*;
use crate::limits::ServerLimits;

pub(super) fn limiter(change: impl FnOnce(&mut ServerLimits)) -> Arc<Limiter> {
    let mut limits = ServerLimits::default();
    change(&mut limits);
    Limiter::new(limits)
}

/// A database at revision 1 with these migrations.
async fn open_with(folder: &Path, migrations: &[&str], limiter: &Arc<Limiter>) -> Result<Database, Failure> {
    let database = Database::new(folder, "db", limiter, &Arc::new(Semaphore::new(16)));
    upgrade(&database, 0, migrations).await.map(|()| database)
}

async fn upgrade(database: &Database, from: u64, migrations: &[&str]) -> Result<(), Failure> {
    let numbered = migrations.iter().enumerate();
    let migrations = numbered.map(|(at, sql)| Migration::new(&format!("/m/{}.sql", at + 1), sql)).collect();
    database.hold().await.stage(from, from + 1, migrations).await?.switch();
    Ok(())
}

async fn open(folder: &tempfile::TempDir) -> Database {
    let sql = "CREATE TABLE people (name TEXT PRIMARY KEY, age INTEGER, photo BLOB, weight REAL)";
    open_with(folder.path(), &[sql], &limiter(|_| ())).await.unwrap()
}

async fn ask(database: &Database, operation: &str, body: Value) -> Result<Value, Failure> {
    ask_raw(database, operation, body.to_string()).await
}

async fn ask_raw(database: &Database, operation: &str, body: String) -> Result<Value, Failure> {
    let address = Address::parse("acme:app:db").unwrap();
    let caller = starlane_host::Principal::named("ada");
    let message = Message::new(address.clone(), caller, address, operation.into(), Payload::json(body));
    database
        .answer(Message { remaining_ms: 30_000, ..message })
        .await
        .map(|payload| serde_json::from_slice(&payload.body).unwrap())
}

async fn query(database: &Database, sql: &str) -> Result<Value, Failure> {
    ask(database, "query", json!({ "sql": sql })).await
}

#[tokio::test]
async fn values_keep_their_types() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let insert = "INSERT INTO people VALUES (?1, ?2, ?3, ?4)";
    for (name, age) in [("ada", json!(36)), ("big", json!({ "$integer": "9007199254740993" }))] {
        let params = json!([name, age, { "$bytes": "AAH/" }, 1.5]);
        let done = ask(&database, "execute", json!({ "sql": insert, "params": params })).await.unwrap();
        assert_eq!(done["changed"], 1);
    }
    let found = query(&database, "SELECT * FROM people ORDER BY name").await.unwrap();
    assert_eq!(found["columns"], json!(["name", "age", "photo", "weight"]));
    assert_eq!(found["rows"][0], json!({ "name": "ada", "age": 36, "photo": { "$bytes": "AAH/" }, "weight": 1.5 }));
    assert_eq!(found["rows"][1]["age"], json!({ "$integer": "9007199254740993" }));
    let named = json!({ "sql": "SELECT age FROM people WHERE name = :name", "params": { "name": "ada" } });
    assert_eq!(ask(&database, "query", named).await.unwrap()["rows"], json!([{ "age": 36 }]));
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let insert = |name: &str| json!({ "sql": "INSERT INTO people (name) VALUES (?)", "params": [name] });
    let all = |statements: Value| json!({ "statements": statements });
    let both = ask(&database, "transaction", all(json!([insert("a"), insert("b")]))).await.unwrap();
    assert_eq!(both["results"].as_array().unwrap().len(), 2);
    let failed = ask(&database, "transaction", all(json!([insert("c"), insert("a")]))).await.unwrap_err();
    assert_eq!(failed.code, "conflict");
    let rolls_back = json!({ "sql": "INSERT OR ROLLBACK INTO people (name) VALUES ('a')" });
    let failed = ask(&database, "transaction", all(json!([insert("d"), rolls_back, insert("e")]))).await.unwrap_err();
    assert_eq!(failed.code, "conflict");
    let count = query(&database, "SELECT count(*) AS n FROM people").await.unwrap();
    assert_eq!(count["rows"][0]["n"], 2);
    assert_eq!(ask(&database, "execute", insert("f")).await.unwrap()["changed"], 1, "no transaction is left open");
    assert_eq!(ask(&database, "transaction", all(json!([]))).await.unwrap(), json!({ "results": [] }));
}

#[tokio::test]
async fn column_names_are_distinct_and_returning_answers_rows() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let found = query(&database, "SELECT 1 AS id, 2 AS id, 3 AS \"id:1\", 4 AS id").await.unwrap();
    assert_eq!(
        found,
        json!({ "columns": ["id", "id:2", "id:1", "id:3"], "rows": [{ "id": 1, "id:2": 2, "id:1": 3, "id:3": 4 }] })
    );
    let insert = json!({ "sql": "INSERT INTO people (name) VALUES ('a'), ('b') RETURNING name" });
    let done = ask(&database, "execute", insert).await.unwrap();
    assert_eq!(
        done,
        json!({ "changed": 2, "last_id": 2, "columns": ["name"], "rows": [{ "name": "a" }, { "name": "b" }] })
    );
    let large = json!({ "sql": "INSERT INTO people (rowid, name) VALUES (9007199254740993, 'c')" });
    assert_eq!(ask(&database, "execute", large).await.unwrap()["last_id"], json!({ "$integer": "9007199254740993" }));
}

#[tokio::test]
async fn what_reaches_beyond_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    for (sql, code) in [
        ("ATTACH 'x.db' AS x", "no-grant"),
        ("/* c */ attach 'x.db' as x", "no-grant"),
        ("PRAGMA journal_mode = OFF", "no-grant"),
        ("BEGIN", "no-grant"),
        ("SAVEPOINT x", "no-grant"),
        ("SELECT load_extension('x')", "no-grant"),
        ("SELECT fts3_tokenizer('simple')", "no-grant"),
        ("SELECT * FROM dbstat", "no-grant"),
        ("SELECT * FROM pragma_database_list", "no-grant"),
        ("SELECT 1; SELECT 2", "malformed"),
        ("SELECT 1; ATTACH 'x.db' AS x", "malformed"),
        ("", "malformed"),
        ("nonsense", "malformed"),
        ("SELECT ?", "malformed"),
    ] {
        for operation in ["query", "execute"] {
            let failure = ask(&database, operation, json!({ "sql": sql })).await.unwrap_err();
            assert_eq!(failure.code, code, "{sql}: {}", failure.message);
        }
        let statements = json!({ "statements": [{ "sql": sql }] });
        assert!(ask(&database, "transaction", statements).await.is_err(), "{sql}");
    }
    for sql in [
        "VACUUM INTO 'x.db'",
        "CREATE VIRTUAL TABLE v USING fts5(x)",
        "CREATE TEMP TABLE t (x)",
        "DELETE FROM starlane_migrations",
        "DROP TABLE starlane_migrations",
        "CREATE TRIGGER t AFTER INSERT ON starlane_migrations BEGIN SELECT 1; END",
        "ALTER TABLE starlane_migrations RENAME TO x",
        "INSERT INTO Starlane_Migrations VALUES ('a', 'b')",
    ] {
        let failure = ask(&database, "execute", json!({ "sql": sql })).await.unwrap_err();
        assert_eq!(failure.code, "no-grant", "{sql}: {}", failure.message);
    }
    assert_eq!(ask(&database, "query", json!({ "sequel": "x" })).await.unwrap_err().code, "malformed");
    assert!(query(&database, "SELECT 1 AS one").await.is_ok(), "the database still answers");
}

#[tokio::test]
async fn a_query_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    ask(&database, "execute", json!({ "sql": "INSERT INTO people (name) VALUES ('ada')" })).await.unwrap();
    for sql in [
        "DELETE FROM people",
        "DELETE FROM people RETURNING name",
        "INSERT INTO people (name) VALUES ('b')",
        "WITH x AS (SELECT 1) UPDATE people SET age = 1",
        "REPLACE INTO people (name) VALUES ('ada')",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "CREATE INDEX i ON people (age)",
        "DROP TABLE people",
        "ALTER TABLE people ADD COLUMN x",
        "REINDEX",
        "ANALYZE",
        "VACUUM",
    ] {
        let failure = query(&database, sql).await.unwrap_err();
        assert!(matches!(failure.status, 400 | 403), "{sql}: {failure}");
        assert!(failure.message.contains("`execute`") || sql == "VACUUM", "{sql}: {failure}");
    }
    assert_eq!(query(&database, "SELECT name FROM people").await.unwrap()["rows"], json!([{ "name": "ada" }]));
}

#[tokio::test]
async fn an_answer_has_limits_of_rows_bytes_memory_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let limiter = limiter(|limits| limits.set(Limit::SqlTime, 1_000).unwrap());
    let database = open_with(folder.path(), &["CREATE TABLE t (x)"], &limiter).await.unwrap();
    let count =
        |n: u64| format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {n}) SELECT x FROM c");
    let wide = |value: &str, columns: usize| format!("SELECT {}", vec![value; columns].join(", "));
    let mut nested = "SELECT 1 AS x".to_owned();
    for _ in 0..40 {
        nested = format!("SELECT x + x AS x FROM ({nested})");
    }
    let endless = format!("SELECT count(*) FROM ({})", count(100_000_000_000));
    for (sql, status, limit) in [
        (count(10_001), 413, "sql-rows"),
        ("SELECT length(zeroblob(100000000))".to_owned(), 413, "sql-value"),
        (wide("randomblob(1000000)", 50), 413, "sql-result"),
        (wide("randomblob(1000000)", 100), 413, "sql-"),
        (format!("SELECT hex(zeroblob(500000)) || char(1) FROM ({}) LIMIT 100", count(100)), 413, "sql-result"),
        (wide("1 AS \"a\"", 1_001), 400, ""),
        ("SELECT json_pretty('[[[[1,2]]]]', hex(zeroblob(500000)))".to_owned(), 413, "sql-"),
        (endless, 408, "sql-time"),
        (format!("SELECT sum(instr('a', 'b')) FROM ({})", count(100_000_000_000)), 408, "sql-time"),
    ] {
        let begun = std::time::Instant::now();
        let failure = query(&database, &sql).await.unwrap_err();
        let shown: String = sql.chars().take(60).collect();
        assert!(failure.status == status && failure.message.contains(limit), "{shown}: {failure}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{shown}");
    }
    let begun = std::time::Instant::now();
    let _ = query(&database, &nested).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(query(&database, "SELECT 1 AS one").await.unwrap()["rows"], json!([{ "one": 1 }]));
}

#[tokio::test]
async fn a_database_grows_only_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let limiter = limiter(|limits| limits.set(Limit::DatabaseSize, 1 << 20).unwrap());
    let database = open_with(folder.path(), &["CREATE TABLE t (x)"], &limiter).await.unwrap();
    let insert = json!({ "sql": "INSERT INTO t VALUES (randomblob(100000))" });
    let mut kept = 0;
    let failure = loop {
        match ask(&database, "execute", insert.clone()).await {
            Ok(_) => kept += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!((failure.status, failure.code.as_str()), (507, "storage-full"));
    assert!(failure.message.contains("database-size") && (5..=10).contains(&kept), "{kept}: {failure}");
    let found = query(&database, "SELECT count(*) AS n FROM t").await.unwrap();
    assert_eq!(found["rows"][0]["n"], kept);
    assert_eq!(ask(&database, "execute", json!({ "sql": "DELETE FROM t" })).await.unwrap()["changed"], kept);
    assert!(ask(&database, "execute", insert).await.is_ok(), "there is room again");
    let large = "CREATE TABLE u AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20) \
                 SELECT randomblob(100000) AS b FROM c";
    let failure = upgrade(&database, 1, &["CREATE TABLE t (x)", large]).await.unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (507, "storage-full"), "{failure}");
}

#[tokio::test]
async fn a_parameter_that_would_be_rounded_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    for (param, says) in [
        ("9223372036854775808", "64 bits"),
        ("-9223372036854775809", "64 bits"),
        ("99999999999999999999999999", "64 bits"),
        ("1e999", "largest real"),
        ("[1]", "cannot be"),
        ("{\"a\": 1}", "cannot be"),
        ("{\"$integer\": \"9223372036854775808\"}", "cannot be"),
        ("{\"$integer\": 1}", "cannot be"),
        ("{\"$real\": \"NaN\"}", "cannot be"),
        ("{\"$bytes\": \"?\"}", "cannot be"),
    ] {
        let body = format!("{{\"sql\":\"SELECT ?1 AS v\",\"params\":[{param}]}}");
        let failure = ask_raw(&database, "query", body).await.unwrap_err();
        assert!(failure.code == "malformed" && failure.message.contains(says), "{param}: {failure}");
    }
    let twice = r#"{"sql":"SELECT :a","params":{"a":1,"a":2}}"#;
    assert!(ask_raw(&database, "query", twice.to_owned()).await.unwrap_err().message.contains("twice"));
}

mod resource;
mod upgrades;
mod values;
