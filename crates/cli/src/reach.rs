//! The server, and the token for it. Flags override the environment, the environment overrides the profile, and the
//! profile overrides the defaults.

use std::{env, fs, io, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arguments::Reach;

/// The default URL of the server.
const SERVER: &str = "http://127.0.0.1:7711";

/// The file `starlane/profile.toml` of the configuration folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Profile {
    server: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    data: Option<PathBuf>,
}

/// The settings of a client.
pub(crate) struct Reached {
    pub(crate) server: String,
    pub(crate) token: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) data: PathBuf,
}

impl Reached {
    /// Combines the arguments and the profile.
    pub(crate) fn read(given: &Reach) -> Result<Self> {
        let profile = profile(given)?;
        let (token, token_file) = match (&given.token, &given.token_file) {
            (None, None) => (profile.token, profile.token_file),
            (token, file) => (token.clone(), file.clone()),
        };
        let from_file = || {
            let Some(file) = &token_file else { return Ok(None) };
            let text = fs::read_to_string(file);
            let text = text.with_context(|| format!("the token file {} can't be read", file.display()))?;
            if text.trim().lines().count() > 1 {
                bail!(
                    "the token file {} has more than one line: it must contain one token and nothing else",
                    file.display()
                );
            }
            Ok(Some(text))
        };
        let token = token.map_or_else(from_file, |token| Ok(Some(token)))?;
        Ok(Self {
            server: given.server.clone().or(profile.server).unwrap_or_else(|| SERVER.to_owned()),
            token: token.map(|token| token.trim().to_owned()),
            ca: given.ca.clone().or(profile.ca),
            data: given.data.clone().or(profile.data).unwrap_or_else(|| PathBuf::from("starlane-data")),
        })
    }
}

fn profile(given: &Reach) -> Result<Profile> {
    let (file, named) = match &given.profile {
        Some(file) => (file.clone(), true),
        None => match configuration_folder() {
            Some(folder) => (folder.join("profile.toml"), false),
            None => return Ok(Profile::default()),
        },
    };
    match fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("the profile {} is invalid", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => Ok(Profile::default()),
        Err(error) => Err(error).with_context(|| format!("the profile {} can't be read", file.display())),
    }
}

/// `starlane` in the user's configuration folder.
pub(crate) fn configuration_folder() -> Option<PathBuf> {
    let configured = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = configured.or_else(|| env::home_dir().map(|home| home.join(".config")));
    folder.map(|folder| folder.join("starlane"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_override_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile.toml");
        fs::write(&file, "server = \"https://mesh.test\"\ntoken = \"kept\"\n").unwrap();
        let reach = Reach { profile: Some(file.clone()), ..Reach::default() };
        let reached = Reached::read(&reach).unwrap();
        assert_eq!((reached.server.as_str(), reached.token.as_deref()), ("https://mesh.test", Some("kept")));
        let over = Reach { server: Some("http://127.0.0.1:1".into()), token: Some("typed".into()), ..reach.clone() };
        let reached = Reached::read(&over).unwrap();
        assert_eq!((reached.server.as_str(), reached.token.as_deref()), ("http://127.0.0.1:1", Some("typed")));
        fs::write(&file, "sever = \"x\"\n").unwrap();
        assert!(format!("{:#}", Reached::read(&reach).err().unwrap()).contains("sever"));
        fs::remove_file(&file).unwrap();
        assert!(Reached::read(&reach).is_err(), "a profile that was named must be there");
    }
}
