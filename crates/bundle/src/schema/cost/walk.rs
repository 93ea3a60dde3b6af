//! A walk through a schema that follows references. It finds the schemas that a validator tries on each part of a
//! value, and checks that validation ends.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The maximum number of schemas in one document, with all references followed.
const MAX_TRIED: usize = 10_000;
/// The maximum number of schemas that are nested on one value: the validator's stack holds as many for each level of a
/// body.
const MAX_WITHIN: usize = 10;
/// The maximum depth of schemas, with references followed.
const MAX_OPEN: usize = 256;
/// The maximum work of this check, in schemas visited and paths compared.
const MAX_WORK: usize = 2_000_000;

/// Walks through all definitions of a schema in normal form, and follows their references. The error says what would
/// take too long.
pub(super) fn walks(normal: &Value) -> Result<HashMap<String, Walk<'_>>, String> {
    let mut work = MAX_WORK;
    let defs = normal.get("$defs").and_then(Value::as_object);
    let names =
        std::iter::once("#".to_owned()).chain(defs.into_iter().flatten().map(|(name, _)| format!("#/$defs/{name}")));
    let mut walks = HashMap::new();
    for name in names {
        let mut walk = Walk::from(normal, &name);
        walk.visit(target(normal, &name))?;
        work = work.checked_sub(walk.tried).ok_or_else(too_large)?;
        walk.judge(&mut work)?;
        walks.insert(name, walk);
    }
    Ok(walks)
}

fn too_large() -> String {
    "its definitions refer to each other too often; make the schema smaller".to_owned()
}

fn target<'s>(root: &'s Value, reference: &str) -> &'s Value {
    root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Bool(true))
}

/// A step from a value to one of its parts.
#[derive(Clone, Copy)]
pub(super) enum Step<'s> {
    Property(&'s str),
    /// The properties that are not among these.
    Others(Option<&'s Map<String, Value>>),
    Name,
    Item(usize),
    /// The items from here on.
    Items(usize),
}

impl Step<'_> {
    /// Returns whether both steps may lead to the same value.
    fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Property(a), Self::Property(b)) => a == b,
            (Self::Property(name), Self::Others(known)) | (Self::Others(known), Self::Property(name)) => {
                !known.is_some_and(|known| known.contains_key(*name))
            }
            (Self::Others(_), Self::Others(_)) | (Self::Name, Self::Name) | (Self::Items(_), Self::Items(_)) => true,
            (Self::Item(a), Self::Item(b)) => a == b,
            (Self::Item(at), Self::Items(from)) | (Self::Items(from), Self::Item(at)) => at >= from,
            _ => false,
        }
    }
}

/// A walk through a definition. It follows references until they lead back.
pub(super) struct Walk<'s> {
    root: &'s Value,
    /// The definitions that are open.
    stack: Vec<String>,
    path: Vec<Step<'s>>,
    tried: usize,
    /// The number of open schemas on the present value, and in total (`open`).
    within: usize,
    open: usize,
    /// The schemas that are tried, each with the last step to its value; `None` for the whole value.
    pub(super) tries: Vec<(Option<Step<'s>>, &'s Value)>,
    /// The paths that lead back to an open definition.
    pub(super) returns: Vec<Return<'s>>,
}

/// A path that leads back to a definition.
pub(super) struct Return<'s> {
    pub(super) to: String,
    /// The steps from the beginning of the walk.
    pub(super) way: Vec<Step<'s>>,
}

impl<'s> Walk<'s> {
    fn from(root: &'s Value, name: &str) -> Self {
        let (stack, path, tries, returns) = (vec![name.to_owned()], Vec::new(), Vec::new(), Vec::new());
        Self { root, stack, path, tried: 0, within: 0, open: 0, tries, returns }
    }

    /// The schemas that are tried on the value itself, not on its parts.
    pub(super) fn at_its_beginning(&self) -> impl Iterator<Item = &'s Value> {
        self.tries.iter().filter(|(step, _)| step.is_none()).map(|(_, schema)| *schema)
    }

    fn visit(&mut self, schema: &'s Value) -> Result<(), String> {
        self.tried += 1;
        if self.tried > MAX_TRIED {
            return Err(format!("it has more than {MAX_TRIED} schemas with references followed; make it smaller"));
        }
        self.tries.push((self.path.last().copied(), schema));
        let Some(object) = schema.as_object() else { return Ok(()) };
        if self.within == MAX_WITHIN {
            return Err(format!("more than {MAX_WITHIN} schemas are nested on one value; nest fewer schemas"));
        }
        if self.open == MAX_OPEN {
            return Err(format!("its schemas and references are more than {MAX_OPEN} levels deep; nest fewer schemas"));
        }
        self.within += 1;
        self.open += 1;
        self.keywords(object)?;
        self.within -= 1;
        self.open -= 1;
        Ok(())
    }

    fn keywords(&mut self, object: &'s Map<String, Value>) -> Result<(), String> {
        let properties = object.get("properties").and_then(Value::as_object);
        let first = object.get("prefixItems").and_then(Value::as_array);
        for (name, value) in object {
            match name.as_str() {
                "$ref" => self.follow(value.as_str().unwrap_or_default())?,
                "not" | "if" | "then" | "else" => self.visit(value)?,
                "allOf" | "anyOf" | "oneOf" => {
                    value.as_array().into_iter().flatten().try_for_each(|s| self.visit(s))?
                }
                "dependentSchemas" => value.as_object().into_iter().flatten().try_for_each(|(_, s)| self.visit(s))?,
                "properties" => {
                    for (name, schema) in value.as_object().into_iter().flatten() {
                        self.step(Step::Property(name), schema)?;
                    }
                }
                "additionalProperties" => self.step(Step::Others(properties), value)?,
                "propertyNames" => self.step(Step::Name, value)?,
                "prefixItems" => {
                    for (at, schema) in value.as_array().into_iter().flatten().enumerate() {
                        self.step(Step::Item(at), schema)?;
                    }
                }
                "items" => self.step(Step::Items(first.map_or(0, Vec::len)), value)?,
                "contains" => self.step(Step::Items(0), value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step<'s>, schema: &'s Value) -> Result<(), String> {
        self.path.push(step);
        let within = std::mem::take(&mut self.within);
        self.visit(schema)?;
        self.within = within;
        self.path.pop();
        Ok(())
    }

    fn follow(&mut self, reference: &str) -> Result<(), String> {
        if self.stack.iter().any(|open| open == reference) {
            self.returns.push(Return { to: reference.to_owned(), way: self.path.clone() });
            return Ok(());
        }
        self.stack.push(reference.to_owned());
        let root = self.root;
        self.visit(target(root, reference))?;
        self.stack.pop();
        Ok(())
    }

    /// Checks that a definition leads back to itself at most once for each part of a value: with two paths, each level
    /// would double the work.
    fn judge(&self, work: &mut usize) -> Result<(), String> {
        for (index, Return { way, .. }) in self.returns.iter().enumerate() {
            *work = work.checked_sub(self.returns.len() - index).ok_or_else(too_large)?;
            if way.is_empty() {
                return Err(
                    "a `$ref` leads back to itself without going into the value: the check would never end".to_owned()
                );
            }
            let mut later = self.returns.iter().skip(index + 1);
            let again = later.any(|other| way.iter().zip(&other.way).all(|(a, b)| a.may_meet(b)));
            if again {
                return Err(
                    "it refers to itself twice for the same part of a value: each level would double the work; \
                            refer once, beside `anyOf` or `oneOf` and not in each of them"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}
