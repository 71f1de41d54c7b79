//! A fleet of the test's own: store, monitor, and sidecars that end with it.

use super::{Monitor, Redis, Running, SOON, clean, eventually, program, text_of, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// A store, a monitor, and a place for sockets.
pub(crate) struct Fleet {
    pub(crate) redis: Redis,
    pub(crate) monitor: Monitor,
    pub(crate) place: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let redis = Redis::start();
        Self {
            monitor: Monitor::start(&redis.url()),
            redis,
            place: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// hbsidecar, which its agents find in PATH.
    pub(crate) fn hbsidecar(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&program("hbsidecar"));
        command
            .env("HB_REDIS_URL", self.redis.url())
            .env("HB_INTERVAL", format!("{}ms", INTERVAL.as_millis()))
            .env("XDG_RUNTIME_DIR", self.place.path())
            .env("PATH", path_with_programs())
            .env("DIR", self.place.path())
            .args(["--grace", "1s"])
            .args(arguments);
        command
    }

    pub(crate) fn agent(&self, id: &str, flags: &[&str], agent: &[&str]) -> Agent {
        let arguments = [&["-q", "--id", id], flags, &["--"], agent].concat();
        Agent::start(self.hbsidecar(&arguments).stdout(Stdio::null()))
    }

    /// A command from outside, about the agent of this id.
    pub(crate) fn beside(&self, id: &str, arguments: &[&str]) -> Output {
        let mut command = clean(&program("hbsidecar"));
        command.args(arguments);
        command.env("HB_SOCKET", self.path(&format!("hb/{id}.sock")));
        command.output().unwrap()
    }

    pub(crate) fn health(&self, id: &str) -> Value {
        let found = self.monitor.get(&format!("/health/agents/{id}"));
        found.map(|(_, health)| health).unwrap_or_default()
    }

    /// Waits until HTTP serves all this of an agent.
    pub(crate) fn tells(&self, id: &str, all: &Value) {
        eventually(&format!("{id} is served with {all}"), || {
            let health = self.health(id);
            let fields = all.as_object().unwrap();
            let holds = |(name, value): (&String, &Value)| {
                let pointer = format!("/{}", name.replace('.', "/"));
                health.pointer(&pointer) == Some(value)
            };
            fields.iter().all(holds).then_some(())
        });
    }

    /// Kinds and details of what happened to an agent.
    pub(crate) fn events(&self, id: &str) -> Vec<(String, Value)> {
        let entries: Vec<(String, HashMap<String, String>)> =
            self.redis.run(&["XRANGE", "hb:events", "-", "+"]);
        let of_agent = entries.into_iter().map(|(_, entry)| entry);
        of_agent
            .filter(|entry| entry["agent"] == id)
            .map(|entry| {
                let detail = serde_json::from_str(&entry["detail"]).unwrap();
                (entry["event"].clone(), detail)
            })
            .collect()
    }

    pub(crate) fn count(&self, id: &str, kind: &str) -> usize {
        let events = self.events(id);
        events.iter().filter(|(found, _)| found == kind).count()
    }
}

/// A sidecar that is asked to end with its test, and takes its agent along.
pub(crate) struct Agent(pub(crate) Running);

impl Agent {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Running::start(command))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.0.id()).unwrap());
        if self.0.0.try_wait().unwrap().is_none() && kill(pid, Signal::SIGTERM).is_ok() {
            let start = Instant::now();
            while self.0.0.try_wait().unwrap().is_none() && start.elapsed() < SOON {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

pub(crate) fn path_with_programs() -> OsString {
    let ours = program("hbsidecar").parent().unwrap().to_owned();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(ours).chain(std::env::split_paths(&rest))).unwrap()
}

/// Scripts wait for one thing after the other.
const SCRIPT_WITHIN: Duration = Duration::from_secs(240);

/// Runs a script in a network and a table of mounts of its own: a Redis on port 6379 there is not the user's. Returns the
/// exit code and what the script printed; its working directory is its own too. A test that fails shows its errors.
pub(crate) fn in_a_network_of_its_own(script: &str) -> (Option<i32>, String) {
    let flags = if nix::unistd::geteuid().is_root() {
        "-nm"
    } else {
        "-rnm"
    };
    let place = super::place();
    let [printed, errors] = ["printed", "errors"].map(|name| place.path().join(name));
    let mut unshare = clean("unshare".as_ref());
    unshare
        .args([flags, "bash", "-c", script])
        .current_dir(place.path())
        .env("PATH", path_with_programs())
        .stdout(std::fs::File::create(&printed).unwrap())
        .stderr(std::fs::File::create(&errors).unwrap());
    let mut running = Running::start(&mut unshare);
    let ended = within(SCRIPT_WITHIN, "the script ends", String::new, || {
        text_of(&printed);
        text_of(&errors);
        running.0.try_wait().unwrap()
    });
    eprintln!("{}", text_of(&errors));
    (ended.code(), text_of(&printed))
}
