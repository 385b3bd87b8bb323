//! JSON of a policy, in which an object must not repeat a key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use manila_core::internal::quoted;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Text(String),
    Bool(bool),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
    /// As decimal text.
    Number(String),
    Null,
}

impl Json {
    /// Parses one value, with nothing after it. `serde_json` bounds the depth.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("the policy cannot be read: {error}"))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((key, value)) = pairs.next_entry::<String, Json>()? {
            match object.entry(key) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    return Err(A::Error::custom(format_args!("{} occurs twice", quoted(entry.key()))));
                }
            };
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_whole() {
        let read = Json::read(r#" {"a": ["\u0078", true, null, -1, 1, 1.5], "b": {}} "#).unwrap();
        let number = |text: &str| Json::Number(text.to_owned());
        let list =
            vec![Json::Text("x".to_owned()), Json::Bool(true), Json::Null, number("-1"), number("1"), number("1.5")];
        let pairs = [("a", Json::List(list)), ("b", Json::Object(BTreeMap::new()))];
        assert_eq!(read, Json::Object(pairs.map(|(key, value)| (key.to_owned(), value)).into()));
    }

    #[test]
    fn a_key_occurs_once_in_an_object_however_it_is_written() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"x": {"a": 1, "b": 2, "\u0061": 3}}]"#] {
            let message = Json::read(text).unwrap_err();
            assert!(message.contains("\"a\" occurs twice"), "{message}");
        }
        assert!(Json::read(r#"[{"a": 1}, {"a": 1, "A": 2}]"#).is_ok());
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for text in ["", " ", "{", "{} {}", "{},", "[1,]", "{'a': 1}", "\u{feff}{}", "\"\u{0}\"", "nul"] {
            assert!(Json::read(text).is_err(), "{text:?}");
        }
        assert!(Json::read(&"[".repeat(32_768)).is_err());
        assert!(Json::read(&"{\"a\":".repeat(5_000)).is_err());
    }
}
