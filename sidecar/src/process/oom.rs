//! Whether the kernel killed for memory: counters of our control group, or of the machine where there is none.

use super::handle;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// `PF_EXITING` of the kernel's `sched.h`.
const EXITING: u32 = 0x4;
/// Of a signal mask.
const SIGKILL_BIT: u64 = 1 << 8;
/// The longest counter's file that is read: `/proc/vmstat` has some 4 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Counts out-of-memory kills from one moment on.
#[derive(Debug)]
pub(crate) struct OomKills {
    counter: Option<Counter>,
    before: u64,
    /// As read when the agent ended: its group may be gone a moment later.
    at_the_end: Option<u64>,
}

/// A file with a line `oom_kill NUMBER`. Held open: a container's files cannot be reached once its last process ended.
#[derive(Debug)]
struct Counter(File);

impl OomKills {
    /// Counts those of our own group from now on.
    pub(crate) fn watch() -> Self {
        Self::of("/proc/self/cgroup", "")
    }

    /// Counts those of another process's group, which may be another container's.
    pub(crate) fn watch_of(pid: i32) -> Self {
        Self::of(&format!("/proc/{pid}/cgroup"), &format!("/proc/{pid}/root"))
    }

    fn of(cgroups: &str, root: &str) -> Self {
        let counter = counter(cgroups, root);
        let before = counter.as_ref().and_then(Counter::read).unwrap_or(0);
        Self {
            counter,
            before,
            at_the_end: None,
        }
    }

    /// The agent has ended, and its container with it.
    pub(crate) fn group_ends(&mut self) {
        self.at_the_end = self.counter.as_ref().and_then(Counter::read);
    }

    /// Whether there was one since.
    pub(crate) fn any(&self) -> bool {
        self.newest().is_some()
    }

    /// The agent lives: what was killed up to now was another process, a tool of its own perhaps.
    pub(crate) fn survived(&mut self, agent: i32) {
        if let Some(now) = self.newest()
            && !is_dying(agent)
        {
            self.before = now;
        }
    }

    fn newest(&self) -> Option<u64> {
        let now = self.counter.as_ref().and_then(Counter::read);
        let now = now.max(self.at_the_end)?;
        (now > self.before).then_some(now)
    }
}

/// Whether it has ended, is ending, or has a SIGKILL that it has not taken yet: the counter moves before the victim is gone,
/// which may take a while.
fn is_dying(pid: i32) -> bool {
    let Ok(process) = procfs::process::Process::new(pid) else {
        return true;
    };
    let (Ok(stat), Ok(status)) = (process.stat(), process.status()) else {
        return true;
    };
    let pending = status.sigpnd | status.shdpnd;
    !handle::is_alive(&stat) || stat.flags & EXITING != 0 || pending & SIGKILL_BIT != 0
}

impl Counter {
    fn open(file: PathBuf) -> Option<Self> {
        let counter = Self(File::open(file).ok()?);
        counter.read().is_some().then_some(counter)
    }

    fn read(&self) -> Option<u64> {
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while (text.len() as u64) < FILE_BYTES_MAX {
            match self.0.read_at(&mut part, text.len() as u64).ok()? {
                0 => break,
                length => text.extend_from_slice(part.get(..length)?),
            }
        }
        let text = String::from_utf8_lossy(&text);
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }
}

/// The nearest counter that can be read. `oom_kill` counts kills of every kind among the group's processes.
/// `root`: where the process's files are, without the last slash.
fn counter(cgroups: &str, root: &str) -> Option<Counter> {
    let cgroups = std::fs::read_to_string(cgroups).unwrap_or_default();
    let of_group = files(&cgroups).into_iter().map(|file| {
        let mut below = PathBuf::from(root).into_os_string();
        below.push(file);
        PathBuf::from(below)
    });
    let of_machine = PathBuf::from("/proc/vmstat");
    of_group.chain([of_machine]).find_map(Counter::open)
}

/// Where the counters of these groups may be: version 2, then version 1; in a container the group is the root it sees.
fn files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let places: &[(&str, &str)] = if controllers.is_empty() {
            &[
                ("/sys/fs/cgroup", "memory.events"),
                ("/sys/fs/cgroup/unified", "memory.events"),
            ]
        } else if controllers.split(',').any(|name| name == "memory") {
            &[("/sys/fs/cgroup/memory", "memory.oom_control")]
        } else {
            continue;
        };
        for (root, name) in places {
            files.push(PathBuf::from(format!(
                "{root}{}/{name}",
                path.trim_end_matches('/')
            )));
            files.push(PathBuf::from(format!("{root}/{name}")));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_have_a_counter() {
        let files = files("11:cpu:/x\n9:memory:/docker/abc\n0::/docker/abc\n");
        for file in [
            "/sys/fs/cgroup/memory/docker/abc/memory.oom_control",
            "/sys/fs/cgroup/memory/memory.oom_control",
            "/sys/fs/cgroup/docker/abc/memory.events",
            "/sys/fs/cgroup/memory.events",
        ] {
            assert!(
                files.contains(&PathBuf::from(file)),
                "{file} is not in {files:?}"
            );
        }
    }

    #[test]
    fn a_kill_that_the_agent_survived_was_not_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let mut kills = OomKills {
            counter: Counter::open(file.clone()),
            before: 1,
            at_the_end: None,
        };
        std::fs::write(&file, "oom_kill 2\n").unwrap();
        assert!(kills.any());
        let me = i32::try_from(std::process::id()).unwrap();
        kills.survived(me);
        assert!(!kills.any(), "this process lives");
        std::fs::write(&file, "oom_kill 3\n").unwrap();
        kills.survived(i32::MAX);
        assert!(kills.any(), "there is no such process any more");
    }

    #[test]
    fn a_kill_is_known_after_the_group_of_the_agent_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let mut kills = OomKills {
            counter: Counter::open(file.clone()),
            before: 0,
            at_the_end: None,
        };
        kills.group_ends();
        std::fs::write(&file, "").unwrap();
        assert!(kills.any());
    }

    #[test]
    fn the_counter_of_another_process_is_found_through_its_root() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (own, other) = (OomKills::watch(), OomKills::watch_of(me));
        assert!(own.counter.is_some());
        assert_eq!(own.before, other.before);
    }

    #[test]
    fn this_machine_has_a_counter_and_it_does_not_move_by_itself() {
        let kills = OomKills::watch();
        assert!(kills.counter.is_some());
        assert!(!kills.any());
    }
}
