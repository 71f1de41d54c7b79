//! Configuration in two types: [`Args`] as given, `Config` as checked. Flag over environment over default.

mod args;
mod given;
mod store;

pub use args::Args;
pub(crate) use args::{Act, Reaction, ReadFrom};
pub use hbshell::log::LogFormat;
pub(crate) use store::Store;

use clap::CommandFactory;
use hbshell::command_line::{first_set, refuse_with, unknown_word};
use hbshell::log::Log;
use hbshell::store::{AddressError, CredentialsGiven};
use heartbeat::base::id::{AgentId, IdError};
use heartbeat::contract::report::Thresholds;
use heartbeat::supervise::exclusive::Terms;
use heartbeat::supervise::lifecycle;
use heartbeat::verdict::Patience;
use regex_lite::Regex;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit codes of hbsidecar's own; all others are the agent's.
pub(crate) mod exit {
    /// Bad command line: flag, id, interval or URL.
    pub(crate) const USAGE: u8 = hbshell::command_line::USAGE;
    /// A living sidecar holds the id.
    pub(crate) const TAKEN: u8 = 73;
    /// hbsidecar itself failed.
    pub(crate) const OWN_FAILURE: u8 = 125;
    /// The command exists and cannot be executed.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// The command was not found.
    pub(crate) const NOT_FOUND: u8 = 127;
    /// Added to the number of the signal that ended the agent.
    pub(crate) const SIGNAL_BASE: u8 = 128;
}

/// Marks the environment of every process of an agent: the sidecar's instance and the agent's id.
pub(crate) const INSTANCE: &str = "HB_INSTANCE";
/// Settings that are no flag's alone.
const BESIDE_FLAGS: [&str; 7] = [
    "HB_AGENT_ID",
    "HB_AGENT_TYPE",
    "HB_REDIS_URL",
    "HB_SOCKET",
    "HB_STATUS_FILE",
    "HB_POD_NAME",
    "HB_POD_NAMESPACE",
];

/// Agents of one command on one host that get ids by themselves.
const DEFAULT_IDS_MAX: u32 = 99;

/// A configuration that can be used as it is.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) id: AgentId,
    /// The id was made of host and command: another agent may have the same.
    pub(crate) id_is_default: bool,
    /// What the first default id is made of, before the command's name: the pod, else the host.
    place: String,
    /// Settings of the agent's own environment that hbsidecar cannot use, for the log.
    pub(crate) notes: Vec<String>,
    pub(crate) agent_type: String,
    pub(crate) host: String,
    pub(crate) store: Store,
    pub(crate) interval: Duration,
    pub(crate) work: Work,
    pub(crate) policy: lifecycle::Policy,
    pub(crate) stop_signal: i32,
    /// Signals that reach the agent as another one; 0 drops it.
    pub(crate) rewrite: Vec<(i32, i32)>,
    pub(crate) on_hung: Reaction,
    pub(crate) on_stalled: Reaction,
    pub(crate) stall_after: Duration,
    pub(crate) patience: Patience,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) status_file: Option<PathBuf>,
    /// How the agent's output is read.
    pub(crate) reads: Option<Reads>,
    /// Which of its outputs are read.
    pub(crate) read_from: ReadFrom,
    pub(crate) thresholds: Thresholds,
    pub(crate) exclusive: bool,
    pub(crate) die_with_sidecar: bool,
    /// The pod restarts all its containers when hbsidecar exits with the code for that.
    pub(crate) pod_restart: bool,
    pub(crate) takeover: bool,
    pub(crate) log: Log,
    pub(crate) log_file: Option<PathBuf>,
}

/// How the agent's output is read.
#[derive(Clone, Debug)]
pub(crate) enum Reads {
    /// JSON events, one a line.
    Events,
    /// Ordinary lines, by a pattern with groups named `progress`, `step` or `task`.
    Pattern(Regex),
}

/// What the sidecar does with the agent.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Starts it, as a child.
    Supervise(Command),
    /// Becomes it; the watcher is forked away.
    Transparent(Command),
    /// Watches a process of this number.
    Pid(i32),
    /// Watches the process that matches.
    Match(Regex),
}

/// Which process to attach to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The process of this number.
    Pid(i32),
    /// The process whose command line matches.
    Match(Regex),
}

/// The command to run.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// Why the arguments are refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No command.
    #[error("no command given; write it after --, as in: hbsidecar -- python3 agent.py")]
    NoCommand,
    /// Not an id.
    #[error("{0} {1:?}: {2}")]
    Id(&'static str, String, IdError),
    /// Not a store, or a password file that is not readable.
    #[error("{0}: {1}")]
    Store(&'static str, AddressError),
    /// Two settings that exclude each other.
    #[error("{0} cannot be used with {1}: {2}")]
    Contradiction(&'static str, &'static str, &'static str),
    /// Nothing that could be watched.
    #[error(
        "--pid 1: process 1 only runs other programs here; give the process id of the agent, or use --match"
    )]
    Init,
    /// Not a pattern for output.
    #[error("--progress-regex: {0}")]
    Pattern(String),
}

/// Takes the command line and the environment. The settings of a sidecar above us, whose agent has started this one, do
/// not rule this one: only the address of the store is inherited.
///
/// # Errors
/// A bad command line, or the help that was requested.
pub fn parse() -> Result<Args, clap::Error> {
    let above = Above::find();
    hbshell::command_line::parse(|name| above.0.is_none() || name.starts_with("HB_REDIS_"))
}

/// FNV-1a: the same for every start.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Reports a bad command line in one line, or prints the help that was requested; returns the exit code.
pub fn refuse(error: &clap::Error) -> u8 {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let advice = unknown_word(error).and_then(|word| advise(&words, &word));
    refuse_with("hbsidecar", error, advice.as_deref())
}

/// What to write instead of a command without `--`; a subcommand's own words are no command.
fn advise(words: &[String], unknown: &str) -> Option<String> {
    let at = words.iter().position(|word| word == unknown)?;
    let (before, after) = words.split_at(at);
    let command = Args::command();
    let is_act = |word: &String| word == "help" || command.find_subcommand(word).is_some();
    if before.iter().any(is_act) {
        return None;
    }
    Some(match after.iter().position(|word| word == "--") {
        None => format!("put -- before the command, as in: hbsidecar -- {unknown}"),
        Some(_) => format!("only options stand before --, so leave out {unknown}"),
    })
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        given::contradictions(&args)?;
        let policy = policy(&args);
        let work = work(args.pid, args.matching, args.transparent, args.command)?;
        let name = work.name();
        let host = hbshell::runtime::host_name();
        // Pods with the network of their node have its name.
        let place = first_set(&["HB_POD_NAME"]).unwrap_or_else(|| host.clone());
        let above = Above::find();
        let mut notes = hbshell::command_line::misspelled::<Args>(&BESIDE_FLAGS);
        let (id, id_is_default) = match given::id(args.id, &above, &mut notes)? {
            Some(id) => (id, false),
            None => (AgentId::nearest(&format!("{place}-{name}")), true),
        };
        let credentials = CredentialsGiven {
            username: args.redis_username,
            password_file: args.redis_password_file,
            ca_file: args.redis_ca_file,
            cert_file: args.redis_cert_file,
            key_file: args.redis_key_file,
        };
        let store = given::store(args.redis_url, credentials, &mut notes)?;
        Ok(Self {
            id,
            agent_type: args
                .agent_type
                .filter(|t| !t.is_empty())
                .or_else(|| above.unless_given("HB_AGENT_TYPE"))
                .unwrap_or(name),
            host,
            store,
            id_is_default,
            place,
            notes,
            interval: args.interval,
            work,
            policy,
            stop_signal: stop_signal(args.stop_signal, &args.rewrite),
            rewrite: args.rewrite,
            on_hung: args.on_hung.unwrap_or_else(usual_reaction),
            on_stalled: args.on_stalled,
            stall_after: args.stall_after,
            patience: args.patience,
            socket: args
                .socket
                .or_else(|| above.unless_given("HB_SOCKET").map(PathBuf::from))
                .map(absolute),
            status_file: args
                .status_file
                .or_else(|| above.unless_given("HB_STATUS_FILE").map(PathBuf::from))
                .map(absolute),
            reads: reads(args.read, args.progress_regex.as_deref())?,
            read_from: args.read_from,
            thresholds: Thresholds {
                degraded_memory_mb: f64::from(args.degraded_memory_mb),
                busy_queue: args.busy_queue,
                recovering_errors: args.recovering_errors,
            },
            exclusive: args.exclusive,
            die_with_sidecar: args.die_with_sidecar,
            pod_restart: args.pod_restart,
            takeover: args.takeover,
            log: Log::new(
                args.log_format,
                tracing::Level::WARN,
                args.verbose,
                args.quiet,
            ),
            log_file: args.log_file,
        })
    }
}

impl Config {
    /// The id after this one, for a default id that another agent has: the host's second `python3` is no copy of the first.
    pub(crate) fn next_default_id(&self) -> Option<AgentId> {
        if !self.id_is_default || self.exclusive {
            return None;
        }
        let name = self.id.as_str();
        let first = format!("{}-{}", self.place, self.work.name());
        let first = AgentId::nearest(&first);
        let number = name
            .strip_prefix(first.as_str())
            .and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok())
            .unwrap_or(1);
        (number < DEFAULT_IDS_MAX)
            .then(|| AgentId::nearest(&format!("{first}-{}", number + 1)))
            .filter(|next| *next != self.id)
    }

    /// The times of the lease, under `--exclusive`.
    pub(crate) fn terms(&self) -> Option<Terms> {
        self.exclusive.then_some(Terms {
            interval: self.interval,
            grace: self.policy.grace,
        })
    }
}

impl Reads {
    /// The groups that a pattern may have.
    pub(crate) const GROUPS: [&str; 3] = ["progress", "step", "task"];

    /// Parses a user's pattern.
    pub(crate) fn pattern(text: &str) -> Result<Self, ConfigError> {
        let pattern = Regex::new(text)
            .map_err(|error| ConfigError::Pattern(format!("not a regular expression: {error}")))?;
        let named = pattern
            .capture_names()
            .flatten()
            .any(|name| Self::GROUPS.contains(&name));
        if named {
            Ok(Self::Pattern(pattern))
        } else {
            let hint =
                "needs a group named progress, step or task, as in Epoch (?P<progress>[0-9]+)";
            Err(ConfigError::Pattern(hint.to_owned()))
        }
    }
}

impl Work {
    /// The process to search for, when another program starts the agent.
    pub(crate) fn target(&self) -> Option<Target> {
        match self {
            Self::Supervise(_) | Self::Transparent(_) => None,
            Self::Pid(pid) => Some(Target::Pid(*pid)),
            Self::Match(regex) => Some(Target::Match(regex.clone())),
        }
    }

    /// A number that differs between two commands, and is the same for each start of one; 0 for a process of others.
    pub(crate) fn fingerprint(&self) -> u64 {
        match self {
            Self::Supervise(command) | Self::Transparent(command) => {
                let words = [&command.program].into_iter().chain(&command.arguments);
                fnv1a(words.flat_map(|word| word.as_bytes().iter().copied().chain([0])))
            }
            Self::Pid(_) | Self::Match(_) => 0,
        }
    }

    /// The command's name: the default for the agent's type and part of its default id.
    pub(crate) fn name(&self) -> String {
        let name = match self {
            Self::Supervise(command) | Self::Transparent(command) => Path::new(&command.program)
                .file_name()
                .map(OsStr::to_string_lossy),
            Self::Pid(pid) => {
                return crate::process::handle::command_name(*pid)
                    .unwrap_or_else(|| format!("pid-{pid}"));
            }
            Self::Match(regex) => return AgentId::nearest(regex.as_str()).to_string(),
        };
        name.map_or_else(|| "agent".to_owned(), |name| name.into_owned())
    }
}

/// A sidecar above us, when its agent started us: the variables it gave that agent are not meant for ours. `Some`: its id.
struct Above(Option<String>);

impl Above {
    fn find() -> Self {
        let mark = std::env::var(INSTANCE).unwrap_or_default();
        let id = mark.split_once('/').map(|(_, id)| id.to_owned());
        Self(id.filter(|id| !id.is_empty()))
    }

    fn unless_given(&self, name: &str) -> Option<String> {
        first_set(&[name]).filter(|_| self.0.is_none())
    }

    /// A value that was set for our agent differs from the one that named the sidecar above.
    fn unless_its_id(&self, name: &str) -> Option<String> {
        first_set(&[name]).filter(|id| self.0.as_ref() != Some(id))
    }
}

/// The stop signal, rewritten as any other.
fn stop_signal(signal: i32, rewrite: &[(i32, i32)]) -> i32 {
    let rewritten = rewrite
        .iter()
        .find(|(from, to)| *from == signal && *to != 0);
    rewritten.map_or(signal, |(_, to)| *to)
}

/// The agent may change its directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn reads(read: Option<args::Read>, pattern: Option<&str>) -> Result<Option<Reads>, ConfigError> {
    match (read, pattern) {
        (Some(args::Read::StreamJson), _) => Ok(Some(Reads::Events)),
        (None, None) => Ok(None),
        (None, Some(text)) => Reads::pattern(text).map(Some),
    }
}

/// A person at a terminal decides; nothing is restarted under their hands.
fn usual_reaction() -> Reaction {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        Reaction::Alert
    } else {
        Reaction::Restart
    }
}

fn policy(args: &Args) -> lifecycle::Policy {
    lifecycle::Policy {
        restart: restart(args),
        restarts_max: args.max_restarts,
        window: args.restart_window,
        backoff: args.backoff,
        backoff_max: args.backoff_max,
        grace: args.grace,
        keep_orphans: args.keep_orphans,
    }
}

/// An agent that is not our child is restarted by the program that started it, or not at all.
fn restart(args: &Args) -> lifecycle::Restart {
    if args.matching.is_some() {
        return lifecycle::Restart::Follow;
    }
    if args.pid.is_some() || args.transparent {
        return lifecycle::Restart::Never;
    }
    match args.restart {
        args::Restart::OnFailure => lifecycle::Restart::OnFailure,
        args::Restart::Always => lifecycle::Restart::Always,
        args::Restart::Never => lifecycle::Restart::Never,
    }
}

fn work(
    pid: Option<i32>,
    matching: Option<Regex>,
    transparent: bool,
    command: Vec<OsString>,
) -> Result<Work, ConfigError> {
    if let Some(pid) = pid {
        return Ok(Work::Pid(pid));
    }
    if let Some(regex) = matching {
        return Ok(Work::Match(regex));
    }
    let mut words = command.into_iter();
    let program = words
        .next()
        .filter(|p| !p.is_empty())
        .ok_or(ConfigError::NoCommand)?;
    let command = Command {
        program,
        arguments: words.collect(),
    };
    Ok(if transparent {
        Work::Transparent(command)
    } else {
        Work::Supervise(command)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use heartbeat::wire::beat::INTERVAL_MAX;

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
    fn a_bad_id_is_refused_with_its_position() {
        assert!(
            config(&["--id", "a b", "--", "x"])
                .unwrap_err()
                .contains("position 2")
        );
    }

    #[test]
    fn a_bad_url_is_refused_and_its_password_not_repeated() {
        for url in [
            "http://user:secret@h",
            "redis",
            "rediss://user:secret@h/#insecure",
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

    #[test]
    fn one_way_to_an_agent_excludes_the_others() {
        for both in [
            &["--pid", "1", "--", "x"][..],
            &["--match", "x", "--", "x"],
            &["--pid", "1", "--match", "x"],
            &["--pid", "1", "--transparent"],
        ] {
            assert!(
                config(both).unwrap_err().contains("cannot be used with"),
                "{both:?}"
            );
        }
        assert!(matches!(
            config(&["--pid", "7"]).unwrap().work,
            Work::Pid(7)
        ));
    }

    #[test]
    fn contradictions_are_refused_with_the_reason() {
        for (arguments, reason) in [
            (&["--pid", "7", "--exclusive"][..], "never ended by it"),
            (&["--match", "x", "--exclusive"], "never ended by it"),
            (&["--transparent", "--exclusive", "--", "x"], "never ended"),
            (&["--pid", "7", "--die-with-sidecar"], "not a child"),
            (
                &["--transparent", "--restart", "always", "--", "x"],
                "another program",
            ),
            (
                &["--exclusive", "--keep-orphans", "--", "x"],
                "beside the next",
            ),
        ] {
            let error = config(arguments).unwrap_err();
            assert!(error.contains(reason), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn paths_are_absolute_since_an_agent_may_change_its_directory() {
        let config = config(&["--socket", "s.sock", "--status-file", "st", "--", "x"]).unwrap();
        assert!(config.socket.unwrap().is_absolute() && config.status_file.unwrap().is_absolute());
    }

    #[test]
    fn a_signal_is_rewritten_also_when_it_is_the_stop_signal() {
        let rewritten = config(&["--rewrite", "TERM:QUIT,INT:0", "--", "x"]).unwrap();
        assert_eq!(rewritten.rewrite, [(15, 3), (2, 0)]);
        assert_eq!(rewritten.stop_signal, 3);
        assert!(
            config(&["--rewrite", "TERM", "--", "x"])
                .unwrap_err()
                .contains("INT:TERM")
        );
    }

    #[test]
    fn the_next_default_id_counts_from_2() {
        let mut config = config(&["--", "python3"]).unwrap();
        let first = config.id.clone();
        for number in 2..5 {
            config.id = config.next_default_id().unwrap();
            assert_eq!(config.id.as_str(), format!("{first}-{number}"));
        }
        config.id_is_default = false;
        assert_eq!(config.next_default_id(), None);
    }

    #[test]
    fn a_bad_expression_is_refused() {
        assert!(config(&["--match", "("]).unwrap_err().contains("--match"));
        assert!(config(&["--match", ""]).unwrap_err().contains("everything"));
    }

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        for (text, number) in [("TERM", 15), ("sigint", 2), ("9", 9), ("34", 34)] {
            assert_eq!(
                config(&["--stop-signal", text, "--", "x"])
                    .unwrap()
                    .stop_signal,
                number
            );
        }
        assert!(
            config(&["--stop-signal", "SOON", "--", "x"])
                .unwrap_err()
                .contains("TERM")
        );
        assert!(config(&["--stop-signal", "65", "--", "x"]).is_err());
    }
}
