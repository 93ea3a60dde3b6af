//! From the folder that people write to a draft: every TOML file read, every reference followed, every fault reported with
//! file, line and column.

mod app;
mod builtin;
mod error;
mod folder;
mod others;
mod resolve;
mod resource;
mod route;
mod schema;
mod source;
mod tables;

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use litemap::LiteMap;

use serde_json::Value;
use starlane_protocol::Address;
use toml::Spanned;

pub use self::{
    builtin::{bind_of, built_in, built_in_bind},
    error::AuthoringError,
    others::Others,
    schema::FileKind,
    tables::Build,
};
use self::{
    folder::{Folder, bundle_path, check_path},
    source::Source,
    tables::BundleFile,
};
use crate::{
    AppConfig, Bind, Contents, FileEntry, Manifest, MechtronConfig, PublicKey, SecretKey, SignedManifest, Used, json,
    manifest::{FORMAT, MAX_BYTES, MAX_FILE, MAX_FILES, MAX_MANIFEST},
    rules::{Fault, Names},
};

/// A bundle that was read and checked, and is not yet published.
#[derive(Debug, Default)]
pub struct Draft {
    name: String,
    description: String,
    licence: String,
    public: bool,
    /// How `starlane build` makes the files that are built.
    pub build: Option<Build>,
    files: LiteMap<String, (FileEntry, PathBuf)>,
    /// Their names, by the same in lower case.
    folded: BTreeMap<String, String>,
    /// By path, in normal form.
    schemas: LiteMap<String, Value>,
    uses: LiteMap<String, Used>,
    binds: LiteMap<String, Bind>,
    mechtrons: LiteMap<String, MechtronConfig>,
    app: Option<AppConfig>,
}

impl Build {
    /// Reads `[build]` of `bundle.toml` alone: it makes files that [`Draft::read`] looks for.
    pub fn read(folder: &Path) -> Result<Option<Self>, AuthoringError> {
        let source = Source::read(&Folder::open(folder)?, "bundle.toml")?;
        let file: BundleFile = source.parse()?;
        file.build.map(|build| build.checked(&source)).transpose()
    }
}

/// Says of the bytes of a module why hosts would refuse it, or why it could not run within so many bytes of memory.
pub type CheckModule<'c> = &'c dyn Fn(&[u8], u64) -> Result<(), String>;

/// The JSON Schemas that a bind names, by path, as they stand in their files.
pub type Schemas = BTreeMap<String, Value>;

/// Reads one bind and its schemas from a bundle's folder, of which nothing else needs to be there: `binds/profile.toml`.
/// Errors as [`Draft::read`] does.
pub fn read_bind(file: &Path) -> Result<(Bind, Schemas), AuthoringError> {
    let whole = |text: &str, hint: &str| AuthoringError::whole(file, text, hint);
    let name = file.file_name().and_then(|name| name.to_str());
    let within = file.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "binds"));
    let (Some(name), Some(within)) = (name, within) else {
        return Err(whole(
            "it is no file of a folder `binds`",
            "a bind is a file such as binds/profile.toml of a bundle",
        ));
    };
    let root = within.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = Folder::open(root)?;
    let mut draft = Draft::default();
    let bind = resolve::read_bind(&folder, &format!("binds/{name}"), &mut draft)?;
    let read = |path: &Path| json::value(&fs::read(path).unwrap_or_default()).unwrap_or_default();
    let schemas = draft.files.iter().map(|(name, (_, path))| (name.clone(), read(path))).collect();
    Ok((bind, schemas))
}

impl Draft {
    /// The bundles of others that the bundle in a folder names: [`Draft::read_with`] needs them.
    pub fn others(folder: &Path) -> Result<Vec<Address>, AuthoringError> {
        others::named(&Folder::open(folder)?)
    }

    /// Reads the bundle in a folder: `bundle.toml` and all that it names. The folder is read; nothing is run or written.
    pub fn read(folder: &Path) -> Result<Self, AuthoringError> {
        Self::read_with(folder, &Others::default(), &|_, _| Ok(()))
    }

    /// Reads a bundle that may name what is in others. `check` says of a module why hosts would refuse it.
    pub fn read_with(folder: &Path, others: &Others, check: CheckModule<'_>) -> Result<Self, AuthoringError> {
        let folder = Folder::open(folder)?;
        let source = Source::read(&folder, "bundle.toml")?;
        let BundleFile { bundle, build } = source.parse()?;
        let mut draft = Self {
            name: bundle.name,
            description: bundle.description,
            licence: bundle.licence,
            public: bundle.public,
            build: build.map(|build| build.checked(&source)).transpose()?,
            ..Self::default()
        };
        for pattern in &bundle.include {
            for relative in folder.matching(&source, pattern)? {
                draft.add(&source, pattern.span(), &folder, &relative)?;
            }
        }
        resolve::resolve(&folder, others, check, &mut draft)?;
        draft.check_bounds(&source)?;
        draft.check(&source)?;
        Ok(draft)
    }

    /// The name of the app that this bundle makes, if it makes one.
    pub fn app_name(&self) -> Option<&str> {
        self.app.as_ref().map(|app| app.name.as_str())
    }

    /// The files: path in the bundle, entry, and where it lies on this machine.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry, &Path)> {
        self.files.iter().map(|(name, (entry, path))| (name.as_str(), entry, path.as_path()))
    }

    /// What the manifest says at an address. `created` is in seconds since the Unix epoch.
    pub fn contents(&self, address: &Address, publisher: PublicKey, created: u64) -> Contents {
        Contents {
            format: FORMAT,
            address: address.clone(),
            publisher,
            created,
            expires: None,
            public: self.public,
            name: self.name.clone(),
            description: self.description.clone(),
            licence: self.licence.clone(),
            files: self.files.iter().map(|(name, (entry, _))| (name.clone(), entry.clone())).collect(),
            uses: self.uses.clone(),
            schemas: self.schemas.clone(),
            binds: self.binds.clone(),
            mechtrons: self.mechtrons.clone(),
            app: self.app.clone(),
        }
    }

    /// The manifest at an address, signed. For one that expires, set [`Contents::expires`] and call [`Contents::sign`].
    pub fn sign(&self, address: &Address, key: &SecretKey, created: u64) -> SignedManifest {
        self.contents(address, key.public(), created).sign(key)
    }

    /// What names of the app may be looked up in.
    fn names<'a>(&'a self, app: &'a AppConfig) -> Names<'a> {
        Names { app, mechtrons: &self.mechtrons, binds: &self.binds }
    }

    /// Adds a file of the folder, by its path there, if it is not there yet. Gives its path in the bundle.
    fn add(
        &mut self,
        source: &Source,
        span: Range<usize>,
        folder: &Folder,
        relative: &str,
    ) -> Result<String, AuthoringError> {
        let name = bundle_path(relative);
        if let Err(text) = check_path(&name) {
            return Err(source.error(span, text, "rename the file: its path becomes part of an address"));
        }
        if self.files.contains_key(&name) {
            return Ok(name);
        }
        if let Some(text) = self.twin(&name) {
            return Err(source.error(span, text, "rename one: some hosts can't tell them apart"));
        }
        let path = folder.file(relative).map_err(|fault| fault.at(source, span.clone(), "the file", relative))?;
        let length = fs::metadata(&path).map_or(0, |about| about.len());
        if length > MAX_FILE {
            let text = format!("{name} has {length} bytes; expected at most {MAX_FILE} in one file");
            return Err(source.error(span, text, "cut it into several files, or leave it out"));
        }
        let (sha256, size) = folder::digest(&path)
            .map_err(|e| source.error(span, format!("{name} can't be read: {e}"), "check who may read it"))?;
        let media_type = mime_guess::from_path(&path).first_or_octet_stream().to_string();
        self.folded.insert(name.to_ascii_lowercase(), name.clone());
        self.files.insert(name.clone(), (FileEntry { sha256, size, media_type }, path));
        Ok(name)
    }

    /// What is said of a name that differs from another, or from a folder of another, only in the case of its letters.
    fn twin(&self, name: &str) -> Option<String> {
        let lower = name.to_ascii_lowercase();
        if let Some(twin) = self.folded.get(&lower) {
            return Some(format!("{twin} and {name} differ only in the case of their letters"));
        }
        let folders = lower.match_indices('/').filter_map(|(at, _)| lower.get(..at));
        let mut files = folders.filter_map(|folder| self.folded.get(folder));
        let below = format!("{lower}/");
        let mut after = self.folded.range(below.clone()..);
        let (file, below) = match (files.next(), after.next()) {
            (Some(file), _) => (file.as_str(), name),
            (None, Some((other, known))) if other.starts_with(&below) => (name, known.as_str()),
            _ => return None,
        };
        Some(format!("{file} and the folder of {below} differ only in the case of their letters"))
    }

    /// Adds a file that another file names.
    fn add_named(
        &mut self,
        source: &Source,
        folder: &Folder,
        written: &Spanned<String>,
        what: &str,
    ) -> Result<String, AuthoringError> {
        let relative = written.get_ref().trim_start_matches("./");
        folder.file(relative).map_err(|fault| fault.at(source, written.span(), what, written.get_ref()))?;
        self.add(source, written.span(), folder, relative)
    }

    /// What a host would refuse is told to the author.
    fn check_bounds(&self, source: &Source) -> Result<(), AuthoringError> {
        let bytes: u64 = self.files.values().map(|(entry, _)| entry.size).sum();
        let text = match (self.files.len(), bytes) {
            (count, _) if count > MAX_FILES => format!("the bundle has {count} files; expected at most {MAX_FILES}"),
            (_, bytes) if bytes > MAX_BYTES => format!("the bundle has {bytes} bytes; expected at most {MAX_BYTES}"),
            _ if self.is_too_long() => {
                format!("the manifest gets longer than {MAX_MANIFEST} bytes, the most that a host reads")
            }
            _ => return Ok(()),
        };
        Err(source.error(0..0, text, "make `include` narrower"))
    }

    /// Whether the manifest has more bytes than a host reads, wherever it is published.
    fn is_too_long(&self) -> bool {
        self.somewhere().is_some_and(|contents| serde_json::to_vec(&contents).unwrap_or_default().len() > MAX_MANIFEST)
    }

    /// The whole as every host checks it. What the reading has not found yet is told here, of no place in particular.
    fn check(&self, source: &Source) -> Result<(), AuthoringError> {
        let Some(contents) = self.somewhere() else { return Ok(()) };
        let checked = Manifest::check(contents).map(drop);
        checked.map_err(|error| source.error(0..0, error.to_string(), "change what stands there in the manifest"))
    }

    fn somewhere(&self) -> Option<Contents> {
        let somewhere = Address::parse("a:0.0.0").ok()?;
        Some(self.contents(&somewhere, SecretKey::from_seed([0; 32]).public(), 0))
    }
}

impl Fault {
    /// This fault, told at the place that breaks the rule.
    fn at(self, source: &Source, span: Range<usize>) -> AuthoringError {
        source.error(span, self.text, self.hint)
    }
}

#[cfg(test)]
mod tests;
