//! Every value travels exactly: as a parameter, in a row, and as a parameter again.

use std::cell::OnceCell;

use proptest::prelude::*;
use rusqlite::types::Value as Sql;

use super::*;
use crate::database::values::{Parameter, to_json, to_sql};

fn value() -> impl Strategy<Value = Parameter> {
    let real = prop_oneof![
        any::<f64>(),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            9007199254740993.0
        ])
    ];
    prop_oneof![
        Just(Parameter::Null),
        any::<i64>().prop_map(Parameter::Integer),
        prop::sample::select(vec![0, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN])
            .prop_map(Parameter::Integer),
        real.prop_filter("SQLite has no NaN", |real| !real.is_nan()).prop_map(Parameter::Real),
        ".*".prop_map(|text| Parameter::Text(text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Parameter::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Parameter::Blob),
    ]
}

fn as_json(parameter: &Parameter) -> Value {
    use rusqlite::types::ValueRef;
    to_json(match parameter {
        Parameter::Null => ValueRef::Null,
        Parameter::Integer(number) => ValueRef::Integer(*number),
        Parameter::Real(real) => ValueRef::Real(*real),
        Parameter::Text(text) => ValueRef::Text(text),
        Parameter::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_value_is_returned_unchanged(sent in value()) {
        thread_local! {
            static DATABASE: OnceCell<(tempfile::TempDir, tokio::runtime::Runtime, Database)> = const { OnceCell::new() };
        }
        let json = as_json(&sent);
        let raw = serde_json::value::to_raw_value(&json).unwrap();
        prop_assert_eq!(to_sql(&raw).unwrap(), sent);
        let row = DATABASE.with(|kept| {
            let (_, runtime, database) = kept.get_or_init(|| {
                let folder = tempfile::tempdir().unwrap();
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let database = runtime.block_on(open_with(folder.path(), &["CREATE TABLE t (v)"], &limiter(|_| ()))).unwrap();
                (folder, runtime, database)
            });
            let sql = json!({ "sql": "SELECT ?1 AS v, typeof(?1) AS t", "params": [json] });
            runtime.block_on(ask(database, "query", sql)).unwrap()["rows"][0].clone()
        });
        prop_assert_eq!(&row["v"], &json);
        let kind = match to_sql(&raw).unwrap() {
            Parameter::Null => "null",
            Parameter::Integer(_) => "integer",
            Parameter::Real(_) => "real",
            Parameter::Text(_) => "text",
            Parameter::Blob(_) => "blob",
        };
        prop_assert_eq!(&row["t"], kind);
    }
}

#[test]
fn values_that_json_cannot_express_are_tagged() {
    let shown = |sql: &str| {
        let value: Sql = crate::database::open_in_memory()
            .unwrap()
            .query_row(sql, [], |row| Ok(Sql::Text(to_json(row.get_ref(0)?).to_string())))
            .unwrap();
        let Sql::Text(text) = value else { panic!("{value:?}") };
        text
    };
    assert_eq!(shown("SELECT 9e999"), r#"{"$real":"Infinity"}"#);
    assert_eq!(shown("SELECT -9e999"), r#"{"$real":"-Infinity"}"#);
    assert_eq!(shown("SELECT 9e999 - 9e999"), "null");
    assert_eq!(shown("SELECT CAST(x'ff41' AS TEXT)"), r#"{"$text":"/0E="}"#);
    assert_eq!(shown("SELECT 9223372036854775807"), r#"{"$integer":"9223372036854775807"}"#);
}
