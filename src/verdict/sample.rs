//! What can be seen of a process tree from outside, as plain values: one [`Sample`] a look.
//!
//! A value that could not be read is named with its reason ([`Why`]), never guessed. `sidecar/` fills this in from /proc
//! and the kernel's sockets; [`crate::verdict::machine`] judges it.

use crate::base::moment::Moment;
use std::time::Duration;

/// Clock ticks of the kernel's counters in a second, on every machine hb runs on.
pub const TICKS_PER_SECOND: u64 = 100;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SampleDepth {
    /// Counters only: enough to see that something moves.
    Counters,
    /// Also what every thread waits for, descriptors, sockets, locks.
    Waits,
}

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It vanished between two reads.
    Gone,
    /// Another user's, hidden, or forbidden by a security module or filter.
    Denied,
    /// This kernel does not tell.
    Unsupported,
    /// More than is looked at.
    TooMany,
    /// A program of another word size: its system calls have other numbers.
    Foreign,
    /// It made no sense.
    Malformed,
}

/// Something unreadable, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The process, 0 for the machine.
    pub pid: u32,
    /// What: `threads`, `waits`, `descriptors`, `sockets` …
    pub what: &'static str,
    /// Why.
    pub why: Why,
}

/// One look at a tree.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The agent's first process.
    pub root: u32,
    /// When, on the observer's own clock.
    pub at: Moment,
    /// How close.
    pub depth: SampleDepth,
    /// The tree, parents before children, root first. Empty: the root is gone.
    pub processes: Vec<Process>,
    /// Sockets of the tree; only at [`SampleDepth::Waits`].
    pub sockets: Vec<Socket>,
    /// Pipes and pseudo terminals of the tree, and who outside holds the other end where that was asked.
    pub ends: Vec<End>,
    /// Processes outside the tree that matter: holders of pipes, locks and unix sockets.
    pub outsiders: Vec<Outsider>,
    /// Locks that somebody else holds on files the tree has open.
    pub locks: Vec<FileLock>,
    /// Output that goes to files.
    pub outputs: Vec<Output>,
    /// The machine.
    pub host: Host,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// Processor time this look cost the observer.
    pub cost: Duration,
}

/// What the machine does to everyone on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Host {
    /// Share of the last 10 s in which some task waited for a processor, in percent.
    pub cpu_some: Option<f64>,
    /// Share of the last 10 s in which all tasks waited for memory, in percent.
    pub memory_full: Option<f64>,
    /// How long the machine has slept since it started: a change is a gap in the agent's time.
    pub suspended: Duration,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// In clock ticks since the machine started: with the number it names the process.
    pub started: u64,
    /// The program's short name.
    pub name: String,
    /// The command line, cut.
    pub command: String,
    /// That line is one piece of work of a known agent, owed until it ends: see [`crate::verdict::headless_agents`].
    pub headless: bool,
    /// The kernel's word for its first thread.
    pub state: RunState,
    /// Its process group.
    pub group: i32,
    /// Its terminal's foreground group; none without a terminal.
    pub foreground: Option<i32>,
    /// Processor ticks of all its threads, ended ones too.
    pub cpu_ticks: u64,
    /// Processor ticks of children that ended and were waited for.
    pub reaped_ticks: u64,
    /// Bytes and calls; none when unreadable.
    pub io: Option<Io>,
    /// SampleHistory it holds, in bytes; 0 when unknown.
    pub memory: u64,
    /// Who traces it; only at [`SampleDepth::Waits`].
    pub tracer: Option<u32>,
    /// Signals it handles, bit n-1 for signal n; only at [`SampleDepth::Waits`].
    pub caught: Option<u64>,
    /// Its control group is frozen.
    pub frozen: bool,
    /// Its parent ended before it: it was adopted.
    pub orphan: bool,
    /// Its threads, the first one first; fewer than `thread_count` when there are too many.
    pub threads: Vec<Thread>,
    /// How many threads it has.
    pub thread_count: u32,
}

/// What the kernel says a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// On a processor or waiting for one.
    Running,
    /// Waits, and a signal can wake it.
    #[default]
    Sleeping,
    /// Waits, and no signal can wake it.
    Disk,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// Ended, not yet waited for.
    Zombie,
}

/// Bytes and calls since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes it read, from wherever.
    pub read: u64,
    /// Bytes it wrote, to wherever.
    pub written: u64,
    /// Calls that read.
    pub reads: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Bytes that a disk gave.
    pub disk_read: u64,
    /// Bytes meant for a disk.
    pub disk_written: u64,
}

impl Io {
    /// What was added to an earlier count.
    pub fn since(self, then: Self) -> Self {
        self.with(then, u64::saturating_sub)
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            read: of(self.read, other.read),
            written: of(self.written, other.written),
            reads: of(self.reads, other.reads),
            writes: of(self.writes, other.writes),
            disk_read: of(self.disk_read, other.disk_read),
            disk_written: of(self.disk_written, other.disk_written),
        }
    }
}

/// One thread.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// Time on a processor.
    pub run: Duration,
    /// Time it was ready and had to wait for a processor.
    pub ready: Duration,
    /// How often it came onto a processor: unchanged means that it did not even wake.
    pub turns: u64,
    /// What it waits for; none at [`SampleDepth::Counters`].
    pub wait: Option<Wait>,
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it runs.
    Running,
    /// Data.
    Read(Target),
    /// Room for data.
    Write(Target),
    /// A client.
    Accept(Target),
    /// The answer to a connection request.
    Connect(Target),
    /// Any of several descriptors.
    Poll {
        /// Those, bounded.
        targets: Vec<Target>,
        /// Its own time limit.
        until: Until,
    },
    /// Only time.
    Sleep(Until),
    /// A lock or condition in memory.
    Futex {
        /// Nobody outside the process can wake it.
        private: bool,
        /// Its own time limit.
        until: Until,
        /// The thread that holds the mutex, read from the mutex itself.
        owner: Option<u32>,
    },
    /// The end of a child; 0 or less names a group or any.
    Child(i32),
    /// The child it has started shares its memory until it runs a program of its own.
    Fork,
    /// A lock on a file.
    Lock(Target),
    /// A signal.
    Signal(Until),
    /// Data on its way to a disk.
    Sync(Target),
    /// Another system call.
    Call(u32),
    /// Not readable.
    Unreadable(Why),
}

/// A thread's own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// None: it waits for ever.
    Never,
    /// So long from the sample at most.
    In(Duration),
    /// There is one, but it could not be read.
    Unreadable(Why),
}

/// A descriptor and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The descriptor's number in its process.
    pub fd: i32,
    /// What it is.
    pub kind: Kind,
    /// A poll waits for nothing but room in it: it is full.
    pub full: bool,
}

/// What a descriptor stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe, by inode.
    Pipe(u64),
    /// A socket, by inode.
    Socket(u64),
    /// A terminal, by path.
    Terminal(String),
    /// A file or device, by path.
    File(String),
    /// Something without a name outside the kernel: `eventfd`, `timerfd`, `inotify` …
    Internal(String),
    /// Not readable.
    Unreadable(Why),
}

/// One end of a pipe, a pseudo terminal or a pair of unix sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Who holds it.
    pub pid: u32,
    /// Under which number.
    pub fd: i32,
    /// Of what.
    pub of: Channel,
    /// Can take data out.
    pub reads: bool,
    /// Can put data in.
    pub writes: bool,
}

/// What two ends have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A pipe, by inode.
    Pipe(u64),
    /// A pseudo terminal, by path; its master reads what the program writes.
    Terminal(String),
    /// A unix socket, by inode. The other side is another socket: see [`SocketKind::Unix`].
    Socket(u64),
}

/// A process outside the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outsider {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// With the number it names the process.
    pub started: u64,
    /// The program's short name.
    pub name: String,
    /// The kernel's word.
    pub state: RunState,
    /// Processor ticks so far.
    pub cpu_ticks: u64,
    /// It waits for input from a terminal: a pager, a person.
    pub reads_terminal: bool,
    /// It is the observer itself, or a sidecar: it watches, and owes nothing.
    pub own: bool,
}

/// A lock on a file that the tree has open or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// Who holds it; none where the kernel does not say.
    pub holder: Option<u32>,
    /// The holder's name.
    pub name: String,
    /// The file.
    pub path: String,
    /// Nobody else may read or write.
    pub exclusive: bool,
    /// Who of the tree waits in the kernel for it.
    pub waiter: Option<u32>,
}

/// One socket of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Who holds it.
    pub pid: u32,
    /// Under which number.
    pub fd: i32,
    /// The kernel's name for it.
    pub inode: u64,
    /// What is known.
    pub kind: SocketKind,
}

/// What is known of a socket.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketKind {
    /// A TCP connection or listener.
    Tcp(Box<Tcp>),
    /// A unix socket; its peer's process where the kernel tells it.
    Unix {
        /// Takes clients.
        listens: bool,
        /// Who listened, or made the pair.
        peer: Option<u32>,
        /// The socket on the other side, by inode.
        other: Option<u64>,
        /// Data that waits to be read, in bytes.
        unread: u32,
    },
    /// UDP, netlink and the rest.
    Other,
    /// Not readable.
    Unreadable(Why),
}

/// The state of a TCP socket, as the kernel numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpState {
    /// Both sides may send.
    #[default]
    Established,
    /// Asked, not answered.
    SynSent,
    /// The peer has closed, this side has not.
    CloseWait,
    /// Takes clients.
    Listen,
    /// On the way to its end.
    Closing,
}

/// A TCP socket. Ages count back from the sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {
    /// Where it is in its life.
    pub state: TcpState,
    /// Address and port of this side.
    pub local: String,
    /// Port of this side.
    pub local_port: u16,
    /// Address and port of the other side.
    pub remote: String,
    /// Port of the other side.
    pub remote_port: u16,
    /// The program on the other side, when it runs on this machine and is known.
    pub peer: String,
    /// Bytes that came.
    pub received: u64,
    /// Bytes the peer's kernel has confirmed.
    pub acked: u64,
    /// Segments with data that came.
    pub segments_in: u64,
    /// Since data was last sent.
    pub sent_ago: Duration,
    /// Since data last came.
    pub received_ago: Duration,
    /// Since the peer's kernel last confirmed anything.
    pub acked_ago: Duration,
    /// Tries in a row to send the same data.
    pub retransmits: u32,
    /// Questions to the peer's kernel in a row without an answer.
    pub probes: u32,
    /// Segments sent and not confirmed; of a listener: clients that wait.
    pub unacked: u32,
    /// Data that waits to be read, in bytes; none when unreadable.
    pub unread: Option<u32>,
    /// The kernel asks the peer when nothing flows; none when unreadable.
    pub keep_alive: Option<bool>,
}

/// Output of the tree that goes to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// The last line that is whole, cut.
    pub last: String,
    /// How many of the last whole lines are the same one or the same two, with clock times left out.
    pub repeats: u32,
    /// Lines looked at.
    pub lines: u32,
}

impl Sample {
    /// The process of this number, in the tree.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|p| p.pid == pid)
    }

    /// The first process.
    pub fn root(&self) -> Option<&Process> {
        self.process(self.root)
    }

    /// A process outside the tree.
    pub fn outsider(&self, pid: u32) -> Option<&Outsider> {
        self.outsiders.iter().find(|o| o.pid == pid)
    }

    /// A socket of the tree, by inode.
    pub fn socket(&self, inode: u64) -> Option<&Socket> {
        self.sockets.iter().find(|s| s.inode == inode)
    }

    /// What a descriptor of this kind leads to, where somebody else may hold an end of it.
    pub fn channel(&self, kind: &Kind) -> Option<Channel> {
        match kind {
            Kind::Pipe(inode) => Some(Channel::Pipe(*inode)),
            Kind::Terminal(path) => Some(Channel::Terminal(path.clone())),
            Kind::Socket(inode) => self.socket(*inode)?.other().map(Channel::Socket),
            Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => None,
        }
    }

    /// Whether something of this name could not be read of this process.
    pub fn lacks(&self, pid: u32, what: &str) -> Option<Why> {
        let of = |gap: &&Gap| gap.what == what && (gap.pid == pid || gap.pid == 0);
        self.gaps.iter().find(of).map(|gap| gap.why)
    }
}

impl Socket {
    /// The unix socket on its other side, by inode.
    pub fn other(&self) -> Option<u64> {
        match self.kind {
            SocketKind::Unix { other, .. } => other,
            SocketKind::Tcp(_) | SocketKind::Other | SocketKind::Unreadable(_) => None,
        }
    }
}

impl Process {
    /// Its first thread.
    pub fn main(&self) -> Option<&Thread> {
        self.threads.iter().find(|t| t.tid == self.pid)
    }

    /// Whether every thread was looked at.
    pub fn is_whole(&self) -> bool {
        self.threads.len() == self.thread_count as usize
    }

    /// Its name with its number, for people.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.pid)
    }
}

impl Target {
    /// A descriptor of which nothing is known.
    pub fn unreadable(why: Why) -> Self {
        Self {
            fd: -1,
            kind: Kind::Unreadable(why),
            full: false,
        }
    }
}

impl Wait {
    /// Its own time limit, where the wait can have one.
    pub fn until(&self) -> Until {
        match self {
            Self::Poll { until, .. } | Self::Futex { until, .. } => *until,
            Self::Sleep(until) | Self::Signal(until) => *until,
            Self::Unreadable(why) => Until::Unreadable(*why),
            Self::Running
            | Self::Read(_)
            | Self::Write(_)
            | Self::Accept(_)
            | Self::Connect(_)
            | Self::Child(_)
            | Self::Fork
            | Self::Lock(_)
            | Self::Sync(_)
            | Self::Call(_) => Until::Never,
        }
    }

    /// The descriptors that can end it.
    pub fn targets(&self) -> &[Target] {
        match self {
            Self::Read(target)
            | Self::Write(target)
            | Self::Accept(target)
            | Self::Connect(target)
            | Self::Lock(target)
            | Self::Sync(target) => std::slice::from_ref(target),
            Self::Poll { targets, .. } => targets,
            Self::Running
            | Self::Sleep(_)
            | Self::Futex { .. }
            | Self::Child(_)
            | Self::Fork
            | Self::Signal(_)
            | Self::Call(_)
            | Self::Unreadable(_) => &[],
        }
    }
}

impl Why {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Gone => "it vanished",
            Self::Denied => "not permitted",
            Self::Unsupported => "this kernel does not tell",
            Self::TooMany => "too many to look at",
            Self::Foreign => "a program of another word size",
            Self::Malformed => "not understood",
        }
    }
}
