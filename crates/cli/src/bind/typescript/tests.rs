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

/// A bind with every kind of stream.
fn of_streams() -> String {
    let lines = |schema: &str| json!({ "content-type": "application/x-ndjson", "stream": true, "schema": schema });
    let bytes = json!({ "content-type": "application/octet-stream", "stream": true });
    let bind: Bind = serde_json::from_value(json!({
        "name": "files",
        "operations": {
            "feed": { "request": bytes },
            "import": { "request": lines("/row"), "response": lines("/line") },
            "list": { "request": { "content-type": "text/plain" }, "response": { "content-type": "text/plain" } },
            "tail": { "request": { "content-type": "text/plain" }, "response": lines("/line") },
            "upload": { "request": bytes, "response": { "content-type": "application/json", "schema": "/receipt" } }
        }
    }))
    .unwrap();
    let schemas = [("/row", "integer"), ("/line", "string"), ("/receipt", "boolean")];
    module(
        "files",
        &bind,
        &schemas.map(|(path, kind)| (path.to_owned(), json!({ "type": kind }))).into_iter().collect(),
    )
}

#[test]
fn operation_with_a_stream_is_not_among_the_operations() {
    let expected = r#"// Made by `starlane bind types files`: change the bind and its schemas, and make it again.

export interface Files {
  operations: {
    list: { request: string; response: string };
  };
  /** The operations with a stream: call them with `host.fetch`. */
  streams: {
    feed: { request: FilesStreamBody; response: undefined };
    import: { request: FilesStreamBody; requestLine: FilesImportRequestLine; response: Response; responseLine: FilesImportResponseLine };
    tail: { request: string; response: Response; responseLine: FilesImportResponseLine };
    upload: { request: FilesStreamBody; response: FilesUploadResponse };
  };
  events: {};
}

/** The body of a request that is a stream. */
export type FilesStreamBody = ReadableStream<Uint8Array> | Blob | AsyncIterable<Uint8Array> | Uint8Array | string;

export type FilesImportRequestLine = number;

export type FilesImportResponseLine = string;

export type FilesUploadResponse = boolean;
"#;
    assert_eq!(of_streams(), expected);
}

/// Runs the compiler of TypeScript on files, and returns what it prints. Returns `None` if it is not installed.
fn compiled(files: &[(String, String)]) -> Option<String> {
    let tsc = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../npm/node_modules/typescript/bin/tsc");
    if !tsc.exists() {
        println!("{} is not installed: `cargo xtask setup` installs it", tsc.display());
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let config = r#"{ "compilerOptions": { "strict": true, "noEmit": true, "target": "es2022", "lib": ["es2022", "dom"],
        "module": "esnext", "moduleResolution": "bundler", "types": [] }, "include": ["*.ts"] }"#;
    std::fs::write(folder.path().join("tsconfig.json"), config).unwrap();
    let output =
        std::process::Command::new("node").arg(&tsc).args(["--pretty", "false"]).current_dir(folder.path()).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() == told.is_empty(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Some(told)
}

/// `host.bind` has a function only for the operations without a stream. The types of the npm package are the real ones.
#[test]
fn sending_a_stream_by_request_is_a_type_error() {
    let npm = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../npm/ts/types.ts")).unwrap();
    let head = "import type { Bound } from \"./mesh\";\nimport type { Files } from \"./files\";\n\
        declare const files: Bound<Files>;\ntype Streams = Files[\"streams\"];\n";
    let good = "export const list: Promise<string> = files.list(\"/\");\n\
        export const bodies: Streams[\"upload\"][\"request\"][] = [\"text\", new Uint8Array(1), new Blob([]), new ReadableStream<Uint8Array>()];\n\
        export async function* bytes() { yield new Uint8Array(1); }\n\
        export const more: Streams[\"upload\"][\"request\"] = bytes();\n\
        export const chunks = (tail: Streams[\"tail\"][\"response\"]): ReadableStream<Uint8Array> | null => tail.body;\n\
        export const line: Streams[\"tail\"][\"responseLine\"] = \"a line\";\n";
    let files = |text: &str| {
        let texts = [("mesh.ts", npm.clone()), ("files.ts", of_streams()), ("used.ts", head.to_owned() + text)];
        texts.map(|(name, text)| (name.to_owned(), text))
    };
    // Errors of `mesh.ts` do not count: the modules that it may import are not here.
    let told = |text: &str| {
        let told = compiled(&files(text))?;
        Some(
            told.lines()
                .filter(|line| !line.starts_with("mesh.ts"))
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
    };
    let Some(of_good) = told(good) else { return };
    assert_eq!(of_good, "");
    for (bad, expected) in [
        ("export const sent = files.upload(\"bytes\");", "Property 'upload' does not exist on type 'Bound<Files>'"),
        ("export const sent = files.tail(\"x\");", "Property 'tail' does not exist on type 'Bound<Files>'"),
        ("export const sent: Streams[\"upload\"][\"request\"] = 7;", "not assignable"),
        ("export const sent: Streams[\"import\"][\"requestLine\"] = \"a\";", "not assignable"),
    ] {
        let told = told(bad).unwrap();
        assert!(told.starts_with("used.ts(") && told.contains(expected), "{bad}\n{told}");
    }
}

/// A bind with a schema that uses every kind of generated name and of built-in type.
fn of_name(name: &str) -> String {
    let json = |schema: &str| json!({ "content-type": "application/json", "schema": schema });
    let bind: Bind = serde_json::from_value(json!({
        "name": name,
        "operations": {
            "render": { "request": json("/r"), "response": { "content-type": "text/html" } },
            "upload": { "request": { "content-type": "image/png" }, "response": json("/s") },
            "constructor": { "request": json("/s") },
            "feed": { "request": { "content-type": "image/png", "stream": true }, "response": { "stream": true } },
            "new": {},
        },
        "events": { "rejection": json("/r"), "changes": json("/s") },
    }))
    .unwrap();
    let nested = json!({ "type": "object", "required": ["new"], "additionalProperties": { "$ref": "#/$defs/map" },
        "properties": { "new": { "$ref": "#/$defs/string" }, "__proto__": { "items": { "$ref": "#/$defs/array" } } },
        "$defs": { "string": { "type": "string" }, "map": { "type": "object", "additionalProperties": false },
            "array": { "prefixItems": [{ "type": "null" }], "items": { "type": "integer" } } } });
    let empty = json!({ "type": "object", "additionalProperties": false });
    module("binds/test.toml", &bind, &[("/r".to_owned(), nested), ("/s".to_owned(), empty)].into_iter().collect())
}

/// The names that a module declares.
fn declared(module: &str) -> Vec<&str> {
    let lines = module.lines();
    let names = lines.filter_map(|line| line.strip_prefix("export interface ").or(line.strip_prefix("export type ")));
    names.map(|rest| rest.split([' ', '<']).next().unwrap()).collect()
}

/// Names of binds that have another meaning in TypeScript: its globals, its keywords, and similar names.
fn names() -> Vec<String> {
    let keywords = "any as asserts async await bigint boolean break case catch class const constructor continue debugger declare \
        default delete do else enum export extends false finally for from function get global if implements import in infer \
        instanceof interface intrinsic is keyof let module namespace never new null number object of out override package \
        private protected public readonly record require return satisfies set static string super switch symbol this throw \
        true try type typeof undefined unique unknown using var void while with yield promise array map type bind";
    let odd = ["", "-", "1", "é", "a\nb", "*/", "`", "$", "__proto__", "Type", "Record Bind", "record-bind"];
    let globals = GLOBALS.lines().flat_map(|global| [global.to_owned(), global.to_lowercase()]);
    globals.chain(keywords.split_whitespace().chain(odd).map(str::to_owned)).collect()
}

#[test]
fn no_generated_name_is_a_global_or_declared_twice() {
    assert!(["Record", "Uint8Array", "Array", "Promise", "String", "Map"].iter().all(|name| is_global(name)));
    let mut failing = Vec::new();
    for name in names() {
        let module = of_name(&name);
        let mut declared = declared(&module);
        let count = declared.len();
        assert!(count >= 6, "{module}");
        declared.sort_unstable();
        declared.dedup();
        let is_name = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase()) && !is_global(name);
        if declared.len() != count || !declared.iter().all(is_name) {
            failing.push(name);
        }
    }
    let tried = names().len();
    starlane_testkit::field_fault("F27", tried, failing.len());
}

#[test]
fn generated_modules_compile_for_every_name_of_a_bind() {
    // The compiler is slow, so this tries all names that are not globals, the globals of the language, and a part of
    // the browser's.
    let language =
        ["Array", "Map", "Promise", "Record", "String", "Uint8Array", "Object", "Symbol", "Partial", "Event"];
    let tried = |name: &String| !is_global(name) || language.contains(&name.as_str());
    let names =
        names().into_iter().filter(|name| tried(name) && !GLOBALS.to_lowercase().contains(&format!("\n{name}\n")));
    let others = ["record", "array", "promise", "string", "map", "uint8array"].map(str::to_owned);
    let names = names.chain(others).chain(GLOBALS.lines().step_by(100).map(str::to_owned));
    let mut files: Vec<_> = names.enumerate().map(|(at, name)| (format!("{at}.ts"), of_name(&name))).collect();
    for (_, text) in &mut files {
        let name = declared(text)[0];
        // The module is used as in an importer, beside the globals that it could hide.
        let used = format!(
            "\nexport const used = async (): Promise<Record<string, {name}>> => new Map<string, {name}>() && {{}};\n\
             export const bytes = (body: {name}[\"operations\"][\"upload\"][\"request\"]): number => body.byteLength;\n\
             export const stream = (body: {name}[\"streams\"][\"feed\"][\"response\"]): Promise<string> => body.text();\n\
             export const text = (body: {name}[\"operations\"][\"render\"][\"response\"]): Array<string> => [body];\n"
        );
        text.push_str(&used);
    }
    let Some(told) = compiled(&files) else { return };
    let failing: std::collections::BTreeSet<&str> = told.lines().filter_map(|line| line.split('(').next()).collect();
    print!("{}", told.lines().take(20).map(|line| format!("{line}\n")).collect::<String>());
    starlane_testkit::field_fault("F27", files.len(), failing.len());
}

#[test]
fn each_keyword_of_a_type_becomes_part_of_the_type() {
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
