//! Which programs the agent ran: what matches its expression and runs another one is an editor or a pager, not the agent.

use crate::clock;
use crate::process::handle::{self, Process};
use std::time::Duration;

/// An agent starts as a shell, and becomes another program once or twice.
const PROGRAMS_MAX: usize = 8;
/// A process this old is what it is to be: a shell, or a shim, that starts the agent has become it.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// One file that is many programs: which one, the first argument says.
const MULTICALL: [&str; 3] = ["busybox", "toybox", "coreutils"];

/// The programs that were seen in the agent's process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs(Vec<String>);

impl Programs {
    /// Notes what this process of the agent runs, once that is settled.
    pub(crate) fn note(&mut self, process: &Process) {
        let age = clock::wall_ms().saturating_sub(process.started_ms());
        if Duration::from_millis(age) >= SETTLED_AFTER {
            self.note_of(process.pid);
        }
    }

    fn note_of(&mut self, pid: i32) {
        let Some(name) = name(pid).filter(|name| !self.0.contains(name)) else {
            return;
        };
        if self.0.len() == PROGRAMS_MAX {
            self.0.remove(0);
        }
        self.0.push(name);
    }

    /// Whether this process may be the agent. Where no program was seen, or this one's is hidden, it may.
    pub(super) fn may_run_in(&self, pid: i32) -> bool {
        self.0.is_empty() || name(pid).is_none_or(|name| self.0.contains(&name))
    }
}

/// The name of the program without its version: an agent may come back with the next one.
fn name(pid: i32) -> Option<String> {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = plain(&file.file_name()?.to_string_lossy());
    if MULTICALL.contains(&name.as_str()) {
        return handle::command_name(pid);
    }
    Some(name)
}

fn plain(name: &str) -> String {
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let is_version = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    name.trim_end_matches(is_version).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_same_name_in_its_next_version() {
        let names = ["python3.11", "python3.12 (deleted)", "python"].map(plain);
        assert_eq!(names, ["python"; 3]);
        assert_eq!(["2.0.14", "2.0.15"].map(plain), ["", ""]);
        assert_ne!(plain("node22"), plain("nodejs"));
    }

    #[test]
    fn a_process_may_be_the_agent_when_it_runs_one_of_its_programs() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut programs = Programs::default();
        assert!(programs.may_run_in(me), "no program was seen");
        programs.0.push("another".to_owned());
        assert!(!programs.may_run_in(me));
        programs.note_of(me);
        assert!(programs.may_run_in(me) && programs.may_run_in(i32::MAX));
    }
}
