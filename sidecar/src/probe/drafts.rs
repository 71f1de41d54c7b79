//! The objects that the threads of a tree wait on, before their holders are known.
//!
//! They are gathered only when the main thread of the root waits without a limit for nothing but what can be enumerated: in
//! every other case the tree can go on, whatever else is true.

use super::descriptors::Descriptors;
use super::history::History;
use super::host::{self, LockLine};
use super::mappings::{self, Mapping};
use super::objects::{Draft, HeldBy, Objects};
use super::outside::{Id, file_id};
use super::read::Reader;
use super::waits::Asked;
use heartbeat::verdict::sample::{ObjectKind, Process, RunState, Sample, Thread, Until, Wait, Why};
use std::collections::{BTreeMap, BTreeSet};

/// What a deep sample knows of the tree's processes.
pub(super) struct Tree<'a> {
    pub(super) sample: &'a Sample,
    pub(super) descriptors: &'a BTreeMap<u32, Descriptors>,
    pub(super) asked: &'a BTreeMap<u32, Asked>,
    /// Processes whose threads do not provably share one table of descriptors.
    pub(super) divided: &'a BTreeSet<u32>,
}

/// The objects of every blocked thread, before their holders are known.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) of: BTreeMap<u32, Result<Vec<Draft>, Why>>,
}

/// The objects that the threads of the tree wait on. None when the root can go on in any case.
pub(super) fn drafts(reader: &mut Reader, tree: &Tree<'_>) -> Option<Drafts> {
    let root = tree.sample.root()?;
    let deciding: Vec<&Thread> = match root.main() {
        Some(main) => vec![main],
        None => root.threads.iter().collect(),
    };
    if !deciding.iter().all(|thread| may_be_doomed(thread)) {
        return None;
    }
    let mut gathering = Gathering {
        reader,
        tree,
        networks: BTreeMap::new(),
        locks: None,
    };
    let mut found = Drafts::default();
    for thread in deciding {
        let drafts = gathering.of(root, thread);
        if !drafts
            .as_ref()
            .is_ok_and(|drafts| drafts.iter().all(is_enumerable))
        {
            return None;
        }
        found.of.insert(thread.tid, drafts);
    }
    for process in &tree.sample.processes {
        for thread in &process.threads {
            let draft = || gathering.of(process, thread);
            found.of.entry(thread.tid).or_insert_with(draft);
        }
    }
    Some(found)
}

/// Whether nothing about the call alone shows that it ends.
fn may_be_doomed(thread: &Thread) -> bool {
    match &thread.wait {
        Some(wait) => match wait {
            Wait::Read(_)
            | Wait::Write(_)
            | Wait::Child(_)
            | Wait::Fork
            | Wait::Lock(_)
            | Wait::Call(_) => true,
            Wait::Poll { until, .. } | Wait::Futex { until, .. } => *until == Until::Never,
            Wait::Running
            | Wait::Accept(_)
            | Wait::Connect(_)
            | Wait::Sleep(_)
            | Wait::Signal(_)
            | Wait::Sync(_)
            | Wait::Unreadable(_) => false,
        },
        None => false,
    }
}

/// Whether the holders of this object can be enumerated at all.
fn is_enumerable(draft: &Draft) -> bool {
    let armed = draft.kind == ObjectKind::Timer { armed: Some(true) };
    draft.limit == Until::Never && !armed && !matches!(draft.held, HeldBy::Anybody)
}

struct Gathering<'a> {
    reader: &'a mut Reader,
    tree: &'a Tree<'a>,
    networks: BTreeMap<u32, Option<String>>,
    locks: Option<Result<Vec<LockLine>, Why>>,
}

impl Gathering<'_> {
    fn of(&mut self, process: &Process, thread: &Thread) -> Result<Vec<Draft>, Why> {
        let asked = self.tree.asked.get(&thread.tid).ok_or(Why::NotAsked)?;
        match asked {
            Asked::Unknown(why) => Err(*why),
            Asked::Nothing => Ok(Vec::new()),
            Asked::Futex { address, private } => self.memory(process, *address, *private),
            Asked::Children(which) => Ok(vec![self.children(process, *which)]),
            Asked::Lock(fd) => Ok(vec![self.lock(process, *fd)]),
            Asked::Descriptors { .. } | Asked::Epoll(_) => {
                if self.tree.divided.contains(&process.pid) {
                    return Err(Why::Unsupported);
                }
                let tree = self.tree;
                let descriptors = tree.descriptors.get(&process.pid).ok_or(Why::Gone)?;
                let mut objects = Objects {
                    reader: self.reader,
                    sample: tree.sample,
                    pid: process.pid,
                    descriptors,
                    networks: &mut self.networks,
                };
                match asked {
                    Asked::Epoll(fd) => objects.epoll(*fd).ok_or(Why::TooMany),
                    Asked::Descriptors { fds, direct } => {
                        Ok(fds.iter().map(|fd| objects.object(*fd, *direct)).collect())
                    }
                    Asked::Unknown(_)
                    | Asked::Nothing
                    | Asked::Futex { .. }
                    | Asked::Children(_)
                    | Asked::Lock(_) => Err(Why::NotAsked),
                }
            }
        }
    }

    fn memory(
        &mut self,
        process: &Process,
        address: u64,
        private: bool,
    ) -> Result<Vec<Draft>, Why> {
        let through = process.threads.first().ok_or(Why::Gone)?.tid;
        let mapping = if private {
            Mapping::Private
        } else {
            mappings::at(self.reader, through, address)?
        };
        let ids = match mapping {
            Mapping::Private => vec![Id::Space(through)],
            // A process that has it open can map it.
            Mapping::Shared(device, inode) => {
                vec![Id::Mapped(device, inode), Id::File(device, inode)]
            }
            Mapping::Open => return Err(Why::Hidden),
        };
        let memory = Draft::new(-1, ObjectKind::Memory);
        Ok(vec![memory.held(HeldBy::Memory(ids))])
    }

    /// Its other threads may make another child.
    fn children(&self, process: &Process, which: i32) -> Draft {
        let of = |child: &&Process| {
            let named = which <= 0 || u32::try_from(which) == Ok(child.pid);
            named && (child.parent == process.pid || child.tracer == Some(process.pid))
        };
        let children = self.tree.sample.processes.iter().filter(of);
        let mut pids: Vec<u32> = children
            .filter(|child| child.state != RunState::Zombie)
            .map(|child| child.pid)
            .collect();
        // The kernel lets no process wait for children that it does not have.
        if pids.is_empty() {
            return Draft::unreadable(-1, Why::Gone);
        }
        pids.push(process.pid);
        Draft::new(-1, ObjectKind::Children).held(HeldBy::Processes(pids))
    }

    fn lock(&mut self, process: &Process, fd: i32) -> Draft {
        let reader = &mut *self.reader;
        let lines = match self.locks.get_or_insert_with(|| host::all_locks(reader)) {
            Ok(lines) => lines,
            Err(why) => return Draft::unreadable(fd, *why),
        };
        let mut waits = lines
            .iter()
            .filter(|l| l.waits && l.pid == Some(process.pid));
        let files: BTreeSet<_> = waits.by_ref().map(|line| line.file).collect();
        let held = lines.iter();
        let held = held.filter(|line| !line.waits && files.contains(&line.file));
        let held: Vec<LockLine> = held.cloned().collect();
        let pids: Option<Vec<u32>> = held.iter().map(|line| line.pid).collect();
        let file = self
            .tree
            .descriptors
            .get(&process.pid)
            .and_then(|descriptors| file_id(descriptors.through, fd));
        match (pids, file) {
            (Some(pids), Some(file)) if !pids.is_empty() => {
                // A lock of an open file belongs to all that inherited it, or were sent it: `/proc/locks` names who took it,
                // although that one may have it no more.
                let of_files = held.iter().any(|line| !line.of_process);
                let mut own = held.iter().filter(|line| !line.of_process);
                if !own.all(|line| self.is_in_a_table(line, &file)) {
                    return Draft::unreadable(fd, Why::Hidden);
                }
                let ids = if of_files { vec![file] } else { Vec::new() };
                Draft::new(fd, ObjectKind::FileLock).held(HeldBy::Either(pids, ids))
            }
            (Some(_) | None, _) => Draft::unreadable(fd, Why::Unsupported),
        }
    }

    /// Whether a descriptor holds this lock that a process of the tree took. One that was sent and not yet received is in no
    /// table.
    fn is_in_a_table(&mut self, lock: &LockLine, file: &Id) -> bool {
        let is_of_tree = |pid| self.tree.sample.process(pid).is_some();
        if !lock.pid.is_some_and(is_of_tree) {
            return true; // who has it is looked for outside
        }
        let tables = self.tree.descriptors.values();
        let mut files = tables.flat_map(|table| table.iter().map(|(fd, _)| (table.through, fd)));
        files.any(|(through, fd)| {
            file_id(through, fd).as_ref() == Some(file)
                && host::holds(self.reader, through, fd, lock)
        })
    }
}

impl Drafts {
    /// What must be looked for outside the tree.
    pub(super) fn wanted(&self, history: &History) -> BTreeSet<Id> {
        let mut wanted = BTreeSet::new();
        for draft in self.of.values().flatten().flatten() {
            match &draft.held {
                HeldBy::Ends(ids, _) | HeldBy::Either(_, ids) => wanted.extend(ids.iter().cloned()),
                // Memory of a tree that began here was shared by descendants only, and they belong to it.
                HeldBy::Memory(ids) => {
                    let is_own = |id: &&Id| history.is_ours() && matches!(id, Id::Space(_));
                    wanted.extend(ids.iter().filter(|id| !is_own(id)).cloned());
                }
                HeldBy::Anybody | HeldBy::Alike(_) | HeldBy::Processes(_) => {}
            }
        }
        wanted
    }
}
