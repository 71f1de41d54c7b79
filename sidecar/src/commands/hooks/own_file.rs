//! Hooks of agents that read a directory of them: one file of our own, written whole and removed whole.

use super::{Act, Agent, HooksError, TIMEOUT, program, read, usual, write};
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::path::Path;

/// What copilot's hooks are called. `permissionRequest` is left out: it also comes for what is allowed already.
const COPILOTS_EVENTS: [&str; 8] = [
    "sessionStart",
    "userPromptSubmitted",
    "preToolUse",
    "postToolUse",
    "postToolUseFailure",
    "subagentStop",
    "agentStop",
    "sessionEnd",
];
const PLUGIN: &str = include_str!("opencode.js");
/// How the plugin names our program.
const PLUGINS_PROGRAM: &str = "\"hbsidecar\"";
/// Every file of ours says so in its first lines.
const MARK: &str = "hbsidecar";

/// The file's content where the agent reads a directory of hooks, none where hooks stand in its settings.
pub(super) fn content(agent: Agent) -> Option<String> {
    match agent {
        Agent::Claude | Agent::Codex | Agent::Gemini | Agent::Qwen => None,
        Agent::Copilot => Some(copilot()),
        Agent::Opencode => {
            let program = Value::from(program().unquoted);
            Some(PLUGIN.replacen(PLUGINS_PROGRAM, &program.to_string(), 1))
        }
    }
}

/// Writes or removes the file. A file of that name which is not ours is left alone.
pub(super) fn run(
    agent: Agent,
    act: Act,
    settings: Option<&Path>,
    dry_run: bool,
    wanted: &str,
) -> Result<String, HooksError> {
    let path = match settings {
        Some(path) => path.to_owned(),
        None => usual(agent)?,
    };
    let before = read(&path)?;
    if before.as_ref().is_some_and(|text| !text.contains(MARK)) {
        return Err(HooksError::NotOurs(path));
    }
    let name = path.display();
    match (act, before) {
        (Act::Install, Some(text)) if text == wanted => Ok(format!("{name}: nothing to do\n")),
        (Act::Remove, None) => Ok(format!("{name}: nothing to do\n")),
        (Act::Install, _) if dry_run => Ok(wanted.to_owned()),
        (Act::Remove, Some(_)) if dry_run => Ok(format!("{name} would be removed\n")),
        (Act::Install, _) => {
            write(&path, wanted)?;
            Ok(format!("{name} is written\n"))
        }
        (Act::Remove, Some(_)) => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HooksError::Io(path, error))
            }
            Ok(()) | Err(_) => Ok(format!("{name} is removed\n")),
        },
    }
}

/// The input of its hooks does not name the event: the command does.
fn copilot() -> String {
    let hook = |event: &str| {
        let command = format!("{} notify --hook={event}", program().for_shell);
        let hook = json!({"type": "command", "bash": command, "timeoutSec": TIMEOUT});
        (event.to_owned(), Value::from(vec![hook]))
    };
    let hooks: Map<String, Value> = COPILOTS_EVENTS.iter().map(|event| hook(event)).collect();
    format!("{:#}\n", json!({"version": 1, "hooks": hooks}))
}
