//! Reads the folder of a bundle into a draft: it reads every TOML file, follows every reference, and reports every
//! fault with file, line and column.

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
    manifest::{FORMAT, MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_FILES, MAX_MANIFEST},
    rules::{Names, RuleFault},
};

/// A bundle that was read and checked, but not published yet.
#[derive(Debug, Default)]
pub struct Draft {
    name: String,
    description: String,
    licence: String,
    public: bool,
    /// How `starlane build` makes the built files.
    pub build: Option<Build>,
    files: LiteMap<String, (FileEntry, PathBuf)>,
    /// The file names, by their lower-case form.
    folded: BTreeMap<String, String>,
    /// By path, in normal form.
    schemas: LiteMap<String, Value>,
    uses: LiteMap<String, Used>,
    binds: LiteMap<String, Bind>,
    mechtrons: LiteMap<String, MechtronConfig>,
    app: Option<AppConfig>,
}

impl Build {
    /// Reads only `[build]` of `bundle.toml`: [`Draft::read`] needs the files that the build makes.
    pub fn read(folder: &Path) -> Result<Option<Self>, AuthoringError> {
        let source = Source::read(&Folder::open(folder)?, "bundle.toml")?;
        let file: BundleFile = source.parse()?;
        file.build.map(|build| build.checked(&source)).transpose()
    }
}

/// Checks the bytes of a module against a memory limit in bytes. The error says why hosts would refuse the module.
pub type CheckModule<'c> = &'c dyn Fn(&[u8], u64) -> Result<(), String>;

/// The JSON Schemas that a bind names, by path, not in normal form.
pub type Schemas = BTreeMap<String, Value>;

/// Reads one bind and its schemas from a bundle's folder, for example `binds/profile.toml`. Other files of the bundle
/// may be missing. Returns the same errors as [`Draft::read`].
pub fn read_bind(file: &Path) -> Result<(Bind, Schemas), AuthoringError> {
    let whole = |text: &str, hint: &str| AuthoringError::whole(file, text, hint);
    let name = file.file_name().and_then(|name| name.to_str());
    let within = file.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "binds"));
    let (Some(name), Some(within)) = (name, within) else {
        return Err(whole(
            "the file is not in a folder `binds`",
            "give the path of a bind, such as binds/profile.toml in a bundle's folder",
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
    /// Returns the other bundles that the bundle in a folder refers to. [`Draft::read_with`] needs them.
    pub fn others(folder: &Path) -> Result<Vec<Address>, AuthoringError> {
        others::named(&Folder::open(folder)?)
    }

    /// Reads the bundle in a folder: `bundle.toml` and all files that it refers to. Runs and writes nothing.
    pub fn read(folder: &Path) -> Result<Self, AuthoringError> {
        Self::read_with(folder, &Others::default(), &|_, _| Ok(()))
    }

    /// Reads a bundle that may refer to other bundles. `check` checks each module.
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

    /// The name of the app that this bundle makes, if there is one.
    pub fn app_name(&self) -> Option<&str> {
        self.app.as_ref().map(|app| app.name.as_str())
    }

    /// The files: path in the bundle, entry, and path on this machine.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry, &Path)> {
        self.files.iter().map(|(name, (entry, path))| (name.as_str(), entry, path.as_path()))
    }

    /// Returns the contents of the manifest for an address. `created` is in seconds since the Unix epoch.
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

    /// Signs the manifest for an address. For a manifest that expires, set [`Contents::expires`] and call
    /// [`Contents::sign`].
    pub fn sign(&self, address: &Address, key: &SecretKey, created: u64) -> SignedManifest {
        self.contents(address, key.public(), created).sign(key)
    }

    /// The tables in which names of the app are looked up.
    fn names<'a>(&'a self, app: &'a AppConfig) -> Names<'a> {
        Names { app, mechtrons: &self.mechtrons, binds: &self.binds }
    }

    /// Adds a file of the folder, unless the draft has it already. Returns its path in the bundle.
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
            return Err(source.error(span, text, "rename one: some hosts do not distinguish upper and lower case"));
        }
        let path = folder.file(relative).map_err(|fault| fault.at(source, span.clone(), "the file", relative))?;
        let length = fs::metadata(&path).map_or(0, |about| about.len());
        if length > MAX_FILE_BYTES {
            let text = format!("{name} is {length} bytes; the maximum for one file is {MAX_FILE_BYTES} bytes");
            return Err(source.error(span, text, "split it into several files, or leave it out"));
        }
        let (sha256, size) = folder::digest(&path).map_err(|e| {
            source.error(span, format!("{name} can't be read: {e}"), "check the permissions of the file")
        })?;
        let media_type = mime_guess::from_path(&path).first_or_octet_stream().to_string();
        self.folded.insert(name.to_ascii_lowercase(), name.clone());
        self.files.insert(name.clone(), (FileEntry { sha256, size, media_type }, path));
        Ok(name)
    }

    /// Returns an error text if a name differs from another name, or from the folder of another file, only in upper and
    /// lower case.
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

    /// Checks the limits that hosts have for a whole bundle.
    fn check_bounds(&self, source: &Source) -> Result<(), AuthoringError> {
        let bytes: u64 = self.files.values().map(|(entry, _)| entry.size).sum();
        let text = match (self.files.len(), bytes) {
            (count, _) if count > MAX_FILES => format!("the bundle has {count} files; the maximum is {MAX_FILES}"),
            (_, bytes) if bytes > MAX_BUNDLE_BYTES => {
                format!("the bundle has {bytes} bytes; the maximum is {MAX_BUNDLE_BYTES}")
            }
            _ if self.is_too_long() => {
                format!("the manifest is too long; the maximum is {MAX_MANIFEST} bytes")
            }
            _ => return Ok(()),
        };
        Err(source.error(0..0, text, "include fewer files: narrow `include` in bundle.toml"))
    }

    /// Returns whether the manifest is longer than the limit of hosts.
    fn is_too_long(&self) -> bool {
        self.somewhere().is_some_and(|contents| serde_json::to_vec(&contents).unwrap_or_default().len() > MAX_MANIFEST)
    }

    /// Checks the whole manifest as every host does. Faults that reading did not find are reported here, without a
    /// line.
    fn check(&self, source: &Source) -> Result<(), AuthoringError> {
        let Some(contents) = self.somewhere() else { return Ok(()) };
        let checked = Manifest::check(contents).map(drop);
        checked.map_err(|error| {
            source.error(0..0, error.to_string(), "correct this value in the TOML files of the bundle")
        })
    }

    fn somewhere(&self) -> Option<Contents> {
        let somewhere = Address::parse("a:0.0.0").ok()?;
        Some(self.contents(&somewhere, SecretKey::from_seed([0; 32]).public(), 0))
    }
}

impl RuleFault {
    /// Adds the place that breaks the rule.
    fn at(self, source: &Source, span: Range<usize>) -> AuthoringError {
        source.error(span, self.text, self.hint)
    }
}

#[cfg(test)]
mod tests;
