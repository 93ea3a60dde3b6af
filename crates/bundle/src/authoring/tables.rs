//! The TOML files, as they are written. Unknown keys are faults everywhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{AuthoringError, Source, bundle_path, check_path};
use crate::{Access, Bind, Body, Operation, Placement, ResourceKind};

/// `bundle.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleFile {
    pub(super) bundle: BundleTable,
    pub(super) build: Option<BuildTable>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildTable {
    command: Spanned<String>,
    #[serde(default)]
    output: BTreeMap<Spanned<String>, String>,
}

/// How the files are made that are built: `[build]` of `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Run in the bundle's folder.
    pub command: String,
    /// File of the bundle's folder (`wasm/profile.wasm`), and the file that the command makes for it.
    pub output: BTreeMap<String, String>,
}

impl BuildTable {
    pub(super) fn checked(self, source: &Source) -> Result<Build, AuthoringError> {
        if self.command.get_ref().trim().is_empty() {
            let text = "the command is empty; expected what makes the files of `output`";
            return Err(source.error(self.command.span(), text, "without anything to build, remove `[build]`"));
        }
        let mut output = BTreeMap::new();
        for (name, made) in self.output {
            if let Err(text) = check_path(&bundle_path(name.get_ref())) {
                let hint =
                    "left stands the file of the bundle, such as \"wasm/profile.wasm\", right what the command makes";
                return Err(source.error(name.span(), text, hint));
            }
            output.insert(name.into_inner(), made);
        }
        Ok(Build { command: self.command.into_inner(), output })
    }
}

/// A file of `binds/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindFile {
    pub(super) bind: BindTable,
    #[serde(default)]
    pub(super) operations: BTreeMap<Spanned<String>, OperationTable>,
    #[serde(default)]
    pub(super) events: BTreeMap<Spanned<String>, EventTable>,
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
    pub(super) content_type: Option<Spanned<String>>,
    pub(super) schema: Option<Spanned<String>>,
}

impl BindFile {
    /// The names of all operations and events.
    pub(super) fn names(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.operations.keys().chain(self.events.keys())
    }

    /// All that it says about bodies.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &BodyTable> {
        let operations = self.operations.values().flat_map(|operation| [&operation.request, &operation.response]);
        operations.flatten().chain(self.events.values().map(|event| &event.payload))
    }

    /// The bind, its schemas as paths of the bundle.
    pub(super) fn resolved(self) -> Bind {
        let body = |table: BodyTable| Body {
            content_type: table.content_type.map_or_else(|| Body::default().content_type, Spanned::into_inner),
            schema: table.schema.map(|schema| bundle_path(schema.get_ref())),
        };
        let operation = |table: OperationTable| Operation {
            request: table.request.map(body).unwrap_or_default(),
            response: table.response.map(body),
        };
        Bind {
            name: self.bind.name,
            description: self.bind.description,
            operations: self
                .operations
                .into_iter()
                .map(|(name, table)| (name.into_inner(), operation(table)))
                .collect(),
            events: self.events.into_iter().map(|(name, table)| (name.into_inner(), body(table.payload))).collect(),
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
    pub(super) settings: Option<Spanned<toml::Table>>,
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
    pub(super) settings: Option<Spanned<toml::Table>>,
    #[serde(default)]
    pub(super) placement: Placement,
    #[serde(default, rename = "override")]
    pub(super) overridable: bool,
    #[serde(default)]
    pub(super) allow: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceTable {
    pub(super) kind: Spanned<ResourceKind>,
    #[serde(default)]
    pub(super) placement: Placement,
    pub(super) migrations: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
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
