//! Changes JSON as an attacker would: every text, every number and every key, one at a time.

use serde_json::{Map, Number, Value};

/// One change of a document.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The place of the change, as a JSON pointer.
    pub pointer: String,
    /// The change.
    pub what: String,
    /// The changed document. If an object has a name twice, it has only one of the two members.
    pub document: Value,
    /// Its text.
    pub text: String,
}

/// Texts that name another owner's resource, lead elsewhere, or end a value early.
const TEXTS: &[&str] = &[
    "",
    " ",
    "x",
    "A",
    "-x",
    "a b",
    "a\nb",
    "a\0b",
    "\r\nset-cookie: a=b",
    "é",
    "\u{430}pp",
    "\u{202e}x",
    "\u{feff}x",
    ".",
    "..",
    "../x",
    "../../etc/passwd",
    "/",
    "//",
    "/abs/path",
    "/etc/passwd",
    "/a/../b",
    "a/../b",
    "./x",
    "x/",
    "C:\\x",
    "a\\b",
    "%2e%2e",
    "/%2e%2e/x",
    "~",
    "*",
    "**",
    "~*::**",
    "starlane",
    "starlane:*",
    "starlane:server",
    "bob:n:db",
    "bob:repo:n:1.0.0:/binds/x.toml",
    ".:db",
    ".:",
    ".:nothing:{name}",
    "x:{key}",
    "{",
    "}",
    "{name}",
    "{*rest}",
    "/{{x}}",
    "/{*rest}/x",
    "/mesh",
    "/messages/x",
    "/.well-known/starlane.json",
    "admin ~*::**",
    "deploy acme:**",
    "launch **",
    "request starlane:apps create",
    "subscribe starlane:server#logs",
    "request **",
    "request bob:n:db query",
    "request .:nothing",
    "subscribe .:nothing#x",
    "GET",
    "HEAD",
    "OPTIONS",
    "get",
    "CONNECT",
    "token",
    "browser",
    "text/html",
    "application/json",
    "text/html\r\nx: y",
    "http://",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "18446744073709551616",
    "999999999999 TB",
    "null",
];

/// Names that replace a key.
const KEYS: &[&str] =
    &["", "x", "X", "a b", "a\0b", "..", "../x", "/abs/path", "/a/../b", "/x", "é", "**", "starlane:x", "x:{key}"];

/// Makes all changes of a document.
pub fn mutations(document: &Value) -> Vec<Mutation> {
    let mut all = Vec::new();
    let mut places = vec![String::new()];
    while let Some(pointer) = places.pop() {
        let Some(value) = document.pointer(&pointer) else { continue };
        let mut change = |what: String, to: Value| {
            let mut changed = document.clone();
            if let Some(place) = changed.pointer_mut(&pointer) {
                *place = to;
            }
            if changed != *document {
                let text = changed.to_string();
                all.push(Mutation { pointer: pointer.clone(), what, document: changed, text });
            }
        };
        match value {
            Value::String(text) => {
                for hostile in texts(text) {
                    change(format!("is {hostile:.60?}"), Value::from(hostile));
                }
                change("is a number".into(), Value::from(7));
                change("is an object".into(), Value::Object(Map::new()));
            }
            Value::Number(_) => {
                for hostile in numbers() {
                    change(format!("is {hostile}"), Value::Number(hostile));
                }
                change("is a text".into(), Value::from("7"));
            }
            Value::Bool(value) => {
                change(format!("is {}", !value), Value::from(!value));
                change("is a text".into(), Value::from("true"));
            }
            Value::Array(items) => {
                change("is empty".into(), Value::Array(Vec::new()));
                change("is twice as long".into(), [items.as_slice(), items.as_slice()].concat().into());
                change("is a text".into(), Value::from("x"));
                places.extend((0..items.len()).map(|at| format!("{pointer}/{at}")));
            }
            Value::Object(members) => {
                change("is empty".into(), Value::Object(Map::new()));
                let mut more = members.clone();
                more.insert("unknown".into(), Value::from(1));
                change("has a key more".into(), more.into());
                for name in members.keys() {
                    let rest = |with: Option<&str>| {
                        let others = members.iter().filter(|(other, _)| *other != name);
                        let mut changed: Map<String, Value> =
                            others.map(|(name, value)| (name.clone(), value.clone())).collect();
                        let moved = with.map(|with| (with.to_owned(), members.get(name).cloned().unwrap_or_default()));
                        changed.extend(moved);
                        Value::Object(changed)
                    };
                    change(format!("is without {name:.60?}"), rest(None));
                    let long = "k".repeat(300);
                    for hostile in KEYS.iter().copied().chain([long.as_str()]) {
                        change(format!("has {hostile:.60?} for {name:.60?}"), rest(Some(hostile)));
                    }
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    places.push(format!("{pointer}/{escaped}"));
                }
                all.extend(twice(document, &pointer, members));
            }
            Value::Null => change("is a text".into(), Value::from("x")),
        }
    }
    all
}

/// Texts that replace another: unrelated ones, and similar ones.
fn texts(text: &str) -> Vec<String> {
    let near = [
        format!("{text} "),
        format!(" {text}"),
        format!("{text}/"),
        format!("{text}/../x"),
        format!("{text}\0"),
        format!("{text}\n"),
        format!("{text}:x"),
        format!("/{text}"),
        format!("../{text}"),
        text.to_uppercase(),
        text.replace('/', "//"),
        text.replace(".:", "bob:n:"),
        text.replace("acme", "bob"),
        text.replace('a', "\u{430}"),
        "a".repeat(300),
        "a/".repeat(300),
        "é".repeat(40_000),
    ];
    TEXTS.iter().map(|text| (*text).to_owned()).chain(near).filter(|hostile| hostile != text).collect()
}

fn numbers() -> Vec<Number> {
    let whole = [0, 1, 2, 255, 65_536, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, 1 << 63, u64::MAX];
    let negative = [-1, i64::MIN];
    let real = [0.5, 1e300, 18_446_744_073_709_551_616.0];
    let whole = whole.into_iter().map(Number::from).chain(negative.into_iter().map(Number::from));
    whole.chain(real.into_iter().filter_map(Number::from_f64)).collect()
}

/// Repeats the first name of an object. Only the text can express this.
fn twice(document: &Value, pointer: &str, members: &Map<String, Value>) -> Option<Mutation> {
    const MARK: &str = "\u{f8ff}";
    let (name, value) = members.iter().next()?;
    let mut marked = document.clone();
    if let Some(Value::Object(members)) = marked.pointer_mut(pointer) {
        members.insert(MARK.to_owned(), value.clone());
    }
    let text = marked.to_string().replacen(&format!("\"{MARK}\""), &Value::from(name.as_str()).to_string(), 1);
    let what = format!("has {name:.60?} twice");
    Some(Mutation { pointer: pointer.to_owned(), what, document: document.clone(), text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_number_and_key_is_changed() {
        let document = json!({ "a": { "b": ["x", 1] }, "c~/d": true });
        let all = mutations(&document);
        for pointer in ["", "/a", "/a/b", "/a/b/0", "/a/b/1", "/c~0~1d"] {
            assert!(all.iter().any(|mutation| mutation.pointer == pointer), "{pointer}");
        }
        let twice: Vec<_> = all.iter().filter(|mutation| mutation.what.ends_with("twice")).collect();
        assert_eq!(twice.len(), 2);
        assert!(twice.iter().any(|mutation| mutation.text.matches("\"b\":").count() == 2), "{twice:?}");
        let written = document.to_string();
        assert!(all.iter().all(|mutation| mutation.text != written));
    }
}
