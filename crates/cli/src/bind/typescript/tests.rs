use serde_json::json;

use super::*;

fn of(schema: Value) -> String {
    let bind: Bind = serde_json::from_value(json!({ "name": "test", "events": {
        "e": { "content-type": "application/json", "schema": "/s" } } }))
    .unwrap();
    let text = module("binds/test.toml", &bind, &[("/s".to_owned(), schema)].into_iter().collect());
    text.split_once("}\n\n").unwrap().1.trim_end().to_owned()
}

#[test]
fn a_bind_becomes_an_interface() {
    let bind: Bind = serde_json::from_value(json!({
        "name": "profile", "description": "Renders.",
        "operations": {
            "render": { "request": { "content-type": "application/json", "schema": "/r" }, "response": { "content-type": "text/html" } },
            "touch-all": { "request": { "content-type": "application/json" } },
            "upload": { "request": { "content-type": "image/png" }, "response": { "content-type": "application/json", "schema": "/r" } }
        }
    }))
    .unwrap();
    let schema = json!({ "title": "A text", "type": "object", "required": ["markdown"], "additionalProperties": false,
        "properties": { "markdown": { "type": "string", "description": "CommonMark." }, "max-size": { "type": "integer" } } });
    let text = module("binds/profile.toml", &bind, &[("/r".to_owned(), schema)].into_iter().collect());
    let expected = r#"// Made by `starlane bind types binds/profile.toml`: change the bind and its schemas, and make it again.

/** Renders. */
export interface Profile {
  operations: {
    render: { request: ProfileRenderRequest; response: string };
    "touch-all": { request: unknown; response: undefined };
    upload: { request: Uint8Array; response: ProfileRenderRequest };
  };
  events: {};
}

/** A text */
export type ProfileRenderRequest = {
  /** CommonMark. */
  markdown: string;
  "max-size"?: number;
};
"#;
    assert_eq!(text, expected);
}

#[test]
fn each_keyword_that_says_something_of_a_type_is_taken_up() {
    for (schema, expected) in [
        (json!(true), "export type TestEEvent = unknown;"),
        (json!(false), "export type TestEEvent = never;"),
        (json!({ "enum": ["a", 1, null] }), r#"export type TestEEvent = "a" | 1 | null;"#),
        (json!({ "const": { "a": [1] } }), r#"export type TestEEvent = {"a":[1]};"#),
        (json!({ "type": ["string", "null"] }), "export type TestEEvent = string | null;"),
        (json!({ "items": { "type": ["string", "null"] } }), "export type TestEEvent = (string | null)[];"),
        (
            json!({ "prefixItems": [{ "type": "string" }, { "type": "integer" }], "minItems": 1, "items": false }),
            "export type TestEEvent = [string, number?];",
        ),
        (
            json!({ "anyOf": [{ "type": "string" }, { "allOf": [{ "required": ["a"] }, {}] }] }),
            "export type TestEEvent = string | {\n  a: unknown;\n  [name: string]: unknown;\n};",
        ),
        (
            json!({ "additionalProperties": { "type": "number" }, "properties": { "a": { "type": "string" } } }),
            "export type TestEEvent = {\n  a?: string;\n  [name: string]: string | undefined | number;\n};",
        ),
        (json!({ "type": "object", "additionalProperties": false }), "export type TestEEvent = Record<string, never>;"),
        (
            json!({ "$defs": { "tree-node": { "items": { "$ref": "#/$defs/tree-node" } } }, "$ref": "#/$defs/tree-node" }),
            "export type TestEEventTreeNode = TestEEventTreeNode[];\n\nexport type TestEEvent = TestEEventTreeNode;",
        ),
        (
            json!({ "items": { "enum": ["a | b", "[", "{ & "] } }),
            "export type TestEEvent = (\"a | b\" | \"[\" | \"{ & \")[];",
        ),
        (json!({ "items": { "enum": ["a | b"] } }), "export type TestEEvent = \"a | b\"[];"),
        (
            json!({ "items": { "properties": { "a": { "type": "string", "description": "a ( | b" } }, "additionalProperties": false } }),
            "export type TestEEvent = {\n  /** a ( | b */\n  a?: string;\n}[];",
        ),
        (
            json!({ "items": { "allOf": [{ "type": ["string", "null"] }, { "enum": ["(", null] }] } }),
            "export type TestEEvent = ((string | null) & (\"(\" | null))[];",
        ),
        (
            json!({ "$defs": { "a b": { "type": "string" }, "50%": { "type": "null" } },
                "anyOf": [{ "$ref": "#/$defs/a%20b" }, { "$ref": "#/$defs/50%25" }] }),
            "export type TestEEventAB = string;\n\nexport type TestEEventType50 = null;\n\n\
             export type TestEEvent = TestEEventAB | TestEEventType50;",
        ),
        (json!({ "items": { "$ref": "#" } }), "export type TestEEvent = TestEEvent[];"),
        (
            json!({ "title": "One", "description": "Two */\nthree", "type": "null" }),
            "/**\n * One. Two *\u{200b}/\n * three\n */\nexport type TestEEvent = null;",
        ),
    ] {
        assert_eq!(of(schema.clone()), expected, "{schema}");
    }
}
