//! Who can wake the threads of a tree: the processes that can act on each object that a blocked thread waits on.

use super::descriptors::Descriptors;
use super::drafts::{Drafts, Tree};
use super::history::History;
use super::host;
use super::mappings;
use super::objects::{Draft, HeldBy, Side};
use super::outside::{Held, Id, event_id, file_id};
use super::read::Reader;
use super::spaces::Spaces;
use heartbeat::verdict::sample::{
    Channel, GapKind, Holders, Kind, Object, Origin, RunState, SocketKind, Watched, Why,
};
use std::collections::{BTreeMap, BTreeSet};

/// Gaps behind which a process may be.
const PROCESSES: [GapKind; 3] = [GapKind::Process, GapKind::Processes, GapKind::Threads];
/// Gaps behind which a descriptor may be.
const TABLES: [GapKind; 2] = [GapKind::Descriptors, GapKind::Sockets];

/// The answer, by thread.
pub(super) type Answers = BTreeMap<u32, Watched>;
/// Files by device and inode that processes map shared.
type Mapped = BTreeMap<u32, BTreeSet<(u64, u64)>>;

/// The most unix sockets of a tree that are asked for descriptors on their way.
const SOCKETS_MAX: usize = 512;

/// The holders of each object.
pub(super) fn answers(
    drafts: Drafts,
    reader: &mut Reader,
    tree: &Tree<'_>,
    history: &History,
    outside: &[Held],
) -> Answers {
    let index = Index::new(reader, tree, &drafts, outside);
    let spaces = Spaces::of(&tree.sample.processes);
    let mut resolving = Resolving {
        reader,
        tree,
        history,
        index,
        spaces,
        tables: Err(Why::NotAsked),
        mapped: None,
        async_io: None,
    };
    resolving.tables = resolving.tables();
    let mut answers = Answers::new();
    for (tid, drafts) in drafts.of {
        let watched = match drafts {
            Ok(drafts) => Watched::All(drafts.into_iter().map(|d| resolving.object(d)).collect()),
            Err(why) => Watched::Unknown(why),
        };
        answers.insert(tid, watched);
    }
    answers
}

/// Who holds what.
struct Index {
    inside: BTreeMap<Id, Vec<Held>>,
    outside: BTreeMap<Id, Vec<Held>>,
}

impl Index {
    fn new(reader: &mut Reader, tree: &Tree<'_>, drafts: &Drafts, outside: &[Held]) -> Self {
        let mut inside: BTreeMap<Id, Vec<Held>> = BTreeMap::new();
        let mut add = |held: Held| inside.entry(held.id.clone()).or_default().push(held);
        for end in &tree.sample.ends {
            if tree.sample.process(end.pid).is_some() && !matches!(end.of, Channel::Socket(_)) {
                add(Held::of(end.clone()));
            }
        }
        let ids: BTreeSet<&Id> = drafts
            .of
            .values()
            .flatten()
            .flatten()
            .flat_map(of)
            .collect();
        let events = ids.iter().any(|id| matches!(id, Id::Event(_)));
        let files = ids.iter().any(|id| matches!(id, Id::File(..)));
        for (pid, descriptors) in tree.descriptors {
            let through = descriptors.through;
            for (fd, kind) in descriptors.iter() {
                let id = match kind {
                    Kind::Socket(inode) => Some(Id::Channel(Channel::Socket(*inode))),
                    Kind::Internal(name) if events && name == "eventfd" => {
                        event_id(reader, through, fd).map(Id::Event)
                    }
                    Kind::File(_) if files => file_id(through, fd),
                    Kind::Pipe(_)
                    | Kind::Terminal(_)
                    | Kind::File(_)
                    | Kind::Internal(_)
                    | Kind::Unreadable(_) => None,
                };
                if let Some(id) = id {
                    add(Held::whole(id, *pid, fd));
                }
            }
        }
        let mut found: BTreeMap<Id, Vec<Held>> = BTreeMap::new();
        for held in outside {
            found.entry(held.id.clone()).or_default().push(held.clone());
        }
        Self {
            inside,
            outside: found,
        }
    }

    /// Processes inside and outside the tree that hold an end on this side.
    fn holders(&self, id: &Id, side: Side) -> (Vec<u32>, Vec<u32>) {
        let matters = |held: &&Held| match side {
            Side::Readers => held.reads,
            Side::Writers => held.writes,
            Side::Any => true,
        };
        let pids = |of: &BTreeMap<Id, Vec<Held>>| {
            let held = of.get(id).into_iter().flatten();
            held.filter(matters).map(|held| held.pid).collect()
        };
        (pids(&self.inside), pids(&self.outside))
    }
}

/// What a draft's holders are found by.
fn of(draft: &Draft) -> Vec<&Id> {
    match &draft.held {
        HeldBy::Ends(ids, _) | HeldBy::Either(_, ids) | HeldBy::Memory(ids) => ids.iter().collect(),
        HeldBy::Anybody | HeldBy::Alike(_) | HeldBy::Processes(_) => Vec::new(),
    }
}

struct Resolving<'a> {
    reader: &'a mut Reader,
    tree: &'a Tree<'a>,
    history: &'a History,
    index: Index,
    spaces: Spaces,
    /// Why the descriptors of the tree are not all known, if they are not.
    tables: Result<(), Why>,
    /// Files that each process of the tree maps shared.
    mapped: Option<Result<Mapped, Why>>,
    /// Some process of the machine reads or writes asynchronously; asked when it matters.
    async_io: Option<bool>,
}

impl Resolving<'_> {
    fn object(&mut self, draft: Draft) -> Object {
        let (holders, origin) = match &draft.held {
            HeldBy::Anybody => (Holders::default(), Origin::Unknown),
            HeldBy::Ends(ids, side) => (self.ends(ids, *side), self.origin(ids)),
            HeldBy::Either(pids, ids) => (self.held(pids, ids, Side::Any), self.origin(ids)),
            HeldBy::Processes(pids) => (self.processes(pids), Origin::Inside),
            HeldBy::Alike(name) => self.alike(name),
            HeldBy::Memory(ids) => (self.memory(ids), self.origin_of_memory(ids)),
        };
        Object {
            fd: draft.fd,
            kind: draft.kind,
            holders,
            origin,
            limit: draft.limit,
        }
    }

    fn held(&self, pids: &[u32], ids: &[Id], side: Side) -> Holders {
        if let (Err(why), false) = (self.tables, ids.is_empty()) {
            return Holders::Unknown(why);
        }
        let mut all = pids.to_vec();
        for id in ids {
            let (inside, outside) = self.index.holders(id, side);
            all.extend(inside);
            all.extend(outside);
        }
        self.processes(&all)
    }

    fn ends(&mut self, ids: &[Id], side: Side) -> Holders {
        let holders = self.held(&[], ids, side);
        let event = ids.iter().any(|id| matches!(id, Id::Event(_)));
        match &holders {
            Holders::Known { inside, .. } if event && self.may_be_added_to(inside) => {
                Holders::Unknown(Why::Hidden)
            }
            Holders::Known { .. } | Holders::Unknown(_) => holders,
        }
    }

    /// Whether the kernel itself may add to an eventfd of these processes: for asynchronous reads and writes, or for the driver
    /// of a device (graphics, virtual machines).
    fn may_be_added_to(&mut self, pids: &[u32]) -> bool {
        let reader = &mut *self.reader;
        let async_io = *self
            .async_io
            .get_or_insert_with(|| host::has_async_io(reader));
        pids.iter().any(|pid| {
            let descriptors = self.tree.descriptors.get(pid);
            descriptors.is_none_or(|of| {
                of.has_driver() || async_io && mappings::has_async_io(self.reader, of.through)
            })
        })
    }

    fn processes(&self, pids: &[u32]) -> Holders {
        let all: BTreeSet<u32> = pids.iter().copied().collect();
        let (inside, outside) = all
            .into_iter()
            .partition(|pid| self.tree.sample.process(*pid).is_some());
        Holders::Known { inside, outside }
    }

    /// Objects that carry no identity: each process of the tree that has one like it may have this one. Outside the tree they
    /// can be only if they were passed on.
    fn alike(&self, name: &str) -> (Holders, Origin) {
        let kept = self.history.is_ours() && self.history.met_outside() == Some(false);
        if !kept || self.history.is_given(name) {
            return (Holders::Unknown(Why::Hidden), Origin::Unknown);
        }
        if let Err(why) = self.tables {
            return (Holders::Unknown(why), Origin::Unknown);
        }
        let has = |of: &Descriptors| {
            of.iter()
                .any(|(_, kind)| matches!(kind, Kind::Internal(n) if n == name))
        };
        let holders = self.tree.descriptors.iter().filter(|(_, of)| has(of));
        let inside = holders.map(|(pid, _)| *pid).collect();
        let outside = Vec::new();
        (Holders::Known { inside, outside }, Origin::Inside)
    }

    fn origin(&self, ids: &[Id]) -> Origin {
        let origins = ids.iter().map(|id| self.history.origin(id));
        origins
            .reduce(|one, other| if one == Origin::Inside { other } else { one })
            .unwrap_or(Origin::Inside)
    }

    fn origin_of_memory(&self, ids: &[Id]) -> Origin {
        let mapped = ids.iter().any(|id| matches!(id, Id::Mapped(..)));
        if mapped && !self.history.is_ours() {
            Origin::Unknown
        } else {
            Origin::Inside
        }
    }

    fn memory(&mut self, ids: &[Id]) -> Holders {
        // A process that could not be read may be one of them.
        if let Some(why) = self.gap(&PROCESSES) {
            return Holders::Unknown(why);
        }
        let by_descriptor = ids.iter().any(|id| matches!(id, Id::File(..)));
        if let (Err(why), true) = (self.tables, by_descriptor) {
            return Holders::Unknown(why);
        }
        let mut pids = Vec::new();
        for id in ids {
            let sharers = match id {
                Id::Space(through) => self.spaces.sharers(*through),
                Id::Mapped(device, inode) => self.mappers((*device, *inode)),
                Id::File(..) | Id::Channel(_) | Id::Event(_) => Ok(Vec::new()),
            };
            match sharers {
                Ok(sharers) => pids.extend(sharers),
                Err(why) => return Holders::Unknown(why),
            }
            let (inside, outside) = self.index.holders(id, Side::Any);
            pids.extend(inside);
            pids.extend(outside);
        }
        self.processes(&pids)
    }

    fn mappers(&mut self, file: (u64, u64)) -> Result<Vec<u32>, Why> {
        let (reader, sample) = (&mut *self.reader, self.tree.sample);
        let mapped = self.mapped.get_or_insert_with(|| {
            let living = sample.processes.iter().filter_map(|process| {
                let through = process.threads.first()?.tid;
                (process.state != RunState::Zombie).then_some((process.pid, through))
            });
            let mut all = BTreeMap::new();
            for (pid, through) in living {
                match mappings::files(reader, through) {
                    Ok(files) => all.insert(pid, files),
                    Err(Why::Gone) => None,
                    Err(why) => return Err(why),
                };
            }
            Ok(all)
        });
        let mapped = mapped.as_ref().map_err(|why| *why)?;
        let of = mapped.iter().filter(|(_, files)| files.contains(&file));
        Ok(of.map(|(pid, _)| *pid).collect())
    }

    /// Why something of these kinds could not be read in the tree.
    fn gap(&self, kinds: &[GapKind]) -> Option<Why> {
        let mut gaps = self.tree.sample.gaps.iter();
        gaps.find(|gap| kinds.contains(&gap.what))
            .map(|gap| gap.why)
    }

    /// Why a descriptor of the tree may exist that was not seen, if one may.
    fn tables(&mut self) -> Result<(), Why> {
        let unread = self.gap(&PROCESSES).or_else(|| self.gap(&TABLES));
        if let Some(why) = unread {
            return Err(why);
        }
        if !self.tree.divided.is_empty() {
            return Err(Why::Unsupported);
        }
        let ring = |kind: &Kind| matches!(kind, Kind::Internal(name) if name == "io_uring");
        let mut all = self.tree.descriptors.values().flat_map(Descriptors::iter);
        if all.any(|(_, kind)| ring(kind)) {
            return Err(Why::Hidden);
        }
        self.nothing_on_its_way()
    }

    /// A descriptor that was sent over a unix socket and not yet received is in no table.
    fn nothing_on_its_way(&mut self) -> Result<(), Why> {
        let sockets = &self.tree.sample.sockets;
        for socket in sockets {
            if let SocketKind::Unreadable(why) = socket.kind {
                return Err(why);
            }
        }
        let unix = sockets.iter().filter(|socket| socket.is_unix());
        for (n, socket) in unix.enumerate() {
            if n == SOCKETS_MAX {
                return Err(Why::TooMany);
            }
            let Some(descriptors) = self.tree.descriptors.get(&socket.pid) else {
                return Err(Why::Gone);
            };
            let path = format!("/proc/{}/fdinfo/{}", descriptors.through, socket.fd);
            let text = self.reader.text(&path)?;
            let sent = text.lines().find_map(|line| line.strip_prefix("scm_fds:"));
            match sent.map(str::trim) {
                Some("0") => {}
                Some(_) => return Err(Why::Hidden),
                None => return Err(Why::Unsupported),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
