//! `hbsidecar hooks install|remove AGENT`: puts our hooks among those of the user's settings, and takes them out.
//!
//! Settings are merged, never replaced; ours are known by their command. A file that is no JSON is left alone. Agents that
//! read a directory of hooks get a file of our own there (`own_file`).

mod own_file;

use crate::config::exit;
use hbshell::log_writer::complain;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Our program, as it is found through PATH.
const PROGRAM: &str = "hbsidecar";
/// What the hooks run. It always succeeds and prints nothing: agents read exit codes as orders.
const ARGUMENTS: &str = "notify --hook";
/// How long an agent waits for a hook at most, in seconds; ours takes a quarter of one.
const TIMEOUT: u64 = 5;
/// Events that begin a state, and those that end one: a failed tool would otherwise stay in flight.
const EVENTS: [&str; 12] = [
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PermissionRequest",
    "Notification",
    "SubagentStop",
    "PreCompact",
    "Stop",
    "StopFailure",
    "SessionEnd",
];
/// Those of gemini. `AfterModel` is left out: it comes once for each piece of an answer, and each would be a process.
const GEMINIS_EVENTS: [&str; 8] = [
    "SessionStart",
    "BeforeAgent",
    "BeforeTool",
    "AfterTool",
    "AfterAgent",
    "Notification",
    "PreCompress",
    "SessionEnd",
];
/// Where they stand in a settings file, and in each group.
const HOOKS: &str = "hooks";
/// Settings larger than this are not settings.
const SETTINGS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Lets the agent's own hooks report what it does.
#[derive(Debug, clap::Args)]
pub(crate) struct HooksArgs {
    /// What to do
    #[arg(value_enum)]
    act: Act,
    /// The agent whose settings are changed
    #[arg(value_enum)]
    agent: Agent,
    /// Print what would be written; write nothing
    #[arg(long)]
    dry_run: bool,
    /// The settings file [default: the agent's own, such as ~/.claude/settings.json]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Act {
    /// Add the hooks
    Install,
    /// Remove the hooks
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Agent {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// Qwen Code
    Qwen,
    /// GitHub Copilot CLI
    Copilot,
    /// opencode
    Opencode,
}

impl Agent {
    /// The events that it has hooks for, of those that say anything.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::Claude | Self::Codex | Self::Qwen => &EVENTS,
            Self::Gemini => &GEMINIS_EVENTS,
            Self::Copilot | Self::Opencode => &[], // a file of our own
        }
    }

    /// [`TIMEOUT`] in its own unit.
    fn timeout(self) -> u64 {
        match self {
            Self::Claude | Self::Codex | Self::Copilot | Self::Opencode => TIMEOUT,
            Self::Gemini | Self::Qwen => TIMEOUT * 1000,
        }
    }
}

/// Why settings were left as they are.
#[derive(Debug, thiserror::Error)]
enum HooksError {
    #[error("no home directory; name the settings file with --settings")]
    NoHome,
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0} is not a JSON object; left unchanged: {1}")]
    NotJson(PathBuf, String),
    #[error("{0}: {1:?} does not have the form of hooks; left unchanged")]
    Shape(PathBuf, String),
    #[error("{0} was not written by hbsidecar; left unchanged; name another file with --settings")]
    NotOurs(PathBuf),
}

/// Returns the exit code: 0 done or nothing to do, 125 left as it is.
pub(crate) fn hooks(args: &HooksArgs) -> u8 {
    match run(args) {
        Ok(output) => {
            // Standard output is closed: there is no reader.
            let _ = io::stdout().write_all(output.as_bytes());
            0
        }
        Err(error) => {
            complain("hbsidecar", &error.to_string());
            exit::OWN_FAILURE
        }
    }
}

fn run(args: &HooksArgs) -> Result<String, HooksError> {
    if let Some(content) = own_file::content(args.agent) {
        let path = args.settings.as_deref();
        return own_file::run(args.agent, args.act, path, args.dry_run, &content);
    }
    let path = match &args.settings {
        Some(path) => path.clone(),
        None => usual(args.agent)?,
    };
    // Settings may be a link into the user's dotfiles: the link stays.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let before = read(&path)?;
    let shape = |name| HooksError::Shape(path.clone(), name);
    let mut settings = Settings::parse(&path, before.as_deref().unwrap_or("{}"))?;
    // What is kept is the user's: a file with hooks of ours in it is not.
    let is_users = before.is_some() && !settings.holds_ours();
    let changed = match args.act {
        Act::Install => settings.install(args.agent).map_err(shape)?,
        Act::Remove => settings.remove(),
    };
    if !changed {
        return Ok(format!("{}: nothing to do\n", path.display()));
    }
    let text = settings.text();
    if args.dry_run {
        return Ok(text);
    }
    let backup = is_users.then(|| backup(&path)).transpose()?;
    write(&path, &text)?;
    let kept = backup
        .map(|backup| format!("; the former is {}", backup.display()))
        .unwrap_or_default();
    let trust = match (args.act, args.agent) {
        (Act::Install, Agent::Codex) => {
            "Codex runs them once they are trusted: /hooks in a session.\n"
        }
        (
            Act::Install,
            Agent::Claude | Agent::Gemini | Agent::Qwen | Agent::Copilot | Agent::Opencode,
        )
        | (Act::Remove, _) => "",
    };
    Ok(format!("{} is written{kept}\n{trust}", path.display()))
}

fn usual(agent: Agent) -> Result<PathBuf, HooksError> {
    let (variable, directory, file) = match agent {
        Agent::Claude => (Some("CLAUDE_CONFIG_DIR"), ".claude", "settings.json"),
        Agent::Codex => (Some("CODEX_HOME"), ".codex", "hooks.json"),
        Agent::Gemini => (None, ".gemini", "settings.json"),
        Agent::Qwen => (None, ".qwen", "settings.json"),
        Agent::Copilot => (Some("COPILOT_HOME"), ".copilot", "hooks/hb.json"),
        Agent::Opencode => (
            Some("OPENCODE_CONFIG_DIR"),
            ".config/opencode",
            "plugin/hb.js",
        ),
    };
    let given = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let directory = variable
        .and_then(given)
        .or_else(|| Some(given("HOME")?.join(directory)));
    Ok(directory.ok_or(HooksError::NoHome)?.join(file))
}

fn read(path: &Path) -> Result<Option<String>, HooksError> {
    let io = |error| HooksError::Io(path.to_owned(), error);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io(io::Error::other("it is no regular file"))),
        Ok(found) if found.len() > SETTINGS_BYTES_MAX => {
            Err(io(io::Error::other("it is too large")))
        }
        Ok(_) => fs::read_to_string(path).map(Some).map_err(io),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
    }
}

/// The content of a settings file, in its order; what does not concern hooks stays as it was written.
struct Settings {
    members: Vec<(String, Box<RawValue>)>,
    hooks: Option<Vec<(String, Vec<Box<RawValue>>)>>,
}

/// An object's members in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(InOrder)
    }
}

impl Settings {
    fn parse(path: &Path, text: &str) -> Result<Self, HooksError> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let Members(members) = serde_json::from_str(text)
            .map_err(|error| HooksError::NotJson(path.to_owned(), error.to_string()))?;
        let shape = |name: &str| HooksError::Shape(path.to_owned(), name.to_owned());
        let hooks = members
            .iter()
            .find(|(name, _)| name == HOOKS)
            .map(|(_, hooks)| {
                let Members(events) =
                    serde_json::from_str(hooks.get()).map_err(|_| shape(HOOKS))?;
                let groups = |(event, groups): (String, Box<RawValue>)| {
                    let groups = serde_json::from_str(groups.get()).map_err(|_| shape(&event))?;
                    Ok((event, groups))
                };
                events.into_iter().map(groups).collect()
            });
        let hooks = hooks.transpose()?;
        Ok(Self { members, hooks })
    }

    /// Whether anything was missing. What an older version put in goes first: installing twice is installing once.
    fn install(&mut self, agent: Agent) -> Result<bool, String> {
        if agent.events().iter().all(|event| self.has_ours(event)) {
            return Ok(false);
        }
        self.remove();
        let hook = serde_json::json!({"hooks": [{"type": "command", "command": command(), "timeout": agent.timeout()}]});
        let ours = to_raw_value(&hook).map_err(|error| error.to_string())?;
        let hooks = self.hooks.get_or_insert_default();
        for event in agent.events() {
            match hooks.iter_mut().find(|(name, _)| name == event) {
                Some((_, groups)) => groups.push(ours.clone()),
                None => hooks.push(((*event).to_owned(), vec![ours.clone()])),
            }
        }
        Ok(true)
    }

    /// Whether anything of ours was there. Groups, events and the whole object go when we were all that was in them.
    fn remove(&mut self) -> bool {
        let Some(hooks) = &mut self.hooks else {
            return false;
        };
        let mut removed = false;
        hooks.retain_mut(|(_, groups)| {
            if !groups.iter().any(|group| holds_ours(group)) {
                return true;
            }
            removed = true;
            *groups = std::mem::take(groups)
                .into_iter()
                .filter_map(without_ours)
                .collect();
            !groups.is_empty()
        });
        if removed && hooks.is_empty() {
            self.hooks = None;
        }
        removed
    }

    fn holds_ours(&self) -> bool {
        let hooks = self.hooks.iter().flatten();
        hooks
            .flat_map(|(_, groups)| groups)
            .any(|group| holds_ours(group))
    }

    fn has_ours(&self, event: &str) -> bool {
        let hooks = self.hooks.iter().flatten();
        hooks
            .filter(|(name, _)| name == event)
            .any(|(_, groups)| groups.iter().any(|group| holds_ours(group)))
    }

    fn text(&self) -> String {
        let hooks = self.hooks.as_ref().map(|hooks| {
            let event = |(name, groups): &(String, Vec<Box<RawValue>>)| {
                let groups: Vec<String> =
                    groups.iter().map(|group| group.get().to_owned()).collect();
                member(name, &block('[', &groups, ']', 4))
            };
            block('{', &hooks.iter().map(event).collect::<Vec<_>>(), '}', 2)
        });
        let mut members = Vec::new();
        for (name, value) in &self.members {
            match (name == HOOKS, hooks.as_deref()) {
                (false, _) => members.push(member(name, value.get())),
                (true, Some(hooks)) => members.push(member(name, hooks)),
                (true, None) => {}
            }
        }
        if let Some(hooks) = hooks.filter(|_| self.members.iter().all(|(name, _)| name != HOOKS)) {
            members.push(member(HOOKS, &hooks));
        }
        block('{', &members, '}', 0) + "\n"
    }
}

fn member(name: &str, value: &str) -> String {
    format!("{}: {value}", Value::from(name))
}

fn block(open: char, parts: &[String], close: char, indent: usize) -> String {
    if parts.is_empty() {
        return format!("{open}{close}");
    }
    let (outer, inner) = (" ".repeat(indent), " ".repeat(indent + 2));
    let parts = parts.join(&format!(",\n{inner}"));
    format!("{open}\n{inner}{parts}\n{outer}{close}")
}

fn holds_ours(group: &RawValue) -> bool {
    let group: Value = serde_json::from_str(group.get()).unwrap_or_default();
    let hooks = group.get(HOOKS).and_then(Value::as_array);
    hooks.is_some_and(|hooks| hooks.iter().any(is_ours))
}

/// A group of the user's stays as it was written; one that held us and others is rewritten.
fn without_ours(group: Box<RawValue>) -> Option<Box<RawValue>> {
    if !holds_ours(&group) {
        return Some(group);
    }
    let mut value: Value = serde_json::from_str(group.get()).ok()?;
    let hooks = value.get_mut(HOOKS)?.as_array_mut()?;
    hooks.retain(|hook| !is_ours(hook));
    if hooks.is_empty() {
        None
    } else {
        to_raw_value(&value).ok()
    }
}

/// Wherever the program was installed when it was put in.
fn is_ours(hook: &Value) -> bool {
    let command = hook
        .get("command")
        .and_then(Value::as_str)
        .unwrap_or_default();
    command.ends_with(ARGUMENTS)
}

fn command() -> String {
    format!("{} {ARGUMENTS}", program().for_shell)
}

/// Our program as hooks name it.
struct Program {
    unquoted: String,
    for_shell: String,
}

/// By name where PATH has it, so that an update is followed; else by its place.
fn program() -> Program {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(PROGRAM).is_file());
    match std::env::current_exe().ok().filter(|_| !found) {
        Some(place) => Program {
            unquoted: place.to_string_lossy().into_owned(),
            for_shell: quoted(&place),
        },
        None => Program {
            unquoted: PROGRAM.to_owned(),
            for_shell: PROGRAM.to_owned(),
        },
    }
}

/// For the shell that runs hooks.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn backup(path: &Path) -> Result<PathBuf, HooksError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".hb-backup");
    let backup = PathBuf::from(name);
    fs::copy(path, &backup).map_err(|error| HooksError::Io(backup.clone(), error))?;
    Ok(backup)
}

/// Whole or not at all: an agent may read it at this very moment.
fn write(path: &Path, text: &str) -> Result<(), HooksError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".hb-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = || -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mode = fs::metadata(path).map_or(0o600, |found| found.permissions().mode());
        let mut file = fs::File::create(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&new); // it may not be there
        HooksError::Io(path.to_owned(), error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = r#"{
  "model": "opus",
  "hooks": {
    "PreToolUse": [
      {"matcher": "Bash", "hooks": [{"type": "command", "command": "./check.sh"}]}
    ]
  },
  "permissions": {"allow": ["Bash(ls:*)"]}
}"#;

    struct Users {
        agent: Agent,
        path: PathBuf,
        _directory: tempfile::TempDir,
    }

    impl Users {
        fn holding(text: Option<&str>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("deep/settings.json");
            if let Some(text) = text {
                fs::create_dir(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
            }
            Self {
                agent: Agent::Claude,
                path,
                _directory: directory,
            }
        }

        fn run(&self, act: Act, dry_run: bool) -> Result<String, String> {
            let settings = Some(self.path.clone());
            let args = HooksArgs {
                act,
                agent: self.agent,
                dry_run,
                settings,
            };
            run(&args).map_err(|error| error.to_string())
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.path).unwrap()
        }

        fn value(&self) -> Value {
            serde_json::from_str(&self.text()).unwrap()
        }
    }

    #[test]
    fn installing_keeps_what_the_user_has_in_its_order() {
        let settings = Users::holding(Some(USERS));
        settings.run(Act::Install, false).unwrap();
        let value = settings.value();
        let text = settings.text();
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("\"model\"") < at("\"hooks\"") && at("\"hooks\"") < at("\"permissions\""));
        assert!(text.contains(
            r#"{"matcher": "Bash", "hooks": [{"type": "command", "command": "./check.sh"}]}"#
        ));
        assert_eq!(
            value["hooks"]["PreToolUse"][0]["hooks"][0]["command"],
            "./check.sh"
        );
        for event in EVENTS {
            assert!(
                value["hooks"][event].to_string().contains(ARGUMENTS),
                "{event}"
            );
        }
        assert!(value["hooks"].get("WorktreeCreate").is_none());
        let backup = format!("{}.hb-backup", settings.path.display());
        assert_eq!(fs::read_to_string(backup).unwrap(), USERS);
    }

    #[test]
    fn installing_twice_is_installing_once() {
        let settings = Users::holding(Some(USERS));
        settings.run(Act::Install, false).unwrap();
        let once = settings.text();
        assert!(
            settings
                .run(Act::Install, false)
                .unwrap()
                .contains("nothing to do")
        );
        assert_eq!(settings.text(), once);
    }

    #[test]
    fn removing_leaves_what_was_there_before() {
        let settings = Users::holding(Some(USERS));
        settings.run(Act::Install, false).unwrap();
        settings.run(Act::Remove, false).unwrap();
        assert_eq!(
            settings.value(),
            serde_json::from_str::<Value>(USERS).unwrap()
        );
        assert!(
            settings
                .run(Act::Remove, false)
                .unwrap()
                .contains("nothing to do")
        );
        let fresh = Users::holding(None);
        fresh.run(Act::Install, false).unwrap();
        fresh.run(Act::Remove, false).unwrap();
        assert_eq!(fresh.value(), serde_json::json!({}));
    }

    #[test]
    fn the_copy_that_is_kept_never_has_hooks_of_ours() {
        let settings = Users::holding(Some(USERS));
        let copy = settings.path.with_file_name("settings.json.hb-backup");
        settings.run(Act::Install, false).unwrap();
        settings.run(Act::Remove, false).unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), USERS);
        let older = r#"{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"hbsidecar notify --hook"}]}]}}"#;
        fs::write(&settings.path, older).unwrap();
        settings.run(Act::Install, false).unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), USERS);
    }

    #[test]
    fn each_agent_gets_the_events_that_it_has() {
        for (agent, event, timeout) in [
            (Agent::Codex, "PreToolUse", 5),
            (Agent::Gemini, "BeforeTool", 5000),
            (Agent::Qwen, "PreToolUse", 5000),
        ] {
            let settings = Users {
                agent,
                ..Users::holding(Some(USERS))
            };
            settings.run(Act::Install, false).unwrap();
            let value = settings.value();
            let groups = value["hooks"][event].as_array().unwrap();
            let ours = &groups.last().unwrap()["hooks"][0];
            assert_eq!(ours["timeout"], timeout, "{agent:?}");
            assert_eq!(value["model"], "opus");
            settings.run(Act::Remove, false).unwrap();
            assert_eq!(
                settings.value(),
                serde_json::from_str::<Value>(USERS).unwrap()
            );
        }
    }

    #[test]
    fn an_agent_that_reads_a_directory_gets_a_file_that_is_written_and_removed_whole() {
        for (agent, shows) in [
            (Agent::Copilot, "notify --hook=preToolUse"),
            (Agent::Opencode, "tool.execute.before"),
        ] {
            let fresh = Users {
                agent,
                ..Users::holding(None)
            };
            assert!(fresh.run(Act::Install, true).unwrap().contains(shows));
            assert!(!fresh.path.exists());
            fresh.run(Act::Install, false).unwrap();
            assert!(fresh.text().contains(shows));
            let again = fresh.run(Act::Install, false).unwrap();
            assert!(again.contains("nothing to do"), "{again}");
            fresh.run(Act::Remove, false).unwrap();
            assert!(!fresh.path.exists());
            let again = fresh.run(Act::Remove, false).unwrap();
            assert!(again.contains("nothing to do"), "{again}");
        }
    }

    #[test]
    fn a_file_of_that_name_that_is_the_users_is_left_alone() {
        let users = "export const Mine = async () => ({})\n";
        for act in [Act::Install, Act::Remove] {
            let settings = Users {
                agent: Agent::Opencode,
                ..Users::holding(Some(users))
            };
            let error = settings.run(act, false).unwrap_err();
            assert!(error.contains("left unchanged"), "{error}");
            assert_eq!(settings.text(), users);
        }
    }

    #[test]
    fn a_dry_run_shows_and_writes_nothing() {
        let settings = Users::holding(Some(USERS));
        let shown = settings.run(Act::Install, true).unwrap();
        assert!(shown.contains(ARGUMENTS) && shown.contains("./check.sh"));
        assert_eq!(settings.text(), USERS);
        assert_eq!(
            fs::read_dir(settings.path.parent().unwrap())
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn what_is_no_settings_file_is_left_alone() {
        for text in [
            "{\"hooks\": // a comment\n{}}",
            "[]",
            r#"{"hooks":[]}"#,
            r#"{"hooks":{"Stop":{}}}"#,
        ] {
            let settings = Users::holding(Some(text));
            let error = settings.run(Act::Install, false).unwrap_err();
            assert!(error.contains("left unchanged"), "{text}: {error}");
            assert_eq!(settings.text(), text);
        }
    }

    #[test]
    fn a_link_stays_a_link_and_the_mode_the_mode() {
        let settings = Users::holding(Some(USERS));
        fs::set_permissions(&settings.path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = settings.path.with_file_name("link.json");
        std::os::unix::fs::symlink(&settings.path, &link).unwrap();
        let through = Users {
            agent: Agent::Claude,
            path: link.clone(),
            _directory: tempfile::tempdir().unwrap(),
        };
        through.run(Act::Install, false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            fs::metadata(&settings.path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert!(settings.text().contains(ARGUMENTS));
    }

    #[test]
    fn hooks_of_an_older_installation_are_taken_over() {
        let older = r#"{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"/opt/bin/hbsidecar notify --hook"}]}]}}"#;
        let settings = Users::holding(Some(older));
        settings.run(Act::Install, false).unwrap();
        assert_eq!(
            settings.value()["hooks"]["Stop"].as_array().unwrap().len(),
            1
        );
    }
}
