//! The command line arguments.

mod author;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
};
use starlane_protocol::{Address, Topic};
use starlane_server::{Authority, NameError, Origin, SpaceName};

pub(crate) use self::author::{
    BindCommand, BindTypes, BundleCommand, Dev, KeysCommand, Language, NewCommand, Publish, SchemaKind, TypesLanguage,
};
use crate::{log_filter::LogFilter, output::Output, settings::LogFormat};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Yellow.on_default());

const AFTER_HELP: &str = "\
Try it out:
  starlane serve
  starlane publish my-bundle acme:repo:hello:1.0.0
  starlane app create acme:hello --bundle acme:repo:hello:1.0.0
  starlane send acme:hello:greeter greet --json '{\"name\": \"Ada\"}'

Exit codes:
  0  done
  1  refused: by the server, or because of a fault in the bundle; the message says what to do
  2  the arguments are wrong
  3  no server answers, or the connection was lost";

/// One mesh from server to browser: run a server, publish bundles, send messages
#[derive(Parser)]
#[command(name = "starlane", version, styles = STYLES, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The format of results and errors
    #[arg(long, global = true, value_enum, default_value_t, env = "STARLANE_OUTPUT")]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The server, and the identity of the caller.
#[derive(Args, Clone, Default)]
pub(crate) struct Reach {
    /// The URL of the server [default: the profile's, else http://127.0.0.1:7711]
    #[arg(long, global = true, value_name = "URL", env = "STARLANE_SERVER")]
    pub(crate) server: Option<String>,
    /// The token for the server [default: the admin token in the data folder, for a server on this machine]
    #[arg(long, global = true, value_name = "TOKEN", env = "STARLANE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the token
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_TOKEN_FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// A PEM file with a certificate authority for the server's certificate [default: the system's authorities]
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The server's data folder [default: starlane-data]
    #[arg(long, global = true, value_name = "FOLDER", env = "STARLANE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A file with server, token, token-file, ca and data [default: starlane/profile.toml in your configuration folder]
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_PROFILE")]
    pub(crate) profile: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a server: apps, their mechtrons, databases and pages, all in one data folder
    Serve(Serve),
    /// Check or show the settings of `starlane serve`
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check all data of a running server (or of a folder, with `--data FOLDER`), and say how to repair problems
    Check,
    /// Print the last changes by principals: of tokens, grants, apps and bundles, and backups
    Audit {
        /// The number of changes
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Back up all data of a running server to a file
    Backup {
        /// The file to write; it contains the server's secrets
        file: PathBuf,
    },
    /// Make a data folder from a backup: `starlane restore FILE --data NEW`
    Restore {
        /// The backup file
        file: PathBuf,
        /// Keep the keys of the backup: older tokens remain valid, even those that were revoked after the backup
        #[arg(long)]
        keep_keys: bool,
    },
    /// Show the status of a server, and its apps and actors
    Status,
    /// Print the last lines of a server's log
    Logs {
        /// Print new lines as they are logged
        #[arg(long)]
        follow: bool,
        /// The number of lines
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Make a folder for a new mechtron
    New {
        #[command(subcommand)]
        command: NewCommand,
    },
    /// Run the build command of a bundle and copy the built files into its folder
    Build {
        /// The bundle's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Build, serve and publish a bundle; repeat after each change of a file
    Dev(Dev),
    /// Check and sign a bundle, and upload the files that the server does not have
    Publish(Publish),
    /// Create, list and delete apps
    App {
        #[command(subcommand)]
        command: AppCommand,
    },
    /// List, show and verify published bundles
    Bundle {
        #[command(subcommand)]
        command: BundleCommand,
    },
    /// Make types from binds, the contracts of mechtrons
    Bind {
        #[command(subcommand)]
        command: BindCommand,
    },
    /// List the resources of apps
    Resource {
        #[command(subcommand)]
        command: ResourceCommand,
    },
    /// List the files of a bundle that an app uses
    Ls {
        /// The bundle: acme:repo:profiles:1.0.0, or a folder in it: acme:repo:profiles:1.0.0:/site
        address: Address,
    },
    /// Print a file of a bundle
    Cat {
        /// The file: acme:repo:profiles:1.0.0:/site/index.html
        address: Address,
    },
    /// Copy a file of a bundle to this machine
    Cp {
        /// The file: acme:repo:profiles:1.0.0:/site/index.html
        address: Address,
        /// The target: a file or a folder
        to: PathBuf,
    },
    /// Make or show the publisher's key
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Give grants to a principal, or take them away; without grants, show them
    Grant(Grant),
    /// Create and revoke tokens
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Send a request and print its reply
    Send(Send),
    /// Print the events of a topic as they arrive
    Watch {
        /// The topic: acme:profiles:directory#changes
        #[arg(value_parser = Topic::parse)]
        topic: Topic,
    },
    /// Print the JSON Schema of a TOML file of bundles, for editors
    Schema {
        /// The file
        kind: SchemaKind,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(crate) struct Serve {
    /// A TOML file with these settings; flags and environment variables override it
    #[arg(long, value_name = "FILE", env = "STARLANE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The address to listen on, with a port (0 uses any free port) [default: 127.0.0.1:7711]
    #[arg(long, value_name = "ADDRESS:PORT", env = "STARLANE_LISTEN", value_parser = listen)]
    pub(crate) listen: Option<SocketAddr>,
    /// The TLS certificate, a PEM file
    #[arg(long, value_name = "FILE", env = "STARLANE_CERT")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", env = "STARLANE_CERT_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// A proxy in front of this server terminates TLS, and forwards `Host` unchanged
    #[arg(long, env = "STARLANE_BEHIND_PROXY")]
    pub(crate) behind_proxy: bool,
    /// An additional origin whose pages may use this server, such as http://localhost:5173; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<Origin>,
    /// An additional host name of this server, such as mesh.test:7711; repeatable
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<Authority>,
    /// A host name for the apps of one space only, such as acme=acme.test; repeatable
    #[arg(long = "space", value_name = "SPACE=HOST", value_parser = space)]
    pub(crate) spaces: Vec<(SpaceName, Authority)>,
    /// The log level (info, debug) or a filter such as starlane_server=trace [default: info]
    #[arg(long, value_name = "FILTER", env = "STARLANE_LOG")]
    pub(crate) log: Option<LogFilter>,
    /// The format of log lines [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "STARLANE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check whether a server can start with these settings
    Check(Serve),
    /// Show each setting and its source
    Show(Serve),
}

#[derive(Subcommand)]
pub(crate) enum ResourceCommand {
    /// Show the databases and other resources of all apps
    List,
}

#[derive(Subcommand)]
pub(crate) enum AppCommand {
    /// Create an app from a published bundle, or move an app to another bundle
    Create {
        /// The app's address: acme:profiles
        app: Address,
        /// The bundle's address, with a version
        #[arg(long, value_name = "ADDRESS", value_parser = bundle)]
        bundle: Address,
    },
    /// Show all apps
    List,
    /// Restart all mechtrons of an app, or one, from their last saved state; ends a quarantine
    Restart {
        /// The address of an app or a mechtron: acme:profiles:profile:ada
        address: Address,
    },
    /// Stop and delete an app; its databases and the state of its actors remain on disk
    Delete {
        /// The app's address
        app: Address,
        /// Also remove its databases and the state of its actors; this cannot be undone
        #[arg(long)]
        with_data: bool,
    },
}

#[derive(Args)]
pub(crate) struct Grant {
    /// The principal: the subject of tokens
    pub(crate) principal: Option<String>,
    /// Grants such as "request acme:profiles:** save"; `{sub}` stands for the principal's own key
    #[arg(value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// Take these grants away; without grants, take all away
    #[arg(long, requires = "principal")]
    pub(crate) remove: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token; the first token turns anonymous access off
    Create(TokenCreate),
    /// Revoke tokens, and close the links that were opened with them
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct TokenCreate {
    /// The principal of the token, which mechtrons see as the caller
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,
    /// An additional grant beside those of `starlane grant`; repeatable
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// How long the token is valid: 15m, 1h, 30d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Revoke {
    /// The token's id, which `starlane token create` printed
    pub(crate) id: Option<String>,
    /// Revoke all existing tokens of this principal
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
}

#[derive(Args)]
pub(crate) struct Send {
    /// The target: acme:profiles:directory
    pub(crate) address: Address,
    /// The operation: list
    pub(crate) operation: String,
    /// The body, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "file", value_parser = json)]
    pub(crate) json: Option<String>,
    /// A file with the body; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The media type of that file [default: from its name]
    #[arg(long = "type", value_name = "TYPE", requires = "file")]
    pub(crate) content_type: Option<String>,
}

fn bundle(text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    match address.is_bundle() {
        true => Ok(address),
        false => {
            Err("it is not a bundle's address, which ends with a version, such as acme:repo:profiles:1.0.0".to_owned())
        }
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7711 or [::1]:7711".to_owned())
}

fn space(text: &str) -> Result<(SpaceName, Authority), String> {
    let (space, host) = text
        .split_once('=')
        .ok_or("expected a space and a host name, such as acme=acme.test or acme=localhost:7711")?;
    let told = |error: NameError| error.to_string();
    Ok((space.parse().map_err(told)?, host.parse().map_err(told)?))
}

fn json(text: &str) -> Result<String, String> {
    serde_json::from_str::<serde_json::Value>(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; put single quotes around the JSON: --json '{{\"name\": \"ada\"}}'"))
}

#[cfg(test)]
mod tests;
