use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use rusqlite::types::Value;

use super::*;

fn bounded() -> (Connection, Arc<Watch>) {
    let connection = crate::database::open_in_memory().unwrap();
    let watch = Arc::new(Watch::new(1 << 20));
    install(&connection, &watch).unwrap();
    (connection, watch)
}

/// Short texts from a small alphabet, so that some of them match. Some are not UTF-8.
fn value() -> impl Strategy<Value = Value> {
    let bytes = prop::collection::vec(prop::sample::select(b"aAbB%_*?[]^-\\ \xc3\xa4\x80\xff\0".to_vec()), 0..8);
    prop_oneof![
        4 => "[aAbBä%_*?\\[\\]^\\-\\\\ ]{0,8}".prop_map(Value::Text),
        1 => bytes.prop_map(Value::Blob),
        1 => (-200i64..200).prop_map(Value::Integer),
        1 => prop_oneof![Just(1.0), Just(0.1), Just(-1e300), any::<f64>()].prop_map(Value::Real),
        1 => Just(Value::Null),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn each_function_returns_the_same_as_in_sqlite(a in value(), b in value(), c in value()) {
        thread_local! {
            static BOTH: (Connection, Connection) = {
                let bounded = bounded().0;
                (crate::database::open_in_memory().unwrap(), bounded)
            };
        }
        for sql in [
            "like(?1, ?2)", "like(?1, ?2, ?3)", "glob(?1, ?2)", "?2 LIKE ?1", "?2 GLOB ?1",
            // A text of bytes that are not UTF-8.
            "like(CAST(?1 AS TEXT), CAST(?2 AS TEXT))", "glob(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
            "instr(?1, ?2)", "instr(CAST(?1 AS TEXT), CAST(?2 AS TEXT))", "hex(replace(?1, ?2, ?3))",
            "hex(trim(?1, ?2))", "hex(ltrim(?1, ?2))", "hex(rtrim(?1, ?2))", "unhex(?1, ?2)", "json_patch(?1, ?2)",
            "typeof(replace(?1, ?2, ?3))", "json_array(json_patch('{}', '{\"a\":1}'))",
        ] {
            let sql = format!("SELECT {sql}, ?1, ?2, ?3");
            let of = |connection: &Connection| {
                let params = rusqlite::params![a, b, c];
                let result = connection.prepare_cached(&sql).unwrap().query_row(params, |row| row.get::<_, Value>(0));
                result.map_err(|_| ())
            };
            let (theirs, ours) = BOTH.with(|(theirs, ours)| (of(theirs), of(ours)));
            let same = theirs == ours;
            prop_assert!(same, "{} of {:?}: {:?}, and SQLite gives {:?}", sql, (&a, &b, &c), ours, theirs);
        }
    }
}

#[test]
fn every_function_of_sqlite_is_allowed_or_refused_explicitly() {
    let (connection, _) = bounded();
    let mut names = connection.prepare("SELECT DISTINCT name FROM pragma_function_list").unwrap();
    let names: BTreeSet<String> = names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_>>().unwrap();
    let refused: Vec<&String> = names.iter().filter(|name| !allowed(name)).collect();
    for name in &refused {
        assert!(REFUSED.contains(&name.as_str()), "{name}: of all: {refused:?}");
    }
    assert!(names.len() > 100 && ["load_extension", "fts3_tokenizer"].iter().all(|name| !allowed(name)));
}

/// Without a deadline each would take minutes or hours, and SQLite would not interrupt it.
#[test]
fn every_function_ends_at_its_deadline() {
    let (connection, watch) = bounded();
    let begun = Instant::now();
    for sql in [
        "SELECT like('%' || replace(hex(zeroblob(240)), '0', '_%') || 'b', hex(zeroblob(500000)))",
        "SELECT glob('*' || replace(hex(zeroblob(240)), '0', '[0-9]*') || 'b', hex(zeroblob(500000)))",
        "SELECT instr(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1')",
        "SELECT replace(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1', '')",
        "SELECT trim(hex(zeroblob(500000)), replace(hex(zeroblob(250000)), '0', 'ab') || '0')",
        "SELECT unhex(hex(zeroblob(500000)), replace(hex(zeroblob(250000)), '0', ' '))",
    ] {
        watch.end_after(Some(Duration::from_millis(200)));
        let _ = connection.query_row(sql, [], |_| Ok(()));
        assert!(begun.elapsed().as_secs() < 30, "{sql}");
    }
    watch.end_after(Some(Duration::ZERO));
    std::thread::yield_now();
    let after = connection.query_row("SELECT instr('a', 'b')", [], |_| Ok(())).unwrap_err();
    assert_eq!(after.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
}
