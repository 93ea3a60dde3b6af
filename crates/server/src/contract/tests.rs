//! Runs the validators of both hosts on random schemas and bodies: the server's, and that of pages in Node.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    strategy::{BoxedStrategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use starlane_bundle::schema;
use starlane_testkit::{figure::figure, workspace};

use super::{BOUNDS, BodyRole, Contract, Validator};

/// Validates lines of `{ "contract": …, "bodies": […] }` as pages do, and returns a line of verdicts for each.
const PAGE: &str = "import { pathToFileURL } from 'node:url'; import { readFileSync } from 'node:fs'; \
    const { gate } = await import(pathToFileURL(process.argv[1])); const utf8 = new TextEncoder(); \
    for (const line of readFileSync(0, 'utf8').trim().split('\\n')) { const { contract, bodies } = JSON.parse(line); \
      const judged = gate(new Map(), contract, 1e9).contract; \
      console.log(JSON.stringify(bodies.map((body) => !judged.check('request', 'x', utf8.encode(body), 1e9)))); }";

const SCHEMAS: usize = 4_000;
const BODIES: usize = 25;

/// Numbers as texts, because JSON has numbers that neither Rust nor JavaScript can represent.
const NUMBERS: [&str; 22] = [
    "0",
    "-0",
    "1",
    "2",
    "3",
    "-3",
    "0.5",
    "1.0",
    "1e0",
    "0.1",
    "0.3",
    "0.30000000000000004",
    "1e-7",
    "2.5e-300",
    "1000",
    "9007199254740991",
    "9007199254740993",
    "-9007199254740995",
    "12345678901234567000",
    "1e300",
    "1e400",
    "4.35",
];
const TEXTS: [&str; 8] = ["", "a", "ab", "abc", "1", "é", "𝒳y", "a-b"];
const NAMES: [&str; 5] = ["a", "b", "c", "", "é"];

/// A body as its text.
fn body() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        select(NUMBERS.to_vec()).prop_map(str::to_owned),
        select(TEXTS.to_vec()).prop_map(|text| json!(text).to_string()),
    ];
    let nested = leaf.prop_recursive(3, 12, 4, |inner| {
        let member = (select(NAMES.to_vec()), inner.clone()).prop_map(|(name, body)| format!("{}:{body}", json!(name)));
        prop_oneof![
            vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    });
    nested.boxed()
}

/// A value for `const` and `enum` in a schema.
fn constant() -> impl Strategy<Value = Value> {
    body().prop_filter_map("no value of a schema", |text| serde_json::from_str(&text).ok())
}

fn names() -> impl Strategy<Value = Value> {
    vec(select(NAMES.to_vec()), 0..3).prop_map(|mut names| {
        names.sort_unstable();
        names.dedup();
        json!(names)
    })
}

fn keyword(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    value.prop_map(move |value| json!({ name: value })).boxed()
}

fn pattern() -> impl Strategy<Value = String> {
    let parts =
        ["a", "b", "ab", "é", "𝒳", "-", "1", ".", r"\d", r"\w", r"\s", r"\D", "[a-c]", "[^a]", "(a|b)", "(ab|)", "|"];
    let part = (select(parts.to_vec()), select(vec!["", "", "", "?", "*", "+", "{2}", "{1,2}"]))
        .prop_map(|(part, times)| if part == "|" { part.to_owned() } else { format!("{part}{times}") });
    (any::<bool>(), vec(part, 1..5), any::<bool>()).prop_map(|(begin, parts, end)| {
        [if begin { "^" } else { "" }, &parts.concat(), if end { "$" } else { "" }].concat()
    })
}

fn leaf() -> BoxedStrategy<Value> {
    let types = ["null", "boolean", "object", "array", "number", "string", "integer"];
    let number = || select(vec![json!(0), json!(1), json!(2.5), json!(-3), json!(0.1)]);
    let count = || (0..4_u64).prop_map(Value::from);
    prop_oneof![
        4 => keyword("type", select(types.to_vec()).prop_map(Value::from)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!({ "type": ["integer", "string"] })),
        1 => Just(json!({ "$ref": "#/$defs/r" })),
        1 => keyword("const", constant()),
        2 => keyword("enum", vec(constant(), 1..4).prop_map(Value::from)),
        1 => keyword("minimum", number()),
        1 => keyword("maximum", number()),
        1 => keyword("exclusiveMinimum", number()),
        1 => keyword("exclusiveMaximum", number()),
        2 => keyword("multipleOf", select(vec![json!(1), json!(2), json!(0.1), json!(0.01), json!(1e-8), json!(1000)])),
        1 => keyword("minLength", count()),
        1 => keyword("maxLength", count()),
        2 => pattern().prop_map(|pattern| json!({ "pattern": pattern, "maxLength": 9 })),
        1 => keyword("minItems", count()),
        1 => keyword("maxItems", count()),
        2 => Just(json!({ "uniqueItems": true, "maxItems": 9 })),
        1 => keyword("required", names()),
        1 => keyword("minProperties", count()),
        1 => keyword("maxProperties", count()),
        1 => names().prop_map(|names| json!({ "dependentRequired": { "a": names } })),
    ]
    .boxed()
}

fn schema() -> BoxedStrategy<Value> {
    let nested = leaf().prop_recursive(4, 16, 3, |inner| {
        let table = || {
            vec((select(NAMES.to_vec()), inner.clone()), 1..3).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            })
        };
        let some = || vec(inner.clone(), 1..4).prop_map(Value::from);
        let count = || (0..3_u64).prop_map(Value::from);
        prop_oneof![
            keyword("items", inner.clone()),
            (some(), inner.clone()).prop_map(|(first, rest)| json!({ "prefixItems": first, "items": rest })),
            keyword("prefixItems", some()),
            (inner.clone(), count(), count()).prop_map(|(schema, least, most)| {
                json!({ "contains": schema, "minContains": least, "maxContains": most, "maxItems": 9 })
            }),
            keyword("properties", table()),
            (table(), inner.clone())
                .prop_map(|(table, rest)| json!({ "properties": table, "additionalProperties": rest })),
            keyword("additionalProperties", inner.clone()),
            keyword("propertyNames", inner.clone()),
            keyword("dependentSchemas", table()),
            keyword("allOf", some()),
            keyword("anyOf", some()),
            keyword("oneOf", some()),
            keyword("not", inner.clone()),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({ "if": a, "then": b, "else": c })),
            // Two adjacent schemas.
            (inner.clone(), inner.clone()).prop_map(|(one, other)| match (one, other) {
                (Value::Object(mut one), Value::Object(other)) => {
                    one.extend(other);
                    Value::Object(one)
                }
                (one, _) => one,
            }),
        ]
    });
    nested.boxed()
}

#[test]
fn both_hosts_judge_random_bodies_alike() {
    let mut runner = TestRunner::deterministic();
    let (mut lines, mut judged, mut bodies_of) = (Vec::new(), Vec::new(), Vec::new());
    while judged.len() < SCHEMAS {
        let mut given = schema().new_tree(&mut runner).unwrap().current();
        if let Some(root) = given.as_object_mut() {
            let referred = schema().new_tree(&mut runner).unwrap().current();
            root.insert("$defs".to_owned(), json!({ "r": referred }));
        }
        // The subset excludes endless recursion.
        let Ok(normal) = schema::normal_form(&given) else { continue };
        let contract = json!({ "requests": { "x": normal }, "responses": {}, "events": {} }).to_string();
        let bodies: Vec<String> = (0..BODIES).map(|_| body().new_tree(&mut runner).unwrap().current()).collect();
        let own = Contract::compile(&contract).unwrap();
        judged.push(
            bodies.iter().map(|body| own.check(BodyRole::Request, "x", body.as_bytes()).is_ok()).collect::<Vec<bool>>(),
        );
        lines.push(json!({ "contract": contract, "bodies": bodies }).to_string());
        bodies_of.push((normal, bodies));
    }
    let verdicts = page(&lines.join("\n"));
    assert_eq!(verdicts.len(), SCHEMAS);
    let mut differences = Vec::new();
    for ((verdicts, own), (schema, bodies)) in verdicts.iter().zip(&judged).zip(&bodies_of) {
        for ((page, server), body) in verdicts.iter().zip(own).zip(bodies) {
            if page != server {
                differences.push(format!("{schema}\n  {body}: the page says {page}, the server {server}"));
            }
        }
    }
    let all: Vec<bool> = judged.concat();
    let fitting = all.iter().filter(|fits| **fits).count();
    assert!(
        fitting > all.len() / 10 && fitting < all.len() * 9 / 10,
        "{fitting} of {} fit: that shows little",
        all.len()
    );
    figure("schema-random.cases", all.len() as f64, "cases");
    figure("schema-random.differences", differences.len() as f64, "cases");
    let shown: Vec<&String> = differences.iter().take(9).collect();
    assert!(differences.is_empty(), "{} differences, such as {shown:#?}", differences.len());
}

/// The verdicts of a page's validator.
fn page(lines: &str) -> Vec<Vec<bool>> {
    let script = workspace().join("crates/browser/dist/contract.js");
    assert!(script.exists(), "`node crates/browser/build.mjs` makes {}", script.display());
    let mut node = Command::new("node")
        .args(["--input-type=module", "--eval", PAGE])
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node runs: `cargo xtask setup` installs it");
    let mut input = node.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = node.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The engine accepts the largest patterns that `normal_form` accepts, so that every published bundle can be launched.
#[test]
fn the_engine_accepts_the_largest_patterns() {
    let wide: String = (1..90u32)
        .filter_map(|at| char::from_u32(at * 0x20b))
        .map(|from| format!("\\u{{{:x}}}-\\u{{{:x}}}", from as u32, from as u32 + 0x150))
        .collect();
    let of = |part: &str, times: u32| json!({ "pattern": format!("^x?(?:{part}){{{times}}}$"), "maxLength": 256 });
    let parts = [
        "a",
        "\u{e9}",
        "(a|b|cd)",
        "[^a]",
        ".",
        r"\s",
        r"\p{L}",
        r"\P{Cn}",
        r"[^\p{L}\p{M}]",
        r"[\p{Lu}\p{Nd}\p{Po}\p{So}]",
    ];
    for part in parts.iter().copied().chain([&*format!("[{wide}]"), "(?:ab){16}", "(?:(?:a{8}b){8}c){8}"]) {
        let largest = (1..=256).rev().find_map(|times| schema::normal_form(&of(part, times)).ok());
        Validator::new(&largest.unwrap(), BOUNDS).map(drop).unwrap_or_else(|error| panic!("{part}: {error}"));
    }
    assert!(schema::normal_form(&of(r"\p{L}", 256)).is_err(), "so there is a line");
}
