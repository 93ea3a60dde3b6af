//! What authors type.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use starlane_bundle::authoring::FileKind;
use starlane_protocol::Address;
use starlane_server::Origin;

#[derive(Subcommand)]
pub(crate) enum NewCommand {
    /// A mechtron that serves a page and uses a database, to begin with
    Mechtron {
        /// Its name, and its folder's
        name: String,
        /// The language to write it in
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

/// Languages that there are templates for.
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
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7711", env = "STARLANE_LISTEN", value_parser = super::listen)]
    pub(crate) listen: SocketAddr,
    /// A page's origin that may use the server too, beside those of the usual development servers; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<Origin>,
}

#[derive(Args)]
pub(crate) struct Publish {
    /// The bundle's folder, with its bundle.toml
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where to publish it, with a version: acme:repo:profiles:1.0.0
    #[arg(value_parser = super::bundle)]
    pub(crate) address: Address,
    /// The key to sign with; made if it is not there [default: starlane/key in your configuration folder]
    #[arg(long, value_name = "FILE", env = "STARLANE_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// How long hosts take it, from when it is made: 90d, 1y [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) expires: Option<Duration>,
    /// Publish under a name that belongs to another key, which from now on is this key's; needs `admin`
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    /// Show all bundles that are published
    List,
    /// Show a bundle's files and who signed it
    Show {
        /// The bundle's address, with a version
        #[arg(value_parser = super::bundle)]
        address: Address,
    },
    /// Fetch all of a bundle, and check its signature and every file
    Verify {
        /// The bundle's address, with a version
        #[arg(value_parser = super::bundle)]
        address: Address,
    },
}

#[derive(Subcommand)]
pub(crate) enum BindCommand {
    /// Make types for those who call it
    Types(BindTypes),
}

#[derive(Args)]
pub(crate) struct BindTypes {
    /// The bind: binds/profile.toml, one that was published, acme:repo:profiles:1.0.0:/binds/profile.toml, or a built-in one:
    /// database, bundle, starlane:apps, starlane:grants, starlane:server, starlane:tokens
    pub(crate) bind: String,
    /// The language: ts is TypeScript, for `host.bind<Profile>(…)` of @starlane/mesh
    #[arg(long, value_enum, default_value = "ts")]
    pub(crate) lang: TypesLanguage,
    /// Where to write them [default: print them]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypesLanguage {
    Ts,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key to publish with
    New {
        /// Where [default: starlane/key in your configuration folder]
        #[arg(long, value_name = "FILE", env = "STARLANE_KEY")]
        key: Option<PathBuf>,
    },
    /// Show the public key, which others put into `trust`
    Show {
        /// Where [default: starlane/key in your configuration folder]
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
