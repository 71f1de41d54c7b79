//! Processes outside the tree that can act on an object of it: holders of the other end of a pipe or terminal, of a socket, of
//! an eventfd, of a file's lock, of shared memory. The kernel has no such list, so every process must be read. The search is
//! repeated seldom; in between, known holders are only confirmed.

use super::descriptors::{end, kind, named_pipe};
use super::flight::Flights;
use super::mappings;
use super::process::{io, stat_line};
use super::read::{Reader, link, numbers};
use super::same;
use super::table::{DESCRIPTORS_MAX, Table};
use crate::process::handle::file::attributes;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Channel, End, Kind, NAMED_PIPE, Outsider, RunState, Why};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most processes of the machine that are searched.
const PROCESSES_MAX: usize = 8192;
/// Between two searches for the same objects, and so many times what one takes: a two-thousandth of a core.
const SEARCH_AGAIN: Duration = Duration::from_secs(20);
const SEARCH_AGAIN_COSTS: u32 = 2000;
/// A search for other objects costs so many times what it takes in waiting,
const SEARCH_OTHER_COSTS: u32 = 100;
/// and so many may go before the first that waits: as a tree comes to rest, each sample may ask for one object more.
const SEARCHES_AT_ONCE: u32 = 3;
const PAGERS: [&str; 4] = ["less", "more", "most", "bat"];

/// An object of the kernel, by what identifies it across processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// A pipe, a terminal's master, a socket.
    Channel(Channel),
    /// An eventfd.
    Event(u64),
    /// A file: device and inode.
    File(u64, u64),
    /// Memory mapped from this file.
    Mapped(u64, u64),
    /// The address space of this process.
    Space(u32),
}

/// An object and the end by which a process outside the tree holds it; the descriptor is -1 where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: Id,
    pub(super) pid: u32,
    /// A thread of it that lives.
    through: u32,
    pub(super) fd: i32,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

/// Remembers who held what.
#[derive(Debug, Default)]
pub(super) struct Outside {
    searched: Option<Search>,
    found: Vec<Held>,
    /// The descriptors of some process are unreadable, so an unknown holder cannot be excluded.
    denied: Option<Why>,
    /// Descriptors were on their way to a process outside, when that was searched last.
    in_flight: Option<bool>,
}

/// The last search.
#[derive(Debug)]
struct Search {
    at: Moment,
    cost: Duration,
    /// What this one and those before it are to wait, as of then.
    owed: Duration,
    ids: BTreeSet<Id>,
}

/// What kinds of objects a search is for, so that nothing else is read.
struct Wanted<'a> {
    ids: &'a BTreeSet<Id>,
    fifos: bool,
    masters: bool,
    events: bool,
    files: bool,
    mapped: bool,
    spaces: Vec<u32>,
}

impl<'a> Wanted<'a> {
    fn new(ids: &'a BTreeSet<Id>) -> Self {
        let is_fifo =
            |id: &Id| matches!(id, Id::Channel(Channel::Pipe(inode)) if inode & NAMED_PIPE != 0);
        let space = |id: &Id| match id {
            Id::Space(pid) => Some(*pid),
            Id::Channel(_) | Id::Event(_) | Id::File(..) | Id::Mapped(..) => None,
        };
        Self {
            ids,
            fifos: ids.iter().any(is_fifo),
            masters: ids
                .iter()
                .any(|id| matches!(id, Id::Channel(Channel::Terminal(_)))),
            events: ids.iter().any(|id| matches!(id, Id::Event(_))),
            files: ids.iter().any(|id| matches!(id, Id::File(..))),
            mapped: ids.iter().any(|id| matches!(id, Id::Mapped(..))),
            spaces: ids.iter().filter_map(space).collect(),
        }
    }

    /// Whether what a link names may be the end of a wanted channel.
    fn may_be(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Pipe(inode) => self.ids.contains(&Id::Channel(Channel::Pipe(*inode))),
            Kind::Socket(inode) => self.ids.contains(&Id::Channel(Channel::Socket(*inode))),
            Kind::File(path) => self.fifos || self.masters && path.ends_with("/ptmx"),
            Kind::Terminal(_) | Kind::Internal(_) | Kind::Unreadable(_) => false,
        }
    }
}

impl Outside {
    /// Who outside the tree holds these objects, and why that may not be all: [`Why::NotAsked`] when the search must wait.
    pub(super) fn holders(
        &mut self,
        reader: &mut Reader,
        wanted: &BTreeSet<Id>,
        tree: &BTreeSet<u32>,
        now: Moment,
    ) -> (Vec<Held>, Option<Why>) {
        if wanted.is_empty() {
            return (Vec::new(), None);
        }
        self.found.retain(|held| still(reader, held));
        let mut unsearched = None;
        if let Some(search) = &self.searched
            && !search.is_due(wanted, now)
        {
            unsearched = (!wanted.is_subset(&search.ids)).then_some(Why::NotAsked);
        } else {
            let owed = self.searched.take().map(|search| search.owed_at(now));
            let before = spent();
            self.search(reader, wanted, tree);
            let cost = spent().saturating_sub(before);
            self.searched = Some(Search {
                at: now,
                cost,
                owed: owed.unwrap_or_default() + cost * SEARCH_OTHER_COSTS,
                ids: wanted.clone(),
            });
        }
        let known = |held: &&Held| wanted.contains(&held.id) && !tree.contains(&held.pid);
        (
            self.found.iter().filter(known).cloned().collect(),
            unsearched.or(self.denied),
        )
    }

    /// Whether descriptors were on their way to a process outside the tree, in the last search.
    pub(super) fn in_flight(&self) -> Option<bool> {
        self.in_flight
    }

    fn search(&mut self, reader: &mut Reader, wanted: &BTreeSet<Id>, tree: &BTreeSet<u32>) {
        self.found.clear();
        self.denied = None;
        self.in_flight = None;
        let wanted = Wanted::new(wanted);
        let mut flights = Flights::default();
        let Ok((pids, cut)) = numbers("/proc", PROCESSES_MAX) else {
            self.denied = Some(Why::Denied);
            return;
        };
        if cut {
            self.denied = Some(Why::TooMany);
        }
        for pid in pids.into_iter().filter(|pid| !tree.contains(pid)) {
            match descriptors(reader, pid) {
                Ok((through, table)) => {
                    match table {
                        // Part of a table excludes nothing, and the longest would cost the most.
                        None => self.denied = Some(Why::TooMany),
                        Some(table) => {
                            let flights = &mut flights;
                            self.search_one(reader, &wanted, (pid, through), &table, flights);
                        }
                    }
                    self.search_memory(reader, &wanted, (pid, through));
                }
                Err(Why::Gone) => {}
                Err(why) => self.denied = Some(why),
            }
        }
        self.in_flight = flights.found();
    }

    fn search_one(
        &mut self,
        reader: &mut Reader,
        wanted: &Wanted<'_>,
        (pid, through): (u32, u32),
        table: &Table,
        flights: &mut Flights,
    ) {
        for (fd, target) in table.links() {
            if wanted.events && target == "anon_inode:[eventfd]" {
                let id = event_id(reader, through, fd).map(Id::Event);
                self.found(wanted, id, (pid, through), fd);
            }
            if wanted.files && target.starts_with('/') {
                self.found(wanted, file_id(through, fd), (pid, through), fd);
            }
            // Most descriptors are none of these, and their name alone shows it.
            let kind = kind(target);
            if let Kind::Socket(inode) = kind {
                flights.look(reader, (pid, through), fd, inode);
            }
            if !wanted.may_be(&kind) {
                continue;
            }
            let kind = named_pipe(through, fd, kind);
            if let Some(end) = end(reader, through, fd, &kind) {
                let held = Held::by(pid, through, end);
                if wanted.ids.contains(&held.id) {
                    self.found.push(held);
                }
            }
        }
    }

    fn search_memory(
        &mut self,
        reader: &mut Reader,
        wanted: &Wanted<'_>,
        (pid, through): (u32, u32),
    ) {
        for space in &wanted.spaces {
            if same::memory_order(*space, through).is_ok_and(std::cmp::Ordering::is_eq) {
                self.found(wanted, Some(Id::Space(*space)), (pid, through), -1);
            }
        }
        if wanted.mapped {
            match mappings::files(reader, through) {
                Ok(files) => {
                    for (device, inode) in files {
                        self.found(wanted, Some(Id::Mapped(device, inode)), (pid, through), -1);
                    }
                }
                Err(Why::Gone) => {}
                Err(why) => self.denied = Some(why),
            }
        }
    }

    fn found(&mut self, wanted: &Wanted<'_>, id: Option<Id>, (pid, through): (u32, u32), fd: i32) {
        if let Some(id) = id.filter(|id| wanted.ids.contains(id)) {
            self.found.push(Held {
                id,
                pid,
                through,
                fd,
                reads: true,
                writes: true,
            });
        }
    }
}

impl Search {
    fn is_due(&self, wanted: &BTreeSet<Id>, now: Moment) -> bool {
        if wanted.is_subset(&self.ids) {
            now.since(self.at) >= SEARCH_AGAIN.max(self.cost * SEARCH_AGAIN_COSTS)
        } else {
            self.owed_at(now) <= self.cost * SEARCH_OTHER_COSTS * (SEARCHES_AT_ONCE - 1)
        }
    }

    fn owed_at(&self, now: Moment) -> Duration {
        self.owed.saturating_sub(now.since(self.at))
    }
}

/// Processor time of this thread.
pub(super) fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The descriptors of a process, read through a living thread of it; none when they are too many.
fn descriptors(reader: &mut Reader, pid: u32) -> Result<(u32, Option<Table>), Why> {
    let found = Table::open_whole(pid, DESCRIPTORS_MAX)?;
    if found.as_ref().is_none_or(|table| !table.is_empty()) {
        return Ok((pid, found));
    }
    // The first thread of a process may have ended before the others.
    let stat = reader.text(&format!("/proc/{pid}/stat"))?;
    let ended =
        stat_line(pid, &stat).is_some_and(|p| p.state == RunState::Zombie && p.thread_count > 1);
    if ended {
        let (tids, _) = numbers(&format!("/proc/{pid}/task"), 2)?;
        if let Some(tid) = tids.into_iter().find(|tid| *tid != pid) {
            return Ok((tid, Table::open_whole(tid, DESCRIPTORS_MAX)?));
        }
    }
    Ok((pid, found))
}

/// What identifies an eventfd.
pub(super) fn event_id(reader: &mut Reader, through: u32, fd: i32) -> Option<u64> {
    let info = reader.text(&format!("/proc/{through}/fdinfo/{fd}")).ok()?;
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("eventfd-id:"))?;
    id.trim().parse().ok()
}

/// What identifies an open file.
pub(super) fn file_id(through: u32, fd: i32) -> Option<Id> {
    let found = attributes(&format!("/proc/{through}/fd/{fd}")).ok()?;
    Some(Id::File(mappings::device_number(found.device), found.inode))
}

impl Held {
    fn by(pid: u32, through: u32, end: End) -> Self {
        Self {
            id: Id::Channel(end.of),
            pid,
            through,
            fd: end.fd,
            reads: end.reads,
            writes: end.writes,
        }
    }

    /// An end that a process of the tree holds.
    pub(super) fn of(end: End) -> Self {
        Self::by(end.pid, end.pid, end)
    }

    /// An object without sides that a process of the tree holds.
    pub(super) fn whole(id: Id, pid: u32, fd: i32) -> Self {
        Self {
            id,
            pid,
            through: pid,
            fd,
            reads: true,
            writes: true,
        }
    }

    /// It as the end of a channel, where it is one.
    pub(super) fn end(&self) -> Option<End> {
        let Id::Channel(of) = &self.id else {
            return None;
        };
        Some(End {
            pid: self.pid,
            fd: self.fd,
            of: of.clone(),
            reads: self.reads,
            writes: self.writes,
        })
    }
}

/// Whether it still holds the channel. Of other objects the last search is believed until the next.
fn still(reader: &mut Reader, known: &Held) -> bool {
    if !matches!(known.id, Id::Channel(_)) {
        return true;
    }
    let (through, fd) = (known.through, known.fd);
    let target = link(&format!("/proc/{through}/fd/{fd}"));
    target.is_ok_and(|target| {
        let kind = named_pipe(through, fd, kind(target));
        let end = end(reader, through, fd, &kind);
        end.is_some_and(|end| Held::by(known.pid, through, end) == *known)
    })
}

/// Bytes it wrote; of another user's process they cannot be read.
fn written(reader: &mut Reader, pid: u32) -> u64 {
    let text = reader.text(&format!("/proc/{pid}/io"));
    let io = text.ok().and_then(|text| io(&text));
    io.map_or(0, |io| io.written)
}

/// A process outside the tree, as far as it may be seen.
pub(super) fn outsider(reader: &mut Reader, pid: u32) -> Option<Outsider> {
    let stat = reader.text(&format!("/proc/{pid}/stat")).ok()?;
    let process = stat_line(pid, &stat)?;
    Some(Outsider {
        pid,
        parent: process.parent,
        started: process.started,
        reads_terminal: PAGERS.contains(&process.name.as_str()),
        state: process.state,
        cpu_ticks: process.cpu_ticks,
        written: written(reader, pid),
        // For a one-off diagnosis the agent's sidecar is another process.
        own: pid == std::process::id() || process.name == "hbsidecar",
        name: process.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_searches_for_other_objects_go_at_once_and_the_next_one_waits() {
        let cost = Duration::from_millis(10);
        let at = Moment::from_millis(1000);
        let after = |searches: u32| Search {
            at,
            cost,
            owed: cost * SEARCH_OTHER_COSTS * searches,
            ids: BTreeSet::new(),
        };
        let other = BTreeSet::from([Id::Event(1)]);
        assert!(after(1).is_due(&other, at) && after(2).is_due(&other, at));
        assert!(!after(3).is_due(&other, at));
        assert!(after(3).is_due(&other, at + cost * SEARCH_OTHER_COSTS));
    }
}
