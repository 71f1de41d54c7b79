//! One observation of a process tree from outside, as plain values: a [`Sample`].
//!
//! A value that cannot be read is a [`Gap`] with its reason ([`Why`]), never a guess. `hbsidecar` fills the sample in from
//! /proc and the kernel's sockets; [`crate::verdict::machine`] evaluates it.

mod gap;
mod object;

pub use gap::{Gap, GapKind, Subject, Why};
pub use object::{Holders, Object, ObjectKind, Origin, Reach, Space, Watched};

use crate::base::moment::Moment;
use std::time::Duration;

/// Clock ticks of the kernel's counters in a second, on every machine hb runs on.
pub const TICKS_PER_SECOND: u64 = 100;

/// A pipe with a name carries this bit in its number: it lies on a file system, whose numbers may be those of nameless pipes.
pub const NAMED_PIPE: u64 = 1 << 63;

/// The name under which a sample shows a thread of Go's runtime, which has none: its monitor sleeps for a minute at a time
/// (runtime/proc.go, `sysmon`).
pub const GO_THREAD: &str = "Go runtime";

/// How much of the tree a sample reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SampleDepth {
    /// Counters only: enough to see that something moves.
    Counters,
    /// Also what every thread waits for, descriptors, sockets, locks.
    Waits,
}

/// One observation of a tree.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The agent's first process.
    pub root: u32,
    /// When, on hbsidecar's own clock.
    pub at: Moment,
    /// How much was read.
    pub depth: SampleDepth,
    /// The tree, parents before children, root first. Empty: the root is gone.
    pub processes: Vec<Process>,
    /// Sockets of the tree; only at [`SampleDepth::Waits`].
    pub sockets: Vec<Socket>,
    /// Pipes and pseudo terminals of the tree, and who outside holds the other end where that was asked.
    pub ends: Vec<End>,
    /// Processes outside the tree that matter: holders of pipes, locks and unix sockets.
    pub outsiders: Vec<Outsider>,
    /// Locks that processes outside the tree hold on files that the tree has open.
    pub locks: Vec<FileLock>,
    /// Output that goes to files.
    pub outputs: Vec<Output>,
    /// The machine.
    pub host: Host,
    /// How far the enumeration of holders reached; only at [`SampleDepth::Waits`].
    pub reach: Reach,
    /// Whether the numbers in it mean what they say.
    pub space: Space,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// Processor time that taking this sample cost hbsidecar.
    pub cost: Duration,
}

/// The state of the machine, which affects every process on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Host {
    /// Share of the last 10 s in which some task waited for a processor, in percent.
    pub cpu_some: Option<f64>,
    /// Share of the last 10 s in which all tasks waited for memory, in percent.
    pub memory_full: Option<f64>,
    /// How long the machine has been suspended since boot: growth is time the agent could not use.
    pub suspended: Duration,
    /// Some process of the machine has an interval timer armed (`alarm`, `setitimer`); whose is not visible. None when not
    /// readable, which is so for all but root. Only at [`SampleDepth::Waits`].
    pub alarms: Option<bool>,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Start time in clock ticks since boot. Number and start time together identify the process.
    pub started: u64,
    /// The program's short name (`comm`).
    pub name: String,
    /// The command line, cut.
    pub command: String,
    /// The command line is one piece of work of a known agent, owed until it ends: see
    /// [`crate::base::known_agents`].
    pub headless: bool,
    /// It is a known agent, however it was started.
    pub agent: bool,
    /// Where its standard output goes; only at [`SampleDepth::Waits`].
    pub outlet: Outlet,
    /// The kernel's state of its main thread.
    pub state: RunState,
    /// Its process group.
    pub group: i32,
    /// Its terminal's foreground group; none without a terminal.
    pub foreground: Option<i32>,
    /// The number of the pseudo terminal that controls it (`/dev/pts/N`).
    pub terminal: Option<u32>,
    /// Processor ticks of all its threads, including those that ended.
    pub cpu_ticks: u64,
    /// Processor ticks of children that it has reaped.
    pub reaped_ticks: u64,
    /// Bytes and calls; none when unreadable.
    pub io: Option<Io>,
    /// Memory it holds, in bytes; 0 when unknown.
    pub memory: u64,
    /// The process that traces it; only at [`SampleDepth::Waits`].
    pub tracer: Option<u32>,
    /// Signals it handles, bit n-1 for signal n; only at [`SampleDepth::Waits`].
    pub caught: Option<u64>,
    /// Signals it ignores, bit n-1 for signal n; only at [`SampleDepth::Waits`].
    pub ignored: Option<u64>,
    /// POSIX timers it has made, armed or not; only at [`SampleDepth::Waits`].
    pub timers: Option<u32>,
    /// A descriptor of it sends a signal when something happens there (`O_ASYNC`), of a number that its owner chose; only at
    /// [`SampleDepth::Waits`], and where a handler could run.
    pub signals_events: bool,
    /// Its control group is frozen.
    pub frozen: bool,
    /// Its parent ended before it, so the kernel gave it another one.
    pub orphan: bool,
    /// Its first thread has ended while others live. It is then not among `threads`, and `state` is another thread's.
    pub first_thread_ended: bool,
    /// Its threads, the main thread first; fewer than `thread_count` above the sampling limit.
    pub threads: Vec<Thread>,
    /// How many threads it has that have not ended.
    pub thread_count: u32,
}

/// What the kernel says a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// On a processor or waiting for one.
    Running,
    /// Waits; a signal can wake it.
    #[default]
    Sleeping,
    /// Waits uninterruptibly; no signal can wake it.
    Disk,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// Ended, not yet reaped.
    Zombie,
}

/// Where the standard output of a process goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outlet {
    /// To a terminal, standard error included: what is written there is a screen.
    Terminal,
    /// Into a pipe or socket.
    Pipe,
    /// Into a file.
    File,
    /// Nowhere, or it is not readable.
    #[default]
    Other,
}

/// Bytes and calls since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes it read from any descriptor.
    pub read: u64,
    /// Bytes it wrote to any descriptor.
    pub written: u64,
    /// Calls that read.
    pub reads: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Bytes fetched from a disk.
    pub disk_read: u64,
    /// Bytes destined for a disk.
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
    /// The name that its program gave it; read only where it waits for a long time beside the main thread.
    pub name: String,
    /// Time on a processor.
    pub run: Duration,
    /// Time it was runnable and waited for a processor.
    pub ready: Duration,
    /// How often it was scheduled. Unchanged: it did not wake.
    pub turns: u64,
    /// What it waits for; none at [`SampleDepth::Counters`].
    pub wait: Option<Wait>,
    /// The kernel's state of it; none when not read.
    pub state: Option<RunState>,
    /// Signals it blocks, bit n-1 for signal n; none when not read.
    pub blocked: Option<u64>,
    /// Everything in the kernel that its call waits on.
    pub watched: Watched,
    /// Time left of the latest timer descriptor that it waits for.
    pub timer: Option<Duration>,
    /// The lock or condition that it waits for lies in memory that programs outside the tree can open by a name.
    pub open_memory: bool,
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
    /// A client to connect.
    Accept(Target),
    /// The answer to a connection request.
    Connect(Target),
    /// Any of several descriptors.
    Poll {
        /// Those descriptors, up to the sampling limit.
        targets: Vec<Target>,
        /// Its own time limit.
        until: Until,
    },
    /// Only time.
    Sleep(Until),
    /// A lock or condition in memory.
    Futex {
        /// No other process can wake it.
        private: bool,
        /// Its own time limit.
        until: Until,
        /// The thread that holds the mutex, read from the mutex itself.
        owner: Option<u32>,
    },
    /// The end of a child, as `waitpid` takes it: 0 or less stands for a group or any child.
    Child(i32),
    /// Its new child, which shares its memory until `exec`.
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
    /// It has no limit.
    Never,
    /// At most this long after the sample.
    In(Duration),
    /// It has a limit that could not be read.
    Unreadable(Why),
}

/// A descriptor and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The descriptor's number in its process.
    pub fd: i32,
    /// What it is.
    pub kind: Kind,
    /// A poll waits only for room in it, so it is full.
    pub full: bool,
}

/// What a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe, by inode; with [`NAMED_PIPE`] where anybody can open it by a name.
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
    /// The process that holds it.
    pub pid: u32,
    /// Its descriptor there.
    pub fd: i32,
    /// The channel it is an end of.
    pub of: Channel,
    /// Can take data out.
    pub reads: bool,
    /// Can put data in.
    pub writes: bool,
}

/// The channel between two ends.
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
    /// Start time in clock ticks since boot. Number and start time together identify the process.
    pub started: u64,
    /// The program's short name (`comm`).
    pub name: String,
    /// The kernel's state of it.
    pub state: RunState,
    /// Processor ticks so far.
    pub cpu_ticks: u64,
    /// Bytes that it wrote so far; 0 when unreadable.
    pub written: u64,
    /// It is a pager: it reads keys from a terminal.
    pub reads_terminal: bool,
    /// It is hbsidecar, which only watches and owes no answer.
    pub own: bool,
}

/// A lock on a file that the tree has open or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// The process that holds it; none where the kernel does not report it.
    pub holder: Option<u32>,
    /// The holder's name.
    pub name: String,
    /// The file.
    pub path: String,
    /// It is a write lock.
    pub exclusive: bool,
    /// The process of the tree that waits in the kernel for it.
    pub waiter: Option<u32>,
}

/// One socket of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// The process that holds it.
    pub pid: u32,
    /// Its descriptor there.
    pub fd: i32,
    /// Its inode.
    pub inode: u64,
    /// What is known.
    pub kind: SocketKind,
}

/// What is known of a socket.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketKind {
    /// A TCP connection or listener.
    Tcp(Box<Tcp>),
    /// A unix socket; the process of its peer where the kernel reports it.
    Unix {
        /// It accepts clients.
        listens: bool,
        /// The process that listened, or made the pair.
        peer: Option<u32>,
        /// It has an address: it listens, or was accepted from a socket that does.
        named: bool,
        /// The socket on the other side, by inode.
        other: Option<u64>,
        /// Bytes received and not yet read.
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
    /// Connected in both directions.
    #[default]
    Established,
    /// The connection request is unanswered.
    SynSent,
    /// The peer has closed its side, this side has not.
    CloseWait,
    /// Accepts clients.
    Listen,
    /// Being closed.
    Closing,
}

/// A TCP socket. Ages count back from the sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {
    /// Its state.
    pub state: TcpState,
    /// Local address and port.
    pub local: String,
    /// Local port.
    pub local_port: u16,
    /// Remote address and port.
    pub remote: String,
    /// Remote port.
    pub remote_port: u16,
    /// The program on the other side, when it runs on this machine and is known.
    pub peer: String,
    /// Bytes received.
    pub received: u64,
    /// Bytes that the peer's kernel has acknowledged.
    pub acked: u64,
    /// Data segments received.
    pub segments_in: u64,
    /// Since data was last sent.
    pub sent_ago: Duration,
    /// Since data was last received.
    pub received_ago: Duration,
    /// Since the peer's kernel last acknowledged anything.
    pub acked_ago: Duration,
    /// Consecutive retransmissions of the same data.
    pub retransmits: u32,
    /// Consecutive keep-alive probes without an answer.
    pub probes: u32,
    /// Segments sent and not acknowledged; of a listener: clients that wait to be accepted.
    pub unacked: u32,
    /// Bytes received and not yet read; none when unreadable.
    pub unread: Option<u32>,
    /// Keep-alive is on; none when unreadable.
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
    /// How many of the last whole lines are the same one or the same two, apart from clock times.
    pub repeats: u32,
    /// Lines read.
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

    /// The channel a descriptor of this kind belongs to, where another process may hold an end.
    pub fn channel(&self, kind: &Kind) -> Option<Channel> {
        match kind {
            Kind::Pipe(inode) => Some(Channel::Pipe(*inode)),
            Kind::Terminal(path) => Some(Channel::Terminal(path.clone())),
            Kind::Socket(inode) => self.socket(*inode)?.other().map(Channel::Socket),
            Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => None,
        }
    }

    /// Why this could not be read of the subject, if it could not. What is missing for the tree or the machine is missing for
    /// each process.
    pub fn gap(&self, subject: Subject, what: GapKind) -> Option<Why> {
        let covers = |gap: &&Gap| {
            gap.what == what
                && (gap.subject == subject || !matches!(gap.subject, Subject::Process(_)))
        };
        self.gaps.iter().find(covers).map(|gap| gap.why)
    }

    /// Whether some process outside the tree may hold an end of a pipe or terminal without being known.
    pub fn may_have_hidden_holders(&self) -> bool {
        self.gap(Subject::Machine, GapKind::Holders).is_some()
    }
}

impl Socket {
    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        match self.kind {
            SocketKind::Unix { .. } => true,
            SocketKind::Tcp(_) | SocketKind::Other | SocketKind::Unreadable(_) => false,
        }
    }

    /// The unix socket on its other side, by inode.
    pub fn other(&self) -> Option<u64> {
        match self.kind {
            SocketKind::Unix { other, .. } => other,
            SocketKind::Tcp(_) | SocketKind::Other | SocketKind::Unreadable(_) => None,
        }
    }
}

impl Process {
    /// Its main thread.
    pub fn main(&self) -> Option<&Thread> {
        self.threads.iter().find(|t| t.tid == self.pid)
    }

    /// What its main thread waits for, where that was read.
    pub fn main_wait(&self) -> Option<&Wait> {
        self.main()?.wait.as_ref()
    }

    /// What its threads wait for, where that was read.
    pub fn waits(&self) -> impl Iterator<Item = &Wait> {
        self.threads.iter().filter_map(|t| t.wait.as_ref())
    }

    /// Whether every thread was sampled.
    pub fn is_whole(&self) -> bool {
        self.threads.len() == self.thread_count as usize
    }

    /// Its name with its number, for people.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.pid)
    }
}

impl Target {
    /// A descriptor that could not be read.
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
