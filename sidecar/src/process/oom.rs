//! Whether the kernel killed for memory: counters of the agent's control group, or of the machine where there is none.

use super::handle;
use std::path::PathBuf;

/// `PF_EXITING` of the kernel's `sched.h`.
const EXITING: u32 = 0x4;
/// Of a signal mask.
const SIGKILL_BIT: u64 = 1 << 8;

/// Counts out-of-memory kills from one moment on.
#[derive(Debug)]
pub(crate) struct OomKills {
    counter: Option<Counter>,
    before: u64,
}

/// A file with a line `NAME NUMBER`.
#[derive(Debug, PartialEq, Eq)]
struct Counter {
    file: PathBuf,
    name: &'static str,
}

impl OomKills {
    /// Counts from now on, where this agent is; without one, where this process is.
    pub(crate) fn watch(agent: Option<i32>) -> Self {
        let counter = counter(agent);
        let before = counter.as_ref().and_then(Counter::read).unwrap_or(0);
        Self { counter, before }
    }

    /// Whether there was one since.
    pub(crate) fn any(&self) -> bool {
        self.newest().is_some()
    }

    /// The agent lives: what was killed up to now was another process, a tool of its own perhaps. It may have gone to
    /// another group meanwhile, whose kills up to now were not its own either.
    pub(crate) fn survived(&mut self, agent: i32) {
        let now = Self::watch(Some(agent));
        if (now.before > self.before || now.counter != self.counter) && !is_dying(agent) {
            *self = now;
        }
    }

    fn newest(&self) -> Option<u64> {
        let now = self.counter.as_ref().and_then(Counter::read)?;
        (now > self.before).then_some(now)
    }
}

/// Whether it has ended, is ending, or has a SIGKILL that it has not taken yet: the counter moves before the victim is gone,
/// which may take a while.
fn is_dying(pid: i32) -> bool {
    let status = handle::text(&format!("/proc/{pid}/status"));
    let (Some(stat), Some(status)) = (handle::stat(pid), status) else {
        return true;
    };
    let pending = status.lines().filter_map(|line| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    let is_killed = pending.fold(0, |all, mask| all | mask) & SIGKILL_BIT != 0;
    !handle::is_alive(&stat) || stat.flags & EXITING != 0 || is_killed
}

impl Counter {
    fn read(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(self.name)?.trim().parse().ok())
    }
}

/// The nearest counter that can be read. `oom_kill` counts kills of every kind among the group's processes: under version 2
/// those of the groups below as well, under version 1 its own alone.
fn counter(agent: Option<i32>) -> Option<Counter> {
    let groups = |of: &str| handle::text(&format!("/proc/{of}/cgroup"));
    let ours = groups("self").unwrap_or_default();
    let agent = agent.filter(|_| handle::proc_is_ours());
    let theirs = agent.and_then(|pid| groups(&pid.to_string()));
    let of_group = files(theirs.as_ref().unwrap_or(&ours), &ours);
    let of_machine = PathBuf::from("/proc/vmstat");
    let counter = |file| Counter {
        file,
        name: "oom_kill ",
    };
    let mut counters = of_group.into_iter().chain([of_machine]).map(counter);
    counters.find(|counter| counter.read().is_some())
}

/// Where the counters of these groups may be: version 2, then version 1. In a container our own group is the root that it
/// sees; that of another container has no path in it.
fn files(theirs: &str, ours: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in theirs.lines() {
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
        let is_ours = ours.lines().any(|our| our == line);
        for (root, name) in places {
            if !path.split('/').any(|part| part == "..") {
                let path = path.trim_end_matches('/');
                files.push(PathBuf::from(format!("{root}{path}/{name}")));
            }
            if is_ours {
                files.push(PathBuf::from(format!("{root}/{name}")));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_have_a_counter() {
        let groups = "11:cpu:/x\n9:memory:/docker/abc\n0::/docker/abc\n";
        let files = files(groups, groups);
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
    fn the_root_that_a_container_sees_is_not_the_group_of_another_one() {
        let ours = "9:memory:/docker/abc\n0::/\n";
        let root = PathBuf::from("/sys/fs/cgroup/memory/memory.oom_control");
        let other = files("9:memory:/docker/def\n", ours);
        assert!(!other.is_empty() && !other.contains(&root), "{other:?}");
        assert!(files("0::/../def\n", ours).is_empty());
    }

    /// A group for memory, below the one of this process where its file system allows that, with a limit of 64 MB.
    struct Group(PathBuf);

    impl Group {
        fn new(parent: &std::path::Path, name: &str, limit: &str) -> Option<Self> {
            let group = Self(parent.join(name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join(limit), "67108864").ok()?;
            Some(group)
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while std::fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }

    /// The inner one is made last and removed first.
    fn nested() -> (Group, Group) {
        let name = format!("hb-oom-{}", std::process::id());
        let roots = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        let made = roots.into_iter().find_map(|(root, limit)| {
            let outer = Group::new(std::path::Path::new(root), &name, limit)?;
            let _ = std::fs::write(outer.0.join("cgroup.subtree_control"), "+memory"); // of version 2
            let inner = Group::new(&outer.0, "inner", limit)?;
            Some((outer, inner))
        });
        made.expect("no memory control group can be made: run the tests as root, with control groups mounted")
    }

    #[test]
    fn a_kill_in_a_group_that_the_agent_entered_by_itself_is_counted() {
        use std::io::{BufRead, BufReader, Write};
        let (_outer, inner) = nested();
        let code = "import sys
print('up', flush=True); sys.stdin.readline()
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
print('in', flush=True); sys.stdin.readline()
x = []
while True: x.append(bytearray(1 << 20))";
        let mut agent = std::process::Command::new("python3")
            .args(["-c", code, &inner.0.to_string_lossy()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(agent.id()).unwrap();
        let mut said = BufReader::new(agent.stdout.take().unwrap()).lines();
        let mut go = agent.stdin.take().unwrap();
        assert_eq!(said.next().unwrap().unwrap(), "up");
        let mut kills = OomKills::watch(Some(pid));
        let before = kills.counter.as_ref().map(|counter| counter.file.clone());
        writeln!(go).unwrap();
        assert_eq!(said.next().unwrap().unwrap(), "in");
        kills.survived(pid);
        assert_ne!(
            kills.counter.as_ref().map(|counter| counter.file.clone()),
            before
        );
        assert!(!kills.any());
        writeln!(go).unwrap();
        agent.wait().unwrap();
        assert!(kills.any(), "{kills:?}");
    }

    #[test]
    fn a_kill_that_the_agent_survived_was_not_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let mut kills = OomKills {
            counter: Some(Counter {
                file: file.clone(),
                name: "oom_kill ",
            }),
            before: 1,
        };
        std::fs::write(&file, "oom_kill 2\n").unwrap();
        kills.survived(i32::MAX);
        assert!(kills.any(), "there is no such process any more");
        let mut agent = std::process::Command::new("python3")
            .args([
                "-c",
                "open('/proc/self/comm', 'wb').write(b'caf\\xe9'); print(); input()",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut named = [0];
        std::io::Read::read_exact(agent.stdout.as_mut().unwrap(), &mut named).unwrap();
        kills.survived(i32::try_from(agent.id()).unwrap());
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert!(!kills.any(), "an agent lives whose name is no UTF-8");
    }

    #[test]
    fn this_machine_has_a_counter_and_it_does_not_move_by_itself() {
        let kills = OomKills::watch(None);
        assert!(kills.counter.is_some());
        assert!(!kills.any());
    }
}
