//! What checking costs: no schema may make a validator visit the same part of a body again and again, or call itself so deep
//! that its stack does not suffice. What is left grows with body and schema, and can be told beforehand.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The most schemas of one document that are tried, all references followed.
const MAX_TRIED: usize = 10_000;
/// The most schemas that are tried within each other on one value: a validator's stack holds as many for each level of a body.
const MAX_WITHIN: usize = 10;
/// How deep references may lead, in schemas.
const MAX_OPEN: usize = 256;
/// How much it may take to find all this out, in schemas visited and ways compared.
const MAX_WORK: usize = 2_000_000;
/// So many bytes of a body take as long as a schema does that is tried on one value.
const BYTES_OF_STEP: u64 = 64;

/// How many steps it takes at most to check a body: schemas that are tried on a value, and what they list.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    whole: u64,
    /// By the name of a member.
    members: HashMap<String, u64>,
    other_members: u64,
    names: u64,
    items: u64,
}

impl Cost {
    /// What it costs to check bodies with a schema in normal form. Errors with what takes too long.
    pub fn of(normal: &Value) -> Result<Self, String> {
        let mut work = MAX_WORK;
        let defs = normal.get("$defs").and_then(Value::as_object);
        let names = std::iter::once("#".to_owned())
            .chain(defs.into_iter().flatten().map(|(name, _)| format!("#/$defs/{name}")));
        let mut walks = HashMap::new();
        for name in names {
            let mut walk = Walk::from(normal, &name);
            walk.visit(target(normal, &name))?;
            work = work.checked_sub(walk.tried).ok_or_else(too_large)?;
            walk.judge(&mut work)?;
            walks.insert(name, walk);
        }
        Ok(Self::told_by(&walks))
    }

    /// A definition that leads back to itself is tried, on the value that it leads to, once more as at its beginning.
    fn told_by(walks: &HashMap<String, Walk<'_>>) -> Self {
        let mut cost = Self::default();
        let Some(walk) = walks.get("#") else { return cost };
        let again = walk.returns.iter().map(|back| (back.way.last().copied(), back.to.as_str()));
        let again = again.map(|(step, to)| (step, walks.get(to).map_or(0, Walk::spent_on_whole)));
        for (step, steps) in walk.spent.iter().copied().chain(again) {
            let sum = match step {
                None => &mut cost.whole,
                Some(Step::Property(name)) => cost.members.entry(name.to_owned()).or_default(),
                Some(Step::Others(_)) => &mut cost.other_members,
                Some(Step::Name) => &mut cost.names,
                Some(Step::Item(_) | Step::Items(_)) => &mut cost.items,
            };
            *sum = sum.saturating_add(steps);
        }
        cost
    }

    /// How many steps a body takes at most.
    pub fn steps(&self, body: &Value) -> u64 {
        self.steps_on(body, self.whole)
    }

    fn steps_on(&self, value: &Value, own: u64) -> u64 {
        match value {
            Value::String(text) => own.saturating_mul(1 + text.len() as u64 / BYTES_OF_STEP),
            Value::Array(items) => {
                items.iter().fold(own, |sum, item| sum.saturating_add(self.steps_on(item, self.items)))
            }
            Value::Object(members) => members.iter().fold(own, |sum, (name, member)| {
                let known = self.members.get(name).copied().unwrap_or_default().saturating_add(self.other_members);
                let of_name = self.names.saturating_mul(1 + name.len() as u64 / BYTES_OF_STEP);
                sum.saturating_add(of_name).saturating_add(self.steps_on(member, known))
            }),
            _ => own,
        }
    }
}

fn too_large() -> String {
    "its definitions refer to each other in too many ways; make it smaller".to_owned()
}

fn target<'s>(root: &'s Value, reference: &str) -> &'s Value {
    root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Bool(true))
}

/// How much a schema lists that is gone through for each value.
fn listed(schema: &Value) -> u64 {
    let length = |name: &str| match schema.get(name) {
        Some(Value::Array(values)) => values.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    };
    ["enum", "properties", "required", "dependentRequired"].map(length).iter().sum::<usize>() as u64
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
    /// The definitions that it is in.
    stack: Vec<String>,
    path: Vec<Step<'s>>,
    tried: usize,
    /// How many schemas are open on the present value, and in all.
    within: usize,
    open: usize,
    /// What was spent on the whole value, and on what lies behind each last step.
    spent: Vec<(Option<Step<'s>>, u64)>,
    /// The ways by which it comes back to a definition that it is in.
    returns: Vec<Return<'s>>,
}

/// A way that leads back to a definition.
struct Return<'s> {
    to: String,
    /// From where the walk began.
    way: Vec<Step<'s>>,
}

impl<'s> Walk<'s> {
    fn from(root: &'s Value, name: &str) -> Self {
        let (stack, path, spent, returns) = (vec![name.to_owned()], Vec::new(), Vec::new(), Vec::new());
        Self { root, stack, path, tried: 0, within: 0, open: 0, spent, returns }
    }

    /// The steps on the value itself, and on nothing that it holds.
    fn spent_on_whole(&self) -> u64 {
        self.spent.iter().filter(|(step, _)| step.is_none()).fold(0, |sum, (_, steps)| sum.saturating_add(*steps))
    }

    fn visit(&mut self, schema: &'s Value) -> Result<(), String> {
        self.tried += 1;
        if self.tried > MAX_TRIED {
            return Err(format!("it tries more than {MAX_TRIED} schemas, references followed; make it smaller"));
        }
        self.spent.push((self.path.last().copied(), 1 + listed(schema)));
        let Some(object) = schema.as_object() else { return Ok(()) };
        if self.within == MAX_WITHIN {
            return Err(format!(
                "it tries more than {MAX_WITHIN} schemas within each other on one value; nest them less"
            ));
        }
        if self.open == MAX_OPEN {
            return Err(format!("its schemas and references lead more than {MAX_OPEN} deep; make it flatter"));
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

    /// A definition may come back to itself, by one way for each part of a value: by two, each level doubles the work.
    fn judge(&self, work: &mut usize) -> Result<(), String> {
        for (index, Return { way, .. }) in self.returns.iter().enumerate() {
            *work = work.checked_sub(self.returns.len() - index).ok_or_else(too_large)?;
            if way.is_empty() {
                return Err("a `$ref` leads back to itself without going into the value: it would never end".to_owned());
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
