//! The settings of a server. Flags override the environment, the environment overrides the file, and the file overrides
//! the defaults.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use bytesize::ByteSize;
use clap::{ArgMatches, parser::ValueSource};
use serde::{Deserialize, Serialize};
use starlane_server::{Authority, Limit, Origin, ServeConfig, ServerLimits, SpaceName, TlsFiles, Unit};

use toml::{Spanned, Value};

use crate::{arguments::Serve, log_filter::LogFilter};

/// The file of `--config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    behind_proxy: Option<bool>,
    allow_host: Vec<Authority>,
    allow_origin: Vec<Origin>,
    log: Option<LogFilter>,
    log_format: Option<LogFormat>,
    spaces: BTreeMap<SpaceName, Vec<Authority>>,
    /// A number in the limit's unit, or a string with a unit such as `16 MiB` or `5 s`.
    limits: BTreeMap<String, Spanned<Value>>,
}

/// A setting as it is in the file.
pub(crate) struct Setting {
    /// `listen`, or with its table: `limits.links`.
    pub(crate) name: String,
    /// `None` if it is not set.
    pub(crate) value: Option<Value>,
    /// Its source: `flag`, `environment`, `file` or `built in`.
    pub(crate) origin: &'static str,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// All settings, each with its source.
pub(crate) struct Settings {
    pub(crate) serve: ServeConfig,
    pub(crate) log: LogFilter,
    pub(crate) log_format: LogFormat,
    /// Each setting with its source.
    pub(crate) all: Vec<Setting>,
}

impl Settings {
    /// Combines the flags, the environment and the file. `data` is the data folder, if it was given. `matches` has the
    /// source of each given setting.
    pub(crate) fn read(given: &Serve, data: Option<&Path>, matches: &ArgMatches) -> Result<Self> {
        let (file, limits) = given.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let built_in = ServeConfig::default();
        let mut all = Vec::new();
        let mut pick = Pick { matches, all: &mut all };
        let cert = pick.optional("cert", given.cert.clone(), file.cert);
        let key = pick.optional("key", given.key.clone(), file.key);
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => bail!("a certificate needs its private key: add `--key FILE`"),
            (None, Some(_)) => bail!("a private key needs its certificate: add `--cert FILE`"),
        };
        let spaces = match given.spaces.is_empty() {
            true => file.spaces,
            false => spaces(&given.spaces),
        };
        let serve = ServeConfig {
            data: pick.one("data", (data.map(Path::to_owned), file.data, built_in.data), |data| path(data)),
            listen: pick.one("listen", (given.listen, file.listen, built_in.listen), text),
            behind_proxy: pick.one(
                "behind_proxy",
                (given.behind_proxy.then_some(true), file.behind_proxy, false),
                |on| (*on).into(),
            ),
            allow_hosts: pick.many("allow_hosts", given.allow_hosts.clone(), file.allow_host),
            allow_origins: pick.many("allow_origins", given.allow_origins.clone(), file.allow_origin),
            tls,
            spaces,
            limits: limits.clone(),
            ..built_in
        };
        let log = pick.one("log", (given.log.clone(), file.log, LogFilter::default()), text);
        let log_format = pick.one("log_format", (given.log_format, file.log_format, LogFormat::Text), |format| {
            Value::try_from(format).unwrap_or_else(|_| format!("{format:?}").into())
        });
        for (name, values) in &serve.spaces {
            let origin = if given.spaces.is_empty() { "file" } else { "flag" };
            let value = Some(Value::Array(values.iter().map(text).collect()));
            all.push(Setting { name: format!("spaces.{name}"), value, origin });
        }
        for limit in Limit::ALL {
            let name = limit.name();
            let origin = if file.limits.contains_key(name) { "file" } else { "built in" };
            let value = Some(written(&limits, *limit));
            all.push(Setting { name: format!("limits.{name}"), value, origin });
        }
        Ok(Self { serve, log, log_format, all })
    }
}

/// The value of a limit as it is in the file.
fn written(limits: &ServerLimits, limit: Limit) -> Value {
    let value = limits.get(limit);
    let shown = limits.shown(limit);
    let is_number = matches!(limit.unit(), Unit::Count | Unit::PerSecond) || shown.ends_with(" bytes") || value == 0;
    if is_number { i64::try_from(value).unwrap_or(i64::MAX).into() } else { shown.into() }
}

fn text(value: &impl fmt::Display) -> Value {
    value.to_string().into()
}

fn path(value: &Path) -> Value {
    value.display().to_string().into()
}

/// Picks the value of each setting, and records its source.
struct Pick<'a> {
    matches: &'a ArgMatches,
    all: &'a mut Vec<Setting>,
}

impl Pick<'_> {
    /// Returns the first value that exists: the given one, the file's, or the default.
    fn one<T>(&mut self, name: &str, of: (Option<T>, Option<T>, T), show: impl Fn(&T) -> Value) -> T {
        let (given, file, built_in) = of;
        let origin = self.origin(name, given.is_some(), file.is_some());
        let value = given.or(file).unwrap_or(built_in);
        self.note(name, Some(show(&value)), origin);
        value
    }

    fn optional(&mut self, name: &str, given: Option<PathBuf>, file: Option<PathBuf>) -> Option<PathBuf> {
        let origin = self.origin(name, given.is_some(), file.is_some());
        let value = given.or(file);
        self.note(name, value.as_deref().map(path), origin);
        value
    }

    fn many<T: fmt::Display>(&mut self, name: &str, given: Vec<T>, file: Vec<T>) -> Vec<T> {
        let origin = self.origin(name, !given.is_empty(), !file.is_empty());
        let value = if given.is_empty() { file } else { given };
        // The key in the file is in the singular.
        self.note(name.trim_end_matches('s'), Some(Value::Array(value.iter().map(text).collect())), origin);
        value
    }

    fn origin(&self, name: &str, given: bool, in_file: bool) -> &'static str {
        let typed = given && self.matches.try_contains_id(name).unwrap_or(false);
        match self.matches.try_contains_id(name).ok().and_then(|_| self.matches.value_source(name)) {
            Some(ValueSource::EnvVariable) if typed => "environment",
            _ if given => "flag",
            _ if in_file => "file",
            _ => "built in",
        }
    }

    fn note(&mut self, name: &str, value: Option<Value>, origin: &'static str) {
        self.all.push(Setting { name: name.replace('_', "-"), value, origin });
    }
}

/// Reads a file. Returns its settings, and all limits: those of the file, and the defaults of the others.
fn read_file(path: &Path) -> Result<(File, ServerLimits)> {
    let text =
        fs::read_to_string(path).with_context(|| format!("the configuration {} can't be read", path.display()))?;
    // The error of the TOML parser has the line and the column.
    let file: File =
        toml::from_str(&text).with_context(|| format!("the configuration {} is invalid", path.display()))?;
    for (name, given) in [("data", &file.data), ("cert", &file.cert), ("key", &file.key)] {
        if given.as_ref().is_some_and(|given| given.as_os_str().is_empty()) {
            bail!("the configuration {} is invalid: `{name}` is empty; give a path, or leave it out", path.display());
        }
    }
    let mut limits = ServerLimits::default();
    for (name, amount) in &file.limits {
        let mut set = || -> Result<()> {
            let limit = Limit::named(name).ok_or_else(|| unknown(name))?;
            Ok(limits.set(limit, number(limit, amount.get_ref())?)?)
        };
        let line = 1 + text.get(..amount.span().start).unwrap_or_default().matches('\n').count();
        set().with_context(|| format!("the configuration {} is invalid in line {line}", path.display()))?;
    }
    Ok((file, limits))
}

/// The error for a limit that does not exist. It suggests a name if one is similar.
fn unknown(name: &str) -> anyhow::Error {
    let known = Limit::ALL.iter().map(|limit| (strsim::jaro_winkler(name, limit.name()), limit.name()));
    let nearest = known.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8);
    let near = nearest.map(|(_, name)| format!("did you mean `{name}`? ")).unwrap_or_default();
    anyhow!("there is no limit `{name}` in `[limits]`; {near}`starlane config show` lists all limits")
}

/// Returns the value of a limit in its unit. The error names the limit and the expectation.
fn number(limit: Limit, given: &Value) -> Result<u64> {
    let (name, range) = (limit.name(), limit.range());
    let wrong = |example: &str| anyhow!("the limit `{name}` is {given}; it must be {range}{example}");
    let text = match given {
        Value::Integer(number) => return u64::try_from(*number).map_err(|_| wrong("")),
        Value::String(text) => text,
        _ => return Err(wrong("")),
    };
    match limit.unit() {
        Unit::Bytes => Ok(text.parse::<ByteSize>().map_err(|_| wrong(", such as \"16 MiB\""))?.as_u64()),
        Unit::Milliseconds => {
            let time = humantime::parse_duration(text).map_err(|_| wrong(", such as \"5 s\""))?;
            Ok(u64::try_from(time.as_millis())?)
        }
        Unit::Count | Unit::PerSecond => Err(wrong(", a number without quotes")),
    }
}

fn spaces(given: &[(SpaceName, Authority)]) -> BTreeMap<SpaceName, Vec<Authority>> {
    let mut spaces: BTreeMap<SpaceName, Vec<Authority>> = BTreeMap::new();
    for (space, host) in given {
        spaces.entry(space.clone()).or_default().push(host.clone());
    }
    spaces
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn read(words: &[&str]) -> Result<Settings> {
        let matches = Arguments::command().try_get_matches_from(words).unwrap();
        let arguments = Arguments::from_arg_matches(&matches).unwrap();
        let Command::Serve(given) = &arguments.command else { panic!("serve was typed") };
        Settings::read(given, arguments.reach.data.as_deref(), matches.subcommand().unwrap().1)
    }

    #[test]
    fn flags_override_the_file_and_the_file_overrides_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("starlane.toml");
        let text = "listen = \"127.0.0.1:8000\"\nlog = \"debug\"\nallow-origin = [\"http://a.test\"]\n\
                    [spaces]\nacme = [\"acme.test\"]\n[limits]\nlinks = 7\n";
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let settings = read(&["starlane", "serve", "--config", file, "--listen", "127.0.0.1:9000"]).unwrap();
        assert_eq!(settings.serve.listen.port(), 9_000);
        assert_eq!((settings.log.to_string().as_str(), settings.serve.limits.get(Limit::Links)), ("debug", 7));
        let (acme, acme_test) = ("acme".parse().unwrap(), "acme.test".parse().unwrap());
        assert_eq!(settings.serve.spaces[&acme], [acme_test]);
        let origin = |name: &str| settings.all.iter().find(|setting| setting.name == name).unwrap().origin;
        assert_eq!(
            [origin("listen"), origin("log"), origin("data"), origin("limits.links"), origin("allow-origin")],
            ["flag", "file", "built in", "file", "file"]
        );
        let over = read(&["starlane", "serve", "--config", file, "--space", "other=o.test", "--space", "other=p.test"]);
        assert_eq!(
            over.unwrap().serve.spaces,
            [("other".parse().unwrap(), vec!["o.test".parse().unwrap(), "p.test".parse().unwrap()])].into()
        );
    }

    #[test]
    fn errors_in_the_file_have_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("starlane.toml");
        fs::write(&file, "log = \"info\"\nlisten-on = 1\n").unwrap();
        let error = format!("{:#}", read(&["starlane", "serve", "--config", file.to_str().unwrap()]).err().unwrap());
        assert!(error.contains("line 2") && error.contains("listen-on") && error.contains("starlane.toml"), "{error}");
        for (text, says) in [
            ("links = 0", "must be from 1"),
            ("bytes-in-flight = \"soon\"", "16 MiB"),
            ("links = \"7\"", "without quotes"),
            ("lniks = 7", "no limit `lniks`"),
            ("lniks = 7", "did you mean `links`?"),
            ("timers = 1\nlinks = 0", "starlane.toml is invalid in line 3"),
            ("sql-rows = -1", "the limit `sql-rows` is -1; it must be from 1 to 10000000"),
            ("state-bytes = 1.5", "the limit `state-bytes` is 1.5; it must be from 1 KiB to 256 MiB"),
            ("sql-time = true", "from 10 ms to 1 h"),
        ] {
            fs::write(&file, format!("[limits]\n{text}\n")).unwrap();
            let error = read(&["starlane", "serve", "--config", file.to_str().unwrap()]).err().unwrap();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        assert!(read(&["starlane", "serve", "--cert", "x"]).err().unwrap().to_string().contains("--key"));
    }
}
