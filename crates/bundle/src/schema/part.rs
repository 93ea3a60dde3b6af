//! Which keywords hold schemas, and how.

use serde_json::Value;

/// How the value of a keyword holds schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is one.
    One,
    /// It is an array of them.
    List,
    /// It is an object of them, by name.
    Table,
}

/// How a keyword holds schemas, if it does.
pub(super) fn of(keyword: &str) -> Option<Part> {
    Some(match keyword {
        "items" | "contains" | "additionalProperties" | "propertyNames" | "not" | "if" | "then" | "else" => Part::One,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Part::List,
        "$defs" | "properties" | "dependentSchemas" => Part::Table,
        _ => return None,
    })
}

/// Whether a JSON pointer leads to where a schema stands.
pub(super) fn is_schema(pointer: &str) -> bool {
    let mut tokens = pointer.split('/').skip(1);
    while let Some(keyword) = tokens.next() {
        let stands = match of(keyword) {
            Some(Part::One) => true,
            Some(Part::List) => tokens.next().is_some_and(|index| index.parse::<usize>().is_ok()),
            Some(Part::Table) => tokens.next().is_some(),
            None => false,
        };
        if !stands {
            return false;
        }
    }
    true
}

/// The schemas that stand right below one, for whoever makes another of it.
pub fn parts_mut(schema: &mut Value) -> Vec<&mut Value> {
    let mut parts = Vec::new();
    for (keyword, value) in schema.as_object_mut().into_iter().flatten() {
        match of(keyword) {
            Some(Part::One) => parts.push(value),
            Some(Part::List) => parts.extend(value.as_array_mut().into_iter().flatten()),
            Some(Part::Table) => parts.extend(value.as_object_mut().into_iter().flatten().map(|(_, value)| value)),
            None => {}
        }
    }
    parts
}
