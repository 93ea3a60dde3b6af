//! JSON Schemas (2020-12) of the TOML files, made from the tables that read them. Editors use them to complete and
//! check files.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    json_schema,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Map, Value, json};

use super::{
    resource::ResourceTable,
    tables::{AppFile, BindFile, BundleFile, MechtronFile},
};
use crate::{Placement, ResourceKind, settings};

/// The kinds of TOML files in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `bundle.toml`.
    Bundle,
    /// `app.toml`.
    App,
    /// `binds/*.toml`.
    Bind,
    /// `mechtrons/*.toml`.
    Mechtron,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Bundle, Self::App, Self::Bind, Self::Mechtron];

    /// Its name: `bundle`, `app`, `bind` or `mechtron`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::App => "app",
            Self::Bind => "bind",
            Self::Mechtron => "mechtron",
        }
    }

    /// The name of its schema file: `bundle.schema.json`.
    pub fn schema_file(self) -> String {
        format!("{}.schema.json", self.name())
    }

    /// Returns its JSON Schema, for the file as JSON. [`Draft::read`](super::Draft::read) refuses every file that the
    /// schema refuses, and more: a schema sees only one file, and cannot check references.
    pub fn schema(self) -> Value {
        // Some editors ignore keywords beside a `$ref`, so subschemas are inlined.
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let generator = settings.with_transform(RecursiveTransform(Plain)).into_generator();
        match self {
            Self::Bundle => generator.into_root_schema_for::<BundleFile>(),
            Self::App => generator.into_root_schema_for::<AppFile>(),
            Self::Bind => generator.into_root_schema_for::<BindFile>(),
            Self::Mechtron => generator.into_root_schema_for::<MechtronFile>(),
        }
        .to_value()
    }
}

/// Removes details that mean nothing to an author, namely `null`, which TOML does not have, and the names of Rust's
/// integer types. Joins the lines of descriptions, because editors show line breaks.
#[derive(Clone)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        let Some(object) = schema.as_object_mut() else { return };
        object.remove("format");
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                object.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(options)) = object.get_mut("anyOf") {
            options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(one)] = options.as_slice() {
                let one = one.clone();
                object.remove("anyOf");
                for (key, value) in one {
                    object.entry(key).or_insert(value);
                }
            }
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    }
}

impl JsonSchema for ResourceTable {
    fn schema_name() -> Cow<'static, str> {
        "ResourceTable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let described = |schema: Schema, text: &str| {
            let mut schema = schema;
            schema.insert("description".to_owned(), text.into());
            schema
        };
        let mut properties = Map::new();
        properties.insert(
            "kind".to_owned(),
            described(ResourceKind::json_schema(generator), "The kind of the resource.").into(),
        );
        let mut placement = described(Placement::json_schema(generator), "Where it lives.");
        placement.insert("default".to_owned(), "server".into());
        properties.insert("placement".to_owned(), placement.into());
        let of_kinds = ResourceKind::ALL.map(|kind| (kind, settings::properties(kind)));
        for (name, setting) in of_kinds.iter().flat_map(|(_, own)| own) {
            let shown = ["description", "examples"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), setting.get(key)?.clone())));
            properties.insert(name.clone(), Value::Object(shown.collect()));
        }
        let names: Vec<&String> = of_kinds.iter().flat_map(|(_, own)| own.keys()).collect();
        let rules: Vec<Value> = of_kinds
            .iter()
            .filter(|_| !names.is_empty())
            .map(|(kind, own)| {
                let each = names.iter().map(|name| ((*name).clone(), checked(own.get(*name))));
                let required = settings::schema_of(*kind).get("required").cloned().unwrap_or_else(|| json!([]));
                let is_kind = json!({ "properties": { "kind": { "const": kind } }, "required": ["kind"] });
                json!({ "if": is_kind, "then": { "properties": Map::from_iter(each), "required": required } })
            })
            .collect();
        json_schema!({
            "type": "object",
            "properties": properties,
            "required": ["kind"],
            "additionalProperties": false,
            "allOf": rules,
        })
    }
}

/// Returns the schema of a setting without its description. The schema of a setting that the kind does not have refuses
/// everything.
fn checked(setting: Option<&Value>) -> Value {
    let Some(Value::Object(setting)) = setting else { return Value::Bool(false) };
    let said = |name: &str| ["description", "examples"].contains(&name) || name.starts_with("x-");
    setting.iter().filter(|(name, _)| !said(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Types for the keys of tables.
macro_rules! keys {
    ($($(#[$about:meta])* $name:ident: $pattern:literal;)*) => {$(
        $(#[$about])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

keys! {
    /// The name of an operation, an event or a resource: a segment of an address.
    Name: "^[a-z0-9_][a-z0-9_-]{0,62}$";
    /// The name of a mechtron: `directory`, `profile:{key}`.
    MechtronName: r"^[a-z0-9_][a-z0-9_-]{0,62}(:\{key\})?$";
    /// The key of a route: `GET /people/{name}`.
    RouteKey: "^(GET|POST|PUT|PATCH|DELETE) /";
    /// The path of a file in the bundle: `wasm/profile.wasm`.
    BundlePath: "^[A-Za-z0-9._/-]+$";
}
