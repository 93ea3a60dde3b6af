//! Binds: the contract of a resource.

use litemap::LiteMap;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::table;

/// The operations and events of a resource, and their bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bind {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// A description for people.
    #[serde(default)]
    #[n(1)]
    pub description: String,
    /// Its operations, by name.
    #[serde(default, with = "table")]
    #[cbor(n(2), with = "table::cbor")]
    pub operations: LiteMap<String, Operation>,
    /// Its events, by name.
    #[serde(default, with = "table")]
    #[cbor(n(3), with = "table::cbor")]
    pub events: LiteMap<String, Body>,
}

/// A bind with its schemas.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// The bind.
    pub bind: Bind,
    /// The schemas in normal form, by path.
    pub schemas: LiteMap<String, Value>,
}

/// An operation: a request, and a response unless it is one-way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Operation {
    /// The body of the request.
    #[serde(default)]
    #[n(0)]
    pub request: Body,
    /// The body of the response. Without it, the operation is one-way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub response: Option<Body>,
}

/// The body of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Body {
    /// A media type; `*/*` is anything.
    #[serde(default = "anything")]
    #[n(0)]
    pub content_type: String,
    /// The JSON Schema of the body, or of each line of a stream: a file of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub schema: Option<String>,
    /// Whether the body is a stream, which follows its message in parts. It is written only if it is true, so that
    /// binds without streams keep their bytes and digests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cbor(n(2), default, skip_if = "std::ops::Not::not")]
    pub stream: bool,
}

fn anything() -> String {
    "*/*".to_owned()
}

impl Default for Body {
    fn default() -> Self {
        Self { content_type: anything(), schema: None, stream: false }
    }
}

impl Bind {
    /// The bodies of all operations and events.
    pub fn bodies(&self) -> impl Iterator<Item = &Body> {
        let operations = self.operations.values();
        let bodies = operations.flat_map(|operation| [Some(&operation.request), operation.response.as_ref()]);
        bodies.flatten().chain(self.events.values())
    }

    /// Renames its schemas.
    #[cfg(feature = "authoring")]
    pub(crate) fn name_schemas(&mut self, name: impl Fn(&str) -> String) {
        let operations = self.operations.iter_mut();
        let bodies = operations.flat_map(|(_, operation)| [Some(&mut operation.request), operation.response.as_mut()]);
        for body in bodies.flatten().chain(self.events.iter_mut().map(|(_, body)| body)) {
            body.schema = body.schema.take().map(|schema| name(&schema));
        }
    }

    /// Returns its schemas in the form that sandboxes take: `{ "requests": { NAME: SCHEMA }, "responses": …, "events":
    /// … }`. Returns an empty string if it has no schemas. `schemas` has the normal forms, by path.
    pub fn contract(&self, schemas: &LiteMap<String, Value>) -> String {
        let mut tables = [Map::new(), Map::new(), Map::new()];
        let [requests, responses, events] = &mut tables;
        let add = |table: &mut Map<String, Value>, name: &String, body: &Body| {
            let schema = body.schema.as_ref().and_then(|path| schemas.get(path));
            table.extend(schema.map(|schema| (name.clone(), schema.clone())));
        };
        for (name, operation) in &self.operations {
            add(requests, name, &operation.request);
            if let Some(response) = &operation.response {
                add(responses, name, response);
            }
        }
        for (name, body) in &self.events {
            add(events, name, body);
        }
        if tables.iter().all(Map::is_empty) {
            return String::new();
        }
        let mut contract = Map::new();
        for (name, table) in ["requests", "responses", "events"].into_iter().zip(tables) {
            contract.insert(name.to_owned(), Value::Object(table));
        }
        Value::Object(contract).to_string()
    }

    /// The paths of its schemas.
    pub fn schemas(&self) -> impl Iterator<Item = &String> {
        self.bodies().filter_map(|body| body.schema.as_ref())
    }
}

impl Operation {
    /// Returns whether the operation has no response.
    pub fn is_one_way(&self) -> bool {
        self.response.is_none()
    }

    /// Returns whether its request or its response is a stream.
    pub fn has_stream(&self) -> bool {
        self.request.stream || self.response.as_ref().is_some_and(|response| response.stream)
    }
}

impl Body {
    /// Returns whether a payload of this content type is accepted. The media types must be equal, in any case;
    /// parameters are ignored.
    pub fn accepts(&self, content_type: &str) -> bool {
        let own = essence(&self.content_type);
        own == "*/*" || own.eq_ignore_ascii_case(essence(content_type))
    }
}

/// Returns a content type without its parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_match_without_parameters_and_in_any_case() {
        let html = Body { content_type: "text/html; charset=utf-8".into(), ..Body::default() };
        assert!(html.accepts("text/html") && html.accepts("Text/HTML ; charset=latin1"));
        assert!(!html.accepts("text/plain") && !html.accepts("") && !html.accepts("text/html5"));
        assert!(Body::default().accepts("image/png") && Body::default().accepts(""));
    }

    #[test]
    fn missing_bodies_accept_anything_and_missing_responses_are_one_way() {
        let bind: Bind = serde_json::from_str(r#"{ "name": "x", "operations": { "touch": {} } }"#).unwrap();
        assert!(bind.operations.get("touch").unwrap().is_one_way());
        assert_eq!(bind.operations.get("touch").unwrap().request, Body::default());
        assert!(serde_json::from_str::<Bind>(r#"{ "name": "x", "operation": {} }"#).is_err());
    }

    #[test]
    fn body_without_stream_keeps_its_bytes() {
        #[derive(Serialize, Encode)]
        #[serde(rename_all = "kebab-case")]
        struct Before {
            #[n(0)]
            content_type: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            #[n(1)]
            schema: Option<String>,
        }
        for schema in [None, Some("/schemas/line.json".to_owned())] {
            let before = Before { content_type: "application/json".into(), schema: schema.clone() };
            let body = Body { content_type: "application/json".into(), schema, stream: false };
            let json = serde_json::to_string(&before).unwrap();
            assert_eq!(serde_json::to_string(&body).unwrap(), json);
            assert_eq!(serde_json::from_str::<Body>(&json).unwrap(), body);
            let cbor = minicbor::to_vec(&before).unwrap();
            assert_eq!(minicbor::to_vec(&body).unwrap(), cbor);
            assert_eq!(minicbor::decode::<Body>(&cbor).unwrap(), body);

            let streamed = Body { stream: true, ..body };
            let json = serde_json::to_string(&streamed).unwrap();
            assert!(json.ends_with(r#","stream":true}"#), "{json}");
            assert_eq!(serde_json::from_str::<Body>(&json).unwrap(), streamed);
            let cbor = minicbor::to_vec(&streamed).unwrap();
            assert_eq!(minicbor::decode::<Body>(&cbor).unwrap(), streamed);
        }
    }
}
