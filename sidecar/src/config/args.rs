//! The command line as given. Every flag has an `HB_` twin in the environment.

use crate::commands::diagnose::DiagnoseArgs;
use crate::commands::hooks::HooksArgs;
use crate::commands::install::InstallArgs;
use crate::commands::notify::{HealthcheckArgs, NotifyArgs};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use hbshell::command_line::{duration, interval};
use hbshell::log::LogFormat;
use hbshell::pages::PagesArgs;
use heartbeat::verdict::Patience;
use regex_lite::Regex;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Start an agent, or attach to one; watch it, restart it and send its heartbeat.
#[derive(Debug, Parser)]
#[command(name = "hbsidecar", version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
#[command(override_usage = "hbsidecar [OPTIONS] -- COMMAND [ARGS…]\n       \
hbsidecar [OPTIONS] --transparent -- COMMAND [ARGS…]\n       hbsidecar [OPTIONS] --pid PID\n       \
hbsidecar [OPTIONS] --match REGEX\n       hbsidecar notify KEY=VALUE… | diagnose PID | healthcheck [--beats] | \
hooks install claude | install PATH")]
#[command(
    after_help = "Exit codes: the agent's own; 128+n when signal n ended it; 125 hbsidecar itself failed; \
126 command not executable; 127 command not found; 73 the id is taken; 2 usage.\n\n\
Examples:\n  hbsidecar --id writer-1 --interval 30s -- python3 agent.py\n  hbsidecar --transparent -- claude\n  \
hbsidecar --match 'node .*agent.mjs'"
)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) act: Option<Act>,
    /// The agent's id [default: host name + command name] [env: HB_AGENT_ID, then AGENT_ID]
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// The agent's type [default: command name] [env: HB_AGENT_TYPE]
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) agent_type: Option<String>,
    /// The store [default: hbmonitor's own on this machine, else redis://127.0.0.1:6379]
    /// [env: HB_REDIS_URL, then REDIS_URL]
    #[arg(long, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// A file that holds the store's password, read again at each connection
    #[arg(long, env = "HB_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub(super) redis_password_file: Option<PathBuf>,
    /// The store's user, in the place of the URL's
    #[arg(long, env = "HB_REDIS_USERNAME", value_name = "NAME")]
    pub(super) redis_username: Option<String>,
    /// Certificate authorities for a rediss:// store, in PEM [default: the machine's]
    #[arg(long, env = "HB_REDIS_CA_FILE", value_name = "FILE")]
    pub(super) redis_ca_file: Option<PathBuf>,
    /// A certificate to show to a rediss:// store, in PEM
    #[arg(long, env = "HB_REDIS_CERT_FILE", value_name = "FILE")]
    pub(super) redis_cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM; all these files are read again at each connection
    #[arg(long, env = "HB_REDIS_KEY_FILE", value_name = "FILE")]
    pub(super) redis_key_file: Option<PathBuf>,
    /// Time between beats, 100ms to 1h
    #[arg(long, env = "HB_INTERVAL", value_name = "TIME", default_value = "30s", value_parser = interval)]
    pub(super) interval: Duration,

    /// Attach to this running process
    #[arg(long, env = "HB_PID", value_name = "PID", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..))]
    #[arg(conflicts_with_all = ["matching", "transparent", "command"])]
    pub(super) pid: Option<i32>,
    /// Attach to the process whose command line matches; wait for it, follow re-creations
    #[arg(id = "matching", long = "match", env = "HB_MATCH", value_name = "REGEX", value_parser = regex)]
    #[arg(conflicts_with_all = ["transparent", "command"])]
    pub(super) matching: Option<Regex>,
    /// Fork the watcher away and become the agent: its PID and terminal are those of hbsidecar; no restarts
    #[arg(long, env = "HB_TRANSPARENT", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) transparent: bool,

    /// When to restart an agent that ended
    #[arg(long, env = "HB_RESTART", value_enum, default_value_t = Restart::OnFailure)]
    pub(super) restart: Restart,
    /// Restarts within the window; after the last one hbmonitor takes over
    #[arg(long, env = "HB_MAX_RESTARTS", value_name = "N", default_value_t = 3)]
    pub(super) max_restarts: u32,
    /// The sliding window of --max-restarts
    #[arg(long, env = "HB_RESTART_WINDOW", value_name = "TIME", default_value = "30m", value_parser = duration)]
    pub(super) restart_window: Duration,
    /// Delay before a restart; doubles each time. The first restart of an agent that made progress is immediate
    #[arg(long, env = "HB_BACKOFF", value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(super) backoff: Duration,
    /// Longest delay before a restart
    #[arg(long, env = "HB_BACKOFF_MAX", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(super) backoff_max: Duration,
    /// Time between the stop signal and KILL
    #[arg(long, env = "HB_GRACE", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) grace: Duration,
    /// Signal that requests the agent's end
    #[arg(long, env = "HB_STOP_SIGNAL", value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    pub(super) stop_signal: i32,
    /// Pass signal FROM on as TO, as in INT:TERM; TO 0 drops it
    #[arg(long, env = "HB_REWRITE", value_name = "FROM:TO", value_parser = rewrite, value_delimiter = ',')]
    pub(super) rewrite: Vec<(i32, i32)>,
    /// Leave processes alone that the agent leaves behind
    #[arg(long, env = "HB_KEEP_ORPHANS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) keep_orphans: bool,
    /// Never two agents of this id: start only with the store's lease, and stop before it runs out: after four intervals
    /// without a renewal
    #[arg(long, env = "HB_EXCLUSIVE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) exclusive: bool,
    /// Kill the agent when hbsidecar is killed; without it the agent runs on, and the next sidecar of its id watches it
    #[arg(long, env = "HB_DIE_WITH_SIDECAR", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) die_with_sidecar: bool,
    /// The pod declares RestartAllContainers for exit code 88: hbsidecar ends with it when hbmonitor orders that
    #[arg(long, env = "HB_POD_RESTART", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) pod_restart: bool,
    /// Take the id from a living sidecar
    #[arg(long, env = "HB_TAKEOVER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) takeover: bool,

    /// What to do about an agent that provably cannot continue [default: restart; alert on a terminal]
    #[arg(long, env = "HB_ON_HUNG", value_enum)]
    pub(super) on_hung: Option<Reaction>,
    /// What to do about unfinished work without progress, when there is no proof of a hang
    #[arg(long, env = "HB_ON_STALLED", value_enum, default_value_t = Reaction::Alert)]
    pub(super) on_stalled: Reaction,
    /// Time without progress after which unfinished work counts as stalled
    #[arg(long, env = "HB_STALL_AFTER", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(super) stall_after: Duration,
    /// Factor for every waiting time before a verdict; 3 for a slow agent
    #[arg(
        long,
        env = "HB_PATIENCE",
        value_name = "FACTOR",
        default_value = "1.0",
        allow_negative_numbers = true
    )]
    pub(super) patience: Patience,

    /// Path of the agent's stream socket [default: in the user's runtime directory] [env: HB_SOCKET]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// File with status lines that the agent rewrites or appends to [env: HB_STATUS_FILE]
    #[arg(long, value_name = "FILE")]
    pub(super) status_file: Option<PathBuf>,
    /// Read the JSON events that the agent prints: claude, codex, gemini, qwen, opencode, pi, copilot, cline
    #[arg(long, env = "HB_READ", value_enum, conflicts_with = "transparent")]
    pub(super) read: Option<Read>,
    /// Find progress in what the agent prints: groups named progress, step or task
    #[arg(long, env = "HB_PROGRESS_REGEX", value_name = "REGEX", conflicts_with_all = ["read", "transparent"])]
    pub(super) progress_regex: Option<String>,
    /// Which output --read and --progress-regex read
    #[arg(long, env = "HB_READ_FROM", value_enum, default_value_t = ReadFrom::Both)]
    pub(super) read_from: ReadFrom,
    /// Memory of the process tree above which the status is degraded, in MiB
    #[arg(
        long,
        env = "HB_DEGRADED_MEMORY_MB",
        value_name = "MB",
        default_value_t = 1000
    )]
    pub(super) degraded_memory_mb: u32,
    /// Queue depth above which the status is busy
    #[arg(long, env = "HB_BUSY_QUEUE", value_name = "N", default_value_t = 50)]
    pub(super) busy_queue: u64,
    /// Errors in five minutes above which the status is recovering
    #[arg(
        long,
        env = "HB_RECOVERING_ERRORS",
        value_name = "N",
        default_value_t = 10
    )]
    pub(super) recovering_errors: u64,

    /// Format of log lines on standard error
    #[arg(long, env = "HB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// File for log lines [default: standard error; while an agent uses that terminal, ID.log in the runtime directory]
    #[arg(long, env = "HB_LOG_FILE", value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// Increase verbosity (-v info, -vv debug)
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// The agent: a command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// The other commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Act {
    /// Send one status line of this agent
    Notify(NotifyArgs),
    /// Succeed when the sidecar answers; with --beats only when beats reach the store
    Healthcheck(HealthcheckArgs),
    /// Report what a process is doing, with evidence; change nothing
    Diagnose(DiagnoseArgs),
    /// Let the hooks of an agent report what it does
    Hooks(HooksArgs),
    /// Copy this program there, as an init container does
    Install(InstallArgs),
    /// Write manual pages and completions into a directory
    #[command(hide = true)]
    Pages(PagesArgs),
}

/// What is done about an agent that makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reaction {
    /// Alert people.
    Alert,
    /// Fix it, or restart it.
    Restart,
}

/// What an agent prints that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Read {
    /// One JSON event a line.
    StreamJson,
}

/// Outputs of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadFrom {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both.
    Both,
}

impl ReadFrom {
    /// The numbers of its descriptors.
    pub(crate) fn descriptors(self) -> &'static [i32] {
        match self {
            Self::Stdout => &[1],
            Self::Stderr => &[2],
            Self::Both => &[1, 2],
        }
    }
}

/// When an agent that ended is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    /// After anything but exit code 0.
    OnFailure,
    /// After every exit code except the fatal ones.
    Always,
    /// Never automatically; an order still restarts it.
    Never,
}

fn regex(text: &str) -> Result<Regex, String> {
    if text.is_empty() {
        return Err("an empty expression matches everything".to_owned());
    }
    Regex::new(text).map_err(|error| {
        error
            .to_string()
            .lines()
            .last()
            .unwrap_or("not an expression")
            .to_owned()
    })
}

/// Two signals; the second may be 0.
fn rewrite(text: &str) -> Result<(i32, i32), String> {
    let (from, to) = text
        .split_once(':')
        .ok_or_else(|| "write two signals, as in INT:TERM".to_owned())?;
    let to = if to == "0" { 0 } else { signal(to)? };
    Ok((signal(from)?, to))
}

/// A signal by name, with or without `SIG`, or by number.
fn signal(text: &str) -> Result<i32, String> {
    let by_number = text
        .parse::<i32>()
        .ok()
        .filter(|number| (1..=64).contains(number));
    let name = format!("SIG{}", text.to_ascii_uppercase().trim_start_matches("SIG"));
    let by_name = name
        .parse::<nix::sys::signal::Signal>()
        .ok()
        .map(|signal| signal as i32);
    by_number
        .or(by_name)
        .ok_or_else(|| "unknown signal; write it as in TERM, INT or 15".to_owned())
}
