//! What a sample could not read, and why.

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It ended or closed between two reads.
    Gone,
    /// Another user's, hidden, or forbidden by a security module or filter.
    Denied,
    /// This kernel does not report it.
    Unsupported,
    /// More than the sampling limit.
    TooMany,
    /// The program has another word size, so its system calls have other numbers.
    Foreign,
    /// The kernel's text or number could not be parsed.
    Malformed,
    /// No answer needed it, so it was not read.
    NotAsked,
    /// Of another pid or mount namespace than hbsidecar's.
    OtherSpace,
    /// Others that cannot be enumerated may reach it.
    Hidden,
}

/// Something that a sample could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What it belongs to.
    pub subject: Subject,
    /// What is missing.
    pub what: GapKind,
    /// Why.
    pub why: Why,
}

/// What a statement about a sample is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// One process, by number.
    Process(u32),
    /// The whole tree.
    Tree,
    /// The whole machine.
    Machine,
}

/// What a sample could not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapKind {
    /// The process itself.
    Process,
    /// Processes beyond the sampling limit.
    Processes,
    /// Threads.
    Threads,
    /// `status`: tracer and handled signals.
    Status,
    /// What threads wait for.
    Waits,
    /// Open descriptors.
    Descriptors,
    /// Sockets.
    Sockets,
    /// Counters of bytes read and written.
    Io,
    /// Processes outside the tree that hold the other end of a pipe or terminal.
    Holders,
}

impl Gap {
    /// For people: `threads of 4711: not permitted`.
    pub fn describe(&self) -> String {
        let of = match self.subject {
            Subject::Process(pid) => format!(" of {pid}"),
            Subject::Tree | Subject::Machine => String::new(),
        };
        format!("{}{of}: {}", self.what.describe(), self.why.describe())
    }
}

impl GapKind {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::Status => "status",
            Self::Waits => "waits",
            Self::Descriptors => "descriptors",
            Self::Sockets => "sockets",
            Self::Io => "io",
            Self::Holders => "holders",
        }
    }
}

impl Why {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Gone => "it has ended",
            Self::Denied => "not permitted",
            Self::Unsupported => "this kernel does not report it",
            Self::TooMany => "above the sampling limit",
            Self::Foreign => "a program of another word size",
            Self::Malformed => "not parsable",
            Self::NotAsked => "not read",
            Self::OtherSpace => "of another namespace",
            Self::Hidden => "others may reach it unseen",
        }
    }
}
