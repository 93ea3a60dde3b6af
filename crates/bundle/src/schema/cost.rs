//! The cost of checking a body. `walk.rs` refuses a schema that makes a validator visit the same part of a body many
//! times, or overflow its stack. The cost of every other schema is bounded by the sizes of body and schema, and is
//! known before the check.

mod walk;

use std::{collections::HashMap, ops::AddAssign};

use serde_json::Value;

use self::walk::{Step, Walk, walks};

/// Reading this many bytes of a string takes about as long as trying one schema on one value.
const BYTES_OF_STEP: u64 = 64;

/// The maximum cost of checking a body, in steps. A step is one schema that is tried on one value, or one value that it
/// visits.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    whole: Price,
    /// By member name.
    members: HashMap<String, Price>,
    other_members: Price,
    names: Price,
    items: Price,
}

/// The cost of one value, in steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Price {
    /// For the value itself.
    once: u64,
    /// For each of its members.
    each_member: u64,
    /// For all its parts, at every depth: the value is compared with others.
    whole: u64,
}

impl Cost {
    /// Returns the cost of checking bodies with a schema in normal form. The error says what would take too long.
    pub fn of(normal: &Value) -> Result<Self, String> {
        let walks = walks(normal)?;
        let mut cost = Self::default();
        let Some(walk) = walks.get("#") else { return Ok(cost) };
        // A definition that leads back to itself is tried again, on the value that the reference leads to.
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

    /// Returns the maximum number of steps for a body.
    pub fn steps(&self, body: &Value) -> u64 {
        self.steps_on(body, self.whole).0
    }

    /// Returns the steps for a value, and its size: the steps to visit it once.
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

/// The steps to read a string once.
fn of_text(text: &str) -> u64 {
    1 + text.len() as u64 / BYTES_OF_STEP
}

impl Price {
    /// The cost of a schema, without the schemas in it.
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

/// Counts the values in a value, including itself.
fn values_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().fold(1, |sum, item| sum.saturating_add(values_in(item))),
        Value::Object(members) => members.values().fold(1, |sum, member| sum.saturating_add(values_in(member))),
        _ => 1,
    }
}

/// Counts the names in a list, or in a table and its lists.
fn values_in_lists(value: &Value) -> u64 {
    match value {
        Value::Array(names) => names.len() as u64,
        Value::Object(table) => table.values().fold(table.len() as u64, |sum, value| {
            sum.saturating_add(value.as_array().map_or(0, |names| names.len() as u64))
        }),
        _ => 0,
    }
}
