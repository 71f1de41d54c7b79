//! Configuration in two types: [`Args`] and the file as given, `Config` as checked. Flag over environment over file
//! over default.

pub(crate) mod policy;
pub(crate) mod receivers;
mod secret;

pub use hbshell::log::LogFormat;
pub(crate) use hbshell::store::{Address, Credentials, CredentialsGiven};

use crate::cli;
use crate::token::TokenPlace;
use clap::{CommandFactory, Parser};
use hbshell::command_line::{first_set, interval};
use hbshell::log::Log;
use hbshell::pages::PagesArgs;
use hbshell::store::AddressError;
use heartbeat::fleet::machine::FleetSettings;
use heartbeat::wire::beat::INTERVAL_DEFAULT;
use policy::{PolicyTable, RecoverySettings, VerifyTable};
use receivers::{Deadman, Receiver, ReceiverError, ReceiverFile};
pub(crate) use secret::Secret;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit codes.
pub(crate) mod exit {
    /// Success.
    pub(crate) const SUCCESS: u8 = 0;
    /// Failure.
    pub(crate) const FAILURE: u8 = 1;
    /// An invalid flag or value.
    pub(crate) const USAGE: u8 = 2;
    /// The configuration file cannot be used (`EX_CONFIG` of sysexits.h).
    pub(crate) const CONFIG: u8 = 78;
}

const LISTEN_DEFAULT: &str = "127.0.0.1:7410";

/// Receives the heartbeats of a fleet of agents, detects those that are missing or failed, and serves the result over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "hbmonitor",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = false
)]
#[command(
    after_help = "Without a subcommand, hbmonitor serves. Exit codes: 0 success; 1 failure; 2 usage; 78 unusable configuration file."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<CommandArgs>,
    /// TOML file with redis_url, redis_password_file and the other redis_ keys, state_dir, listen, public_url, token_file, read_only, interval_default,
    /// the tables policy and verify, and a table [[receiver]] for each place that notifications go to
    #[arg(long, env = "HB_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// URL of the store [default: Redis on 127.0.0.1:6379 if it answers, else an embedded store]
    /// [env: HB_REDIS_URL, then REDIS_URL]
    #[arg(long, value_name = "URL", global = true)]
    redis_url: Option<String>,
    /// File with the store's password; read again for each connection
    #[arg(
        long,
        env = "HB_REDIS_PASSWORD_FILE",
        value_name = "FILE",
        global = true
    )]
    redis_password_file: Option<PathBuf>,
    /// The store's user, in the place of the URL's
    #[arg(long, env = "HB_REDIS_USERNAME", value_name = "NAME", global = true)]
    redis_username: Option<String>,
    /// Certificate authorities for a rediss:// store, in PEM [default: the machine's]
    #[arg(long, env = "HB_REDIS_CA_FILE", value_name = "FILE", global = true)]
    redis_ca_file: Option<PathBuf>,
    /// A certificate to show to a rediss:// store, in PEM
    #[arg(long, env = "HB_REDIS_CERT_FILE", value_name = "FILE", global = true)]
    redis_cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM; all these files are read again at each connection
    #[arg(long, env = "HB_REDIS_KEY_FILE", value_name = "FILE", global = true)]
    redis_key_file: Option<PathBuf>,
    /// Directory of what the embedded store keeps [default: $XDG_STATE_HOME/hb; /var/lib/hb for root, else ~/.local/state/hb]
    #[arg(long, env = "HB_STATE_DIR", value_name = "DIRECTORY", global = true)]
    state_dir: Option<PathBuf>,
    /// Address of the HTTP server [default: 127.0.0.1:7410]
    #[arg(long, env = "HB_LISTEN", value_name = "ADDRESS:PORT", global = true)]
    listen: Option<String>,
    /// URL under which people reach the HTTP server; requests for its host are answered, beside those for the address
    #[arg(long, env = "HB_PUBLIC_URL", value_name = "URL", global = true)]
    public_url: Option<String>,
    /// File with the token that requests need to change something [default: token in the state directory, made when missing]
    #[arg(long, env = "HB_TOKEN_FILE", value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Answer 403 to every request that would change something
    #[arg(long, env = "HB_READ_ONLY", global = true)]
    read_only: bool,
    /// URL of the monitor that commands ask [default: http://127.0.0.1:7410]
    #[arg(long, env = "HB_URL", value_name = "URL", global = true)]
    url: Option<String>,
    /// Beat interval assumed for producers that do not report theirs, 100ms to 1h [default: 30s]
    #[arg(long, env = "HB_INTERVAL_DEFAULT", value_name = "TIME", global = true)]
    interval_default: Option<String>,
    /// Format of the log on standard error
    #[arg(long, env = "HB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    /// Increase verbosity (-v debug, -vv trace)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum CommandArgs {
    /// Monitor the fleet and serve HTTP (the default)
    Serve {
        /// Log errors only
        #[arg(short, long = "quiet", id = "serve_quiet")]
        quiet: bool,
    },
    /// Run a demo: an embedded store and five agents that are killed, hang, crash or lose their sidecar, and come back
    Demo {
        /// Exit after the demo, with code 0 only if it went as expected
        #[arg(long)]
        once: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages and completions into a directory
    #[command(hide = true)]
    Pages(PagesArgs),
    /// Print what the configuration amounts to: files, keys, receivers, and what an agent gets
    CheckConfig(CheckArgs),
    /// Try what notifies people
    #[command(subcommand)]
    Alert(AlertArgs),
    #[command(flatten)]
    Ask(cli::Command),
}

/// Whose policy and receivers are printed.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct CheckArgs {
    /// Print also the policy and the receivers of this agent
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// Its type
    #[arg(long = "type", value_name = "TYPE", requires = "agent")]
    pub(crate) kind: Option<String>,
    /// Its host
    #[arg(long, value_name = "HOST", requires = "agent")]
    pub(crate) host: Option<String>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum AlertArgs {
    /// Send a message that is marked as a test to a receiver, or to all, and print the answers
    Test {
        /// The receiver
        receiver: Option<String>,
    },
}

/// A configuration that can be used as it is.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    /// The configured store, if any.
    pub(crate) store: Option<Address>,
    /// Of the store, wherever that is.
    pub(crate) credentials: Credentials,
    /// Where an embedded store keeps its data; `None` where no place is known.
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    /// The host of the URL under which people reach the HTTP server.
    pub(crate) public_host: Option<String>,
    /// That URL.
    pub(crate) public_url: Option<String>,
    pub(crate) token: TokenPlace,
    /// Nothing can be changed over HTTP.
    pub(crate) read_only: bool,
    pub(crate) settings: FleetSettings,
    pub(crate) recovery: RecoverySettings,
    /// Where notifications go.
    pub(crate) receivers: Vec<Receiver>,
    /// What alerts when hbmonitor is gone.
    pub(crate) deadman: Option<Deadman>,
    pub(crate) log: Log,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Serve,
    Demo {
        once: bool,
    },
    CheckConfig(CheckArgs),
    /// One receiver or all.
    TestAlerts {
        receiver: Option<String>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    redis_url: Option<String>,
    redis_password_file: Option<PathBuf>,
    redis_username: Option<String>,
    redis_ca_file: Option<PathBuf>,
    redis_cert_file: Option<PathBuf>,
    redis_key_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    listen: Option<String>,
    public_url: Option<String>,
    token_file: Option<PathBuf>,
    read_only: Option<bool>,
    interval_default: Option<String>,
    deadman_url: Option<String>,
    deadman_url_file: Option<PathBuf>,
    deadman_private: Option<bool>,
    #[serde(default)]
    policy: Vec<PolicyTable>,
    #[serde(default)]
    verify: VerifyTable,
    receiver: Option<Vec<ReceiverFile>>,
}

const FILE_KEYS: [&str; 16] = [
    "redis_url",
    "redis_password_file",
    "redis_username",
    "redis_ca_file",
    "redis_cert_file",
    "redis_key_file",
    "state_dir",
    "listen",
    "public_url",
    "token_file",
    "read_only",
    "interval_default",
    "deadman_url",
    "deadman_url_file",
    "deadman_private",
    "receiver",
];

/// Why there is no configuration. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}; check --config")]
    FileUnreadable(PathBuf, std::io::Error),
    /// The file cannot be used.
    #[error("configuration file {0}: {1}")]
    FileWrong(PathBuf, String),
    /// Not an address to listen on.
    #[error("listen: expected ADDRESS:PORT as in 127.0.0.1:7410, got {0:?}")]
    ListenText(String),
    /// Another program listens there, or the address is not of this machine.
    #[error("cannot listen on {0}: {1}; choose another address with --listen")]
    Listen(SocketAddr, std::io::Error),
    /// Not the URL of a web page.
    #[error("public_url: expected a URL as in https://hb.example.com, got {0:?}")]
    PublicUrl(String),
    /// Not a time, too short or too long.
    #[error("interval_default: expected a time from 100ms to 1h as in 30s, got {0:?}")]
    Interval(String),
    /// A receiver that cannot be used.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// Not a store, or a password file that is not readable.
    #[error(transparent)]
    Store(#[from] AddressError),
}

impl ConfigError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::FileUnreadable(..) | Self::FileWrong(..) | Self::Receiver(_) => exit::CONFIG,
            Self::ListenText(_) | Self::PublicUrl(_) | Self::Interval(_) | Self::Store(_) => {
                exit::USAGE
            }
            Self::Listen(..) => exit::FAILURE,
        }
    }
}

/// Takes the command line and the environment.
///
/// # Errors
/// A bad command line, or the help that was requested.
pub fn command_line() -> Result<Args, clap::Error> {
    hbshell::command_line::parse(|_| true)
}

/// Reports a bad command line in one line, or prints the help that was requested.
pub fn refuse(error: &clap::Error) -> std::process::ExitCode {
    std::process::ExitCode::from(hbshell::command_line::refuse("hbmonitor", error))
}

impl Args {
    /// Completions for a shell, if they are asked for.
    pub(crate) fn completions(&self) -> Option<Vec<u8>> {
        let Some(CommandArgs::Completions { shell }) = &self.command else {
            return None;
        };
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut Self::command(), "hbmonitor", &mut text);
        Some(text)
    }

    /// Writes what a package installs beside the program, if that is asked for.
    pub(crate) fn write_pages(&self) -> Option<std::io::Result<()>> {
        let Some(CommandArgs::Pages(pages)) = &self.command else {
            return None;
        };
        Some(pages.write(&Self::command()))
    }

    /// The command that only asks a running monitor for something, and where that is.
    pub(crate) fn asks(&self) -> Option<(cli::Command, cli::Target)> {
        let Some(CommandArgs::Ask(command)) = &self.command else {
            return None;
        };
        let state_dir = self.state_dir.clone();
        let target = cli::Target {
            url: self.url.clone(),
            token: TokenPlace {
                file: self.token_file.clone(),
                state_dir: state_dir.or_else(hbshell::store::state_directory),
            },
        };
        Some((command.clone(), target))
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let path = args.config;
        let file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let recovery = RecoverySettings::new(file.policy, &file.verify)
            .map_err(|why| ConfigError::FileWrong(path.clone().unwrap_or_default(), why))?;
        let is_quiet =
            args.quiet || matches!(args.command, Some(CommandArgs::Serve { quiet: true }));
        let url = args
            .redis_url
            .or_else(|| first_set(&["HB_REDIS_URL", "REDIS_URL"]))
            .or(file.redis_url);
        let credentials = CredentialsGiven {
            username: args.redis_username.or(file.redis_username),
            password_file: args.redis_password_file.or(file.redis_password_file),
            ca_file: args.redis_ca_file.or(file.redis_ca_file),
            cert_file: args.redis_cert_file.or(file.redis_cert_file),
            key_file: args.redis_key_file.or(file.redis_key_file),
        };
        let credentials = credentials.open()?;
        let listen = args
            .listen
            .or(file.listen)
            .unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let public_url = args.public_url.or(file.public_url);
        let interval_default = args.interval_default.or(file.interval_default);
        let state_dir = args
            .state_dir
            .or(file.state_dir)
            .or_else(hbshell::store::state_directory);
        Ok(Self {
            mode: mode(args.command),
            file: path,
            store: url
                .map(|url| Address::new(&url, credentials.clone()))
                .transpose()?,
            credentials,
            token: TokenPlace {
                file: args.token_file.or(file.token_file),
                state_dir: state_dir.clone(),
            },
            read_only: args.read_only || file.read_only.unwrap_or(false),
            state_dir,
            public_host: public_url.clone().map(public_host).transpose()?,
            public_url,
            listen: listen
                .parse()
                .map_err(|_| ConfigError::ListenText(listen))?,
            settings: FleetSettings {
                interval_default: interval_default.map_or(Ok(INTERVAL_DEFAULT), parse_interval)?,
                ..FleetSettings::default()
            },
            recovery,
            receivers: receivers::receivers(file.receiver.unwrap_or_default())?,
            deadman: Deadman::new(
                file.deadman_url,
                file.deadman_url_file,
                file.deadman_private,
            )?,
            log: Log::new(
                args.log_format,
                tracing::Level::INFO,
                args.verbose,
                is_quiet,
            ),
        })
    }
}

fn mode(command: Option<CommandArgs>) -> Mode {
    match command {
        None
        | Some(
            CommandArgs::Serve { .. }
            | CommandArgs::Completions { .. }
            | CommandArgs::Pages(_)
            | CommandArgs::Ask(_),
        ) => Mode::Serve,
        Some(CommandArgs::Demo { once }) => Mode::Demo { once },
        Some(CommandArgs::CheckConfig(asked)) => Mode::CheckConfig(asked),
        Some(CommandArgs::Alert(AlertArgs::Test { receiver })) => Mode::TestAlerts { receiver },
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::FileUnreadable(path.to_owned(), e))?;
    parse(&text).map_err(|why| ConfigError::FileWrong(path.to_owned(), why))
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            text.get(..span.start)
                .map_or(1, |before| before.matches('\n').count() + 1)
        });
        let why = error.message().lines().next().unwrap_or_default();
        let near = why
            .split('`')
            .nth(1)
            .filter(|_| why.starts_with("unknown "))
            .and_then(nearest);
        match near {
            Some(key) => format!("line {line}: {why}; did you mean `{key}`?"),
            None => format!("line {line}: {why}"),
        }
    })
}

fn nearest(key: &str) -> Option<&'static str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(key, known);
    let words = FILE_KEYS.into_iter().chain(policy::WORDS);
    words
        .chain(receivers::KEYS)
        .min_by_key(distance)
        .filter(|known| distance(known) <= 4)
}

/// The host of a URL, without a port.
fn public_host(url: String) -> Result<String, ConfigError> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = authority.map(|authority| {
        let host = authority.rsplit('@').next().unwrap_or_default();
        host_of(host).to_owned()
    });
    host.filter(|host| !host.is_empty())
        .ok_or(ConfigError::PublicUrl(url))
}

/// The host of `host:port`, in any of its forms.
pub(crate) fn host_of(authority: &str) -> &str {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(authority.len(), |at| at + 2),
        None => authority.rfind(':').unwrap_or(authority.len()),
    };
    let host = authority.get(..end).unwrap_or(authority);
    host.strip_suffix('.').unwrap_or(host)
}

fn parse_interval(text: String) -> Result<Duration, ConfigError> {
    interval(&text).map_err(|_| ConfigError::Interval(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_line_and_suggestion() {
        let why = parse("listen = \"127.0.0.1:1\"\nredis_ulr = \"x\"\n").unwrap_err();
        assert!(
            why.starts_with("line 2: unknown field `redis_ulr`"),
            "{why}"
        );
        assert!(why.ends_with("did you mean `redis_url`?"), "{why}");
    }

    #[test]
    fn a_syntax_error_is_refused_with_its_line() {
        assert!(
            parse("listen = \"x\"\n\nredis_url = = 1\n")
                .unwrap_err()
                .starts_with("line 3: ")
        );
    }

    #[test]
    fn every_key_of_the_file_is_offered_as_a_suggestion() {
        for key in FILE_KEYS {
            let refused = parse(&format!("{key} = \"x\"")).err();
            assert!(
                !refused.is_some_and(|why| why.contains("unknown field")),
                "{key}"
            );
        }
    }

    #[test]
    fn the_host_of_the_public_url_is_taken_and_what_is_no_url_is_refused() {
        let host = |url: &str| public_host(url.to_owned()).ok();
        assert_eq!(
            host("https://hb.example.com:8443/x").as_deref(),
            Some("hb.example.com")
        );
        assert_eq!(host("http://[::1]:80").as_deref(), Some("[::1]"));
        for url in ["hb.example.com", "https://", "ftp://h", ""] {
            assert_eq!(host(url), None, "{url}");
        }
    }

    #[test]
    fn a_flag_beats_the_default() {
        let args = Args::try_parse_from(["hbmonitor", "--listen", "127.0.0.1:1"]).unwrap();
        assert_eq!(Config::try_from(args).unwrap().listen.port(), 1);
    }
}
