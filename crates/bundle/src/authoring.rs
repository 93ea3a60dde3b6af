//! From the folder that people write to a draft: every TOML file read, every reference followed, every fault reported with
//! file, line and column.

mod error;
mod files;
mod resolve;
mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use starlane_protocol::Address;

pub use self::{error::AuthoringError, files::Build};
use self::{files::BundleFile, source::Source};
use crate::{
    AppConfig, Bind, Digest, FileEntry, Manifest, MechtronConfig, PublicKey, SecretKey, SignedManifest,
    manifest::{FORMAT, check_name},
};

/// A bundle that was read and checked, and is not yet published.
#[derive(Debug)]
pub struct Draft {
    name: String,
    description: String,
    licence: String,
    public: bool,
    /// How `starlane build` makes the files that are built.
    pub build: Option<Build>,
    files: BTreeMap<String, (FileEntry, PathBuf)>,
    binds: BTreeMap<String, Bind>,
    mechtrons: BTreeMap<String, MechtronConfig>,
    app: Option<AppConfig>,
}

impl Draft {
    /// Reads the bundle in a folder: `bundle.toml` and all that it names.
    pub fn read(folder: &Path) -> Result<Self, AuthoringError> {
        let source = Source::read(folder, "bundle.toml")?;
        let BundleFile { bundle, build } = source.parse()?;
        let mut draft = Self {
            name: bundle.name,
            description: bundle.description,
            licence: bundle.licence,
            public: bundle.public,
            build,
            files: BTreeMap::new(),
            binds: BTreeMap::new(),
            mechtrons: BTreeMap::new(),
            app: None,
        };
        for pattern in &bundle.include {
            draft.include(folder, &source, pattern)?;
        }
        resolve::resolve(folder, &mut draft)?;
        Ok(draft)
    }

    /// The files: path in the bundle, entry, and where it lies on this machine.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry, &Path)> {
        self.files.iter().map(|(name, (entry, path))| (name.as_str(), entry, path.as_path()))
    }

    /// The manifest at an address. `created` is in seconds since the Unix epoch.
    pub fn manifest(&self, address: &Address, publisher: PublicKey, created: u64) -> Manifest {
        Manifest {
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
            binds: self.binds.clone(),
            mechtrons: self.mechtrons.clone(),
            app: self.app.clone(),
        }
    }

    /// The manifest at an address, signed.
    pub fn sign(&self, address: &Address, key: &SecretKey, created: u64) -> SignedManifest {
        let manifest = self.manifest(address, key.public(), created);
        // A manifest has string keys only, so it always has a JSON form.
        let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
        let signature = key.sign(&bytes);
        SignedManifest { bytes, signature }
    }

    fn include(
        &mut self,
        folder: &Path,
        source: &Source,
        pattern: &toml::Spanned<String>,
    ) -> Result<(), AuthoringError> {
        let glob = globset::GlobBuilder::new(pattern.get_ref()).literal_separator(true).build();
        let glob = glob.map_err(|e| source.error(pattern.span(), format!("{e}"), "see the globs of the README"))?;
        let matcher = glob.compile_matcher();
        let mut found = false;
        for entry in walkdir::WalkDir::new(folder).follow_links(false).sort_by_file_name() {
            let entry = entry.map_err(|e| AuthoringError::io(folder, e.to_string()))?;
            let Ok(relative) = entry.path().strip_prefix(folder) else { continue };
            if !matcher.is_match(relative) || entry.file_type().is_dir() {
                continue;
            }
            found = true;
            if entry.file_type().is_symlink() {
                let text = format!("{} is a link", relative.display());
                return Err(source.error(pattern.span(), text, "put the file itself into the bundle's folder"));
            }
            self.add(source, pattern.span(), folder, relative)?;
        }
        if !found && !pattern.get_ref().contains(['*', '?', '[', '{']) {
            let text = format!("there is no file {}", pattern.get_ref());
            return Err(source.error(pattern.span(), text, "paths are relative to bundle.toml"));
        }
        Ok(())
    }

    /// Adds a file of the folder, if it is not there yet. Gives its path in the bundle.
    fn add(
        &mut self,
        source: &Source,
        span: std::ops::Range<usize>,
        folder: &Path,
        relative: &Path,
    ) -> Result<String, AuthoringError> {
        let mut name = String::new();
        for part in relative.components() {
            name.push('/');
            name.push_str(&part.as_os_str().to_string_lossy());
        }
        if let Err(error) = check_name(&name) {
            return Err(source.error(span, error.to_string(), "rename the file"));
        }
        if self.files.contains_key(&name) {
            return Ok(name);
        }
        if let Some(twin) = self.files.keys().find(|known| known.eq_ignore_ascii_case(&name)) {
            let text = format!("{twin} and {name} differ only in the case of their letters");
            return Err(source.error(span, text, "rename one: some hosts can't tell them apart"));
        }
        let path = folder.join(relative);
        let bytes = fs::read(&path).map_err(|e| source.error(span, format!("{name} can't be read: {e}"), ""))?;
        let media_type = mime_guess::from_path(&path).first_or_octet_stream().to_string();
        let entry = FileEntry { sha256: Digest::of(&bytes), size: bytes.len() as u64, media_type };
        self.files.insert(name.clone(), (entry, path));
        Ok(name)
    }
}

#[cfg(test)]
mod tests;
