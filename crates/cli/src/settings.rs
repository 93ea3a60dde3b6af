//! How a server is to run: flags beat the environment, that beats the file, that beats what is built in.

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
use starlane_server::{Authority, Limit, Limits, Origin, ServeConfig, SpaceName, TlsFiles, Unit};

use crate::{arguments::Serve, log_filter::LogFilter};

/// The file that `--config` names, as it is written.
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
    limits: BTreeMap<String, Amount>,
}

/// The value of a limit, as it is written: a number in the limit's unit, or a text with a unit such as `16 MiB` or `5 s`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// All settings, and where each came from.
pub(crate) struct Settings {
    pub(crate) serve: ServeConfig,
    pub(crate) log: LogFilter,
    pub(crate) log_format: LogFormat,
    /// Name, value, origin: `flag`, `environment`, `file` or `built in`.
    pub(crate) origins: Vec<[String; 3]>,
}

impl Settings {
    /// Puts together what was typed, the environment and the file. `data` is the data folder, if it was given; `matches` says
    /// where what was given came from.
    pub(crate) fn read(given: &Serve, data: Option<&Path>, matches: &ArgMatches) -> Result<Self> {
        let file = given.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let built_in = ServeConfig::default();
        let mut origins = Vec::new();
        let mut pick = Pick { matches, origins: &mut origins };
        let cert = pick.optional("cert", given.cert.clone(), file.cert);
        let key = pick.optional("key", given.key.clone(), file.key);
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => bail!("a certificate needs its key: give `--key FILE` too"),
            (None, Some(_)) => bail!("a key needs its certificate: give `--cert FILE` too"),
        };
        let spaces = match given.spaces.is_empty() {
            true => file.spaces,
            false => spaces(&given.spaces),
        };
        let limits = limits(&file.limits)?;
        let serve = ServeConfig {
            data: pick.one("data", data.map(Path::to_owned), file.data, built_in.data),
            listen: pick.one("listen", given.listen, file.listen, built_in.listen),
            behind_proxy: pick.one("behind_proxy", given.behind_proxy.then_some(true), file.behind_proxy, false),
            allow_hosts: pick.many("allow_hosts", given.allow_hosts.clone(), file.allow_host),
            allow_origins: pick.many("allow_origins", given.allow_origins.clone(), file.allow_origin),
            tls,
            spaces,
            limits: limits.clone(),
            ..built_in
        };
        let log = pick.one("log", given.log.clone(), file.log, LogFilter::default());
        let log_format = pick.one("log_format", given.log_format, file.log_format, LogFormat::Text);
        for (name, values) in &serve.spaces {
            let origin = if given.spaces.is_empty() { "file" } else { "flag" };
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            origins.push([format!("space {name}"), values.join(", "), origin.to_owned()]);
        }
        let of_file = |given: bool| if given { "file" } else { "built in" }.to_owned();
        for limit in Limit::ALL {
            let name = limit.name();
            let origin = of_file(file.limits.contains_key(name));
            origins.push([format!("limits {name}"), limits.shown(*limit), origin]);
        }
        Ok(Self { serve, log, log_format, origins })
    }
}

/// Picks each setting, and notes where it came from.
struct Pick<'a> {
    matches: &'a ArgMatches,
    origins: &'a mut Vec<[String; 3]>,
}

impl Pick<'_> {
    fn one<T: std::fmt::Debug>(&mut self, name: &str, given: Option<T>, file: Option<T>, built_in: T) -> T {
        let in_file = file.is_some();
        let origin = self.origin(name, given.is_some(), in_file);
        let value = given.or(file).unwrap_or(built_in);
        self.note(name, format!("{value:?}"), origin);
        value
    }

    fn optional(&mut self, name: &str, given: Option<PathBuf>, file: Option<PathBuf>) -> Option<PathBuf> {
        let origin = self.origin(name, given.is_some(), file.is_some());
        let value = given.or(file);
        self.note(name, value.as_ref().map_or("none".to_owned(), |path| format!("{path:?}")), origin);
        value
    }

    fn many<T: fmt::Display>(&mut self, name: &str, given: Vec<T>, file: Vec<T>) -> Vec<T> {
        let origin = self.origin(name, !given.is_empty(), !file.is_empty());
        let value = if given.is_empty() { file } else { given };
        let shown: Vec<String> = value.iter().map(ToString::to_string).collect();
        self.note(name, format!("{shown:?}"), origin);
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

    fn note(&mut self, name: &str, value: String, origin: &str) {
        self.origins.push([name.replace('_', "-"), value.trim_matches('"').to_owned(), origin.to_owned()]);
    }
}

fn read_file(path: &Path) -> Result<File> {
    let text =
        fs::read_to_string(path).with_context(|| format!("the configuration {} can't be read", path.display()))?;
    // The message of the TOML reader shows line and column.
    let file: File = toml::from_str(&text).with_context(|| format!("the configuration {} is wrong", path.display()))?;
    for (name, given) in [("data", &file.data), ("cert", &file.cert), ("key", &file.key)] {
        if given.as_ref().is_some_and(|given| given.as_os_str().is_empty()) {
            bail!("the configuration {} is wrong: `{name}` is empty; name a path, or leave it out", path.display());
        }
    }
    Ok(file)
}

/// The limits: those that the file names, and the built-in ones. Errors with the name of the limit and what is expected.
fn limits(given: &BTreeMap<String, Amount>) -> Result<Limits> {
    let mut limits = Limits::default();
    for (name, amount) in given {
        let limit = Limit::named(name).with_context(|| {
            format!("there is no limit `{name}` in `[limits]`; `starlane config show` lists all limits")
        })?;
        let value = amount.value(limit.unit()).with_context(|| format!("the limit `{name}` in `[limits]`"))?;
        limits.set(limit, value)?;
    }
    Ok(limits)
}

impl Amount {
    /// The number in a unit.
    fn value(&self, unit: Unit) -> Result<u64> {
        let text = match self {
            Self::Number(number) => return Ok(*number),
            Self::Text(text) => text,
        };
        match unit {
            Unit::Bytes => {
                let bytes =
                    text.parse::<ByteSize>().map_err(|error| anyhow!("{error}; expected such as \"16 MiB\""))?;
                Ok(bytes.as_u64())
            }
            Unit::Milliseconds => {
                let time = humantime::parse_duration(text).with_context(|| "expected a time such as \"5 s\"")?;
                Ok(u64::try_from(time.as_millis())?)
            }
            Unit::Count | Unit::PerSecond => bail!("expected a number without quotes, not \"{text}\""),
        }
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
    fn flags_beat_the_file_and_that_what_is_built_in() {
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
        let origin = |name: &str| settings.origins.iter().find(|[known, ..]| known == name).unwrap()[2].as_str();
        assert_eq!(
            [origin("listen"), origin("log"), origin("data"), origin("limits links"), origin("allow-origins")],
            ["flag", "file", "built in", "file", "file"]
        );
        let over = read(&["starlane", "serve", "--config", file, "--space", "other=o.test", "--space", "other=p.test"]);
        assert_eq!(
            over.unwrap().serve.spaces,
            [("other".parse().unwrap(), vec!["o.test".parse().unwrap(), "p.test".parse().unwrap()])].into()
        );
    }

    #[test]
    fn what_is_wrong_in_the_file_is_shown_with_its_line() {
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
        ] {
            fs::write(&file, format!("[limits]\n{text}\n")).unwrap();
            let error = read(&["starlane", "serve", "--config", file.to_str().unwrap()]).err().unwrap();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        assert!(read(&["starlane", "serve", "--cert", "x"]).err().unwrap().to_string().contains("--key"));
    }
}
