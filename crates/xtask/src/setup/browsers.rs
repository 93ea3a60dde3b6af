//! The three browser engines, their drivers, and the environment of tests that use them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::{Piece, system};
use crate::files;
use crate::report;
use crate::workshop::Workshop;

/// A browser engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Engine {
    Chromium,
    Firefox,
    Webkit,
}

impl Engine {
    /// The name in figures, parts and variables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Chromium => "chromium",
            Engine::Firefox => "firefox",
            Engine::Webkit => "webkit",
        }
    }

    /// The piece that installs it.
    pub(crate) fn piece(self) -> Piece {
        match self {
            Engine::Chromium => Piece::Chromium,
            Engine::Firefox => Piece::Firefox,
            Engine::Webkit => Piece::Webkit,
        }
    }

    /// The key of its options in WebDriver capabilities.
    fn vendor(self) -> &'static str {
        match self {
            Engine::Chromium => "goog:chromeOptions",
            Engine::Firefox => "moz:firefoxOptions",
            Engine::Webkit => "webkitgtk:browserOptions",
        }
    }

    /// The variable that names its driver. wasm-bindgen's test runner calls every WebKit "Safari".
    fn driver_variable(self) -> &'static str {
        match self {
            Engine::Chromium => "CHROMEDRIVER",
            Engine::Firefox => "GECKODRIVER",
            Engine::Webkit => "SAFARIDRIVER",
        }
    }

    /// Finds its driver. A driver that the environment names comes first.
    pub(crate) fn driver(self, workshop: &Workshop) -> Option<PathBuf> {
        let named = std::env::var_os(self.driver_variable()).map(PathBuf::from).filter(|path| path.is_file());
        let names: &[&str] = match self {
            Engine::Chromium => &["chromedriver"],
            Engine::Firefox => &["geckodriver"],
            Engine::Webkit => &["WebKitWebDriver"],
        };
        named.or_else(|| names.iter().find_map(|name| workshop.find(name)))
    }

    /// Finds the browser itself.
    pub(crate) fn binary(self, workshop: &Workshop) -> Option<PathBuf> {
        let names: &[&str] = match self {
            Engine::Chromium => &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
            Engine::Firefox => &["firefox-esr", "firefox"],
            Engine::Webkit => return mini_browser(),
        };
        names.iter().find_map(|name| workshop.find(name))
    }

    /// The environment of a test that uses this engine.
    pub(crate) fn environment(self, workshop: &Workshop) -> Result<Vec<(&'static str, String)>> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let driver = self.driver(workshop).with_context(|| self.remedy("driver"))?;
        let mut environment = vec![
            ("STARLANE_ENGINE", self.name().to_owned()),
            (self.driver_variable(), text(driver)),
            ("WASM_BINDGEN_TEST_WEBDRIVER_JSON", text(self.capabilities(workshop)?)),
        ];
        if self == Engine::Webkit {
            // Without a GPU, compositing only costs time.
            environment.push(("WEBKIT_DISABLE_COMPOSITING_MODE", "1".to_owned()));
            if system::is_root() {
                environment.push(("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1".to_owned()));
            }
        }
        Ok(environment)
    }

    /// Writes a file with the WebDriver capabilities of this engine, including the path of the browser. Returns its path.
    fn capabilities(self, workshop: &Workshop) -> Result<PathBuf> {
        let all = fs::read_to_string(workshop.path("webdriver.json")).context("cannot read webdriver.json")?;
        let binary = self.binary(workshop).with_context(|| self.remedy("browser"))?;
        let path = workshop.path("target/webdriver").join(format!("{}.json", self.name()));
        files::write(&path, self.select(&all, &binary)?)?;
        Ok(path)
    }

    fn select(self, all: &str, binary: &Path) -> Result<String> {
        let all: Map<String, Value> = serde_json::from_str(all).context("webdriver.json is not a JSON object")?;
        let mut own = match all.get(self.vendor()) {
            Some(Value::Object(own)) => own.clone(),
            _ => Map::new(),
        };
        // ChromeDriver finds the Chromium of its own version.
        if self != Engine::Chromium {
            own.insert("binary".to_owned(), Value::String(binary.to_string_lossy().into_owned()));
        }
        let selected = Map::from_iter([(self.vendor().to_owned(), Value::Object(own))]);
        Ok(serde_json::to_string_pretty(&selected)?)
    }

    fn remedy(self, what: &str) -> String {
        let name = self.name();
        let packages = match self {
            Engine::Chromium => "chromium chromium-driver",
            Engine::Firefox => "firefox-esr",
            Engine::Webkit => "webkit2gtk-driver xvfb xauth",
        };
        format!(
            "the {name} {what} is missing: run `cargo xtask setup --only {name}`; if that cannot install it, install the \
             counterpart of the Debian packages `{packages}`"
        )
    }
}

/// WebKitGTK's browser for tests, which is beside its library.
fn mini_browser() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = vec!["/usr/lib".into(), "/usr/lib64".into(), "/usr/libexec".into()];
    folders.extend(fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    let candidates =
        folders.iter().flat_map(|folder| ["4.1", "6.0"].map(|v| folder.join(format!("webkit2gtk-{v}/MiniBrowser"))));
    candidates.into_iter().find(|path| path.is_file())
}

/// The missing Debian packages of an engine.
pub(crate) fn missing_packages(workshop: &Workshop, piece: Piece) -> Vec<String> {
    if !system::is_debian() {
        return Vec::new();
    }
    let wanted: Vec<(&str, bool)> = match piece {
        Piece::Chromium => vec![
            ("chromium", Engine::Chromium.binary(workshop).is_some()),
            ("chromium-driver", Engine::Chromium.driver(workshop).is_some()),
        ],
        Piece::Firefox => vec![("firefox-esr", Engine::Firefox.binary(workshop).is_some())],
        Piece::Webkit => vec![
            (
                "webkit2gtk-driver",
                Engine::Webkit.binary(workshop).is_some() && Engine::Webkit.driver(workshop).is_some(),
            ),
            ("xvfb", workshop.find("xvfb-run").is_some() && workshop.find("Xvfb").is_some()),
            ("xauth", workshop.find("xauth").is_some()),
        ],
        _ => Vec::new(),
    };
    wanted.into_iter().filter(|(_, there)| !there).map(|(package, _)| package.to_owned()).collect()
}

/// Reports where an engine is. The error says how to install it.
pub(crate) fn check(workshop: &Workshop, piece: Piece) -> Result<()> {
    let Some(engine) = Engine::value_variants().iter().find(|engine| engine.piece() == piece) else { return Ok(()) };
    let binary = engine.binary(workshop).with_context(|| engine.remedy("browser"))?;
    engine.driver(workshop).with_context(|| engine.remedy("driver"))?;
    if *engine == Engine::Webkit && ["xvfb-run", "Xvfb"].iter().any(|name| workshop.find(name).is_none()) {
        bail!("{}", engine.remedy("virtual display (xvfb-run)"));
    }
    report::note(format_args!("{}: {}", engine.name(), binary.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_gets_its_own_capabilities_and_the_browser_that_was_found() {
        let all = r#"{"goog:chromeOptions":{"args":["--headless=new"]},"moz:firefoxOptions":{"binary":"/old","args":["-headless"]}}"#;
        let chosen = |engine: Engine| engine.select(all, Path::new("/new/browser")).unwrap();
        let firefox: Value = serde_json::from_str(&chosen(Engine::Firefox)).unwrap();
        assert_eq!(
            firefox,
            serde_json::json!({"moz:firefoxOptions": {"binary": "/new/browser", "args": ["-headless"]}})
        );
        assert!(!chosen(Engine::Chromium).contains("/new"), "ChromeDriver finds its own");
        assert!(chosen(Engine::Webkit).contains("/new/browser"), "even if webdriver.json has no entry for it");
    }
}
