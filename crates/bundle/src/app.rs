//! App configs: mechtrons and other resources that are created together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An app, resolved: paths are those of the bundle's files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppConfig {
    /// Its name.
    pub name: String,
    /// Its mechtrons by name; `profile:{key}` is keyed.
    #[serde(default)]
    pub mechtrons: BTreeMap<String, AppMechtron>,
    /// Its other resources by name.
    #[serde(default)]
    pub resources: BTreeMap<String, AppResource>,
    /// Its HTTP routes, in the order of the file.
    #[serde(default)]
    pub http: Vec<Route>,
}

/// A mechtron of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
#[serde(rename_all = "kebab-case")]
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
#[serde(rename_all = "kebab-case")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anyone.
    Public,
    /// Whoever shows a bearer token.
    Token,
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
