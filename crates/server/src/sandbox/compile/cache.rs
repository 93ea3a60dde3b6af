//! Compiled modules on disk. They are native code, so a file is used only if this server wrote it.

use std::{
    fs::{self, DirBuilder, File},
    hash::{Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use fnv::FnvHasher;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use starlane_bundle::Digest;
use starlane_protocol::HostSecret;
use wasmtime::{Engine, Module};

type Code = Hmac<Sha256>;

/// The length of the authentication code at the beginning of each file, in bytes.
const CODE_BYTES: usize = 32;
/// The purpose from which the key is derived. A change of the file format changes it.
const PURPOSE: &[u8] = b"starlane compiled modules, format 1";
/// The extension of the files.
const EXTENSION: &str = "cwasm";

/// A folder of compiled modules, each under the digest of its Wasm and the settings of the engine. Each file is authenticated with
/// a key that follows from the host's secret. The least recently used files are removed when the folder is over its limit.
#[derive(Debug)]
pub(super) struct CompiledCache {
    folder: PathBuf,
    key: [u8; 32],
    engine: u64,
    max_bytes: u64,
}

/// The reason why a module was not read from the cache.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheMiss {
    /// It does not exist.
    #[error("the file does not exist")]
    Absent,
    /// This server did not write it, or it was changed.
    #[error("{0} was not written by this server, or was changed later")]
    Forged(PathBuf),
    /// The engine refused it.
    #[error("cannot use {0}: {1}")]
    Unusable(PathBuf, String),
    /// The disk failed.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

impl CompiledCache {
    /// Opens the cache in a folder. Creates the folder if needed, with access for its owner only.
    pub(super) fn open(folder: &Path, secret: &HostSecret, engine: &Engine, max_bytes: u64) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        #[cfg(unix)]
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let mut key = [0; 32];
        if let Ok(mut code) = Code::new_from_slice(&secret.0) {
            code.update(PURPOSE);
            key = code.finalize().into_bytes().into();
        }
        // It is part of file names, so it must be the same in every process.
        let mut hasher = FnvHasher::default();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder: folder.to_owned(), key, engine: hasher.finish(), max_bytes })
    }

    /// Reads a compiled module.
    pub(super) fn load(&self, engine: &Engine, wasm: &Digest) -> Result<Module, CacheMiss> {
        let file = self.file(wasm);
        let bytes = fs::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CacheMiss::Absent,
            _ => CacheMiss::Io(file.clone(), error),
        })?;
        let (code, compiled) = bytes.split_at_checked(CODE_BYTES).unwrap_or_default();
        let genuine = self.code(wasm, compiled).is_some_and(|own| own.verify_slice(code).is_ok());
        if !genuine {
            let _ = fs::remove_file(&file);
            return Err(CacheMiss::Forged(file));
        }
        let module = deserialize(engine, Compiled(compiled)).map_err(|error| {
            let _ = fs::remove_file(&file);
            CacheMiss::Unusable(file.clone(), error)
        })?;
        // Records the time of its last use. If this fails, the file is removed sooner.
        let _ = File::options().append(true).open(&file).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(module)
    }

    /// Writes a compiled module, and removes the least recently used ones above the limit.
    pub(super) fn save(&self, wasm: &Digest, compiled: &Compiled<'_>) -> io::Result<()> {
        if (compiled.0.len() + CODE_BYTES) as u64 > self.max_bytes {
            return Ok(());
        }
        let code = self.code(wasm, compiled.0).ok_or_else(|| io::Error::other("no key"))?;
        // Files of this kind are readable by their owner only. They are not synced: an incomplete file fails its
        // authentication.
        let mut beside = tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(&self.folder)?;
        beside.write_all(&code.finalize().into_bytes())?;
        beside.write_all(compiled.0)?;
        beside.persist(self.file(wasm)).map_err(|error| error.error)?;
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Ok(metadata) = fs::symlink_metadata(&path)
            {
                files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= self.max_bytes {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    fn file(&self, wasm: &Digest) -> PathBuf {
        self.folder.join(format!("{wasm}-{:016x}.{EXTENSION}", self.engine))
    }

    fn code(&self, wasm: &Digest, compiled: &[u8]) -> Option<Code> {
        let mut code = Code::new_from_slice(&self.key).ok()?;
        code.update(&self.engine.to_be_bytes());
        code.update(wasm.to_string().as_bytes());
        code.update(&(compiled.len() as u64).to_be_bytes());
        code.update(compiled);
        Some(code)
    }
}

/// Compiled code from our own compiler, or from an authenticated file.
pub(super) struct Compiled<'a>(pub(super) &'a [u8]);

/// Makes a module from compiled code.
#[allow(unsafe_code, reason = "native code is trusted as the compiler is")]
pub(super) fn deserialize(engine: &Engine, compiled: Compiled<'_>) -> Result<Module, String> {
    // SAFETY: the bytes are what `Engine::precompile_module` made: `Compiled` is built only of the output of our own compiler, which
    // this process started and nobody else can write to, and of a file whose authentication code under the host's secret was verified
    // for these very bytes. The engine itself checks that its version and settings are the same.
    unsafe { Module::deserialize(engine, compiled.0) }.map_err(|error| error.to_string())
}
