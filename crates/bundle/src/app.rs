//! App configs: mechtrons and other resources that are created together.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::table;

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
    /// Merged over the config's own settings.
    #[serde(default)]
    pub settings: Value,
    /// Where it runs.
    #[serde(default)]
    pub placement: Placement,
    /// Whether a tenant may put its own mechtron at its own key.
    #[serde(default, rename = "override")]
    pub overridable: bool,
    /// What it may do: grants, addresses relative to the app.
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
    /// One, on the server.
    #[default]
    Server,
    /// Each host its own.
    Both,
}

/// A resource of an app that is no mechtron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Where it lives.
    #[serde(default)]
    pub placement: Placement,
    /// The folder of its migrations, for a database: `/migrations/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<String>,
    /// Where it sends, for a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "authoring", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// Files in a folder.
    Filesystem,
    /// SQL.
    Database,
    /// Messages that wait for a worker.
    Queue,
    /// Values by key.
    Keyvalue,
    /// A plain HTTP service.
    Service,
}

/// A route of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "RouteFields")]
pub struct Route {
    /// The HTTP method: `GET`.
    pub method: String,
    /// The path, with captures: `/people/{name}`, `/assets/{*path}`.
    pub path: String,
    /// What answers.
    #[serde(flatten)]
    pub target: RouteTarget,
    /// Who may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// What answers a route.
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
    /// Whoever shows a bearer token.
    Token,
}

/// A route as it is read. `flatten` can't deny unknown keys, and an untagged enum takes the first target that fits: a route
/// must say one thing.
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
    /// The settings that reach the guest: the app's merged over the mechtron's own, object by object.
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
    fn the_apps_settings_go_over_the_mechtrons_object_by_object() {
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
    fn a_route_says_one_thing_and_reads_back() {
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
