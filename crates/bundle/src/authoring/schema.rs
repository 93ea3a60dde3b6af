//! JSON Schemas (2020-12) of the TOML files, made of the tables that read them: editors complete and check by them.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    json_schema,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

use super::tables::{AppFile, BindFile, BundleFile, MechtronFile};

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

    /// The name of the file that its schema is kept in: `bundle.schema.json`.
    pub fn schema_file(self) -> String {
        format!("{}.schema.json", self.name())
    }

    /// Its JSON Schema, of the file read as JSON. What it refuses [`Draft::read`](super::Draft::read) refuses too, which
    /// finds more: a schema knows one file, and not whether what it names is there.
    pub fn schema(self) -> Value {
        // All in one place: not every editor looks at what stands beside a `$ref`.
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

/// Takes away what means nothing to an author: `null`, which TOML does not have, and names of Rust's integers. An editor shows
/// descriptions as they are broken into lines.
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

/// Keys of tables, which have no type of their own.
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
    /// Of operations, events and resources: a segment of addresses.
    Name: "^[a-z0-9_][a-z0-9_-]{0,62}$";
    /// Of mechtrons: `directory`, `profile:{key}`.
    MechtronName: r"^[a-z0-9_][a-z0-9_-]{0,62}(:\{key\})?$";
    /// Of routes: `GET /people/{name}`.
    RouteKey: "^(GET|POST|PUT|PATCH|DELETE) /";
    /// Of files in the bundle: `wasm/profile.wasm`.
    BundlePath: "^[A-Za-z0-9._/-]+$";
}
