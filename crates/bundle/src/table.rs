//! Tables of a manifest, as CBOR maps and as JSON objects. (LiteMap writes an empty map as an array, and its reader
//! includes the code of a sort, because it accepts any order.)

use std::{fmt, marker::PhantomData};

use litemap::LiteMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

/// Writes an object.
pub(crate) fn serialize<V: Serialize, S: Serializer>(
    table: &LiteMap<String, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(table.iter())
}

/// Reads an object with names in ascending order, as the module `json` returns them.
pub(crate) fn deserialize<'de, V, D>(deserializer: D) -> Result<LiteMap<String, V>, D::Error>
where
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Table(PhantomData))
}

struct Table<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Table<V> {
    type Value = LiteMap<String, V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with its keys in ascending order")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut table: Vec<(String, V)> = Vec::new();
        while let Some((key, value)) = access.next_entry()? {
            if table.last().is_some_and(|(before, _)| *before >= key) {
                return Err(A::Error::custom(format_args!("the key `{key}` is not in ascending order")));
            }
            table.push((key, value));
        }
        Ok(LiteMap::from_sorted_store_unchecked(table))
    }
}

/// Tables as CBOR, which only parts of one program exchange: a map with names in ascending order.
pub mod cbor {
    use litemap::LiteMap;
    use minicbor::{
        Decode, Decoder, Encode, Encoder,
        decode::Error,
        encode::{self, Write},
    };

    /// Writes a map.
    pub fn encode<C, V: Encode<C>, W: Write>(
        table: &LiteMap<String, V>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(table.len() as u64)?;
        table.iter().try_for_each(|(name, value)| value.encode(e.str(name)?, ctx))
    }

    /// Reads a map.
    pub fn decode<'b, C, V: Decode<'b, C>>(d: &mut Decoder<'b>, ctx: &mut C) -> Result<LiteMap<String, V>, Error> {
        let mut table = LiteMap::new();
        for _ in 0..d.map()?.unwrap_or_default() {
            let name = d.str()?.to_owned();
            table.insert(name, V::decode(d, ctx)?);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use litemap::LiteMap;
    use serde_json::Deserializer;

    #[test]
    fn ascending_keys_are_read_and_others_are_refused() {
        let read = |text: &str| super::deserialize::<u32, _>(&mut Deserializer::from_str(text));
        assert_eq!(read("{}").unwrap(), LiteMap::new());
        let table = read(r#"{ "A": 1, "a": 2, "b": 3 }"#).unwrap();
        assert_eq!(
            table.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>(),
            [("A", 1), ("a", 2), ("b", 3)]
        );
        for text in [r#"{ "b": 1, "a": 2 }"#, r#"{ "a": 1, "a": 1 }"#, "[]", "3"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
