//! Who asks. The admin token lies in the data folder, for whoever may read that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::BASE64URL_NOPAD;
use starlane_protocol::Failure;
use subtle::ConstantTimeEq;

use crate::time::random;

/// The principal that may do everything.
pub(crate) const ADMIN: &str = "admin";

/// The shortest admin token that is taken, in characters; the ones made here have 43.
const SHORTEST: usize = 32;

/// The admin token's file in a data folder.
pub(crate) fn token_file(data: &Path) -> PathBuf {
    data.join("admin.token")
}

/// Knows tokens.
#[derive(Clone)]
pub(crate) struct Auth {
    admin: String,
}

impl Auth {
    /// Reads the admin token, and makes it on a first start.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let file = token_file(data);
        let admin = match fs::read_to_string(&file) {
            // What a crash left half-written must not become a token that is easy to guess.
            Ok(text) if text.trim().len() < SHORTEST => {
                let text = format!("{} holds no token: delete it, and the next start makes a new one", file.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = BASE64URL_NOPAD.encode(&random());
                write_secret(&file, token.as_bytes())?;
                token
            }
            Err(error) => return Err(error),
        };
        Ok(Self { admin })
    }

    /// The principal of a token: `admin`, or nobody without a token. Errors with 401 for any other.
    pub(crate) fn principal(&self, token: Option<&str>) -> Result<String, Failure> {
        match token {
            None => Ok(String::new()),
            Some(token) if token.as_bytes().ct_eq(self.admin.as_bytes()).into() => Ok(ADMIN.to_owned()),
            Some(_) => Err(Failure::auth_refused("the token is not one of this server's")),
        }
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_token_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let first = Auth::open(folder.path()).unwrap();
        let again = Auth::open(folder.path()).unwrap();
        assert_eq!(first.admin, again.admin);
        assert_eq!(again.principal(Some(&first.admin)).unwrap(), ADMIN);
        assert_eq!(again.principal(None).unwrap(), "");
        assert_eq!(again.principal(Some("")).unwrap_err().code, "auth-refused");
        assert_eq!(again.principal(Some(&format!("{}x", first.admin))).unwrap_err().code, "auth-refused");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(token_file(folder.path())).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn an_empty_token_file_is_an_error_and_no_token() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(token_file(folder.path()), "\n").unwrap();
        assert!(Auth::open(folder.path()).err().unwrap().to_string().contains("delete it"));
    }
}
