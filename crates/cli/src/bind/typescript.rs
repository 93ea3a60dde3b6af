//! Makes TypeScript from a bind: an interface with its operations and events, and a type for each schema. Every keyword
//! of the supported subset of JSON Schema that describes a type becomes part of the type. Hosts check the others, such
//! as lengths, patterns, `not` and `if`.
//!
//! An operation with a stream is in the table `streams` instead of `operations`, so that `host.bind` has no function
//! for it: only `host.fetch` can carry a stream.

use std::fmt::Write;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use starlane_bundle::{Bind, Body, Operation, authoring::Schemas};

/// The global names with a capital first letter in the libraries of TypeScript 7.0 (`es*`, `dom*`, `webworker*`,
/// `decorators*`, `scripthost`). All names that this module makes begin with a capital letter.
const GLOBALS: &str = include_str!("typescript/globals.txt");

/// Returns a module with the types of a bind. `from` is the source of the bind, which the module's first comment names.
pub(super) fn module(from: &str, bind: &Bind, schemas: &Schemas) -> String {
    let mut types = Types { out: String::new(), own: String::new(), stream_body: None, names: Vec::new() };
    let name = match is_global(&type_name(&bind.name)) {
        true => type_name(&bind.name) + "Bind",
        false => type_name(&bind.name),
    };
    types.own = name.clone();
    let (mut operations, mut streams) = (String::new(), String::new());
    for (operation, about) in &bind.operations {
        let row = types.of_operation(&format!("{name}-{operation}"), about, schemas);
        let rows = if about.has_stream() { &mut streams } else { &mut operations };
        let _ = writeln!(rows, "    {}: {{ {row} }};", property(operation));
    }
    let mut events = String::new();
    for (event, body) in &bind.events {
        let payload = types.of_body(&format!("{name}-{event}-event"), Some(body), schemas);
        let _ = writeln!(events, "    {}: {payload};", property(event));
    }
    let table = |rows: String| if rows.is_empty() { "{}".to_owned() } else { format!("{{\n{rows}  }}") };
    if !streams.is_empty() {
        let about = "The operations with a stream: call them with `host.fetch`.";
        streams = format!("  /** {about} */\n  streams: {};\n", table(streams));
    }
    format!(
        "// Made by `starlane bind types {}`: change the bind and its schemas, and make it again.\n\n{}export interface \
         {name} {{\n  operations: {};\n{streams}  events: {};\n}}\n{}",
        from.split(LINE_ENDS).collect::<String>(),
        comment("", &bind.description),
        table(operations),
        table(events),
        types.out
    )
}

/// The characters that end a line, and so a comment, in JavaScript.
const LINE_ENDS: [char; 4] = ['\n', '\r', '\u{2028}', '\u{2029}'];

/// A type expression.
struct Type {
    text: String,
    /// Whether it has `|` or `&` at the top level, so that it needs parentheses beside an operator.
    is_open: bool,
}

impl Type {
    fn one(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_open: false }
    }

    /// Returns whether the type says nothing.
    fn is_unknown(&self) -> bool {
        self.text == "unknown"
    }

    /// Returns the type in parentheses, if it needs them beside an operator.
    fn grouped(&self) -> String {
        if self.is_open { format!("({})", self.text) } else { self.text.clone() }
    }
}

struct Types<'s> {
    /// The text after the bind's own interface.
    out: String,
    /// The name of that interface.
    own: String,
    /// The name of the type of streaming request bodies, if an operation has one.
    stream_body: Option<String>,
    /// The types so far: document, pointer, name.
    names: Vec<(&'s Value, String, String)>,
}

impl<'s> Types<'s> {
    /// The properties of an operation: the types of its bodies, and of the lines of its streams.
    fn of_operation(&mut self, name: &str, operation: &Operation, schemas: &'s Schemas) -> String {
        let (request, response) = (Some(&operation.request), operation.response.as_ref());
        let mut row = match operation.request.stream {
            true => format!("request: {}", self.stream_body()),
            false => format!("request: {}", self.of_body(&format!("{name}-request"), request, schemas)),
        };
        if let Some(line) = self.of_line(&format!("{name}-request-line"), request, schemas) {
            let _ = write!(row, "; requestLine: {line}");
        }
        let answer = match response {
            Some(body) if body.stream => "Response".to_owned(),
            _ => self.of_body(&format!("{name}-response"), response, schemas),
        };
        let _ = write!(row, "; response: {answer}");
        if let Some(line) = self.of_line(&format!("{name}-response-line"), response, schemas) {
            let _ = write!(row, "; responseLine: {line}");
        }
        row
    }

    /// The JavaScript type of a body.
    fn of_body(&mut self, name: &str, body: Option<&Body>, schemas: &'s Schemas) -> String {
        let Some(body) = body else { return "undefined".to_owned() };
        if let Some(schema) = body.schema.as_ref().and_then(|path| schemas.get(path)) {
            return self.named(schema, "", &type_name(name));
        }
        let kind = body.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            kind if kind.starts_with("text/") => "string",
            "application/json" | "*/*" => "unknown",
            kind if kind.ends_with("+json") => "unknown",
            _ => "Uint8Array",
        }
        .to_owned()
    }

    /// Returns the type of a request body that is a stream: the bodies that `host.fetch` accepts.
    fn stream_body(&mut self) -> String {
        if let Some(name) = &self.stream_body {
            return name.clone();
        }
        let name = self.free(&format!("{}StreamBody", self.own));
        self.stream_body = Some(name.clone());
        let of = "ReadableStream<Uint8Array> | Blob | AsyncIterable<Uint8Array> | Uint8Array | string";
        let _ = write!(self.out, "\n/** The body of a request that is a stream. */\nexport type {name} = {of};\n");
        name
    }

    /// Returns the type of the lines of a stream, if they have a schema.
    fn of_line(&mut self, name: &str, body: Option<&Body>, schemas: &'s Schemas) -> Option<String> {
        let path = body.filter(|body| body.stream)?.schema.as_ref()?;
        Some(self.named(schemas.get(path)?, "", &type_name(name)))
    }

    /// Returns a name that is not used yet: `wanted`, or `wanted` with a number.
    fn free(&self, wanted: &str) -> String {
        let taken = |name: &str| {
            let others = self.names.iter().map(|(_, _, other)| other).chain(&self.stream_body);
            name == self.own || is_global(name) || others.into_iter().any(|other| other == name)
        };
        match taken(wanted) {
            false => wanted.to_owned(),
            true => (2..).map(|number| format!("{wanted}{number}")).find(|name| !taken(name)).unwrap_or_default(),
        }
    }

    /// Returns the name of the type at a pointer of a document. Writes the type if it does not exist yet.
    fn named(&mut self, root: &'s Value, pointer: &str, wanted: &str) -> String {
        let same = |(other, at, _): &&(&Value, String, String)| std::ptr::eq(*other, root) && at == pointer;
        if let Some((_, _, name)) = self.names.iter().find(same) {
            return name.clone();
        }
        let name = self.free(wanted);
        self.names.push((root, pointer.to_owned(), name.clone()));
        let schema = root.pointer(pointer).unwrap_or(&Value::Bool(true));
        let text = self.of(root, schema, &name, "").text;
        let about = about(schema);
        let _ = write!(self.out, "\n{}export type {name} = {text};\n", comment("", &about));
        name
    }

    /// Returns the type of a schema. `owner` is the prefix for names of referenced types; `indent` is the indentation
    /// of its lines.
    fn of(&mut self, root: &'s Value, schema: &'s Value, owner: &str, indent: &str) -> Type {
        let Value::Object(schema) = schema else {
            return Type::one(if *schema == Value::Bool(false) { "never" } else { "unknown" });
        };
        let mut all: Vec<Type> = Vec::new();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = percent_decode_str(reference.trim_start_matches('#')).decode_utf8_lossy();
            let last = pointer.rsplit('/').next().unwrap_or_default();
            let owner = self.names.iter().find(|(other, at, _)| std::ptr::eq(*other, root) && at.is_empty());
            let owner = owner.map(|(_, _, name)| name.clone()).unwrap_or_default();
            all.push(Type::one(self.named(root, &pointer, &format!("{owner}{}", type_name(last)))));
        }
        if let Some(value) = schema.get("const") {
            all.push(Type::one(value.to_string()));
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            all.push(union(values.iter().map(|value| Type::one(value.to_string())).collect()));
        }
        all.extend(self.by_type(root, schema, owner, indent));
        for (name, joined) in [("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")] {
            let Some(schemas) = schema.get(name).and_then(Value::as_array) else { continue };
            let parts: Vec<Type> = schemas.iter().map(|schema| self.of(root, schema, owner, indent)).collect();
            match joined {
                " & " => all.extend(parts),
                _ => all.push(union(parts)),
            }
        }
        // In an intersection, `unknown` adds nothing. In a union, it includes everything.
        all.retain(|part| !part.is_unknown());
        all.dedup_by(|one, other| one.text == other.text);
        match all.len() {
            0 => Type::one("unknown"),
            1 => all.remove(0),
            _ => Type { text: all.iter().map(Type::grouped).collect::<Vec<_>>().join(" & "), is_open: true },
        }
    }

    /// Returns the type from `type` and the keywords of arrays and objects.
    fn by_type(&mut self, root: &'s Value, schema: &'s Map<String, Value>, owner: &str, indent: &str) -> Option<Type> {
        let has = |names: &[&str]| names.iter().any(|name| schema.contains_key(*name));
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ if has(&["properties", "required", "additionalProperties"]) => vec!["object"],
            _ if has(&["items", "prefixItems"]) => vec!["array"],
            _ => return None,
        };
        let of = |types: &mut Self, one: &str| match one {
            "integer" | "number" => Type::one("number"),
            "array" => Type::one(types.array(root, schema, owner, indent)),
            "object" => Type::one(types.object(root, schema, owner, indent)),
            other => Type::one(other),
        };
        Some(union(types.into_iter().map(|one| of(self, one)).collect()))
    }

    fn array(&mut self, root: &'s Value, schema: &'s Map<String, Value>, owner: &str, indent: &str) -> String {
        let rest = schema.get("items").map(|items| self.of(root, items, owner, indent));
        let Some(first) = schema.get("prefixItems").and_then(Value::as_array) else {
            return format!("{}[]", rest.unwrap_or_else(|| Type::one("unknown")).grouped());
        };
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or_default();
        let mut parts = Vec::new();
        for (at, item) in (0u64..).zip(first) {
            let item = self.of(root, item, owner, indent).grouped();
            parts.push(if at < least { item } else { format!("{item}?") });
        }
        let rest = rest.unwrap_or_else(|| Type::one("unknown"));
        if rest.text != "never" {
            parts.push(format!("...{}[]", rest.grouped()));
        }
        format!("[{}]", parts.join(", "))
    }

    fn object(&mut self, root: &'s Value, schema: &'s Map<String, Value>, owner: &str, indent: &str) -> String {
        let below = format!("{indent}  ");
        let known = schema.get("properties").and_then(Value::as_object);
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut rows = String::new();
        let mut kinds = Vec::new();
        for (name, property_schema) in known.into_iter().flatten() {
            let kind = self.of(root, property_schema, owner, &below);
            let mark = if required.contains(&name.as_str()) { "" } else { "?" };
            let above = comment(&below, &about(property_schema));
            let _ = writeln!(rows, "{above}{below}{}{mark}: {};", property(name), kind.text);
            kinds.push(kind);
            if mark == "?" {
                kinds.push(Type::one("undefined"));
            }
        }
        for name in required.iter().filter(|name| !known.is_some_and(|known| known.contains_key(**name))) {
            let _ = writeln!(rows, "{below}{}: unknown;", property(name));
            kinds.push(Type::one("unknown"));
        }
        let others = schema.get("additionalProperties").map(|others| self.of(root, others, owner, &below));
        match others {
            Some(others) if others.text == "never" => {}
            // An index signature also applies to the named properties.
            Some(others) => {
                kinds.push(others);
                let _ = writeln!(rows, "{below}[name: string]: {};", union(kinds).text);
            }
            None => {
                let _ = writeln!(rows, "{below}[name: string]: unknown;");
            }
        }
        if rows.is_empty() { "Record<string, never>".to_owned() } else { format!("{{\n{rows}{indent}}}") }
    }
}

fn union(mut parts: Vec<Type>) -> Type {
    if parts.iter().any(Type::is_unknown) {
        return Type::one("unknown");
    }
    let mut seen = Vec::new();
    parts.retain(|part| {
        part.text != "never" && !seen.contains(&part.text) && {
            seen.push(part.text.clone());
            true
        }
    });
    match parts.len() {
        0 => Type::one("never"),
        1 => parts.remove(0),
        // `&` binds closer than `|`.
        _ => Type { text: seen.join(" | "), is_open: true },
    }
}

fn about(schema: &Value) -> String {
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default().trim();
    match (text("title"), text("description")) {
        ("", about) | (about, "") => about.to_owned(),
        (title, about) => format!("{}. {about}", title.trim_end_matches('.')),
    }
}

fn comment(indent: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text = text.replace("*/", "*\u{200b}/");
    match text.lines().collect::<Vec<_>>().as_slice() {
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let lines: String = lines.iter().map(|line| format!("{indent} * {}\n", line.trim())).collect();
            format!("{indent}/**\n{lines}{indent} */\n")
        }
    }
}

/// `render-page` as `RenderPage`.
fn type_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => format!("Type{name}"),
    }
}

/// Returns whether TypeScript's own libraries declare a global with this name. A module that declares the same name
/// would hide the global in itself and in modules that import it.
fn is_global(name: &str) -> bool {
    GLOBALS.lines().any(|global| global == name)
}

/// Returns the name of a property, quoted if it is not an identifier.
fn property(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    match name.chars().next() {
        Some(first) if plain && !first.is_ascii_digit() => name.to_owned(),
        _ => Value::from(name).to_string(),
    }
}

#[cfg(test)]
mod tests;
