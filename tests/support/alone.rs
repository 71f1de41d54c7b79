//! hbsidecar without any store, and what /proc shows of the processes that a test marked.

use super::{clean, eventually, program, text_of};
use std::path::Path;
use std::process::{Command, Stdio};

/// No server listens on port 1: the agent runs without a store.
const NO_STORE: &str = "redis://127.0.0.1:1";

/// hbsidecar without a store, quiet.
pub(crate) fn sidecar(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg("-q").args(arguments);
    command
}

/// The same with `-v`: it logs what it does.
pub(crate) fn loud(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg("-v").args(arguments);
    command
}

fn bare() -> Command {
    let mut command = clean(&program("hbsidecar"));
    command.args(["--redis-url", NO_STORE]).stdin(Stdio::null());
    command
}

/// The file's text once it has a whole line.
pub(crate) fn line(path: &Path) -> String {
    eventually(&format!("{} has a line", path.display()), || {
        Some(text_of(path)).filter(|text| text.ends_with('\n'))
    })
}

/// Processes of this machine whose environment holds the mark.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let holds = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes());
        if holds && state(pid).is_some_and(|state| state != 'Z') {
            found.push(pid);
        }
    }
    found
}

/// The letter of its state; none when it is gone.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
