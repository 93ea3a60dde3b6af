//! What can be typed.

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
  2  the command itself was typed wrongly
  3  no server answers, or the connection broke off";

/// One mesh from the server into the browser: serve it, publish to it, talk to it.
#[derive(Parser)]
#[command(name = "starlane", version, styles = STYLES, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// How results and errors are written
    #[arg(long, global = true, value_enum, default_value_t, env = "STARLANE_OUTPUT")]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the server is reached, and as whom.
#[derive(Args, Clone, Default)]
pub(crate) struct Reach {
    /// The server to talk to [default: the profile's, else http://127.0.0.1:7711]
    #[arg(long, global = true, value_name = "URL", env = "STARLANE_SERVER")]
    pub(crate) server: Option<String>,
    /// The token to show it [default: the admin token in the data folder, for a server on this machine]
    #[arg(long, global = true, value_name = "TOKEN", env = "STARLANE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The file that holds the token
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_TOKEN_FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// An authority for the server's certificate, in a PEM file [default: the system's]
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The server's data folder [default: starlane-data]
    #[arg(long, global = true, value_name = "FOLDER", env = "STARLANE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A file that keeps server, token, token-file, ca and data [default: starlane/profile.toml in your configuration folder]
    #[arg(long, global = true, value_name = "FILE", env = "STARLANE_PROFILE")]
    pub(crate) profile: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a server: apps, their mechtrons, databases and pages, all in one data folder
    Serve(Serve),
    /// Look at the settings that `starlane serve` would run with
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check all that a server keeps, and say how to mend what is wrong: of a running server, or of a folder with `--data FOLDER`
    Check,
    /// Print the last changes that principals made: tokens, grants, apps, bundles, backups
    Audit {
        /// How many
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Save all that a running server keeps into a file
    Backup {
        /// The file to write: it holds the server's secrets
        file: PathBuf,
    },
    /// Make a data folder of a backup: `starlane restore FILE --data NEW`
    Restore {
        /// The backup
        file: PathBuf,
        /// Keep the backup's keys: tokens made before stay good, also those that were revoked after the backup
        #[arg(long)]
        keep_keys: bool,
    },
    /// Show what runs on a server
    Status,
    /// Print the last lines of a server's log
    Logs {
        /// Go on with those that come
        #[arg(long)]
        follow: bool,
        /// How many lines
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Make a folder to write a mechtron in
    New {
        #[command(subcommand)]
        command: NewCommand,
    },
    /// Run a bundle's build command and collect what it makes
    Build {
        /// The bundle's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Build, serve and publish a bundle, and again after each save
    Dev(Dev),
    /// Check a bundle, sign it, and upload what the server lacks
    Publish(Publish),
    /// Create, list and delete apps
    App {
        #[command(subcommand)]
        command: AppCommand,
    },
    /// Look at published bundles
    Bundle {
        #[command(subcommand)]
        command: BundleCommand,
    },
    /// Use binds: the contracts of mechtrons
    Bind {
        #[command(subcommand)]
        command: BindCommand,
    },
    /// Look at the resources of apps
    Resource {
        #[command(subcommand)]
        command: ResourceCommand,
    },
    /// List files: of a bundle that an app was made of
    Ls {
        /// Where: acme:repo:profiles:1.0.0, or a folder in it, acme:repo:profiles:1.0.0:/site
        address: Address,
    },
    /// Print a file
    Cat {
        /// Which: acme:repo:profiles:1.0.0:/site/index.html
        address: Address,
    },
    /// Copy a file to this machine
    Cp {
        /// Which: acme:repo:profiles:1.0.0:/site/index.html
        address: Address,
        /// Where to: a file, or a folder
        to: PathBuf,
    },
    /// Make or show the publisher's key
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Give grants to a principal or take them; without any, show them
    Grant(Grant),
    /// Make and revoke tokens
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Send a request and print its reply
    Send(Send),
    /// Print the events of a topic as they come
    Watch {
        /// The topic: acme:profiles:directory#changes
        #[arg(value_parser = Topic::parse)]
        topic: Topic,
    },
    /// Print the JSON Schema of one of a bundle's TOML files, for editors
    Schema {
        /// Of which
        kind: SchemaKind,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(crate) struct Serve {
    /// A TOML file with these settings; flags and the environment beat it
    #[arg(long, value_name = "FILE", env = "STARLANE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen: an address of this machine, with a port (0 takes any that is free) [default: 127.0.0.1:7711]
    #[arg(long, value_name = "ADDRESS:PORT", env = "STARLANE_LISTEN", value_parser = listen)]
    pub(crate) listen: Option<SocketAddr>,
    /// The certificate to speak TLS with, a PEM file
    #[arg(long, value_name = "FILE", env = "STARLANE_CERT")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", env = "STARLANE_CERT_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// A proxy in front speaks TLS; it hands on `Host` as it came
    #[arg(long, env = "STARLANE_BEHIND_PROXY")]
    pub(crate) behind_proxy: bool,
    /// A page's origin that may use this server too, such as http://localhost:5173; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<Origin>,
    /// A name that this server answers for too, such as mesh.test:7711; repeatable
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<Authority>,
    /// A name that the apps of one space answer for, and no others, such as acme=acme.test; repeatable
    #[arg(long = "space", value_name = "SPACE=HOST", value_parser = space)]
    pub(crate) spaces: Vec<(SpaceName, Authority)>,
    /// Which lines are logged: info, debug, or a filter such as starlane_server=trace [default: info]
    #[arg(long, value_name = "FILTER", env = "STARLANE_LOG")]
    pub(crate) log: Option<LogFilter>,
    /// How log lines are written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "STARLANE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a server could be started like this
    Check(Serve),
    /// Show each setting, and where it comes from
    Show(Serve),
}

#[derive(Subcommand)]
pub(crate) enum ResourceCommand {
    /// Show the databases and other resources of all apps
    List,
}

#[derive(Subcommand)]
pub(crate) enum AppCommand {
    /// Make an app of a published bundle, or move an app to another bundle
    Create {
        /// The app's address: acme:profiles
        app: Address,
        /// The bundle's address, with a version
        #[arg(long, value_name = "ADDRESS", value_parser = bundle)]
        bundle: Address,
    },
    /// Show all apps
    List,
    /// Start the mechtrons of an app, or one of them, again from their last states; a quarantine is lifted
    Restart {
        /// The address of a mechtron or of an app: acme:profiles:profile:ada
        address: Address,
    },
    /// Stop an app and forget it; its databases and the state of its actors stay on disk
    Delete {
        /// The app's address
        app: Address,
        /// Remove its databases and the state of its actors too: nobody can bring them back
        #[arg(long)]
        with_data: bool,
    },
}

#[derive(Args)]
pub(crate) struct Grant {
    /// Whose: the subject of tokens
    pub(crate) principal: Option<String>,
    /// What it may: "request acme:profiles:** save"; `{sub}` stands for the principal's own key
    #[arg(value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// Take these grants away; without any, all
    #[arg(long, requires = "principal")]
    pub(crate) remove: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; with the first one, nobody is let in any more without
    Create(TokenCreate),
    /// Make tokens worthless, and close the links that were opened with them
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct TokenCreate {
    /// Whose it is: the principal that mechtrons see as caller
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,
    /// What it allows, beside what was granted with `starlane grant`; repeatable
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// How long it is good: 15m, 1h, 30d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Revoke {
    /// The token's id, which `starlane token create` showed
    pub(crate) id: Option<String>,
    /// All tokens of this principal that were made so far
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
}

#[derive(Args)]
pub(crate) struct Send {
    /// To whom: acme:profiles:directory
    pub(crate) address: Address,
    /// Which operation: list
    pub(crate) operation: String,
    /// The body, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "file", value_parser = json)]
    pub(crate) json: Option<String>,
    /// A file to send; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The media type of that file [default: by its name]
    #[arg(long = "type", value_name = "TYPE", requires = "file")]
    pub(crate) content_type: Option<String>,
}

fn bundle(text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    match address.is_bundle() {
        true => Ok(address),
        false => {
            Err("it is no bundle's address: that ends with a version, such as acme:repo:profiles:1.0.0".to_owned())
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
        .map_err(|error| format!("{error}; put single quotes around it: --json '{{\"name\": \"ada\"}}'"))
}

#[cfg(test)]
mod tests;
