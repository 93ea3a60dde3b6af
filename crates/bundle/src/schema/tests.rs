use serde_json::json;

use super::*;

fn refused(schema: &Value) -> String {
    normal_form(schema).expect_err(&schema.to_string()).to_string()
}

#[test]
fn the_normal_form_holds_what_is_checked_and_is_its_own_normal_form() {
    for (schema, normal) in [
        (json!(true), json!(true)),
        (
            json!({ "$schema": DIALECT, "$id": "https://x/y", "title": "A", "type": "object", "x-note": 1,
                    "properties": { "title": { "type": "string", "format": "email" } } }),
            json!({ "type": "object", "properties": { "title": { "type": "string" } } }),
        ),
        (
            json!({ "type": "string", "maxLength": 20, "pattern": r"^\d+$" }),
            json!({ "type": "string", "maxLength": 20,
                    "allOf": [{ "if": { "maxLength": 20 }, "then": { "pattern": "^[0-9]+$" } }] }),
        ),
        (
            json!({ "maxItems": 9, "contains": { "const": 1 }, "minContains": 2, "uniqueItems": true, "allOf": [{}] }),
            json!({ "maxItems": 9, "allOf": [{}, { "if": { "maxItems": 9 },
                    "then": { "contains": { "const": 1 }, "minContains": 2, "uniqueItems": true } }] }),
        ),
        (
            json!({ "$defs": { "unused": {}, "a/b": { "items": { "$ref": "#/$defs/a~1b" } } },
                    "properties": { "x": { "$ref": "#/$defs/a~1b" }, "y": { "$ref": "#/properties/x" } } }),
            json!({ "$defs": { "0": { "items": { "$ref": "#/$defs/0" } }, "1": { "$ref": "#/$defs/0" } },
                    "properties": { "x": { "$ref": "#/$defs/0" }, "y": { "$ref": "#/$defs/1" } } }),
        ),
    ] {
        let found = normal_form(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        assert_eq!(found, normal);
        assert_eq!(normal_form(&found).as_ref(), Ok(&normal));
    }
}

#[test]
fn unsupported_schema_is_refused_with_its_place() {
    for (schema, told) in [
        (json!(3), "at its root: expected a schema"),
        (json!({ "properties": { "a/b": { "typ": "string" } } }), "at /properties/a~1b/typ: the keyword `typ`"),
        (json!({ "items": { "$dynamicRef": "#x" } }), "at /items/$dynamicRef: "),
        (json!({ "unevaluatedProperties": false }), "use `additionalProperties`"),
        (json!({ "$ref": "https://example.com/a.json" }), "outside of this document"),
        (json!({ "$ref": "other.json#/a" }), "outside of this document"),
        (json!({ "$ref": "#/$defs/gone" }), "does not lead to a schema"),
        (json!({ "$ref": "#/enum/0", "enum": [{}] }), "does not lead to a schema"),
        (json!({ "pattern": "^a$" }), "needs a `maxLength` of at most 256"),
        (json!({ "pattern": "^a$", "maxLength": 257 }), "needs a `maxLength` of at most 256"),
        (json!({ "pattern": "^(a+)+$", "maxLength": 20 }), "at /pattern: the pattern `^(a+)+$` is refused"),
        (json!({ "uniqueItems": true }), "`uniqueItems` needs a `maxItems` of at most 1024"),
        (json!({ "contains": {}, "maxItems": 5000 }), "`contains` needs a `maxItems`"),
        (json!({ "if": { "maxLength": 5000 }, "then": { "pattern": "^a$" } }), "at /then/pattern: a pattern needs"),
        (json!({ "maximum": 1e300 }), "beyond 2^53"),
        (json!({ "const": 9_007_199_254_740_993_u64 }), "beyond 2^53"),
        (json!({ "maximum": 0.999_999_999_999_999_9 }), "more than 15 digits"),
        (json!({ "enum": [{ "a": 2.5e-300 }] }), "more than 15 digits"),
        (json!({ "type": ["string", "string"] }), "expected one or several of"),
        (json!({ "type": "text" }), "expected one or several of"),
        (json!({ "required": ["a", "a"] }), "each once"),
        (json!({ "minLength": -1 }), "expected a whole number"),
        (json!({ "multipleOf": 0 }), "above 0"),
        (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "2020-12"),
    ] {
        let error = refused(&schema);
        assert!(error.contains(told), "{schema}: {error}");
    }
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "not": deep });
    }
    assert!(refused(&deep).contains("nested more than"));
}

#[test]
fn recursion_is_accepted_if_each_level_costs_the_same() {
    for schema in [
        json!({ "properties": { "children": { "items": { "$ref": "#" } } } }),
        json!({ "anyOf": [{ "type": "string" }, { "items": { "$ref": "#" } }, { "additionalProperties": { "$ref": "#" } }] }),
        json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } }),
        json!({ "prefixItems": [{ "$ref": "#" }], "items": { "$ref": "#" } }),
    ] {
        assert!(normal_form(&schema).is_ok(), "{schema}: {:?}", normal_form(&schema));
    }
    for (schema, told) in [
        (json!({ "$ref": "#" }), "never end"),
        (
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "not": { "$ref": "#/$defs/a" } } }, "$ref": "#/$defs/a" }),
            "never end",
        ),
        (json!({ "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }), "double the work"),
        (json!({ "items": { "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] } }), "double the work"),
        (
            json!({ "properties": { "a": { "$ref": "#" } }, "allOf": [{ "additionalProperties": { "$ref": "#" } }] }),
            "double the work",
        ),
        (json!({ "items": { "$ref": "#" }, "allOf": [{ "items": { "items": { "$ref": "#" } } }] }), "double the work"),
    ] {
        let error = refused(&schema);
        assert!(error.contains(told), "{schema}: {error}");
    }
}

#[test]
fn definitions_that_multiply_are_refused() {
    let mut defs = Map::new();
    for level in 0..4 {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        defs.insert(format!("d{level}"), json!({ "anyOf": vec![next; 10] }));
    }
    defs.insert("d4".into(), json!({ "type": "string" }));
    assert!(refused(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("more than 10000"));
}

#[test]
fn cost_of_a_body_counts_values_and_the_schemas_tried_on_them() {
    let cost = |schema: Value, body: Value| Cost::of(&normal_form(&schema).unwrap()).unwrap().steps(&body);
    let tags = json!({ "properties": { "tags": { "items": { "enum": ["a", "b", "c"] } } } });
    // The object lists one property, and each tag is compared with a list of three.
    assert_eq!(cost(tags.clone(), json!({ "tags": ["a", "b"] })), 2 + 1 + 2 * 5);
    assert_eq!(cost(tags.clone(), json!({ "other": vec!["a"; 100] })), 2 + 100 * 5, "any item counts as one of tags");
    assert_eq!(cost(tags, json!(1)), 2);
    let names = json!({ "propertyNames": { "maxLength": 3 }, "additionalProperties": { "anyOf": [{}, {}] } });
    // Two keywords look at each member, its name has a length, and its value is tried in two ways.
    assert_eq!(cost(names, json!({ "a": 1, "b": 2 })), 1 + 2 * (2 + 2 + 3));
    assert_eq!(
        cost(json!({ "maxLength": 9 }), json!("x".repeat(640))),
        2 * 11,
        "counting characters takes its time too"
    );
    let dependent = json!({ "dependentRequired": { "a": ["b", "c"] }, "dependentSchemas": { "a": true } });
    assert_eq!(cost(dependent, json!({})), 1 + 3 + 1 + 1);
    // `uniqueItems` compares whole items: the steps of the condition, of the keyword behind it, and of all values.
    let unique = json!({ "maxItems": 9, "uniqueItems": true });
    assert_eq!(cost(unique.clone(), json!([[1, 2], [3]])) - cost(unique, json!([])), 5);
    // Each level costs the same as the first.
    let tree = json!({ "anyOf": [{ "type": "null" }, { "type": "array" }], "items": { "$ref": "#" } });
    let levels = |depth: usize| (1..depth).fold(json!([]), |body, _| json!([body]));
    let of = |depth| cost(tree.clone(), levels(depth));
    assert_eq!((of(1), of(2) - of(1), of(9) - of(8)), (3, 4, 4), "the reference is one more");
}

#[test]
fn schema_that_would_overflow_the_stack_is_refused() {
    let nested = (0..17).fold(json!(true), |schema, _| json!({ "allOf": [schema] }));
    assert!(refused(&nested).contains("are nested on one value"));
    let flat = (0..17).fold(json!({}), |schema, _| json!({ "items": schema }));
    assert!(normal_form(&flat).is_ok());
    let mut defs = Map::new();
    for level in 0..4_000 {
        defs.insert(format!("d{level}"), json!({ "items": { "$ref": format!("#/$defs/d{}", level + 1) } }));
    }
    defs.insert("d4000".into(), json!(true));
    assert!(refused(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("deep"));
}

/// A tree with many kinds of nodes, which can all contain each other, as in a grammar.
#[test]
fn definitions_with_too_many_references_are_refused_quickly() {
    let tree = |kinds: usize| {
        let held: Map<_, _> =
            (0..kinds).map(|kind| (format!("k{kind}"), json!({ "$ref": format!("#/$defs/k{kind}") }))).collect();
        let node = json!({ "properties": held });
        let defs: Map<_, _> = (0..kinds).map(|kind| (format!("k{kind}"), node.clone())).collect();
        json!({ "$ref": "#/$defs/k0", "$defs": defs })
    };
    assert!(normal_form(&tree(5)).is_ok());
    assert!(refused(&tree(200)).contains("deep"));
}

/// This would take minutes if each name were searched for in a list of all earlier names.
#[test]
fn many_references_and_long_patterns_are_refused_quickly() {
    let each = || 0..90_000;
    let items: Vec<_> = each().map(|at| json!({ "$ref": format!("#/$defs/{at}") })).collect();
    let defs: Map<_, _> = each().map(|at| (at.to_string(), json!(true))).collect();
    assert!(refused(&json!({ "prefixItems": items, "$defs": defs })).contains("more than 10000"));
    let pattern: String = ('\u{4e00}'..).step_by(2).take(16_000).map(|character| format!("{character}?")).collect();
    assert!(refused(&json!({ "pattern": pattern, "maxLength": 256 })).contains("more than 2048 bytes"));
}
