//! The TOML files, as they are written. Unknown keys are faults everywhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::{Access, Bind, Body, Operation, Placement, ResourceKind};

/// `bundle.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleFile {
    pub(super) bundle: BundleTable,
    pub(super) build: Option<Build>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleTable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) licence: String,
    #[serde(default)]
    pub(super) public: bool,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
}

/// How the files are made that are built: `[build]` of `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Run in the bundle's folder.
    pub command: String,
    /// Path in the bundle, and the file that the command makes for it.
    #[serde(default)]
    pub output: BTreeMap<String, String>,
}

/// A file of `binds/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindFile {
    pub(super) bind: BindTable,
    #[serde(default)]
    pub(super) operations: BTreeMap<String, OperationTable>,
    #[serde(default)]
    pub(super) events: BTreeMap<String, EventTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindTable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationTable {
    pub(super) request: Option<BodyTable>,
    pub(super) response: Option<BodyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    pub(super) payload: BodyTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BodyTable {
    pub(super) content_type: Option<String>,
    pub(super) schema: Option<Spanned<String>>,
}

impl BindFile {
    /// All schemas that the bind names.
    pub(super) fn schemas(&self) -> impl Iterator<Item = &Spanned<String>> {
        let operations = self.operations.values().flat_map(|operation| [&operation.request, &operation.response]);
        let events = self.events.values().map(|event| &event.payload);
        operations.flatten().chain(events).filter_map(|body| body.schema.as_ref())
    }

    /// The bind, its schemas as paths of the bundle.
    pub(super) fn resolved(self) -> Bind {
        let body = |table: BodyTable| Body {
            content_type: table.content_type.unwrap_or_else(|| Body::default().content_type),
            schema: table.schema.map(|schema| bundle_path(schema.get_ref())),
        };
        let operation = |table: OperationTable| Operation {
            request: table.request.map(body).unwrap_or_default(),
            response: table.response.map(body),
        };
        Bind {
            name: self.bind.name,
            description: self.bind.description,
            operations: self.operations.into_iter().map(|(name, table)| (name, operation(table))).collect(),
            events: self.events.into_iter().map(|(name, table)| (name, body(table.payload))).collect(),
        }
    }
}

/// A file of `mechtrons/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MechtronFile {
    pub(super) mechtron: MechtronTable,
    #[serde(default)]
    pub(super) limits: LimitsTable,
    #[serde(default)]
    pub(super) settings: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MechtronTable {
    pub(super) wasm: Spanned<String>,
    pub(super) name: String,
    pub(super) bind: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) memory: Option<Spanned<String>>,
    pub(super) call: Option<Spanned<String>>,
    pub(super) concurrency: Option<Spanned<u32>>,
    pub(super) mailbox: Option<Spanned<u32>>,
    pub(super) restart: Option<RestartTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartTable {
    pub(super) intensity: u32,
    pub(super) within: Spanned<String>,
}

/// `app.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppFile {
    pub(super) app: AppTable,
    #[serde(default)]
    pub(super) mechtrons: BTreeMap<Spanned<String>, AppMechtronTable>,
    #[serde(default)]
    pub(super) resources: BTreeMap<Spanned<String>, ResourceTable>,
    #[serde(default)]
    pub(super) http: BTreeMap<Spanned<String>, RouteTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppMechtronTable {
    pub(super) config: Spanned<String>,
    #[serde(default)]
    pub(super) settings: toml::Table,
    #[serde(default)]
    pub(super) placement: Placement,
    #[serde(default, rename = "override")]
    pub(super) overridable: bool,
    #[serde(default)]
    pub(super) allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceTable {
    pub(super) kind: ResourceKind,
    #[serde(default)]
    pub(super) placement: Placement,
    pub(super) migrations: Option<Spanned<String>>,
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteTable {
    pub(super) file: Option<Spanned<String>>,
    pub(super) files: Option<Spanned<String>>,
    pub(super) to: Option<Spanned<String>>,
    pub(super) operation: Option<Spanned<String>>,
    pub(super) access: Option<Access>,
}

/// A path as people write it, relative to the bundle's folder, as a path of the bundle.
pub(super) fn bundle_path(written: &str) -> String {
    format!("/{}", written.trim_start_matches("./").trim_start_matches('/'))
}
