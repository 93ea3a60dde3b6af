//! Strict reading of JSON that is part of a contract:
//!
//! - An error names its place by a JSON pointer (RFC 6901).
//! - An object that has a name twice is refused (I-JSON, RFC 7493): one reader might take the first value, another the last.
//! - A struct is read from an object, never from an array.
//!
//! This is much less code in the page's Wasm than the typed reading of serde_json.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value, map};

/// An error in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The place, as a JSON pointer; empty for the whole document.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

/// Reads a value from JSON text. Returns an error if the text is not valid JSON, or does not describe a `T`.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    from_value(&value(text)?)
}

/// Reads any JSON. Returns an error if the text is not valid JSON, or an object in it has a name twice.
pub fn value(text: &[u8]) -> Result<Value, JsonError> {
    let Strict(value) = serde_json::from_slice(text)
        .map_err(|error| JsonError { pointer: String::new(), reason: format!("it is not valid JSON: {error}") })?;
    Ok(value)
}

/// Reads a value from a JSON value. Returns an error if the JSON value does not describe a `T`.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, JsonError> {
    T::deserialize(Json(value)).map_err(|refusal| *refusal)
}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.is_empty() {
            true => formatter.write_str(&self.reason),
            false => write!(formatter, "at {}: {}", self.pointer, self.reason),
        }
    }
}

impl std::error::Error for JsonError {}

impl JsonError {
    #[inline(never)]
    fn below(mut self: Box<Self>, token: &str) -> Box<Self> {
        let token = token.replace('~', "~0").replace('/', "~1");
        self.pointer = format!("/{token}{}", self.pointer);
        self
    }
}

/// The error while reading. It is boxed, so that each level passes one machine word upward.
type Refusal = Box<JsonError>;

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(JsonError { pointer: String::new(), reason: message.to_string() })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }
}

#[derive(Clone, Copy)]
struct Json<'v>(&'v Value);

impl Json<'_> {
    fn refuse(self, expected: &dyn Expected) -> Refusal {
        let found = match self.0 {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        de::Error::custom(format_args!("found {found}, expected {expected}"))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                _ => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            _ => Err(self.refuse(&visitor)),
        }
    }
}

/// Reads every kind of number alike.
macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Json<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(_) => self.number(visitor),
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::String(text) => visitor.visit_str(text),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), open: None }),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'v> {
    items: std::slice::Iter<'v, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Json(item)).map(Some).map_err(|error| error.below(&index.to_string()))
    }
}

struct Members<'v> {
    members: map::Iter<'v>,
    /// The member whose name was read.
    open: Option<(&'v str, &'v Value)>,
}

impl<'v> Members<'v> {
    fn advance(&mut self) -> Option<&'v str> {
        self.open = self.members.next().map(|(name, value)| (name.as_str(), value));
        self.open.map(|(name, _)| name)
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some(name) = self.advance() else { return Ok(None) };
        let key: StrDeserializer<'_, Refusal> = name.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.below(name))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refusal> {
        let (name, value) = self.open.unwrap_or(("", &Value::Null));
        seed.deserialize(Json(value)).map_err(|error| error.below(name))
    }
}

/// A JSON value in which no object has a name twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the object has the name `{name}` twice")));
            }
            let Strict(value) = access.next_value()?;
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use litemap::LiteMap;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        label: Option<String>,
        books: Vec<Book>,
        #[serde(default, with = "crate::table")]
        prices: LiteMap<String, u16>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Book {
        title: String,
        kind: Kind,
        #[serde(default)]
        more: serde_json::Value,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Novel,
    }

    #[test]
    fn typed_values_are_read() {
        let text =
            br#"{ "books": [{ "title": "Emma", "kind": "novel", "more": { "a": [1, -2, 0.5, null, true] }, "x": 0 }],
            "prices": { "b": 2, "a": 1 } }"#;
        let shelf: Shelf = super::from_slice(text).unwrap();
        let more = serde_json::json!({ "a": [1, -2, 0.5, null, true] });
        let book = Book { title: "Emma".into(), kind: Kind::Novel, more };
        let prices = [("a".to_owned(), 1), ("b".to_owned(), 2)].into_iter().collect();
        assert_eq!(shelf, Shelf { label: None, books: vec![book], prices });
    }

    #[test]
    fn errors_say_where() {
        for (text, error) in [
            ("{", "it is not valid JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"a":1,"a":1}"#, "it is not valid JSON: the object has the name `a` twice at line 1 column 10"),
            ("[]", "found an array, expected struct Shelf"),
            ("{}", "missing field `books`"),
            (r#"{"books":[],"shop":1}"#, "at /shop: unknown field `shop`, expected one of `label`, `books`, `prices`"),
            (r#"{"books":[{"title":3}]}"#, "at /books/0/title: found a number, expected a string"),
            (
                r#"{"books":[{"title":"x","kind":"poem"}]}"#,
                "at /books/0/kind: unknown variant `poem`, expected `novel`",
            ),
            (r#"{"books":[],"prices":{"a/b":70000}}"#, "at /prices/a~1b: expected u16"),
        ] {
            assert_eq!(super::from_slice::<Shelf>(text.as_bytes()).unwrap_err().to_string(), error);
        }
    }
}
