//! The limit of open files. Tests that hold many connections need more than the 1024 that many systems begin with.

use anyhow::{Result, bail};

use crate::report;

/// How many files a program may have open at least: sockets of 2,000 connections, with both ends in one process.
const MIN_OPEN_FILES: u64 = 4_096;

/// Raises the limit of this program, and of those that it starts, as far as the system allows. The error says what to do.
#[cfg(unix)]
pub(crate) fn ensure() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < MIN_OPEN_FILES) {
        // As far as needed, or else as far as possible.
        limit.current = Some(limit.maximum.map_or(MIN_OPEN_FILES, |maximum| maximum.min(MIN_OPEN_FILES)));
        setrlimit(Resource::Nofile, limit)?;
    }
    check(limit.current)
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn ensure() -> Result<()> {
    Ok(())
}

/// Checks a limit. `None` means that there is none.
fn check(limit: Option<u64>) -> Result<()> {
    match limit {
        Some(limit) if limit < MIN_OPEN_FILES => bail!(
            "a program may open {limit} files, and tests need {MIN_OPEN_FILES}: add the line `* hard nofile {MIN_OPEN_FILES}` to \
             /etc/security/limits.conf and log in again, or run `ulimit -Hn {MIN_OPEN_FILES}` as root in this shell"
        ),
        Some(limit) => report::note(format_args!("{limit} open files")),
        None => report::note("open files without a limit"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_an_error_that_says_what_to_do() {
        let told = check(Some(1_024)).unwrap_err().to_string();
        assert!(told.contains("1024") && told.contains("ulimit -Hn 4096"), "{told}");
        assert!(check(Some(MIN_OPEN_FILES)).is_ok() && check(None).is_ok());
    }
}
