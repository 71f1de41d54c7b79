//! Whether the kernel killed for memory: counters of our control group, or of the machine where there is none.

use std::path::PathBuf;

/// Counts out-of-memory kills from one moment on.
#[derive(Debug)]
pub(crate) struct OomKills {
    counter: Option<Counter>,
    before: u64,
}

/// A file with a line `NAME NUMBER`.
#[derive(Debug)]
struct Counter {
    file: PathBuf,
    name: &'static str,
}

impl OomKills {
    /// Counts from now on.
    pub(crate) fn watch() -> Self {
        let counter = counter();
        let before = counter.as_ref().and_then(Counter::read).unwrap_or(0);
        Self { counter, before }
    }

    /// Whether there was one since.
    pub(crate) fn any(&self) -> bool {
        let now = self.counter.as_ref().and_then(Counter::read);
        now.is_some_and(|now| now > self.before)
    }
}

impl Counter {
    fn read(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(self.name)?.trim().parse().ok())
    }
}

/// The nearest counter that can be read. `oom_kill` counts kills of every kind among the group's processes.
fn counter() -> Option<Counter> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_group = files(&cgroups).into_iter().map(|file| Counter {
        file,
        name: "oom_kill ",
    });
    let of_machine = Counter {
        file: PathBuf::from("/proc/vmstat"),
        name: "oom_kill ",
    };
    of_group
        .chain([of_machine])
        .find(|counter| counter.read().is_some())
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
    fn this_machine_has_a_counter_and_it_does_not_move_by_itself() {
        let kills = OomKills::watch();
        assert!(kills.counter.is_some());
        assert!(!kills.any());
    }
}
