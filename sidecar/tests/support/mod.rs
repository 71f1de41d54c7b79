//! What tests of the sidecar's process stand on: the program without a store, conditions with a deadline.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses a part"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a loaded machine of two cores.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The program, without the settings of the user who runs the tests. Nothing listens on port 1: no store.
pub(crate) fn sidecar(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg("-q").args(arguments);
    command
}

/// The same, saying what it does.
pub(crate) fn loud(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg("-v").args(arguments);
    command
}

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hbsidecar"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HB_") || name == "REDIS_URL" || name == "AGENT_ID" {
            command.env_remove(name);
        }
    }
    command
        .args(["--redis-url", "redis://127.0.0.1:1"])
        .stdin(Stdio::null());
    command
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        eventually("the process ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    /// With all that it started: an agent must not outlive its test.
    fn drop(&mut self) {
        let below = descendants(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        for pid in below {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Everybody below a process, as far as it can be seen.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = children
                .split_whitespace()
                .filter_map(|c| c.parse().ok())
                .collect();
            parents.extend(&children);
            found.extend(children);
        }
    }
    found
}

pub(crate) fn signal(pid: i32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(status.unwrap().success(), "kill -s {name} {pid}");
}

/// Waits for a condition; stops the test when it does not come true [`SOON`].
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {SOON:?} until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The file's text once it has a whole line.
pub(crate) fn line(path: &Path) -> String {
    eventually(&format!("{} has a line", path.display()), || {
        std::fs::read_to_string(path)
            .ok()
            .filter(|text| text.ends_with('\n'))
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
