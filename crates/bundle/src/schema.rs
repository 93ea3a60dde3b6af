//! The schemas of bodies: a subset of JSON Schema 2020-12 on which the validators of both hosts agree, in a normal form.
//!
//! | | keywords |
//! |---|---|
//! | values | `type` `enum` `const` |
//! | numbers | `minimum` `maximum` `exclusiveMinimum` `exclusiveMaximum`; `multipleOf`, of which none is beyond 2^53 |
//! | strings | `minLength` `maxLength`; `pattern` with a `maxLength` of at most 256 beside it |
//! | arrays | `items` `prefixItems` `minItems` `maxItems`; `uniqueItems`, `contains` `minContains` `maxContains` with a `maxItems` of at most 1,024 beside them |
//! | objects | `properties` `required` `additionalProperties` `propertyNames` `minProperties` `maxProperties` `dependentRequired` `dependentSchemas` |
//! | combining | `allOf` `anyOf` `oneOf` `not` `if` `then` `else` |
//! | naming | `$defs`, and `$ref` to `#` or to a place in the same document |
//! | accepted, not checked | `title` `description` `default` `examples` `deprecated` `readOnly` `writeOnly` `format` `contentEncoding` `contentMediaType` `contentSchema` `$comment` `x-…`; at the root `$schema` `$id` |
//!
//! To add a keyword, change these places:
//!
//! - `Reader::keyword`, below, reads it.
//! - `part.rs` lists it, if it contains schemas.
//! - `cost.rs` counts its steps, if a validator loops over something for each value.
//! - `browser/ts/schema.ts` checks it in a page.
//!
//! The normal form has these properties:
//!
//! - It contains only the keywords that are checked.
//! - Referenced schemas are in `$defs` as `0`, `1`, … in the order of their first use.
//! - Patterns mean the same in JavaScript and on the server.
//! - An expensive keyword is behind a condition with its limit, so that a validator checks the limit first.
//! - The normal form of a normal form is itself.

mod all;
mod characters;
mod cost;
mod part;
mod pattern;
#[cfg(feature = "validate")]
mod validator;

use std::{collections::HashSet, fmt};

use indexmap::IndexSet;
use serde_json::{Map, Value, json};

use self::part::SchemaPart;
#[cfg(feature = "validate")]
pub use self::validator::{Bounds, Misfit, Validator};
pub use self::{
    all::{ManifestSchemaError, check_all},
    cost::Cost,
    part::parts_mut,
};

/// The maximum length of a string with a `pattern`, in characters.
const MAX_TEXT_CHARS: u64 = 256;
/// The maximum number of items in an array with `uniqueItems` or `contains`.
const MAX_ITEMS: u64 = 1_024;
/// JSON parsers read integers of more than 53 bits differently.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;
/// All JSON parsers agree on numbers with at most this many digits, times at most this power of ten.
const MAX_DIGITS: usize = 15;
const MAX_POWER: i32 = 22;
/// The maximum depth of a schema, in tokens of a JSON pointer.
const MAX_NESTING: usize = 64;

const ANNOTATIONS: [&str; 12] = [
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "$comment",
];
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// An error in a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {}: {reason}", if pointer.is_empty() { "its root" } else { pointer })]
pub struct SchemaError {
    /// The place in the schema, as a JSON pointer (RFC 6901); empty for the whole schema.
    pub pointer: String,
    /// What is wrong there, and what to do.
    pub reason: String,
}

/// Returns the normal form of a schema. Returns an error for the first part that is not JSON Schema 2020-12, is not in
/// the subset, or could take a validator too long.
pub fn normal_form(schema: &Value) -> Result<Value, SchemaError> {
    let mut reader = Reader { root: schema, named: IndexSet::new(), at: Vec::new() };
    let mut normal = reader.schema(schema)?;
    let mut defs = Map::new();
    // Reading a referenced schema may add more references.
    while let Some(pointer) = reader.named.get_index(defs.len()).cloned() {
        let target = schema.pointer(&pointer).unwrap_or(&Value::Null);
        reader.at = pointer.split('/').skip(1).map(str::to_owned).collect();
        defs.insert(defs.len().to_string(), reader.schema(target)?);
    }
    if let (false, Some(root)) = (defs.is_empty(), normal.as_object_mut()) {
        root.insert("$defs".to_owned(), defs.into());
    }
    Cost::of(&normal).map_err(|reason| SchemaError { pointer: String::new(), reason })?;
    Ok(normal)
}

struct Reader<'s> {
    root: &'s Value,
    /// The pointers of referenced schemas; the index is the new name.
    named: IndexSet<String>,
    at: Vec<String>,
}

type Read<T> = Result<T, SchemaError>;

impl Reader<'_> {
    fn fail<T>(&self, reason: impl fmt::Display) -> Read<T> {
        let pointer = self.at.iter().map(|token| format!("/{token}")).collect();
        Err(SchemaError { pointer, reason: reason.to_string() })
    }

    /// Reads the value with a name below the present place.
    fn below<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.at.push(name.replace('~', "~0").replace('/', "~1"));
        if self.at.len() > MAX_NESTING {
            return self.fail(format!("it is nested more than {MAX_NESTING} levels deep"));
        }
        let read = read(self)?;
        self.at.pop();
        Ok(read)
    }

    fn schema(&mut self, schema: &Value) -> Read<Value> {
        let object = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(object) => object,
            _ => return self.fail("expected a schema: an object, true or false"),
        };
        if let Some(guard) = self.guard(object)? {
            return Ok(guard);
        }
        let mut normal = Map::new();
        let mut guarded = Map::new();
        for (name, value) in object {
            let read = self.below(name, |reader| reader.keyword(name, value, object))?;
            match (name.as_str(), read) {
                ("multipleOf" | "pattern" | "uniqueItems" | "contains" | "minContains" | "maxContains", Some(read)) => {
                    guarded.insert(name.clone(), read);
                }
                (_, Some(read)) => drop(normal.insert(name.clone(), read)),
                (_, None) => {}
            }
        }
        let mut behind = Vec::new();
        if let Some(step) = guarded.remove("multipleOf") {
            behind.push(exact(&step).into());
        }
        if let Some(pattern) = guarded.remove("pattern") {
            behind.push(json!({ "if": { "maxLength": object.get("maxLength") }, "then": { "pattern": pattern } }));
        }
        if !guarded.is_empty() {
            behind.push(json!({ "if": { "maxItems": object.get("maxItems") }, "then": guarded }));
        }
        if !behind.is_empty() {
            match normal.get_mut("allOf").and_then(Value::as_array_mut) {
                Some(all) => all.extend(behind),
                None => drop(normal.insert("allOf".to_owned(), behind.into())),
            }
        }
        Ok(normal.into())
    }

    /// Reads a schema that is a limit with a keyword behind it: `{ "if": { "maxLength": 20 }, "then": { "pattern": "…"
    /// } }`.
    fn guard(&mut self, object: &Map<String, Value>) -> Read<Option<Value>> {
        if let Some(step) = object.get("then").and_then(|then| then.get("multipleOf"))
            && *object == exact(step)
        {
            let keyword =
                |reader: &mut Self| reader.below("multipleOf", |reader| reader.keyword("multipleOf", step, object));
            return self.below("then", keyword).map(|_| Some(object.clone().into()));
        }
        let (Some(Value::Object(bound)), Some(Value::Object(then)), 2) =
            (object.get("if"), object.get("then"), object.len())
        else {
            return Ok(None);
        };
        let bounded = match bound.iter().next() {
            Some((name, _)) if bound.len() == 1 && name == "maxLength" => then.keys().all(|name| name == "pattern"),
            Some((name, _)) if bound.len() == 1 && name == "maxItems" => then
                .keys()
                .all(|name| ["uniqueItems", "contains", "minContains", "maxContains"].contains(&name.as_str())),
            _ => false,
        };
        if !bounded || then.is_empty() {
            return Ok(None);
        }
        let mut beside = then.clone();
        beside.extend(bound.clone());
        let mut normal = Map::new();
        for (name, value) in then {
            let keyword = |reader: &mut Self| reader.below(name, |reader| reader.keyword(name, value, &beside));
            normal.extend(self.below("then", keyword)?.map(|read| (name.clone(), read)));
        }
        Ok(Some(json!({ "if": bound, "then": normal })))
    }

    /// Returns the normal form of a keyword's value; `None` if the keyword is not checked.
    fn keyword(&mut self, name: &str, value: &Value, beside: &Map<String, Value>) -> Read<Option<Value>> {
        let most = |name: &str, most: u64| beside.get(name).and_then(count).is_some_and(|own| own <= most);
        let read = match name {
            "type" => self.types(value)?,
            "const" => self.constant(value)?,
            "enum" => {
                let Some(values) = value.as_array().filter(|values| !values.is_empty()) else {
                    return self.fail("expected an array of at least one value");
                };
                values.iter().map(|value| self.constant(value)).collect::<Read<Vec<_>>>()?.into()
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => self.number(value)?,
            "multipleOf" => match value.as_f64() {
                Some(number) if number > 0.0 => self.number(value)?,
                _ => return self.fail("expected a number above 0"),
            },
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                self.count(value)?
            }
            "minContains" | "maxContains" if !beside.contains_key("contains") => return Ok(None),
            "minContains" | "maxContains" => self.count(value)?,
            "pattern" => {
                let Some(pattern) = value.as_str() else { return self.fail("expected a string") };
                if !most("maxLength", MAX_TEXT_CHARS) {
                    return self.fail(format!("a pattern needs a `maxLength` of at most {MAX_TEXT_CHARS} beside it"));
                }
                match pattern::normal_form(pattern) {
                    Ok(normal) => normal.into(),
                    Err(reason) => return self.fail(format!("the pattern `{pattern}` is refused: {reason}")),
                }
            }
            "uniqueItems" => match value.as_bool() {
                Some(false) => return Ok(None),
                Some(true) if most("maxItems", MAX_ITEMS) => true.into(),
                Some(true) => return self.fail(needs_items(name)),
                None => return self.fail("expected true or false"),
            },
            "contains" if !most("maxItems", MAX_ITEMS) => return self.fail(needs_items(name)),
            "then" | "else" if !beside.contains_key("if") => return Ok(None),
            _ if part::of(name) == Some(SchemaPart::One) => self.schema(value)?,
            _ if part::of(name) == Some(SchemaPart::List) => {
                let Some(schemas) = value.as_array().filter(|schemas| !schemas.is_empty()) else {
                    return self.fail("expected an array of at least one schema");
                };
                let each = schemas.iter().enumerate();
                each.map(|(at, schema)| self.below(&at.to_string(), |reader| reader.schema(schema)))
                    .collect::<Read<Vec<_>>>()?
                    .into()
            }
            "required" => self.names(value)?,
            "dependentRequired" => self.table(value, Self::names)?,
            "$ref" => return self.reference(value).map(Some),
            // Definitions are read where a `$ref` refers to them.
            "$defs" if value.is_object() => return Ok(None),
            "$defs" => return self.fail("expected an object of schemas"),
            _ if part::of(name) == Some(SchemaPart::Table) => self.table(value, Self::schema)?,
            "$schema" if self.at.len() == 1 => match value.as_str().map(|uri| uri.trim_end_matches('#')) {
                Some(DIALECT) => return Ok(None),
                _ => return self.fail(format!("expected \"{DIALECT}\"")),
            },
            "$id" if self.at.len() == 1 => return Ok(None),
            name if ANNOTATIONS.contains(&name) || name.starts_with("x-") => return Ok(None),
            _ => return self.fail(unknown(name)),
        };
        Ok(Some(read))
    }

    fn types(&self, value: &Value) -> Read<Value> {
        let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
        let fits = match value {
            Value::Array(names) => {
                let apart: HashSet<_> = names.iter().filter_map(Value::as_str).collect();
                !names.is_empty() && apart.len() == names.len() && names.iter().all(known)
            }
            name => known(name),
        };
        if fits { Ok(value.clone()) } else { self.fail(format!("expected one or several of {}", TYPES.join(", "))) }
    }

    fn number(&self, value: &Value) -> Read<Value> {
        match value.as_f64() {
            Some(number) if number.abs() > MAX_INTEGER => {
                self.fail("JSON parsers read numbers beyond 2^53 differently")
            }
            Some(number) if value.is_f64() && !is_short(number) => {
                self.fail(format!("JSON parsers read fractions of more than {MAX_DIGITS} digits differently"))
            }
            Some(_) => Ok(value.clone()),
            None => self.fail("expected a number"),
        }
    }

    fn count(&self, value: &Value) -> Read<Value> {
        match count(value) {
            Some(number) => Ok(number.into()),
            None => self.fail("expected a whole number, 0 or more"),
        }
    }

    /// Reads a value that bodies are compared with.
    fn constant(&self, value: &Value) -> Read<Value> {
        match value {
            Value::Number(_) => drop(self.number(value)?),
            Value::Array(items) => items.iter().try_for_each(|item| self.constant(item).map(drop))?,
            Value::Object(fields) => fields.values().try_for_each(|field| self.constant(field).map(drop))?,
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
        Ok(value.clone())
    }

    fn names(&mut self, value: &Value) -> Read<Value> {
        let names: Option<HashSet<&str>> = value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
        match names {
            Some(names) if value.as_array().is_some_and(|all| all.len() == names.len()) => Ok(value.clone()),
            _ => self.fail("expected an array of names, each once"),
        }
    }

    fn table(&mut self, value: &Value, read: fn(&mut Self, &Value) -> Read<Value>) -> Read<Value> {
        let Some(table) = value.as_object() else { return self.fail("expected an object") };
        let each = table.iter().map(|(name, value)| {
            let normal = self.below(name, |reader| read(reader, value))?;
            Ok((name.clone(), normal))
        });
        each.collect::<Read<Map<_, _>>>().map(Value::Object)
    }

    fn reference(&mut self, value: &Value) -> Read<Value> {
        let Some(reference) = value.as_str() else { return self.fail("expected a string") };
        let Some(fragment) = reference.strip_prefix('#') else {
            return self.fail(format!("`{reference}` is outside of this document; copy the schema into `$defs`"));
        };
        if fragment.is_empty() {
            return Ok("#".into());
        }
        let pointer = percent_decoded(fragment);
        let target = pointer.as_deref().and_then(|pointer| self.root.pointer(pointer));
        match (pointer, target) {
            (Some(pointer), Some(Value::Object(_) | Value::Bool(_))) if part::is_schema(&pointer) => {
                let (index, _) = self.named.insert_full(pointer);
                Ok(format!("#/$defs/{index}").into())
            }
            _ => self
                .fail(format!("`{reference}` does not lead to a schema; expected a pointer such as \"#/$defs/name\"")),
        }
    }
}

/// Returns whether every JSON parser reads a number alike. Parsers multiply in 53 bits, which is exact for few digits
/// and a small power of ten.
fn is_short(number: f64) -> bool {
    let text = format!("{number:e}");
    let Some((digits, power)) = text.split_once('e') else { return false };
    let digits = digits.trim_start_matches('-');
    let (count, fraction) = (digits.replace('.', "").len(), digits.split_once('.').map_or(0, |(_, rest)| rest.len()));
    let power = power.parse::<i32>().map(|power| power.saturating_sub(i32::try_from(fraction).unwrap_or(i32::MAX)));
    count <= MAX_DIGITS && power.is_ok_and(|power| power.abs() <= MAX_POWER)
}

/// Returns a schema that checks `multipleOf`. Parsers read numbers beyond 2^53 differently, so it refuses them.
fn exact(step: &Value) -> Map<String, Value> {
    let bounds = json!({ "minimum": -MAX_INTEGER as i64, "maximum": MAX_INTEGER as i64 });
    [("if", bounds), ("then", json!({ "multipleOf": step })), ("else", false.into())]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

/// Decodes the fragment of a URI (RFC 3986, 2.1).
fn percent_decoded(fragment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(fragment).decode_utf8().ok().map(Into::into)
}

/// Returns a whole number, also if it is written as `2.0`.
fn count(value: &Value) -> Option<u64> {
    let whole = |number: f64| (number.fract() == 0.0 && (0.0..=MAX_INTEGER).contains(&number)).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

fn needs_items(name: &str) -> String {
    format!("`{name}` needs a `maxItems` of at most {MAX_ITEMS} beside it")
}

fn unknown(name: &str) -> String {
    let instead = match name {
        "patternProperties" => "use `propertyNames` and `additionalProperties`",
        "definitions" => "use `$defs`",
        "dependencies" => "use `dependentRequired` and `dependentSchemas`",
        "additionalItems" => "use `prefixItems` and `items`",
        "$schema" | "$id" => "it is allowed only at the root",
        "$anchor" | "$dynamicAnchor" | "$dynamicRef" => "use `$ref` with a JSON pointer",
        "unevaluatedProperties" | "unevaluatedItems" => "use `additionalProperties` or `items`",
        _ => "see the list of keywords; the names of your own keywords begin with `x-`",
    };
    format!("the keyword `{name}` is not supported; {instead}")
}

#[cfg(test)]
mod tests;
