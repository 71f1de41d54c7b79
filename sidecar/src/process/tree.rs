//! Which processes belong to the agent, wherever they are, and how to end them all.
//!
//! The agent's children may leave its process group and its session (`setsid`), and orphans leave their parent. As
//! subreaper every one of them stays below us. For an agent that is not our child (attached, transparent) the marker in the
//! environment finds those that left. The whole process table is read: this happens when something ends, not on a tick.

use crate::process::handle::{self, Process};
use nix::libc;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Rounds of looking for newcomers before they are killed; each stops all it finds, so a storm of forks runs dry.
const ROUNDS_MAX: usize = 64;

/// Where a tree begins.
#[derive(Debug)]
pub(crate) enum Tree {
    /// Everything below us but what was there before the agent.
    Subreaper {
        me: i32,
        preexisting: BTreeSet<(i32, u64)>,
    },
    /// A process that is not our child, what is below it, and what carries the environment marker.
    Attached {
        pid: i32,
        started: u64,
        env_marker: Option<OsString>,
    },
    /// What is below a sidecar, dead or alive, and what carries the environment marker; not the sidecar itself.
    Guarded {
        pid: i32,
        started: u64,
        mark: OsString,
    },
}

/// One living process of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) started: u64,
    pub(crate) session: i32,
    pub(crate) state: char,
    pub(crate) name: String,
}

#[derive(Debug)]
struct Table {
    stats: BTreeMap<i32, (i32, Member)>,
}

impl Tree {
    /// Below this process, from now on. Children that it has already are not the agent's.
    pub(crate) fn subreaper() -> Self {
        let me = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let preexisting = children(me)
            .into_iter()
            .filter_map(|pid| Some((pid, handle::stat(pid)?.starttime)))
            .collect();
        Self::Subreaper { me, preexisting }
    }

    /// The living, parents before children. A zombie is dead.
    pub(crate) fn members(&self) -> Vec<Member> {
        let table = Table::read();
        match self {
            Self::Subreaper { me, preexisting } => table.below(&[*me], preexisting),
            Self::Attached {
                pid,
                started,
                env_marker,
            } => {
                let mut roots = table.marked(env_marker.as_ref());
                roots.extend(table.named(*pid, *started));
                table.with_all_below(&roots)
            }
            Self::Guarded { pid, started, mark } => {
                let mut roots = table.marked(Some(mark));
                if table.named(*pid, *started).is_some() {
                    roots.extend(table.children_of(*pid));
                }
                let mut found = table.with_all_below(&roots);
                found.retain(|member| member.pid != *pid);
                found
            }
        }
    }

    /// Roots for sampling: the agent, and orphans that came to us.
    pub(crate) fn roots(&self, agent: i32) -> Vec<i32> {
        let mut roots = vec![agent];
        if let Self::Subreaper { me, preexisting } = self {
            let is_preexisting =
                |pid: &i32| preexisting.iter().any(|(stranger, _)| stranger == pid);
            roots.extend(
                children(*me)
                    .into_iter()
                    .filter(|pid| *pid != agent && !is_preexisting(pid)),
            );
        }
        roots
    }

    /// Sends these signals, in this order, to every living member.
    pub(crate) fn signal(&self, numbers: &[i32]) {
        for member in self.members() {
            member.signal(numbers);
        }
    }

    /// Kills every member. All are stopped first, so that none can fork while others die.
    pub(crate) fn kill(&self) {
        let mut stopped = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let new: Vec<Member> = self
                .members()
                .into_iter()
                .filter(|member| !stopped.contains(&(member.pid, member.started)))
                .collect();
            if new.is_empty() {
                break;
            }
            for member in new {
                member.signal(&[libc::SIGSTOP]);
                stopped.insert((member.pid, member.started));
            }
        }
        self.signal(&[libc::SIGKILL]);
    }
}

impl Member {
    fn signal(&self, numbers: &[i32]) {
        let Ok(process) = Process::named(self.pid, self.started) else {
            return; // it has ended
        };
        for number in numbers {
            if let Err(error) = process.signal(*number)
                && error.raw_os_error() != Some(libc::ESRCH)
            {
                tracing::warn!(
                    "cannot send signal {number} to {} ({}): {error}",
                    self.pid,
                    self.name
                );
            }
        }
    }

    /// What it is held up by, for people.
    pub(crate) fn describe(&self) -> String {
        let wait = handle::text(&format!("/proc/{}/wchan", self.pid)).unwrap_or_default();
        let wait = if wait.is_empty() || wait == "0" {
            String::new()
        } else {
            format!(" in {wait}")
        };
        format!("{} ({}) state {}{wait}", self.pid, self.name, self.state)
    }
}

impl Table {
    /// Without this process, which may be below an agent that started it: it is never signalled as one of the agent's.
    fn read() -> Self {
        let me = std::process::id();
        let processes = handle::proc_is_ours().then(procfs::process::all_processes);
        let processes = processes.into_iter().flatten().flatten();
        let stats = processes
            .filter_map(|process| process.ok()?.stat().ok())
            .filter(|stat| u32::try_from(stat.pid) != Ok(me) && handle::is_alive(stat))
            .map(|stat| {
                let member = Member {
                    pid: stat.pid,
                    started: stat.starttime,
                    session: stat.session,
                    state: stat.state,
                    name: stat.comm,
                };
                (stat.pid, (stat.ppid, member))
            })
            .collect();
        Self { stats }
    }

    fn below(&self, roots: &[i32], except: &BTreeSet<(i32, u64)>) -> Vec<Member> {
        let mut children: BTreeMap<i32, Vec<&Member>> = BTreeMap::new();
        for (parent, member) in self.stats.values() {
            children.entry(*parent).or_default().push(member);
        }
        let mut found = Vec::new();
        let mut parents = roots.to_vec();
        while let Some(parent) = parents.pop() {
            // Taken out: a table read while processes move may hold a ring.
            for member in children.remove(&parent).unwrap_or_default() {
                if !except.contains(&(member.pid, member.started)) {
                    parents.push(member.pid);
                    found.push(member.clone());
                }
            }
        }
        found
    }

    /// The process of this number, if it is the one that started then.
    fn named(&self, pid: i32, started: u64) -> Option<i32> {
        let (_, found) = self.stats.get(&pid)?;
        (found.started == started).then_some(pid)
    }

    /// These processes and what is below them, each once.
    fn with_all_below(&self, roots: &[i32]) -> Vec<Member> {
        let roots_found = roots.iter().filter_map(|pid| self.stats.get(pid));
        let mut found: Vec<Member> = roots_found.map(|(_, member)| member.clone()).collect();
        found.extend(self.below(roots, &BTreeSet::new()));
        let mut seen = BTreeSet::new();
        found.retain(|member| seen.insert(member.pid));
        found
    }

    fn children_of(&self, pid: i32) -> impl Iterator<Item = i32> {
        let children = self.stats.iter();
        children.filter_map(move |(child, (parent, _))| (*parent == pid).then_some(*child))
    }

    /// Processes with a variable that begins with the marker. It holds a random number that other users do not see.
    fn marked(&self, env_marker: Option<&OsString>) -> Vec<i32> {
        let Some(env_marker) = env_marker else {
            return Vec::new();
        };
        let carries = |pid: &i32| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable.starts_with(env_marker.as_bytes()))
            })
        };
        self.stats.keys().copied().filter(carries).collect()
    }
}

/// The children of a process, as its threads list them.
fn children(pid: i32) -> Vec<i32> {
    if !handle::proc_is_ours() {
        return Vec::new();
    }
    let tasks = procfs::process::Process::new(pid).and_then(|process| process.tasks());
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| task.children().ok())
        .flatten()
        .filter_map(|pid| i32::try_from(pid).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_of_another_process_is_itself_what_is_below_and_what_carries_its_marker() {
        let env_marker = format!("HB_TREE_TEST={}", std::process::id());
        let (name, value) = env_marker.split_once('=').unwrap();
        let sleeper = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped());
            command
        };
        let mut agent = sleeper("sleep 60 & sleep 60; true").spawn().unwrap();
        let mut escaped = sleeper("read x").env(name, value).spawn().unwrap();
        let mut stranger = sleeper("read x").spawn().unwrap();
        let [pid, far, foreign] =
            [&agent, &escaped, &stranger].map(|child| i32::try_from(child.id()).unwrap());
        let started = handle::stat(pid).unwrap().starttime;
        let tree = Tree::Attached {
            pid,
            started,
            env_marker: Some(env_marker.clone().into()),
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let sleeps = |members: &[Member]| members.iter().filter(|m| m.name == "sleep").count();
        let mut members = tree.members();
        while sleeps(&members) < 2 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
            members = tree.members();
        }
        tree.kill();
        for child in [&mut agent, &mut escaped] {
            assert!(!child.wait().unwrap().success());
        }
        assert!(members.iter().any(|m| m.pid == pid) && members.iter().any(|m| m.pid == far));
        assert_eq!(sleeps(&members), 2, "{members:?}");
        assert!(!members.iter().any(|m| m.pid == foreign));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn children_from_before_are_not_the_agents() {
        let mut before = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(before.id()).unwrap();
        let started = handle::stat(pid).unwrap().starttime;
        let Tree::Subreaper { preexisting, .. } = Tree::subreaper() else {
            panic!("not below");
        };
        before.kill().unwrap();
        before.wait().unwrap();
        assert!(preexisting.contains(&(pid, started)));
    }
}
