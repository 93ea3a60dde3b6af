//! The publisher's key. The first `publish` makes it; only its owner can read it.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use starlane_bundle::SecretKey;

use crate::{output::Output, reach::configuration_folder};

const PREFIX: &str = "ed25519-secret:";

/// A key and its file.
pub(crate) struct Loaded {
    pub(crate) key: SecretKey,
    pub(crate) file: PathBuf,
    /// Whether the key is new.
    pub(crate) made: bool,
}

/// Reads the key in `file`, or in the configuration folder. Makes the key if the file does not exist.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded> {
    let file = file.map_or_else(default_file, |file| Ok(file.to_owned()))?;
    if let Some(key) = found(&file)? {
        return Ok(Loaded { key, file, made: false });
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
    let text = format!("{PREFIX}{}\n", BASE64URL_NOPAD.encode(&seed));
    let written = write(&file, text.as_bytes());
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        // Another command made a key at the same time.
        if let Some(key) = found(&file)? {
            return Ok(Loaded { key, file, made: false });
        }
    }
    written.with_context(|| format!("the key can't be written to {}", file.display()))?;
    Ok(Loaded { key: SecretKey::from_seed(seed), file, made: true })
}

/// Reads the key in a file, if the file exists.
fn found(file: &Path) -> Result<Option<SecretKey>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            check_owner_only(file)?;
            let key = parse(text.trim()).ok_or_else(|| {
                anyhow!("{} is not a key: expected `{PREFIX}…`; give another file with `--key FILE`", file.display())
            })?;
            Ok(Some(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the key in {} can't be read", file.display())),
    }
}

/// `starlane keys show`, and `starlane keys new`, which returns an error if the key exists.
pub(crate) fn show(file: Option<&Path>, new: bool, output: Output) -> Result<()> {
    let path = file.map_or_else(default_file, |file| Ok(file.to_owned()))?;
    if !new && !path.exists() {
        bail!("there is no key in {}: `starlane keys new` makes one", path.display());
    }
    let loaded = load(Some(&path))?;
    if new && !loaded.made {
        bail!("{} exists already: give another file with `--key FILE`", path.display());
    }
    let public = loaded.key.public();
    let facts = [("public key", public.to_string()), ("file", loaded.file.display().to_string())];
    let what = if new { "A publisher's key was made: keep it safe" } else { "The publisher's key" };
    let next = new.then_some("starlane publish DIR ADDRESS");
    output.done(what, &facts, next, &json!({ "publicKey": public, "file": loaded.file }));
    Ok(())
}

fn parse(text: &str) -> Option<SecretKey> {
    let seed = BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?;
    Some(SecretKey::from_seed(seed.try_into().ok()?))
}

fn default_file() -> Result<PathBuf> {
    let folder = configuration_folder();
    let folder = folder.context("there is no home folder for the key: give a file with `--key FILE`")?;
    Ok(folder.join("key"))
}

/// Writes a new file atomically, also if the machine crashes. Returns an error if the file exists.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
    let beside = folder.join(format!(".key-{}", BASE64URL_NOPAD.encode(&name)));
    let written = write_all(&beside, bytes).and_then(|()| fs::hard_link(&beside, file));
    let _ = fs::remove_file(&beside);
    let written = match written {
        // Some file systems have no hard links. There, the file is incomplete for a moment.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            write_all(file, bytes)
        }
        written => written,
    };
    written?;
    // The name of the file is on the disk only after its folder is synchronised.
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_all(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn check_owner_only(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(file)?.permissions().mode() & 0o077 != 0 {
        bail!("other users can read the key in {0}: change its permissions with `chmod 600 {0}`", file.display());
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner_only(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config/starlane/key");
        let first = load(Some(&file)).unwrap();
        let again = load(Some(&file)).unwrap();
        assert!(first.made && !again.made);
        assert_eq!(first.key.public(), again.key.public());
    }

    #[test]
    fn concurrent_commands_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let loaded = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load(Some(&file)).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(loaded.iter().filter(|loaded| loaded.made).count(), 1);
        let kept = load(Some(&file)).unwrap().key.public();
        assert!(loaded.iter().all(|loaded| loaded.key.public() == kept));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        load(Some(&file)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(Some(&file)).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_without_a_key_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        write(&file, b"my diary").unwrap();
        assert!(load(Some(&file)).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"my diary");
    }
}
