//! An agent whose sidecar was killed: how the next sidecar of its id finds it, on the same boot, in the same pid namespace.
//!
//! A record in the runtime directory names the sidecar, the agent and the mark in its environment; it is removed at the end.
//! One that is still there although its sidecar is dead was left by a kill. Each process is named by number and start
//! time. No other user can write the record, or read the random number in the mark.

use crate::config::INSTANCE;
use crate::process::handle::{self, is_alive};
use crate::process::tree::{Member, Tree};
use hbshell::private_dir::PrivateDir;
use heartbeat::base::id::AgentId;
use heartbeat::wire::lease::Holder;
use std::ffi::OsString;

/// Where the record of one agent is kept.
#[derive(Debug)]
pub(crate) struct Records {
    directory: Option<PrivateDir>,
    name: String,
    me: Holder,
    /// Of the command that is run.
    fingerprint: u64,
    /// What was written last, while it is to be there.
    written: Option<String>,
}

/// One agent's run, as its sidecar recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    sidecar: Holder,
    /// The sidecar, as the store names it.
    instance: String,
    /// The agent's first process: number and start time.
    agent: (i32, u64),
    /// The command that it runs, as a number.
    fingerprint: u64,
    /// What the environment of the agent's processes carries.
    mark: String,
}

/// What a sidecar that was killed left running.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// The agent's first process, if it is alive: number and start time.
    pub(crate) agent: Option<(i32, u64)>,
    /// All processes, however they are found.
    pub(crate) tree: Tree,
    pub(crate) mark: OsString,
}

impl Orphans {
    /// The living, parents before children.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.tree.members()
    }
}

impl Records {
    /// Those of this id. Without a runtime directory none is kept.
    pub(crate) fn of(id: &AgentId, me: Holder, fingerprint: u64) -> Self {
        Self {
            directory: PrivateDir::of_user().ok().map(|(directory, _)| directory),
            name: format!("{id}.run"),
            me,
            fingerprint,
            written: None,
        }
    }

    /// Which instance was the last to start an agent of this id on this boot of this machine, and has not removed its
    /// record.
    pub(crate) fn last_instance(&self) -> Option<String> {
        self.read().map(|record| record.instance)
    }

    /// Whether what was left runs another command than ours.
    pub(crate) fn are_of_another_command(&self) -> bool {
        let other = |record: Record| record.fingerprint != self.fingerprint;
        self.read().is_some_and(other) && self.orphans().is_some()
    }

    /// What a sidecar of this id that is dead has left running. `None` when there is nothing.
    pub(crate) fn orphans(&self) -> Option<Orphans> {
        let record = self.read()?;
        if !handle::is_dead(&record.sidecar, &self.me) {
            return None; // it is being watched
        }
        let (pid, started) = record.agent;
        let agent = handle::named_stat(pid, started).filter(is_alive);
        let mark = OsString::from(record.mark);
        let tree = Tree::Attached {
            pid,
            started,
            env_marker: Some(mark.clone()),
        };
        let orphans = Orphans {
            agent: agent.map(|_| (pid, started)),
            tree,
            mark,
        };
        (!orphans.members().is_empty()).then_some(orphans)
    }

    /// Records the run of an agent: its first process, and the mark of its tree.
    pub(crate) fn write(&mut self, instance: &str, agent: (i32, u64), mark: &std::ffi::OsStr) {
        let record = Record {
            sidecar: self.me.clone(),
            instance: instance.to_owned(),
            agent,
            fingerprint: self.fingerprint,
            mark: mark.to_string_lossy().into_owned(),
        };
        self.written = Some(record.encode());
        self.put();
    }

    /// Writes the record again when it was removed, as cleaners of /tmp and logouts do: without it the next sidecar would
    /// start a second agent beside one whose sidecar was killed. The record of another sidecar stays.
    pub(crate) fn look_after(&mut self) {
        let is_there =
            |directory: &PrivateDir| directory.is_there() && directory.inode(&self.name).is_some();
        if self.written.is_none() || self.directory.as_ref().is_some_and(is_there) {
            return;
        }
        self.directory = PrivateDir::of_user().ok().map(|(directory, _)| directory);
        if !self.directory.as_ref().is_some_and(is_there) {
            self.put();
        }
    }

    fn put(&self) {
        let (Some(directory), Some(text)) = (&self.directory, &self.written) else {
            return;
        };
        if let Err(error) = directory.write(&self.name, text) {
            let path = directory.path().display();
            tracing::debug!("cannot record the agent's process in {path}: {error}");
        }
    }

    /// The agent has ended, with all of its processes.
    pub(crate) fn remove(&mut self) {
        self.written = None;
        if let (Some(directory), true) = (&self.directory, self.is_ours()) {
            directory.remove(&self.name);
        }
    }

    fn is_ours(&self) -> bool {
        self.read().is_some_and(|record| record.sidecar == self.me)
    }

    /// A sidecar of this id that was recorded on this boot of this machine and is in another pid namespace: whether it lives
    /// or has left its agent running cannot be seen from here.
    pub(crate) fn out_of_sight(&self) -> Option<Holder> {
        let sidecar = self.any()?.sidecar;
        let is_here = !sidecar.boot.is_empty() && sidecar.boot == self.me.boot;
        (is_here && !sidecar.is_visible_to(&self.me)).then_some(sidecar)
    }

    fn read(&self) -> Option<Record> {
        self.any()
            .filter(|record| record.sidecar.is_visible_to(&self.me))
    }

    fn any(&self) -> Option<Record> {
        Record::decode(&self.directory.as_ref()?.read(&self.name)?)
    }
}

impl Record {
    fn encode(&self) -> String {
        let (pid, started) = self.agent;
        format!(
            "{}\n{}\n{pid} {started}\n{}\n{}\n",
            self.sidecar.encode(),
            self.instance,
            self.fingerprint,
            self.mark
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let sidecar = Holder::decode(lines.next()?)?;
        let instance = lines.next()?.to_owned();
        let (pid, started) = lines.next()?.split_once(' ')?;
        let fingerprint = lines.next()?.parse().ok()?;
        let mark = lines.next()?.to_owned();
        let agent = (
            pid.parse().ok().filter(|pid| *pid > 0)?,
            started.parse().ok()?,
        );
        mark.starts_with(INSTANCE).then_some(Self {
            sidecar,
            instance,
            agent,
            fingerprint,
            mark,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn records(directory: &std::path::Path) -> Records {
        Records {
            directory: Some(PrivateDir::open(directory).unwrap()),
            name: "a.run".to_owned(),
            fingerprint: 1,
            me: handle::myself("h"),
            written: None,
        }
    }

    fn agent(mark: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "read x"]).env(INSTANCE, mark);
        command.stdin(Stdio::piped()).spawn().unwrap()
    }

    fn started(child: &Child) -> (i32, u64) {
        let pid = i32::try_from(child.id()).unwrap();
        (pid, handle::stat(pid).unwrap().starttime)
    }

    fn mark(value: &str) -> OsString {
        format!("{INSTANCE}={value}").into()
    }

    #[test]
    fn what_a_dead_sidecar_left_is_found_by_its_record_and_its_mark() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = records(directory.path());
        let value = format!("left-{}/a", std::process::id());
        let mut root = agent(&value);
        let mut escaped = agent(&value);
        let mut stranger = agent("another/a");
        records.write("i", started(&root), &mark(&value));
        assert!(records.orphans().is_none(), "this process is its sidecar");
        let dead = Holder {
            started: records.me.started + 1,
            ..records.me.clone()
        };
        let mut of_dead = Records {
            directory: Some(PrivateDir::open(directory.path()).unwrap()),
            name: "a.run".to_owned(),
            fingerprint: 1,
            me: dead,
            written: None,
        };
        of_dead.write("i", started(&root), &mark(&value));
        let found = records.orphans().unwrap();
        let found_pids: Vec<i32> = found.members().iter().map(|member| member.pid).collect();
        let agent = found.agent;
        let expected = [&root, &escaped].map(|child| started(child).0);
        let root_started = started(&root);
        let foreign = started(&stranger).0;
        for child in [&mut root, &mut escaped, &mut stranger] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(agent, Some(root_started));
        assert!(expected.iter().all(|pid| found_pids.contains(pid)));
        assert!(!found_pids.contains(&foreign));
        assert!(records.orphans().is_none(), "nothing of it is left");
    }

    #[test]
    fn a_record_of_another_pid_namespace_is_out_of_sight() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = records(directory.path());
        records.write("i", (1, 1), &mark("x/a"));
        assert_eq!(records.out_of_sight(), None);
        records.me.pid_namespace += 1;
        let sidecar = records.out_of_sight();
        assert_eq!(sidecar.map(|of| of.pid), Some(records.me.pid));
        assert!(records.orphans().is_none());
        records.me.boot = "another".into();
        assert_eq!(records.out_of_sight(), None);
    }

    #[test]
    fn a_record_of_another_boot_names_no_process() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = records(directory.path());
        let mut elsewhere = Records {
            directory: Some(PrivateDir::open(directory.path()).unwrap()),
            name: "a.run".to_owned(),
            fingerprint: 1,
            me: Holder {
                boot: "another".into(),
                ..records.me.clone()
            },
            written: None,
        };
        elsewhere.write("i", (1, 1), &mark("x/a"));
        assert_eq!(records.last_instance(), None);
        assert!(records.orphans().is_none());
        records.remove();
        assert_eq!(
            elsewhere.last_instance().as_deref(),
            Some("i"),
            "a record of others stays"
        );
    }
}
