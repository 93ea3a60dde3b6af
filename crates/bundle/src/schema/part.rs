//! The keywords that contain schemas.

use serde_json::Value;

/// How the value of a keyword contains schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaPart {
    /// It is a schema.
    One,
    /// It is an array of schemas.
    List,
    /// It is an object of schemas, by name.
    Table,
}

/// Returns how a keyword contains schemas; `None` if it contains none.
pub(super) fn of(keyword: &str) -> Option<SchemaPart> {
    Some(match keyword {
        "items" | "contains" | "additionalProperties" | "propertyNames" | "not" | "if" | "then" | "else" => {
            SchemaPart::One
        }
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => SchemaPart::List,
        "$defs" | "properties" | "dependentSchemas" => SchemaPart::Table,
        _ => return None,
    })
}

/// Returns whether a JSON pointer leads to the place of a schema.
pub(super) fn is_schema(pointer: &str) -> bool {
    let mut tokens = pointer.split('/').skip(1);
    while let Some(keyword) = tokens.next() {
        let stands = match of(keyword) {
            Some(SchemaPart::One) => true,
            Some(SchemaPart::List) => tokens.next().is_some_and(|index| index.parse::<usize>().is_ok()),
            Some(SchemaPart::Table) => tokens.next().is_some(),
            None => false,
        };
        if !stands {
            return false;
        }
    }
    true
}

/// Returns the direct subschemas of a schema, so that a caller can change them.
pub fn parts_mut(schema: &mut Value) -> Vec<&mut Value> {
    let mut parts = Vec::new();
    for (keyword, value) in schema.as_object_mut().into_iter().flatten() {
        match of(keyword) {
            Some(SchemaPart::One) => parts.push(value),
            Some(SchemaPart::List) => parts.extend(value.as_array_mut().into_iter().flatten()),
            Some(SchemaPart::Table) => {
                parts.extend(value.as_object_mut().into_iter().flatten().map(|(_, value)| value))
            }
            None => {}
        }
    }
    parts
}
