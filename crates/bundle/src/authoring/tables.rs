//! The tables of the TOML files. Unknown keys are faults everywhere. The JSON Schemas for editors are made from these
//! tables: editors show the doc comments of keys as help. A `pattern` beside a key must accept every value that the
//! reader accepts.

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

/// The description of a bundle, its files, and the command that builds files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bundle.toml")]
pub(super) struct BundleFile {
    /// The description of the bundle, and its files.
    pub(super) bundle: BundleTable,
    /// How files are built. Without it, all files are in the folder already.
    pub(super) build: Option<BuildTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleTable {
    /// The bundle's name, for people. You give its address when you publish it.
    #[schemars(example = &"profiles")]
    pub(super) name: String,
    /// What the bundle is for, in one sentence.
    #[serde(default)]
    pub(super) description: String,
    /// The licence of its files, as an SPDX expression.
    #[serde(default)]
    #[schemars(example = &"MIT OR Apache-2.0")]
    pub(super) licence: String,
    /// Whether anyone may fetch the bundle. Otherwise only principals that may launch an app of this bundle.
    #[serde(default)]
    pub(super) public: bool,
    /// The files to deploy, by paths relative to this folder: a file, a folder with everything in it, or a glob (`*`
    /// within a folder, `**` across folders). Names that begin with `.` are skipped, unless this list names them.
    /// Modules and schemas to which other files refer are always deployed.
    #[serde(default)]
    #[schemars(with = "Vec<String>", extend("examples" = [["site/**", "migrations/*.sql"]]))]
    pub(super) include: Vec<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildTable {
    /// The command that builds the files: `starlane build` and `starlane dev` run it in this folder, in a shell.
    #[schemars(with = "String", regex(pattern = r"\S"), example = &"cargo build --release --target wasm32-unknown-unknown")]
    command: Spanned<String>,
    /// For each built file of the bundle, the file that the command makes: `"wasm/NAME.wasm" = "target/…/NAME.wasm"`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<BundlePath, String>")]
    output: BTreeMap<Spanned<String>, String>,
}

/// How files are built: `[build]` of `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The command, which runs in the bundle's folder.
    pub command: String,
    /// By file of the bundle's folder (`wasm/profile.wasm`), the file that the command makes.
    pub output: BTreeMap<String, String>,
}

impl BuildTable {
    pub(super) fn checked(self, source: &Source) -> Result<Build, AuthoringError> {
        if self.command.get_ref().trim().is_empty() {
            let text = "the command is empty; expected a command that makes the files of `output`";
            return Err(source.error(self.command.span(), text, "if there is nothing to build, remove `[build]`"));
        }
        let mut output = BTreeMap::new();
        for (name, made) in self.output {
            let path = bundle_path(name.get_ref());
            if let Err(text) = check_path(&path) {
                let hint = "write the bundle's file, such as \"wasm/profile.wasm\", left of the file that is built";
                return Err(source.error(name.span(), text, hint));
            }
            // `Path::join` with a path that begins with `/` would drop the folder.
            output.insert(path.trim_start_matches('/').to_owned(), made);
        }
        Ok(Build { command: self.command.into_inner(), output })
    }
}

/// A contract: the operations and the events of a mechtron.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "binds/*.toml")]
pub(super) struct BindFile {
    /// The name of the contract.
    pub(super) bind: BindTable,
    /// The operations, by name: `[operations.render]`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, OperationTable>")]
    pub(super) operations: BTreeMap<Spanned<String>, OperationTable>,
    /// The events that subscribers receive, by name: `[events.changes]`.
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
    /// What the contract is for, in one sentence.
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationTable {
    /// The body of a request. Without it, every body is accepted.
    pub(super) request: Option<BodyTable>,
    /// The body of a reply. Without it, the operation is one-way: it has no reply.
    pub(super) response: Option<BodyTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    /// The body of the event. It cannot be a stream.
    #[schemars(extend("not" = { "properties": { "stream": { "const": true } }, "required": ["stream"] }))]
    pub(super) payload: BodyTable,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("dependentRequired" = { "schema": ["content-type"] }))]
pub(super) struct BodyTable {
    /// The media type; parameters are not compared. Without it, every content type is accepted.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^\s*(\*/\*|[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)\s*(;|$)"),
        example = &"application/json",
        example = &"text/html"
    )]
    pub(super) content_type: Option<Spanned<String>>,
    /// The JSON Schema (2020-12) of the body: a file of this bundle. It needs a JSON content type. In a stream it checks
    /// each line, and needs the content type `application/x-ndjson`.
    #[schemars(with = "Option<String>", example = &"schemas/render.json")]
    pub(super) schema: Option<Spanned<String>>,
    /// Whether the body is a stream: a request is delivered as it arrives, and a response is sent as it is made. If it
    /// has a schema, each line is checked, and the maximum length of a line is 1 MiB.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) stream: Option<Spanned<bool>>,
}

impl BodyTable {
    pub(super) fn is_stream(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| *stream.get_ref())
    }
}

impl BindFile {
    /// The names of all operations and events.
    pub(super) fn names(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.operations.keys().chain(self.events.keys())
    }

    /// The bodies of all operations and events.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &BodyTable> {
        let operations = self.operations.values().flat_map(|operation| [&operation.request, &operation.response]);
        operations.flatten().chain(self.events.values().map(|event| &event.payload))
    }

    /// Returns the bind. Its schemas are paths in the bundle.
    pub(super) fn resolved(self) -> Bind {
        let body = |table: BodyTable| Body {
            content_type: table.content_type.map_or_else(|| Body::default().content_type, Spanned::into_inner),
            stream: table.stream.is_some_and(Spanned::into_inner),
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

/// A mechtron: its module, its contract, its limits, and its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mechtrons/*.toml")]
pub(super) struct MechtronFile {
    /// The module and the contract.
    pub(super) mechtron: MechtronTable,
    /// The limits of each of its actors. A missing limit has its default.
    #[serde(default)]
    pub(super) limits: LimitsTable,
    /// Any settings. The mechtron gets them as JSON. An app may override them with its own settings.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub(super) settings: Option<Spanned<toml::Table>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MechtronTable {
    /// The WebAssembly module: a file of this bundle.
    #[schemars(with = "String", example = &"wasm/profile.wasm")]
    pub(super) wasm: Spanned<String>,
    /// The name of the mechtron in the module. The module exports it under this name.
    #[schemars(example = &"profile")]
    pub(super) name: String,
    /// The contract of the mechtron: a file of `binds/`, or a published one:
    /// `acme:repo:contracts:1.0.0:/binds/profile.toml`.
    #[schemars(with = "String", example = &"binds/profile.toml")]
    pub(super) bind: Spanned<String>,
    /// When the state of its actors is saved. `idle`: within a second of a change, and before an actor sleeps or is replaced.
    /// `each`: before each reply, so that no answered message is lost; its actors handle one message at a time.
    #[schemars(with = "Option<Durability>", extend("default" = "idle"))]
    pub(super) state: Option<Spanned<Durability>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    /// The maximum memory: a number and a unit, 64 KiB to 4 GiB.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^[0-9.]+\s*([KkMmGgTtPpEe][Ii]?)?[Bb]?$"),
        extend("default" = "16 MiB"),
        example = &"64 MiB"
    )]
    pub(super) memory: Option<Spanned<String>>,
    /// The maximum compute time of one call into the mechtron: a number and a unit, 1 ms to 1 h. Waiting for replies
    /// does not count.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^\s*([0-9][0-9.\s]*[A-Za-zµ]+\s*)+$"),
        extend("default" = "250 ms"),
        example = &"1 s"
    )]
    pub(super) call: Option<Spanned<String>>,
    /// The maximum number of unfinished messages.
    #[schemars(with = "Option<u32>", range(min = 1, max = 65_536), extend("default" = 1))]
    pub(super) concurrency: Option<Spanned<u32>>,
    /// The maximum number of waiting messages.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1_048_576), extend("default" = 1024))]
    pub(super) mailbox: Option<Spanned<u32>>,
    /// The maximum number of crashes within a time. An actor with more crashes is not restarted.
    #[schemars(extend("default" = json!({ "intensity": 3, "within": "10 s" })))]
    pub(super) restart: Option<RestartTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartTable {
    /// The maximum number of crashes.
    #[schemars(with = "u32", range(min = 0, max = 1_000), example = 3)]
    pub(super) intensity: Spanned<u32>,
    /// The time in which crashes are counted: a number and a unit, 1 ms to 1 day.
    #[schemars(with = "String", regex(pattern = r"^\s*([0-9][0-9.\s]*[A-Za-zµ]+\s*)+$"), example = &"10 s")]
    pub(super) within: Spanned<String>,
}

/// The app that this bundle makes: its mechtrons, its other resources and its routes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "app.toml")]
pub(super) struct AppFile {
    /// The name of the app.
    pub(super) app: AppTable,
    /// Its mechtrons, by name. `[mechtrons.directory]` is one actor. `[mechtrons."profile:{key}"]` is one actor per
    /// key, such as `profile:ada` and `profile:grace`; each starts with its first use.
    #[serde(default)]
    #[schemars(with = "BTreeMap<MechtronName, AppMechtronTable>")]
    pub(super) mechtrons: BTreeMap<Spanned<String>, AppMechtronTable>,
    /// Its databases and other resources, by name: `[resources.db]`. A resource and a mechtron must not have the same
    /// name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, ResourceTable>")]
    pub(super) resources: BTreeMap<Spanned<String>, ResourceTable>,
    /// Its routes. A method and a path, with captures, lead to a file, to the files in a folder, or to an operation.
    /// `"GET /people/{name}" = { to = ".:profile:{name}", operation = "page" }`
    #[serde(default)]
    #[schemars(with = "BTreeMap<RouteKey, RouteTable>")]
    pub(super) http: BTreeMap<Spanned<String>, RouteTable>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    /// The app's name, a segment of its address. You give the whole address when you create the app.
    #[schemars(with = "Name", example = &"profiles")]
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppMechtronTable {
    /// The mechtron: a file of `mechtrons/`, or one of another bundle: `bob:repo:widgets:1.2.0:/mechtrons/card.toml`.
    #[schemars(with = "String", example = &"mechtrons/profile.toml")]
    pub(super) config: Spanned<String>,
    /// Settings that override the mechtron's own settings, table by table. A list replaces a whole list.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub(super) settings: Option<Spanned<toml::Table>>,
    /// Where it runs.
    #[serde(default)]
    pub(super) placement: Placement,
    /// Whether a tenant with the grant `override` may replace the mechtron at its own key.
    #[serde(default, rename = "override")]
    pub(super) overridable: bool,
    /// The grants of the mechtron, in which `.:` stands for this app. Everything else is refused.
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
    /// The file that the server sends: a file of this bundle.
    #[schemars(with = "Option<String>", example = &"site/index.html")]
    pub(super) file: Option<Spanned<String>>,
    /// The folder whose files the server sends. The path of the route ends with `{*path}`, which names the file.
    #[schemars(with = "Option<String>", example = &"site/assets/")]
    pub(super) files: Option<Spanned<String>>,
    /// The mechtron or resource of this app that answers. It may contain captures of the path.
    #[schemars(with = "Option<String>", regex(pattern = r"^\.:"), example = &".:profile:{name}")]
    pub(super) to: Option<Spanned<String>>,
    /// The operation of the mechtron or resource.
    #[schemars(with = "Option<String>", example = &"page")]
    pub(super) operation: Option<Spanned<String>>,
    /// Who may use a route to an operation. Without it, GET is public, and other methods need a token.
    pub(super) access: Option<Access>,
}
