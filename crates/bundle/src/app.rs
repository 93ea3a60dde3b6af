//! App configs: mechtrons and other resources that are created together.

use std::fmt;

use litemap::LiteMap;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{json, table};

/// An app, resolved: paths are those of the bundle's files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppConfig {
    /// Its name.
    pub name: String,
    /// Its mechtrons by name; `profile:{key}` is keyed.
    #[serde(default, with = "table")]
    pub mechtrons: LiteMap<String, AppMechtron>,
    /// Its other resources by name.
    #[serde(default, with = "table")]
    pub resources: LiteMap<String, AppResource>,
    /// Its HTTP routes, in the order of the file.
    #[serde(default)]
    pub http: Vec<Route>,
}

/// A mechtron of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppMechtron {
    /// Its config: `/mechtrons/profile.toml`.
    pub config: String,
    /// Settings that are merged over the config's own.
    #[serde(default)]
    pub settings: Value,
    /// Where it runs.
    #[serde(default)]
    pub placement: Placement,
    /// Whether a tenant may put its own mechtron at its own key.
    #[serde(default, rename = "override")]
    pub overridable: bool,
    /// Its grants. Their addresses are relative to the app.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// Where a mechtron or resource lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "authoring", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In each page that launches the app.
    Browser,
    /// Once, on the server.
    #[default]
    Server,
    /// On the server and in each page, separately.
    Both,
}

impl Placement {
    /// Its name in `app.toml`: `server`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Server => "server",
            Self::Both => "both",
        }
    }
}

/// A resource of an app that is not a mechtron. In a manifest and in `app.toml`, its settings are beside `kind` and
/// `placement`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct AppResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Where it lives.
    pub placement: Placement,
    /// The settings of its kind: `migrations` of a database, `url` of a service. They must match the schema of the
    /// kind.
    pub settings: Map<String, Value>,
}

impl AppResource {
    /// Returns this resource as it is in a manifest.
    pub fn written(&self) -> Map<String, Value> {
        let mut written = self.settings.clone();
        written.insert("kind".to_owned(), self.kind.name().into());
        written.insert("placement".to_owned(), self.placement.name().into());
        written
    }
}

impl Serialize for AppResource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 + self.settings.len()))?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("placement", &self.placement)?;
        for (name, value) in &self.settings {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl TryFrom<Map<String, Value>> for AppResource {
    type Error = String;

    fn try_from(mut settings: Map<String, Value>) -> Result<Self, String> {
        let told = |name: &str, error: json::JsonError| format!("`{name}`: {error}");
        let kind = settings.remove("kind").ok_or("missing field `kind`")?;
        let kind = json::from_value(&kind).map_err(|error| told("kind", error))?;
        let placement = settings.remove("placement").map(|placement| json::from_value(&placement));
        let placement = placement.transpose().map_err(|error| told("placement", error))?.unwrap_or_default();
        Ok(Self { kind, placement, settings })
    }
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "authoring", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// Files in a folder.
    Filesystem,
    /// An SQL database.
    Database,
    /// Messages that wait for a worker.
    Queue,
    /// Values by key.
    Keyvalue,
    /// A plain HTTP service.
    Service,
}

impl ResourceKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Filesystem, Self::Database, Self::Queue, Self::Keyvalue, Self::Service];

    /// Its name in `app.toml`: `database`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::Database => "database",
            Self::Queue => "queue",
            Self::Keyvalue => "keyvalue",
            Self::Service => "service",
        }
    }

    /// Finds the kind with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A set of kinds of resources: the kinds for which a host has drivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct KindSet(#[n(0)] u64);

impl KindSet {
    /// Returns whether the set contains a kind.
    pub fn contains(self, kind: ResourceKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// The kinds, in the order of [`ResourceKind::ALL`].
    pub fn kinds(self) -> impl Iterator<Item = ResourceKind> {
        ResourceKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    fn bit(kind: ResourceKind) -> u64 {
        1 << kind as u8
    }
}

impl FromIterator<ResourceKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = ResourceKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | Self::bit(kind)))
    }
}

impl fmt::Display for KindSet {
    /// Writes their names, or `none`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for kind in self.kinds() {
            write!(formatter, "{before}{kind}")?;
            before = ", ";
        }
        if before.is_empty() { formatter.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A route of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "RouteFields")]
pub struct Route {
    /// The HTTP method: `GET`.
    pub method: String,
    /// The path, with captures: `/people/{name}`, `/assets/{*path}`.
    pub path: String,
    /// The target that answers.
    #[serde(flatten)]
    pub target: RouteTarget,
    /// Who may use the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// The target of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum RouteTarget {
    /// One file: `/site/index.html`.
    File {
        /// The file.
        file: String,
    },
    /// The files below a folder: `/site/assets/`.
    Files {
        /// The folder, with a slash at its end.
        files: String,
    },
    /// A resource.
    Resource {
        /// Its address, relative to the app, with captures: `.:profile:{name}`.
        to: String,
        /// The operation.
        operation: String,
    },
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "authoring", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anyone.
    Public,
    /// Callers with a bearer token.
    Token,
}

/// A route as it is read. `flatten` can't deny unknown keys, and an untagged enum takes the first target that fits, but
/// a route must have exactly one target.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RouteFields {
    method: String,
    path: String,
    file: Option<String>,
    files: Option<String>,
    to: Option<String>,
    operation: Option<String>,
    access: Option<Access>,
}

impl TryFrom<RouteFields> for Route {
    type Error = String;

    fn try_from(fields: RouteFields) -> Result<Self, String> {
        let RouteFields { method, path, file, files, to, operation, access } = fields;
        let target = match (file, files, to, operation) {
            (Some(file), None, None, None) => RouteTarget::File { file },
            (None, Some(files), None, None) => RouteTarget::Files { files },
            (None, None, Some(to), Some(operation)) => RouteTarget::Resource { to, operation },
            _ => return Err(format!("the route {method} {path} needs `file`, or `files`, or `to` and `operation`")),
        };
        Ok(Self { method, path, target, access })
    }
}

impl AppMechtron {
    /// Returns the settings that the guest gets: the app's settings, merged over the mechtron's own, object by object.
    pub fn settings_over(&self, own: &Value) -> Value {
        let mut merged = if own.is_null() { Value::Object(Map::new()) } else { own.clone() };
        merge(&mut merged, &self.settings);
        merged
    }
}

fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge(below.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_the_app_override_those_of_the_mechtron() {
        let app: AppMechtron =
            serde_json::from_value(json!({ "config": "/m", "settings": { "a": { "x": 2 }, "list": [3], "b": 1 } }))
                .unwrap();
        assert_eq!(app.placement, Placement::Server);
        let own = json!({ "a": { "x": 1, "y": 1 }, "list": [1, 2], "c": true });
        assert_eq!(app.settings_over(&own), json!({ "a": { "x": 2, "y": 1 }, "list": [3], "b": 1, "c": true }));
        assert_eq!(app.settings_over(&Value::Null), json!({ "a": { "x": 2 }, "list": [3], "b": 1 }));
        let bare: AppMechtron = serde_json::from_value(json!({ "config": "/m" })).unwrap();
        assert_eq!(bare.settings_over(&Value::Null), json!({}), "a guest always gets an object");
    }

    #[test]
    fn settings_of_a_resource_stand_beside_its_kind_and_placement() {
        let text = r#"{"kind":"database","placement":"server","migrations":"/migrations/"}"#;
        let resource: AppResource = serde_json::from_str(text).unwrap();
        assert_eq!((resource.kind, resource.placement), (ResourceKind::Database, Placement::Server));
        assert_eq!(Value::Object(resource.settings.clone()), json!({ "migrations": "/migrations/" }));
        assert_eq!(serde_json::to_string(&resource).unwrap(), text, "as manifests have always had it");
        assert_eq!(Value::Object(resource.written()), serde_json::to_value(&resource).unwrap());
        let bare: AppResource = serde_json::from_str(r#"{"kind":"queue"}"#).unwrap();
        assert_eq!((bare.placement, bare.settings.len()), (Placement::Server, 0));
        for text in ["{}", r#"{"kind":"data"}"#, r#"{"kind":1}"#, r#"{"kind":"queue","placement":"moon"}"#, "[]"] {
            assert!(serde_json::from_str::<AppResource>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kind_set_contains_exactly_the_kinds_put_into_it() {
        assert_eq!(KindSet::default().to_string(), "none");
        let set: KindSet = [ResourceKind::Queue, ResourceKind::Database].into_iter().collect();
        assert_eq!(set.to_string(), "database, queue");
        assert_eq!(ResourceKind::ALL.map(|kind| set.contains(kind)), [false, true, true, false, false]);
        let read: KindSet = minicbor::decode(&minicbor::to_vec(set).unwrap()).unwrap();
        assert_eq!(read, set);
    }

    #[test]
    fn kinds_have_the_same_names_in_manifests() {
        for kind in ResourceKind::ALL {
            assert_eq!(json!(kind), json!(kind.name()));
            assert_eq!(ResourceKind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn a_route_has_one_target_and_reads_back() {
        for target in [
            json!({ "file": "/a" }),
            json!({ "files": "/a/" }),
            json!({ "to": ".:db", "operation": "query", "access": "token" }),
        ] {
            let mut route = json!({ "method": "GET", "path": "/" });
            merge(&mut route, &target);
            let read: Route = serde_json::from_value(route.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), route);
        }
        for target in
            [json!({}), json!({ "to": ".:db" }), json!({ "file": "/a", "files": "/b/" }), json!({ "fil": "/a" })]
        {
            let mut route = json!({ "method": "GET", "path": "/" });
            merge(&mut route, &target);
            assert!(serde_json::from_value::<Route>(route.clone()).is_err(), "{route}");
        }
    }
}
