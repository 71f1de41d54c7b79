//! What is remembered of one tree across samples: which objects came from outside, and whether a descriptor can have been
//! passed on.

use super::descriptors::{Descriptors, flags};
use super::outside::{Id, event_id, file_id};
use super::read::Reader;
use heartbeat::verdict::sample::{Channel, Kind, Origin, Sample, Socket, SocketKind, Why};
use std::collections::{BTreeMap, BTreeSet};

/// Remembers one tree, and what hbsidecar itself was given.
#[derive(Debug)]
pub(super) struct History {
    /// Objects that this process held before it started an agent: the agent inherits them.
    given: BTreeSet<Id>,
    /// Kinds of those that carry no identity.
    given_kinds: BTreeSet<String>,
    tree: Option<TreeHistory>,
}

/// Of the tree of one root.
#[derive(Debug)]
struct TreeHistory {
    root: (u32, u64),
    /// This process started it. Of another tree the beginning was not seen.
    is_ours: bool,
    /// What was there when another's tree was seen first; none when that could not be read whole.
    before: Option<BTreeSet<Id>>,
    met_outside: Option<bool>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Before any agent is started by this process.
    pub(super) fn new() -> Self {
        let me = std::process::id();
        let descriptors = Descriptors::of(me);
        let kind = |(fd, kind): (i32, &Kind)| match kind {
            Kind::Internal(name) if is_inherited(me, fd) => Some(name.clone()),
            Kind::Internal(_)
            | Kind::Pipe(_)
            | Kind::Socket(_)
            | Kind::Terminal(_)
            | Kind::File(_)
            | Kind::Unreadable(_) => None,
        };
        Self {
            given: ids(&mut Reader::default(), &descriptors, true),
            given_kinds: descriptors.iter().filter_map(kind).collect(),
            tree: None,
        }
    }

    /// Takes in a deep sample whose sockets are known.
    pub(super) fn see(
        &mut self,
        reader: &mut Reader,
        sample: &Sample,
        descriptors: &BTreeMap<u32, Descriptors>,
    ) {
        let Some(root) = sample.root() else {
            return;
        };
        let identity = (root.pid, root.started);
        if self.tree.as_ref().is_none_or(|tree| tree.root != identity) {
            let is_ours = root.parent == std::process::id();
            let is_whole = descriptors.values().all(|of| of.gap.is_none());
            let mut before = BTreeSet::new();
            if !is_ours && is_whole {
                for of in descriptors.values() {
                    before.extend(ids(reader, of, false));
                }
            }
            self.tree = Some(TreeHistory {
                root: identity,
                is_ours,
                before: is_whole.then_some(before),
                met_outside: Some(false),
            });
        }
        if let Some(tree) = &mut self.tree
            && tree.met_outside != Some(true)
        {
            match meets_outside(sample) {
                Some(false) => {}
                met => tree.met_outside = met,
            }
        }
    }

    /// Whether a process of the tree was ever seen with a unix socket whose peer is outside.
    pub(super) fn met_outside(&self) -> Option<bool> {
        self.tree.as_ref()?.met_outside
    }

    /// Whether this process started the tree, so that everything in it began after it.
    pub(super) fn is_ours(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| tree.is_ours)
    }

    /// Whether an agent inherits an object of this kind, which carries no identity.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given_kinds.contains(name)
    }

    /// Where an object was made.
    pub(super) fn origin(&self, id: &Id) -> Origin {
        let Some(tree) = &self.tree else {
            return Origin::Unknown;
        };
        if self.given.contains(id) {
            return Origin::Outside;
        }
        if tree.is_ours {
            return Origin::Inside;
        }
        match &tree.before {
            Some(before) if !before.contains(id) => Origin::Inside,
            Some(_) | None => Origin::Unknown,
        }
    }
}

/// Whether a program that this process starts keeps the descriptor.
fn is_inherited(me: u32, fd: i32) -> bool {
    const CLOSED_AT_EXEC: u32 = 0o2_000_000;
    let flags = flags(&mut Reader::default(), me, fd);
    flags.is_none_or(|flags| flags & CLOSED_AT_EXEC == 0)
}

/// Objects that these descriptors lead to, as far as they can be passed on by inheritance.
fn ids(reader: &mut Reader, descriptors: &Descriptors, with_files: bool) -> BTreeSet<Id> {
    let through = descriptors.through;
    let mut found = BTreeSet::new();
    for (fd, kind) in descriptors.iter() {
        let id = match kind {
            Kind::Pipe(inode) => Some(Id::Channel(Channel::Pipe(*inode))),
            Kind::Socket(inode) => Some(Id::Channel(Channel::Socket(*inode))),
            Kind::Terminal(path) => Some(Id::Channel(Channel::Terminal(path.clone()))),
            Kind::Internal(name) if name == "eventfd" => {
                event_id(reader, through, fd).map(Id::Event)
            }
            Kind::File(_) if with_files => file_id(through, fd),
            Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => None,
        };
        found.extend(id);
    }
    found
}

/// Whether some unix socket of the tree leads out of it; hbsidecar's own sockets pass nothing on.
fn meets_outside(sample: &Sample) -> Option<bool> {
    let inside: BTreeSet<u64> = sample.sockets.iter().map(|s| s.inode).collect();
    let own = std::process::id();
    let mut known = true;
    for Socket { kind, .. } in &sample.sockets {
        match kind {
            SocketKind::Unix { listens: true, .. } => {}
            SocketKind::Unix {
                peer: Some(pid), ..
            } if *pid == own => {}
            SocketKind::Unix {
                other: Some(inode), ..
            } => {
                if !inside.contains(inode) {
                    return Some(true);
                }
            }
            // Not yet accepted, or closed: the peer is the process that listened, or made the pair.
            SocketKind::Unix {
                peer: Some(pid), ..
            } => {
                if sample.process(*pid).is_none() {
                    return Some(true);
                }
            }
            SocketKind::Unix { .. } => {}
            SocketKind::Unreadable(Why::Gone) | SocketKind::Tcp(_) | SocketKind::Other => {}
            SocketKind::Unreadable(_) => known = false,
        }
    }
    known.then_some(false)
}
