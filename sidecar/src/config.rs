//! Configuration in two types: [`Args`] as given, `Config` as checked. Flag over environment over default.

use clap::Parser;
use heartbeat::beat::{INTERVAL_MAX, INTERVAL_MIN};
use heartbeat::id::{AgentId, IdError};
use heartbeat::place;
use redis::{ConnectionInfo, IntoConnectionInfo};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit codes of hbsidecar's own; all others are the agent's.
pub(crate) mod exit {
    /// A flag, an id, an interval or a URL that cannot be.
    pub(crate) const USAGE: u8 = 2;
    /// hbsidecar itself failed.
    pub(crate) const OWN_FAILURE: u8 = 125;
    /// The command is there and cannot be run.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// The command is not there.
    pub(crate) const NOT_FOUND: u8 = 127;
    /// Added to the number of the signal that ended the agent.
    pub(crate) const SIGNAL_BASE: u8 = 128;
}

/// Starts an agent, watches it and sends its heartbeat.
#[derive(Debug, Parser)]
#[command(name = "hbsidecar", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: the agent's own; 128+n when signal n ended it; 125 hbsidecar itself failed; \
126 command not executable; 127 command not found; 2 usage.\n\nExample:\n  hbsidecar --id writer-1 --interval 30s -- python3 agent.py"
)]
pub struct Args {
    /// The agent's id [default: host name + command name] [env: HB_AGENT_ID, then AGENT_ID]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What sort of agent it is [default: command name]
    #[arg(long = "type", env = "HB_AGENT_TYPE", value_name = "TYPE")]
    agent_type: Option<String>,
    /// The store [default: hbmonitor's own on this machine, else redis://127.0.0.1:6379]
    /// [env: HB_REDIS_URL, then REDIS_URL]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// A file that holds the store's password; it never stands in a command line
    #[arg(long, env = "HB_REDIS_PASSWORD_FILE", value_name = "FILE")]
    redis_password_file: Option<PathBuf>,
    /// Time between beats, 100ms to 1h
    #[arg(long, env = "HB_INTERVAL", value_name = "TIME", default_value = "30s")]
    interval: String,
    /// How log lines are written to standard error
    #[arg(long, env = "HB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Say more; twice for all
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// The agent: a command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A configuration that can be used as it is.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) id: AgentId,
    pub(crate) agent_type: String,
    pub(crate) store: Store,
    pub(crate) interval: Duration,
    pub(crate) log: Log,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) host: String,
}

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// Where the user said, and nowhere else.
    Configured(Box<ConnectionInfo>),
    /// Nobody said: where hbmonitor published its own, else the default; looked up anew for each try.
    Nearby {
        published: PathBuf,
        password: Option<String>,
    },
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    format: LogFormat,
    level: tracing::Level,
}

/// Why arguments are no configuration. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Nothing to run.
    #[error("no command given; write it after --, as in: hbsidecar -- python3 agent.py")]
    NoCommand,
    /// Not an id.
    #[error("--id {0:?}: {1}")]
    Id(String, IdError),
    /// Not a time.
    #[error("--interval {0:?}: {1}; write it as in 30s, 500ms or 5m")]
    IntervalText(String, humantime::DurationError),
    /// Too short or too long.
    #[error("--interval {0}: must be from 100ms to 1h")]
    IntervalRange(String),
    /// Not a store. The URL itself is not repeated: it may hold a password.
    #[error("the store's URL cannot be used ({0}); write it as in redis://127.0.0.1:6379")]
    Url(String),
    /// No password there.
    #[error("cannot read the password file {0}: {1}")]
    Password(PathBuf, std::io::Error),
}

/// Says in one line what is wrong with a command line, or prints the help that was asked for.
pub fn refuse(error: &clap::Error) -> std::process::ExitCode {
    if !error.use_stderr() {
        let _ = error.print(); // standard output is closed: nobody is there to be told
        return std::process::ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    eprintln!("hbsidecar: {line}; see hbsidecar --help");
    std::process::ExitCode::from(exit::USAGE)
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let mut command = args.command.into_iter();
        let program = command
            .next()
            .filter(|p| !p.is_empty())
            .ok_or(ConfigError::NoCommand)?;
        let name = Path::new(&program).file_name().map_or_else(
            || "agent".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let host = nix::unistd::gethostname().map_or_else(
            |_| "localhost".to_owned(),
            |host| host.to_string_lossy().into_owned(),
        );
        let given = args.id.or_else(|| first_of(&["HB_AGENT_ID", "AGENT_ID"]));
        let id = match given {
            Some(text) => AgentId::parse(&text).map_err(|e| ConfigError::Id(text, e))?,
            None => AgentId::nearest(&format!("{host}-{name}")),
        };
        let url = args
            .redis_url
            .or_else(|| first_of(&["HB_REDIS_URL", "REDIS_URL"]));
        Ok(Self {
            id,
            agent_type: args.agent_type.filter(|t| !t.is_empty()).unwrap_or(name),
            store: store(url, args.redis_password_file)?,
            interval: interval(&args.interval)?,
            log: Log {
                format: args.log_format,
                level: level(args.verbose, args.quiet),
            },
            program,
            arguments: command.collect(),
            host,
        })
    }
}

impl Store {
    /// Where to try next. What a monitor published may be stale: every second try goes to the default.
    pub(crate) fn address(&self, tries: u32) -> Result<ConnectionInfo, ConfigError> {
        match self {
            Self::Configured(info) => Ok(ConnectionInfo::clone(info)),
            Self::Nearby {
                published,
                password,
            } => {
                let published = own_file(published).filter(|_| tries.is_multiple_of(2));
                let url = published.unwrap_or_else(|| place::STORE_URL_DEFAULT.to_owned());
                parse_url(&url, password.as_deref())
            }
        }
    }
}

impl Log {
    /// Starts logging to standard error. The agent's own output is not touched.
    pub(crate) fn start(self) {
        let log = tracing_subscriber::fmt()
            .with_max_level(self.level)
            .with_target(false)
            .with_ansi(
                std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stderr_is_terminal(),
            )
            .with_writer(std::io::stderr);
        match self.format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

fn stderr_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

fn first_of(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn interval(text: &str) -> Result<Duration, ConfigError> {
    let interval = humantime::parse_duration(text)
        .map_err(|e| ConfigError::IntervalText(text.to_owned(), e))?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        Ok(interval)
    } else {
        Err(ConfigError::IntervalRange(text.to_owned()))
    }
}

fn store(url: Option<String>, password_file: Option<PathBuf>) -> Result<Store, ConfigError> {
    let password = password_file
        .map(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(ConfigError::Password(path, error)),
        })
        .transpose()?;
    match url {
        Some(url) => Ok(Store::Configured(Box::new(parse_url(
            &url,
            password.as_deref(),
        )?))),
        None => {
            let xdg = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            let dir = place::runtime_dir(xdg, nix::unistd::geteuid().as_raw());
            Ok(Store::Nearby {
                published: dir.join(place::STORE_FILE),
                password,
            })
        }
    }
}

fn parse_url(url: &str, password: Option<&str>) -> Result<ConnectionInfo, ConfigError> {
    let info = url
        .into_connection_info()
        .map_err(|e| ConfigError::Url(e.to_string()))?;
    if !info.addr().is_supported() {
        return Err(ConfigError::Url("this build has no TLS".to_owned()));
    }
    let mut settings = info
        .redis_settings()
        .clone()
        .set_protocol(redis::ProtocolVersion::RESP3);
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    Ok(info.set_redis_settings(settings))
}

/// A file's text, if the file is ours: in a shared directory anybody could have put one there.
fn own_file(path: &Path) -> Option<String> {
    let ours = std::fs::metadata(path).ok()?.uid() == nix::unistd::geteuid().as_raw();
    let text = ours.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn level(verbose: u8, quiet: bool) -> tracing::Level {
    match (quiet, verbose) {
        (true, _) => tracing::Level::ERROR,
        (false, 0) => tracing::Level::WARN,
        (false, 1) => tracing::Level::INFO,
        (false, _) => tracing::Level::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let args = Args::try_parse_from([&["hbsidecar"], arguments].concat())
            .map_err(|e| e.to_string())?;
        Config::try_from(args).map_err(|e| e.to_string())
    }

    #[test]
    fn the_type_is_the_command_name_unless_given() {
        assert_eq!(
            config(&["--", "/usr/bin/env", "x"]).unwrap().agent_type,
            "env"
        );
        assert_eq!(
            config(&["--type", "t", "--", "env"]).unwrap().agent_type,
            "t"
        );
    }

    #[test]
    fn intervals_outside_100_ms_to_1_h_are_refused() {
        for text in ["99ms", "61m", "0s"] {
            assert!(
                config(&["--interval", text, "--", "x"])
                    .unwrap_err()
                    .contains("100ms to 1h")
            );
        }
        assert!(
            config(&["--interval", "soon", "--", "x"])
                .unwrap_err()
                .contains("30s")
        );
        assert_eq!(
            config(&["--interval", "1h", "--", "x"]).unwrap().interval,
            INTERVAL_MAX
        );
    }

    #[test]
    fn an_id_that_cannot_be_is_refused_with_the_place() {
        assert!(
            config(&["--id", "a b", "--", "x"])
                .unwrap_err()
                .contains("position 2")
        );
    }

    #[test]
    fn a_url_that_cannot_be_is_refused_and_its_password_not_repeated() {
        for url in [
            "http://user:secret@h",
            "redis",
            "rediss://user:secret@h",
            "redis://:secret@h:x",
        ] {
            let error = config(&["--redis-url", url, "--", "x"]).unwrap_err();
            assert!(
                error.contains("redis://127.0.0.1:6379") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_unix_socket_is_a_store() {
        assert!(config(&["--redis-url", "redis+unix:///run/redis.sock", "--", "x"]).is_ok());
    }
}
