//! The filter of log lines.

use std::{fmt, str::FromStr};

use anyhow::Result;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// A log filter: a level, or directives such as `info,starlane_server=trace`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl LogFilter {
    /// Builds the filter for the log. This never fails, because reading the filter checks it.
    pub(crate) fn build(&self) -> Result<EnvFilter> {
        Ok(EnvFilter::try_new(&self.0)?)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected off, error, warn, info, debug or trace, or TARGET=LEVEL such as starlane_server=trace";
        let fail = |reason: &str| format!("`{text}` is not a log filter: {reason}{expected}");
        if text.trim().is_empty() {
            return Err(fail(""));
        }
        EnvFilter::try_new(text).map_err(|error| fail(&format!("{error}; ")))?;
        // `EnvFilter` takes a single word that is not a level for a target, so a mistyped level would turn the log off.
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        match text.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part)) {
            Some(word) => Err(fail(&format!("`{word}` is not a level; "))),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_is_a_level_or_names_targets() {
        for text in
            ["info", "DEBUG", "off", "info,starlane_server=trace", "starlane_server::http=debug,warn", "[span]=info"]
        {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["", "inof", "info,verbose", "starlane_server=loud", ",", "info,"] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(error.contains("TARGET=LEVEL"), "{text}: {error}");
        }
    }
}
