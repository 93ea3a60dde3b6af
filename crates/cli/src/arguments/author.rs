//! The command line arguments for authors.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use starlane_bundle::authoring::FileKind;
use starlane_protocol::Address;
use starlane_server::Origin;

#[derive(Subcommand)]
pub(crate) enum NewCommand {
    /// Make an example mechtron that serves a page and uses a database
    Mechtron {
        /// The name of the mechtron and of its folder
        name: String,
        /// The programming language
        #[arg(long, value_enum, default_value_t)]
        lang: Language,
    },
}

/// The TOML files of a bundle.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaKind {
    /// bundle.toml
    Bundle,
    /// app.toml
    App,
    /// The files of binds/
    Bind,
    /// The files of mechtrons/
    Mechtron,
}

impl From<SchemaKind> for FileKind {
    fn from(kind: SchemaKind) -> Self {
        match kind {
            SchemaKind::Bundle => Self::Bundle,
            SchemaKind::App => Self::App,
            SchemaKind::Bind => Self::Bind,
            SchemaKind::Mechtron => Self::Mechtron,
        }
    }
}

/// The languages with a template.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum Language {
    /// Rust
    #[default]
    Rust,
}

#[derive(Args)]
pub(crate) struct Dev {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7711", env = "STARLANE_LISTEN", value_parser = super::listen)]
    pub(crate) listen: SocketAddr,
    /// An additional origin whose pages may use the server, beside those of common development servers; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<Origin>,
}

#[derive(Args)]
pub(crate) struct Publish {
    /// The bundle's folder, with its bundle.toml
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The address of the bundle, with a version: acme:repo:profiles:1.0.0
    #[arg(value_parser = super::bundle)]
    pub(crate) address: Address,
    /// The key to sign with; created if it does not exist [default: starlane/key in your configuration folder]
    #[arg(long, value_name = "FILE", env = "STARLANE_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// How long hosts accept the bundle after it was published: 90d, 1y [default: forever]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) expires: Option<Duration>,
    /// Take over a name that belongs to another key, so that it belongs to this key; needs `admin`
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    /// Show all published bundles
    List,
    /// Show the files and the signer of a bundle
    Show {
        /// The bundle's address, with a version
        #[arg(value_parser = super::bundle)]
        address: Address,
    },
    /// Fetch a whole bundle, and check its signature and every file
    Verify {
        /// The bundle's address, with a version
        #[arg(value_parser = super::bundle)]
        address: Address,
    },
}

#[derive(Subcommand)]
pub(crate) enum BindCommand {
    /// Make types for the callers of a bind
    Types(BindTypes),
}

#[derive(Args)]
pub(crate) struct BindTypes {
    /// The bind: a file (binds/profile.toml), a published one (acme:repo:profiles:1.0.0:/binds/profile.toml), or a
    /// built-in one: database, bundle, starlane:apps, starlane:grants, starlane:server, starlane:tokens
    pub(crate) bind: String,
    /// The language: ts is TypeScript, for `host.bind<Profile>(…)` of @starlane/mesh
    #[arg(long, value_enum, default_value = "ts")]
    pub(crate) lang: TypesLanguage,
    /// The file to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypesLanguage {
    Ts,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a publisher's key
    New {
        /// The key file [default: starlane/key in your configuration folder]
        #[arg(long, value_name = "FILE", env = "STARLANE_KEY")]
        key: Option<PathBuf>,
    },
    /// Show the public key, which other people add to `trust`
    Show {
        /// The key file [default: starlane/key in your configuration folder]
        #[arg(long, value_name = "FILE", env = "STARLANE_KEY")]
        key: Option<PathBuf>,
    },
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_secs() > 0 => Ok(time),
        Ok(_) => Err("expected 1s or longer".to_owned()),
        Err(error) => Err(format!("{error}; expected a time such as 90d or 12h")),
    }
}
