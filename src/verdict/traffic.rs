//! Bytes that moved between two samples: over connections, into files, pipes and terminals. Which of them are work?
//!
//! A screen is redrawn while an agent waits, so what is written to a terminal counts for nothing by itself. A line of always
//! the same length at a steady pace says nothing new. New lines in a file do, and so do bytes that arrive where an answer is
//! due.

use crate::base::moment::Moment;
use crate::verdict::cadence::{ConnectionCadence, ConnectionDelta, OutputCadence};
use crate::verdict::sample::{
    Io, Kind, Outlet, Process, Sample, SampleDepth, SocketKind, TcpState, Wait,
};
use crate::verdict::thresholds;
use crate::verdict::turn::Turn;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the processes of a tree read and wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes {
    /// All that may be work.
    pub(super) work: Io,
    /// What an agent did beside, while it asks for an answer.
    pub(super) housekeeping: Io,
    /// Written to terminals.
    pub(super) screen: Io,
}

/// What went over the network.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Network {
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Bytes of any class were received.
    pub(super) peer_alive: bool,
    /// A connection is there that was not there before.
    pub(super) fresh: bool,
}

/// Where the written bytes went.
pub(super) struct Written {
    /// Some went into an output file.
    pub(super) grew: bool,
    /// The lines there are new.
    pub(super) fresh: bool,
    /// Bytes that went elsewhere.
    pub(super) elsewhere: u64,
}

/// The connections of a tree over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    known: BTreeMap<u64, ConnectionCadence>,
    /// When sockets were last sampled.
    at: Option<Moment>,
}

impl Connections {
    /// Takes a deep sample.
    pub(super) fn observe(&mut self, sample: &Sample, turn: &Turn) -> Network {
        let before = std::mem::take(&mut self.known);
        let elapsed = self.at.map_or(Duration::ZERO, |at| sample.at.since(at));
        let mut network = Network::default();
        for socket in &sample.sockets {
            let SocketKind::Tcp(tcp) = &socket.kind else {
                continue;
            };
            if tcp.state == TcpState::Listen {
                continue;
            }
            let known = before.get(&socket.inode);
            // A connection that is new since the last sample counts with all its bytes.
            let mut connection = known.cloned().unwrap_or_default();
            let delta = ConnectionDelta {
                // The end of the stream counts as one byte received; it is no answer.
                received: arrived(tcp.received, tcp.state).saturating_sub(connection.received),
                acked: tcp.acked.saturating_sub(connection.acked),
                segments: tcp.segments_in.saturating_sub(connection.segments),
                elapsed,
            };
            connection.first.get_or_insert(sample.at);
            connection.record(tcp, delta, known.is_some());
            network.fresh |= known.is_none();
            if known.is_some() || self.at.is_some() {
                let beside = turn.is_beside(socket.inode, connection.longest_request);
                network.count(&connection, delta, beside, turn);
            }
            self.known.insert(socket.inode, connection);
        }
        if sample.depth == SampleDepth::Waits {
            self.at = Some(sample.at);
        }
        network
    }

    /// Whether only the same small question with the same small answer goes over it.
    pub(super) fn is_polled(&self, inode: u64) -> bool {
        self.known
            .get(&inode)
            .is_some_and(ConnectionCadence::is_polled)
    }

    /// For how long this connection has been known.
    pub(super) fn age(&self, inode: u64, now: Moment) -> Duration {
        let first = self.known.get(&inode).and_then(|c| c.first);
        first.map_or(Duration::ZERO, |first| now.since(first))
    }

    /// The longest request that was sent on it; all that was sent where it is new.
    pub(super) fn longest_request(&self, inode: u64, acked: u64) -> u64 {
        self.known.get(&inode).map_or(acked, |c| c.longest_request)
    }

    /// Since the last deep sample, if there was one.
    pub(super) fn since(&self, at: Moment) -> Option<Duration> {
        self.at.map(|then| at.since(then))
    }
}

/// Bytes of data that were received.
fn arrived(received: u64, state: TcpState) -> u64 {
    match state {
        TcpState::CloseWait | TcpState::Closing => received.saturating_sub(1),
        TcpState::Established | TcpState::SynSent | TcpState::Listen => received,
    }
}

impl Network {
    /// Adds one connection; `beside`: the answer is due on another one.
    fn count(
        &mut self,
        connection: &ConnectionCadence,
        delta: ConnectionDelta,
        beside: bool,
        turn: &Turn,
    ) {
        let reports = turn.rests() && connection.only_reports();
        self.peer_alive |= delta.received > 0 && !beside && !reports;
        // Telemetry, a look for updates: a small question with a small answer.
        let small = beside && delta.acked > 0 && delta.received <= thresholds::SMALL_EXCHANGE;
        let housekeeping = small || reports;
        if delta.received > 0 && !connection.is_keepalive() && !housekeeping {
            self.received += delta.received;
        }
        let enough = if turn.asks() {
            thresholds::SENT_WHILE_ASKING
        } else {
            thresholds::SENT_BYTES
        };
        if delta.acked >= enough && !housekeeping {
            self.sent += delta.acked;
        }
    }
}

/// The output of a tree over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    /// Lengths of output files.
    files: BTreeMap<String, u64>,
    /// What was written in the last interval, and by how much the output files grew.
    earlier: (Io, u64),
    /// Processes whose output is a terminal, as of the last deep sample.
    screens: BTreeSet<(u32, u64)>,
    /// Cadence of what is not written to terminals, and of the screen.
    lines: OutputCadence,
    screen: OutputCadence,
    /// Both, as of the sample before the last one.
    before: (OutputCadence, OutputCadence),
}

impl Outputs {
    /// The last sample is only deepened by the next one.
    pub(super) fn take_back(&mut self) {
        (self.lines, self.screen) = self.before.clone();
    }

    pub(super) fn keep(&mut self) {
        self.before = (self.lines.clone(), self.screen.clone());
    }

    /// Remembers which processes write to terminals.
    pub(super) fn see_screens(&mut self, sample: &Sample) {
        let screens = sample
            .processes
            .iter()
            .filter(|p| p.outlet == Outlet::Terminal);
        self.screens = screens.map(|p| (p.pid, p.started)).collect();
    }

    /// What was read and written between two samples of the same processes.
    pub(super) fn bytes<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a Process, Io)>,
        turn: &Turn,
        deep: bool,
    ) -> Bytes {
        let mut bytes = Bytes::default();
        for (process, then) in pairs {
            let Some(io) = process.io else { continue };
            let mut part = io.since(then);
            // Without a deep sample, 8-byte writes are assumed to be wake-ups, not output.
            let wakes = part.writes > 0
                && part.written == 8 * part.writes
                && (!deep || part.read >= 8 || polls_counter(process));
            if wakes {
                part = without_wake_ups(part);
            }
            if self.screens.contains(&(process.pid, process.started)) {
                let screen = Io {
                    written: part.written,
                    writes: part.writes,
                    ..Io::default()
                };
                bytes.screen = bytes.screen.plus(screen);
                (part.written, part.writes) = (0, 0);
            }
            let of = if turn.is_asker(process) {
                &mut bytes.housekeeping
            } else {
                &mut bytes.work
            };
            *of = of.plus(part);
        }
        bytes
    }

    /// Takes one interval.
    pub(super) fn record(&mut self, bytes: &Bytes, elapsed: Duration) {
        let lines = bytes.work.plus(bytes.housekeeping);
        self.lines.record(lines.written, lines.writes, elapsed);
        self.screen
            .record(bytes.screen.written, bytes.screen.writes, elapsed);
    }

    /// For how long all output beside a terminal said nothing new: frames of a spinner, or equal lines.
    pub(super) fn says_nothing_new(&self) -> Option<Duration> {
        let equal = self.lines.equal_lines();
        self.lines.spinner().into_iter().chain(equal).max()
    }

    /// Whether a screen is redrawn at least so often a second.
    pub(super) fn is_redrawn(&self, pace: f64) -> bool {
        self.screen.is_redrawn(pace)
            || self.lines.spinner().is_some() && self.lines.is_redrawn(pace)
    }

    /// Whether output goes to files.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Where the bytes that the tree wrote went.
    pub(super) fn written(&mut self, sample: &Sample, moved: Io) -> Written {
        let written = moved.written;
        let (mut into, mut fresh) = (0, false);
        for output in &sample.outputs {
            let before = self.files.insert(output.path.clone(), output.length);
            let grown = before.map_or(0, |length| output.length.saturating_sub(length));
            into += grown;
            // The same line three times is a heartbeat, not progress.
            fresh |= grown > 0 && output.repeats < 3.min(output.lines);
        }
        // A file is measured a moment after the counters, so only two intervals together show how much went elsewhere.
        let earlier = std::mem::replace(&mut self.earlier, (moved, into));
        let both = (earlier.0.plus(moved), earlier.1 + into);
        let mut elsewhere = written
            .saturating_sub(into)
            .min(both.0.written.saturating_sub(both.1));
        // Beside lines in a file: no more than the 8-byte eventfd counters with which threads wake each other.
        if both.1 > 0
            && elsewhere <= 8 * both.0.writes
            && sample.processes.iter().any(polls_counter)
        {
            elsewhere = 0;
        }
        // Other programs may write to the same file.
        Written {
            grew: written > 0 && into > 0,
            fresh: written > 0 && fresh,
            elsewhere,
        }
    }
}

/// Threads wake each other through 8-byte eventfd counters, which some runtimes read and others never do. Where all writes
/// are that long, none of them is output.
fn without_wake_ups(io: Io) -> Io {
    Io {
        read: io.read.saturating_sub(io.written),
        written: 0,
        writes: 0,
        ..io
    }
}

fn polls_counter(process: &Process) -> bool {
    let waits = process.waits();
    waits
        .flat_map(Wait::targets)
        .any(|target| matches!(&target.kind, Kind::Internal(name) if name == "eventfd"))
}
