//! The TOML files, as they are written. Unknown keys are faults everywhere. The comments on keys are what an editor shows of
//! them, by the JSON Schemas that are made of these tables; a form that stands beside a key is never narrower than what is read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

use super::{
    AuthoringError, Source, bundle_path, check_path,
    resource::ResourceTable,
    schema::{BundlePath, MechtronName, Name, RouteKey},
};
use crate::{Access, Bind, Body, Durability, Operation, Placement};

/// What a bundle is, which files it has, and how those are made that are built.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bundle.toml")]
pub(super) struct BundleFile {
    /// What the bundle is, and which files it has.
    pub(super) bundle: BundleTable,
    /// How the files are made that are built. Without it, all files lie in the folder.
    pub(super) build: Option<BuildTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleTable {
    /// The bundle's name, for people. Its address is given when it is published.
    #[schemars(example = &"profiles")]
    pub(super) name: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub(super) description: String,
    /// The licence of its files, as an SPDX expression.
    #[serde(default)]
    #[schemars(example = &"MIT OR Apache-2.0")]
    pub(super) licence: String,
    /// Whether anyone may fetch it. Otherwise only who may launch an app that is made of it.
    #[serde(default)]
    pub(super) public: bool,
    /// The files to deploy, by paths relative to this folder: a file, a folder with all below it, or a glob (`*` within a
    /// folder, `**` across). Names that begin with `.` are passed over, unless they stand here. Modules and schemas that
    /// other files name are deployed without standing here.
    #[serde(default)]
    #[schemars(with = "Vec<String>", extend("examples" = [["site/**", "migrations/*.sql"]]))]
    pub(super) include: Vec<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildTable {
    /// The command that makes them: `starlane build` and `starlane dev` run it in this folder, in a shell.
    #[schemars(with = "String", regex(pattern = r"\S"), example = &"cargo build --release --target wasm32-unknown-unknown")]
    command: Spanned<String>,
    /// Which file the command makes for which file of the bundle: `"wasm/NAME.wasm" = "target/…/NAME.wasm"`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<BundlePath, String>")]
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
            let path = bundle_path(name.get_ref());
            if let Err(text) = check_path(&path) {
                let hint =
                    "left stands the file of the bundle, such as \"wasm/profile.wasm\", right what the command makes";
                return Err(source.error(name.span(), text, hint));
            }
            // A path of this machine, with a `/` before it, would be joined to no folder.
            output.insert(path.trim_start_matches('/').to_owned(), made);
        }
        Ok(Build { command: self.command.into_inner(), output })
    }
}

/// A contract: what can be asked of a mechtron, and what it tells.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "binds/*.toml")]
pub(super) struct BindFile {
    /// What the contract is called.
    pub(super) bind: BindTable,
    /// What can be asked, by name: `[operations.render]`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, OperationTable>")]
    pub(super) operations: BTreeMap<Spanned<String>, OperationTable>,
    /// What is told to whoever subscribes, by name: `[events.changes]`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, EventTable>")]
    pub(super) events: BTreeMap<Spanned<String>, EventTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BindTable {
    /// The contract's name, for people.
    #[schemars(example = &"profile")]
    pub(super) name: String,
    /// What it is about, in a sentence.
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationTable {
    /// What it takes. Without it, anything.
    pub(super) request: Option<BodyTable>,
    /// What it answers. Without it, the operation is one-way: nobody waits for an answer.
    pub(super) response: Option<BodyTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    /// What it carries.
    pub(super) payload: BodyTable,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("dependentRequired" = { "schema": ["content-type"] }))]
pub(super) struct BodyTable {
    /// The media type; parameters are not compared. Without it, anything goes.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^\s*(\*/\*|[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)\s*(;|$)"),
        example = &"application/json",
        example = &"text/html"
    )]
    pub(super) content_type: Option<Spanned<String>>,
    /// The JSON Schema (2020-12) that the body fits: a file of this bundle. Only of a JSON content type.
    #[schemars(with = "Option<String>", example = &"schemas/render.json")]
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

/// A mechtron: its module, its contract, its limits and its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mechtrons/*.toml")]
pub(super) struct MechtronFile {
    /// Which code runs, and which contract it keeps.
    pub(super) mechtron: MechtronTable,
    /// What bounds each of its actors. What is left out has its default.
    #[serde(default)]
    pub(super) limits: LimitsTable,
    /// Anything: it reaches the mechtron as JSON. An app may put settings of its own over these.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub(super) settings: Option<Spanned<toml::Table>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MechtronTable {
    /// The WebAssembly module, a file of this bundle.
    #[schemars(with = "String", example = &"wasm/profile.wasm")]
    pub(super) wasm: Spanned<String>,
    /// Which mechtron of the module: the name that it is exported under.
    #[schemars(example = &"profile")]
    pub(super) name: String,
    /// The contract that it keeps, a file of `binds/`, or one that was published: `acme:repo:contracts:1.0.0:/binds/profile.toml`.
    #[schemars(with = "String", example = &"binds/profile.toml")]
    pub(super) bind: Spanned<String>,
    /// When the state of its actors is saved. `idle`: within a second of a change, and before an actor sleeps or is replaced.
    /// `each`: before each reply, for state that must not lose an answered message; its actors handle one message at a time.
    #[schemars(with = "Option<Durability>", extend("default" = "idle"))]
    pub(super) state: Option<Spanned<Durability>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    /// The most memory: a number and a unit, 64 KiB to 4 GiB.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^[0-9.]+\s*([KkMmGgTtPpEe][Ii]?)?[Bb]?$"),
        extend("default" = "16 MiB"),
        example = &"64 MiB"
    )]
    pub(super) memory: Option<Spanned<String>>,
    /// The most compute time of one call into the mechtron: a number and a unit, 1 ms to 1 h. Waiting for answers is free.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^\s*([0-9][0-9.\s]*[A-Za-zµ]+\s*)+$"),
        extend("default" = "250 ms"),
        example = &"1 s"
    )]
    pub(super) call: Option<Spanned<String>>,
    /// How many messages may be unfinished at a time.
    #[schemars(with = "Option<u32>", range(min = 1, max = 65_536), extend("default" = 1))]
    pub(super) concurrency: Option<Spanned<u32>>,
    /// How many messages may wait.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1_048_576), extend("default" = 1024))]
    pub(super) mailbox: Option<Spanned<u32>>,
    /// How many crashes are borne; an actor with more of them is given up.
    #[schemars(extend("default" = json!({ "intensity": 3, "within": "10 s" })))]
    pub(super) restart: Option<RestartTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartTable {
    /// How many crashes are borne.
    #[schemars(with = "u32", range(min = 0, max = 1_000), example = 3)]
    pub(super) intensity: Spanned<u32>,
    /// In this time: a number and a unit, 1 ms to 1 day.
    #[schemars(with = "String", regex(pattern = r"^\s*([0-9][0-9.\s]*[A-Za-zµ]+\s*)+$"), example = &"10 s")]
    pub(super) within: Spanned<String>,
}

/// The app that this bundle makes: its mechtrons, its other resources and its routes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "app.toml")]
pub(super) struct AppFile {
    /// What the app is called.
    pub(super) app: AppTable,
    /// Its mechtrons, by name: `[mechtrons.directory]` is one actor; of `[mechtrons."profile:{key}"]` there is one for each key,
    /// `profile:ada` and `profile:grace`, made when it is first used.
    #[serde(default)]
    #[schemars(with = "BTreeMap<MechtronName, AppMechtronTable>")]
    pub(super) mechtrons: BTreeMap<Spanned<String>, AppMechtronTable>,
    /// Its databases and other resources, by name: `[resources.db]`. They have names that no mechtron has.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, ResourceTable>")]
    pub(super) resources: BTreeMap<Spanned<String>, ResourceTable>,
    /// Its routes: a method and a path, with captures, lead to a file, to the files below a folder, or to an operation.
    /// `"GET /people/{name}" = { to = ".:profile:{name}", operation = "page" }`
    #[serde(default)]
    #[schemars(with = "BTreeMap<RouteKey, RouteTable>")]
    pub(super) http: BTreeMap<Spanned<String>, RouteTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    /// The app's name, as it can stand in an address. The whole address is given when it is created.
    #[schemars(with = "Name", example = &"profiles")]
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppMechtronTable {
    /// Which mechtron: a file of `mechtrons/`, or one of another author: `bob:repo:widgets:1.2.0:/mechtrons/card.toml`.
    #[schemars(with = "String", example = &"mechtrons/profile.toml")]
    pub(super) config: Spanned<String>,
    /// Merged over the mechtron's own settings, table by table; a list replaces a list.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub(super) settings: Option<Spanned<toml::Table>>,
    /// Where it runs.
    #[serde(default)]
    pub(super) placement: Placement,
    /// Whether a tenant with the grant may put a mechtron of its own at its own key.
    #[serde(default, rename = "override")]
    pub(super) overridable: bool,
    /// What it may do: grants, in which `.:` stands for this app. What is not allowed is refused.
    #[serde(default)]
    #[schemars(
        with = "Vec<String>",
        inner(regex(pattern = r"^\s*(request|notify|subscribe|serve)\s+\S")),
        extend("examples" = [["request .:db query execute", "subscribe .:directory#changes"]])
    )]
    pub(super) allow: Vec<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    extend("oneOf" = [{ "required": ["file"] }, { "required": ["files"] }, { "required": ["to", "operation"] }]),
    extend("dependentRequired" = { "to": ["operation"], "operation": ["to"] })
)]
pub(super) struct RouteTable {
    /// The file that is sent, a file of this bundle.
    #[schemars(with = "Option<String>", example = &"site/index.html")]
    pub(super) file: Option<Spanned<String>>,
    /// The folder whose files are sent; the path ends with `{*path}`, which names the file.
    #[schemars(with = "Option<String>", example = &"site/assets/")]
    pub(super) files: Option<Spanned<String>>,
    /// The mechtron or resource of this app that answers; captures of the path are filled in.
    #[schemars(with = "Option<String>", regex(pattern = r"^\.:"), example = &".:profile:{name}")]
    pub(super) to: Option<Spanned<String>>,
    /// Which of its operations.
    #[schemars(with = "Option<String>", example = &"page")]
    pub(super) operation: Option<Spanned<String>>,
    /// Who may use a route to an operation. Without it, anyone may GET, and the rest needs a token.
    pub(super) access: Option<Access>,
}
