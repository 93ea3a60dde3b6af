//! The three browser engines, and their capabilities.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value};

use crate::{child::find_program, workspace};

/// A browser engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Blink and V8.
    Chromium,
    /// Gecko and SpiderMonkey.
    Firefox,
    /// WebKitGTK and JavaScriptCore.
    Webkit,
}

impl Engine {
    /// All engines.
    pub const ALL: [Self; 3] = [Self::Chromium, Self::Firefox, Self::Webkit];

    /// Its name in figures and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Webkit => "webkit",
        }
    }

    /// The key of its options in WebDriver capabilities.
    fn vendor(self) -> &'static str {
        match self {
            Self::Chromium => "goog:chromeOptions",
            Self::Firefox => "moz:firefoxOptions",
            Self::Webkit => "webkitgtk:browserOptions",
        }
    }

    /// Its WebDriver: the one that the environment names, or else the installed one.
    pub fn driver(self) -> Result<PathBuf> {
        let (variable, program) = match self {
            Self::Chromium => ("CHROMEDRIVER", "chromedriver"),
            Self::Firefox => ("GECKODRIVER", "geckodriver"),
            Self::Webkit => ("SAFARIDRIVER", "WebKitWebDriver"),
        };
        let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
        named.or_else(|| find_program(program)).ok_or_else(|| self.missing(program))
    }

    /// The WebDriver capabilities of a session of this engine.
    ///
    /// They come from the file that `WASM_BINDGEN_TEST_WEBDRIVER_JSON` names, or else from the checkout's `webdriver.json`.
    pub fn capabilities(self) -> Result<Map<String, Value>> {
        let named = env::var_os("WASM_BINDGEN_TEST_WEBDRIVER_JSON").map(PathBuf::from).filter(|path| path.is_file());
        let files = named.into_iter().chain([workspace().join("webdriver.json")]);
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let all: Map<String, Value> =
                serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", file.display()))?;
            if let Some(options) = all.get(self.vendor()) {
                let mut capabilities = Map::from_iter([(self.vendor().to_owned(), options.clone())]);
                if self == Self::Chromium {
                    // A failed test shows the messages of the page's console.
                    capabilities.insert("goog:loggingPrefs".to_owned(), serde_json::json!({ "browser": "ALL" }));
                }
                return Ok(capabilities);
            }
        }
        Err(anyhow!("webdriver.json has no capabilities for {}: add `{}`", self.name(), self.vendor()))
    }

    /// The capabilities of a browser on a profile folder. Fails for WebKit, whose driver takes no profile.
    pub fn capabilities_on(self, profile: &Path) -> Result<Map<String, Value>> {
        let profile = profile.to_string_lossy();
        let added = match self {
            Self::Chromium => vec![format!("--user-data-dir={profile}")],
            Self::Firefox => vec!["-profile".to_owned(), profile.into_owned()],
            Self::Webkit => return Err(anyhow!("the driver of {self} takes no profile")),
        };
        let mut capabilities = self.capabilities()?;
        let arguments = capabilities.get_mut(self.vendor()).and_then(|options| options.get_mut("args"));
        let arguments = arguments.and_then(Value::as_array_mut).context("webdriver.json has no list `args`")?;
        arguments.extend(added.into_iter().map(Value::from));
        Ok(capabilities)
    }

    /// The capabilities of a browser that prefers dark pages. Only Firefox takes that from them.
    pub(crate) fn dark_capabilities(self) -> Result<Map<String, Value>> {
        let mut capabilities = self.capabilities()?;
        let options = capabilities.get_mut(self.vendor()).and_then(Value::as_object_mut);
        let options = options.context("webdriver.json has options that are not an object")?;
        if self == Self::Firefox {
            let dark = serde_json::json!({ "layout.css.prefers-color-scheme.content-override": 0 });
            options.insert("prefs".to_owned(), dark);
        }
        Ok(capabilities)
    }

    /// The error for a missing program of this engine.
    pub fn missing(self, what: &str) -> anyhow::Error {
        let name = self.name();
        anyhow!("{what} is missing, which the tests in {name} need: run `cargo xtask setup --only {name}`")
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|engine| engine.name() == text);
        known.ok_or_else(|| format!("`{text}` is not an engine: expected chromium, firefox or webkit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_name_and_capabilities() {
        for engine in Engine::ALL {
            assert_eq!(engine.name().parse(), Ok(engine));
            assert!(engine.capabilities().unwrap().contains_key(engine.vendor()));
        }
        assert!("netscape".parse::<Engine>().unwrap_err().contains("webkit"));
    }

    #[test]
    fn a_missing_driver_is_an_error_with_a_remedy() {
        let error = Engine::Webkit.missing("WebKitWebDriver").to_string();
        assert!(error.contains("WebKitWebDriver") && error.contains("cargo xtask setup --only webkit"), "{error}");
    }
}
