//! What a blocked thread waits on in the kernel, and which processes could end that wait: facts only.
//!
//! Everything here defaults to "not known", and what is not known can happen.

use super::{Until, Why};

/// What the call of a blocked thread waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Not known: anything can end the call.
    Unknown(Why),
    /// Every object. Besides them only the call's own time limit ([`super::Wait::until`]) and a signal can end it. Empty:
    /// nothing but these two can.
    All(Vec<Object>),
}

impl Default for Watched {
    fn default() -> Self {
        Self::Unknown(Why::NotAsked)
    }
}

impl Watched {
    /// The objects that are known.
    pub fn objects(&self) -> &[Object] {
        match self {
            Self::Unknown(_) => &[],
            Self::All(objects) => objects,
        }
    }
}

/// One object of the kernel that a blocked thread waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The descriptor that leads to it in the waiting process; -1 for an object that has none.
    pub fd: i32,
    /// What it is.
    pub kind: ObjectKind,
    /// The processes whose threads can act on it so that the wait ends. A process that holds an end also acts on it by its
    /// end, and any process of the tree that still runs may end another one by a signal.
    pub holders: Holders,
    /// Where it was made.
    pub origin: Origin,
    /// The object's own time limit (`SO_RCVTIMEO`, `VTIME`), apart from the call's.
    pub limit: Until,
}

impl Default for Object {
    fn default() -> Self {
        Self {
            fd: -1,
            kind: ObjectKind::Unreadable(Why::NotAsked),
            holders: Holders::default(),
            origin: Origin::default(),
            limit: Until::Unreadable(Why::NotAsked),
        }
    }
}

/// What kind of object it is. The doc of each says whose processes its [`Object::holders`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A nameless pipe: those that hold its other end.
    Pipe,
    /// A connected unix socket that only its peer can write to: those that hold either side.
    SocketPair,
    /// A TCP connection to another socket of the tree in the same network namespace: those that hold either side.
    Loopback,
    /// A pseudo terminal, from its program's side: those that hold its master.
    Terminal,
    /// An eventfd: those that hold it.
    Event,
    /// A timerfd: those that hold it, and so can arm it.
    Timer {
        /// It will expire, or has; none when unreadable.
        armed: Option<bool>,
    },
    /// A pidfd: that process.
    Process,
    /// A signalfd, for these signals, bit n-1 for signal n.
    Signals(u64),
    /// The epoll descriptor itself: those that hold it, and so can add to it. What it watches is listed beside it.
    Epoll,
    /// A lock on a file: those that may hold the lock.
    FileLock,
    /// A futex: those that map the memory it is in.
    Memory,
    /// Children that the call waits for; traced processes count as children.
    Children,

    /// A pipe with a name: anybody can open it.
    Fifo,
    /// A socket that accepts clients: anybody can connect.
    Listener,
    /// The network, or a unix socket that anybody can send to.
    Network,
    /// A socket to the kernel.
    Netlink,
    /// The master of a pseudo terminal: anybody can open its other side by name.
    TerminalMaster,
    /// Changes of files: `inotify`, `fanotify`.
    FileEvents,
    /// Page faults of a program.
    UserFault,
    /// Counters of the processor.
    Perf,
    /// An io_uring.
    Ring,
    /// A file system in user space.
    Fuse,
    /// A device, a terminal of the machine among them.
    Device,
    /// A regular file, or another one with a name.
    File,
    /// Another kind.
    Other,
    /// Not readable, or no longer what the wait began with.
    Unreadable(Why),
}

/// The processes that can act on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Not enumerated: any process may.
    Unknown(Why),
    /// Every process of the machine that could be read was searched; [`super::Sample::reach`] says which could not.
    Known {
        /// Processes of the tree, by number, in order.
        inside: Vec<u32>,
        /// Processes outside it, by number, in order. hbsidecar counts as outside.
        outside: Vec<u32>,
    },
}

impl Default for Holders {
    fn default() -> Self {
        Self::Unknown(Why::NotAsked)
    }
}

/// Where an object was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// By a process of the tree.
    Inside,
    /// Before the agent was started, or by a process outside the tree: it was inherited or passed in.
    Outside,
    /// Not known.
    #[default]
    Unknown,
}

/// How far the enumeration of holders reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Processes of the machine may exist whose descriptors cannot be read: another user's, hidden, or of a pid namespace
    /// around this one. None when not asked.
    pub hidden: Option<bool>,
    /// A process of the tree was seen, in this or in an earlier deep sample of this tree, with a unix socket whose peer is
    /// outside the tree and is not hbsidecar: a descriptor may have been passed on. None when not known.
    pub met_outside: Option<bool>,
    /// Descriptors were sent to a process outside the tree which has not received them: one of them may be of any object. None
    /// where the kernel does not count them (before Linux 5.6), or when not asked.
    pub in_flight: Option<bool>,
}

/// Whether the numbers of a sample are this machine's and this namespace's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    /// /proc shows the pid namespace of hbsidecar.
    Own,
    /// /proc shows another one: a process of the same number is another process.
    Foreign,
    /// Not known.
    #[default]
    Unknown,
}
