//! What checking costs: no schema may make a validator visit the same part of a body again and again, or call itself so deep
//! that its stack does not suffice.

use serde_json::{Map, Value};

/// So many schemas may be tried on one value, all references followed.
const MOST_TRIED: usize = 10_000;
/// So many schemas may be tried within each other on one value: a validator's stack holds as many for each level of a body.
const MOST_WITHIN: usize = 16;
/// So deep may references lead.
const MOST_OPEN: usize = 256;
/// So much may it take to find out: a count of schemas visited and of ways compared.
const MOST_WORK: usize = 2_000_000;

/// Checks a schema in normal form. The error says what takes too long.
pub(super) fn check(normal: &Value) -> Result<(), String> {
    let mut work = MOST_WORK;
    let defs = normal.get("$defs").and_then(Value::as_object);
    let names =
        std::iter::once("#".to_owned()).chain(defs.into_iter().flatten().map(|(name, _)| format!("#/$defs/{name}")));
    for name in names {
        let (stack, path, returns) = (vec![name.clone()], Vec::new(), Vec::new());
        let mut walk = Walk { root: normal, stack, path, tried: 0, within: 0, open: 0, returns };
        walk.visit(target(normal, &name))?;
        work = work.checked_sub(walk.tried).ok_or_else(too_large)?;
        walk.judge(&mut work)?;
    }
    Ok(())
}

fn too_large() -> String {
    "its definitions refer to each other in too many ways; make it smaller".to_owned()
}

fn target<'s>(root: &'s Value, reference: &str) -> &'s Value {
    root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Bool(true))
}

/// A step from a value to what it holds.
#[derive(Clone, Copy)]
enum Step<'s> {
    Property(&'s str),
    /// The properties that are not among these.
    Others(Option<&'s Map<String, Value>>),
    Name,
    Item(usize),
    /// The items from here on.
    Items(usize),
}

impl Step<'_> {
    /// Whether both may lead to the same value.
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

/// A walk through a definition, its references followed until they lead back.
struct Walk<'s> {
    root: &'s Value,
    stack: Vec<String>,
    path: Vec<Step<'s>>,
    tried: usize,
    /// How many schemas are open on the present value, and in all.
    within: usize,
    open: usize,
    /// The ways by which it comes back to a definition that it is in.
    returns: Vec<Vec<Step<'s>>>,
}

impl<'s> Walk<'s> {
    fn visit(&mut self, schema: &'s Value) -> Result<(), String> {
        self.tried += 1;
        if self.tried > MOST_TRIED {
            return Err(format!("it tries more than {MOST_TRIED} schemas, references followed; make it smaller"));
        }
        let Some(object) = schema.as_object() else { return Ok(()) };
        if self.within == MOST_WITHIN {
            return Err(format!(
                "it tries more than {MOST_WITHIN} schemas within each other on one value; nest them less"
            ));
        }
        if self.open == MOST_OPEN {
            return Err(format!("its schemas and references lead more than {MOST_OPEN} deep; make it flatter"));
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
            self.returns.push(self.path.clone());
            return Ok(());
        }
        self.stack.push(reference.to_owned());
        let root = self.root;
        self.visit(target(root, reference))?;
        self.stack.pop();
        Ok(())
    }

    /// A definition may come back to itself, by one way for each part of a value: by two, each level doubles the work.
    fn judge(self, work: &mut usize) -> Result<(), String> {
        for (index, way) in self.returns.iter().enumerate() {
            *work = work.checked_sub(self.returns.len() - index).ok_or_else(too_large)?;
            if way.is_empty() {
                return Err("a `$ref` leads back to itself without going into the value: it would never end".to_owned());
            }
            let again =
                self.returns.iter().skip(index + 1).any(|other| way.iter().zip(other).all(|(a, b)| a.may_meet(b)));
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
