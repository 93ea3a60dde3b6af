use starlane_protocol::Address;

use super::*;

fn open(folder: &tempfile::TempDir) -> Database {
    let sql = "CREATE TABLE people (name TEXT PRIMARY KEY, age INTEGER, photo BLOB, weight REAL)".to_owned();
    Database::open(&folder.path().join("a/db.sqlite"), &[Migration { path: "/m/1.sql".into(), sql }]).unwrap()
}

fn ask(database: &Database, operation: &str, body: Value) -> Result<Value, Failure> {
    let address = Address::parse("acme:app:db").unwrap();
    let incoming = Incoming {
        from: address.clone(),
        caller: starlane_host::Principal::default(),
        to: address,
        operation: operation.into(),
        payload: Payload::json(body.to_string()),
        remaining_ms: 30_000,
        one_way: false,
    };
    answer(&mut database.0.blocking_lock(), &incoming).map(|payload| serde_json::from_slice(&payload.body).unwrap())
}

#[test]
fn values_keep_their_types() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    let insert = "INSERT INTO people VALUES (?1, ?2, ?3, ?4)";
    for (name, age) in [("ada", json!(36)), ("big", json!({ "$integer": "9007199254740993" }))] {
        let params = json!([name, age, { "$bytes": "AAH/" }, 1.5]);
        let done = ask(&database, "execute", json!({ "sql": insert, "params": params })).unwrap();
        assert_eq!(done["changed"], 1);
    }
    let found = ask(&database, "query", json!({ "sql": "SELECT * FROM people ORDER BY name" })).unwrap();
    assert_eq!(found["columns"], json!(["name", "age", "photo", "weight"]));
    assert_eq!(found["rows"][0], json!({ "name": "ada", "age": 36, "photo": { "$bytes": "AAH/" }, "weight": 1.5 }));
    assert_eq!(found["rows"][1]["age"], json!({ "$integer": "9007199254740993" }));
    let named = json!({ "sql": "SELECT age FROM people WHERE name = :name", "params": { "name": "ada" } });
    assert_eq!(ask(&database, "query", named).unwrap()["rows"], json!([{ "age": 36 }]));
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    let insert = |name: &str| json!({ "sql": "INSERT INTO people (name) VALUES (?)", "params": [name] });
    let both = ask(&database, "transaction", json!({ "statements": [insert("a"), insert("b")] })).unwrap();
    assert_eq!(both["results"].as_array().unwrap().len(), 2);
    let failed = ask(&database, "transaction", json!({ "statements": [insert("c"), insert("a")] })).unwrap_err();
    assert_eq!(failed.code, "conflict");
    let count = ask(&database, "query", json!({ "sql": "SELECT count(*) AS n FROM people" })).unwrap();
    assert_eq!(count["rows"][0]["n"], 2);
}

#[test]
fn what_reaches_beyond_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    for (sql, code) in [
        ("ATTACH 'x.db' AS x", "no-grant"),
        ("/* c */ attach 'x.db' as x", "no-grant"),
        ("PRAGMA journal_mode = OFF", "no-grant"),
        ("BEGIN", "no-grant"),
        ("SAVEPOINT x", "no-grant"),
        ("SELECT load_extension('x')", "no-grant"),
        ("CREATE VIRTUAL TABLE v USING fts5(x)", "no-grant"),
        ("SELECT 1; SELECT 2", "malformed"),
        ("SELECT 1; ATTACH 'x.db' AS x", "malformed"),
        ("", "malformed"),
        ("nonsense", "malformed"),
        ("SELECT ?", "malformed"),
        ("VACUUM INTO 'x.db'", "no-grant"),
    ] {
        for operation in ["query", "execute"] {
            let failure = ask(&database, operation, json!({ "sql": sql })).unwrap_err();
            assert_eq!(failure.code, code, "{sql}: {}", failure.message);
        }
        let statements = json!({ "statements": [{ "sql": sql }] });
        assert!(ask(&database, "transaction", statements).is_err(), "{sql}");
    }
    assert_eq!(ask(&database, "query", json!({ "sequel": "x" })).unwrap_err().code, "malformed");
    assert!(ask(&database, "query", json!({ "sql": "SELECT 1 AS one" })).is_ok(), "and it goes on");
}

#[test]
fn an_answer_is_bounded_in_rows_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    let count =
        |n: u64| format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {n}) SELECT x FROM c");
    assert_eq!(ask(&database, "query", json!({ "sql": count(10_001) })).unwrap_err().code, "too-large");
    let huge = json!({ "sql": "SELECT length(zeroblob(100000000))" });
    assert_eq!(ask(&database, "query", huge).unwrap_err().code, "too-large");
    let endless = format!("SELECT count(*) FROM ({})", count(100_000_000_000));
    let before = std::time::Instant::now();
    assert_eq!(ask(&database, "query", json!({ "sql": endless })).unwrap_err().code, "deadline");
    assert!(before.elapsed().as_secs() < 10);
}

#[test]
fn migrations_run_once_and_may_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite");
    let step = |sql: &str| [Migration { path: "/m/1.sql".into(), sql: sql.into() }];
    for _ in 0..2 {
        Database::open(&file, &step("CREATE TABLE t (x)")).unwrap();
    }
    let error = Database::open(&file, &step("CREATE TABLE t (x, y)")).err().unwrap();
    assert!(error.contains("changed after it was applied"), "{error}");
    let broken = [Migration { path: "/m/2.sql".into(), sql: "CREATE".into() }];
    assert!(Database::open(&file, &broken).err().unwrap().contains("/m/2.sql"));
}
