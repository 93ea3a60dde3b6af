//! What checking costs: no schema may make a validator visit the same part of a body again and again, or call itself so deep
//! that its stack does not suffice (`walk.rs`). What is left grows with body and schema, and can be told beforehand.

mod walk;

use std::{collections::HashMap, ops::AddAssign};

use serde_json::Value;

use self::walk::{Step, Walk, walks};

/// So many bytes of a text take as long to go through as a schema does that is tried on one value.
const BYTES_OF_STEP: u64 = 64;

/// What it costs at most to check a body, in steps: schemas that are tried on a value, and what they go through.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    whole: Price,
    /// By the name of a member.
    members: HashMap<String, Price>,
    other_members: Price,
    names: Price,
    items: Price,
}

/// What is paid for one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Price {
    /// For the value itself.
    once: u64,
    /// For each of its members.
    each_member: u64,
    /// For all that it holds, at every depth: it is compared with others.
    whole: u64,
}

impl Cost {
    /// What it costs to check bodies with a schema in normal form. Errors with what takes too long.
    pub fn of(normal: &Value) -> Result<Self, String> {
        let walks = walks(normal)?;
        let mut cost = Self::default();
        let Some(walk) = walks.get("#") else { return Ok(cost) };
        // A definition that leads back to itself is tried, on the value that it leads to, once more as at its beginning.
        let again = walk.returns.iter().map(|back| {
            let begins = walks.get(&back.to).map(Walk::at_its_beginning).into_iter().flatten();
            begins.fold((back.way.last().copied(), Price::default()), |(step, mut sum), schema| {
                sum += Price::of(schema);
                (step, sum)
            })
        });
        for (step, price) in walk.tries.iter().map(|(step, schema)| (*step, Price::of(schema))).chain(again) {
            *match step {
                None => &mut cost.whole,
                Some(Step::Property(name)) => cost.members.entry(name.to_owned()).or_default(),
                Some(Step::Others(_)) => &mut cost.other_members,
                Some(Step::Name) => &mut cost.names,
                Some(Step::Item(_) | Step::Items(_)) => &mut cost.items,
            } += price;
        }
        Ok(cost)
    }

    /// How many steps a body takes at most.
    pub fn steps(&self, body: &Value) -> u64 {
        self.steps_on(body, self.whole).0
    }

    /// The steps on a value, and how large it is: the steps to go through it once.
    fn steps_on(&self, value: &Value, price: Price) -> (u64, u64) {
        match value {
            Value::String(text) => {
                let size = of_text(text);
                (price.once.saturating_mul(size), size)
            }
            Value::Array(items) => {
                let (mut steps, mut size) = (price.once, 1_u64);
                for item in items {
                    let (below, part) = self.steps_on(item, self.items);
                    (steps, size) = (steps.saturating_add(below), size.saturating_add(part));
                }
                (steps.saturating_add(price.whole.saturating_mul(size)), size)
            }
            Value::Object(members) => {
                let (mut steps, mut size) = (price.once, 1_u64);
                for (name, member) in members {
                    let mut of_member = self.members.get(name).copied().unwrap_or_default();
                    of_member += self.other_members;
                    let (below, part) = self.steps_on(member, of_member);
                    let of_name = self.names.once.saturating_mul(of_text(name)).saturating_add(price.each_member);
                    steps = steps.saturating_add(below).saturating_add(of_name);
                    size = size.saturating_add(part).saturating_add(of_text(name));
                }
                (steps.saturating_add(price.whole.saturating_mul(size)), size)
            }
            _ => (price.once, 1),
        }
    }
}

/// The steps to go through a text.
fn of_text(text: &str) -> u64 {
    1 + text.len() as u64 / BYTES_OF_STEP
}

impl Price {
    /// What a schema costs by itself, without those within it.
    fn of(schema: &Value) -> Self {
        let mut price = Self { once: 1, ..Self::default() };
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            match keyword.as_str() {
                "enum" | "const" => price.once = price.once.saturating_add(values_in(value)),
                "properties" | "required" | "dependentSchemas" | "dependentRequired" => {
                    price.once = price.once.saturating_add(values_in_lists(value));
                }
                "minLength" | "maxLength" => price.once = price.once.saturating_add(1),
                "additionalProperties" | "propertyNames" => price.each_member += 1,
                "uniqueItems" => price.whole += 1,
                _ => {}
            }
        }
        price
    }
}

impl AddAssign for Price {
    fn add_assign(&mut self, other: Self) {
        self.once = self.once.saturating_add(other.once);
        self.each_member = self.each_member.saturating_add(other.each_member);
        self.whole = self.whole.saturating_add(other.whole);
    }
}

/// How many values there are in one, itself included.
fn values_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().fold(1, |sum, item| sum.saturating_add(values_in(item))),
        Value::Object(members) => members.values().fold(1, |sum, member| sum.saturating_add(values_in(member))),
        _ => 1,
    }
}

/// How many names a list has, or a table with the lists in it.
fn values_in_lists(value: &Value) -> u64 {
    match value {
        Value::Array(names) => names.len() as u64,
        Value::Object(table) => table.values().fold(table.len() as u64, |sum, value| {
            sum.saturating_add(value.as_array().map_or(0, |names| names.len() as u64))
        }),
        _ => 0,
    }
}
