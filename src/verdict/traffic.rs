//! Bytes that moved between two samples: over connections, into files, pipes and terminals. Which of them are work?
//!
//! A screen is redrawn while an agent waits, so what is written to a terminal counts for nothing by itself. A line of always
//! the same length at a steady pace says nothing new. New lines in a file do, and so do bytes that arrive where an answer is
//! due.

use crate::base::moment::Moment;
use crate::verdict::cadence::{ConnectionCadence, ConnectionDelta, OutputCadence};
use crate::verdict::retries::{GivenUp, Repeat};
use crate::verdict::sample::{
    Io, Kind, Outlet, Process, Sample, SampleDepth, SocketKind, Tcp, TcpState, Wait,
};
use crate::verdict::thresholds;
use crate::verdict::tree_view::is_unanswered;
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
    /// Sent again, after it was given up without an answer.
    pub(super) repeated: u64,
    /// For how long the same has been asked over one connection after the other.
    pub(super) asked_for: Option<Duration>,
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
    /// The last request that was given up without an answer.
    given_up: Option<GivenUp>,
    /// Connections opened since, which may ask the same again.
    repeats: BTreeMap<u64, GivenUp>,
    /// When sockets were last sampled.
    at: Option<Moment>,
}

impl Connections {
    /// Takes a deep sample. A request is given up when nothing came for at least `patience` before its connection was closed.
    pub(super) fn observe(&mut self, sample: &Sample, turn: &Turn, patience: Duration) -> Network {
        let before = std::mem::take(&mut self.known);
        self.see_given_up(&before, sample, patience);
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
            let again = known.is_some() && connection.asks_again(&delta, patience);
            connection.first.get_or_insert(sample.at);
            connection.record(tcp, delta, known.is_some());
            if again {
                let earlier = self.repeats.get(&socket.inode).copied();
                let given_up = GivenUp::on_the_same(&connection, earlier, sample.at);
                (self.given_up, connection.first) = (Some(given_up), Some(sample.at));
                self.repeats.insert(socket.inode, given_up);
            }
            // The answer may come between the last sample and the end of a connection. Only of an agent whose conversation
            // grows with each answer does the same request again show that there was none.
            connection.is_unanswered =
                turn.is_asker(socket.pid) && (is_unanswered(tcp) || is_greeted_only(tcp));
            network.fresh |= known.is_none();
            if let Some(given_up) = self.given_up.filter(|_| known.is_none()) {
                self.repeats.insert(socket.inode, given_up);
            }
            if self.asks_again(socket.inode, &connection) {
                network.repeated += delta.acked;
            } else if known.is_some() || self.at.is_some() {
                let beside = turn.is_beside(socket.inode, connection.longest_request);
                network.count(&connection, delta, beside, turn);
            }
            self.known.insert(socket.inode, connection);
        }
        let asked = self.repeats.iter().filter(|(inode, given_up)| {
            let connection = self.known.get(inode);
            connection.is_some_and(|c| given_up.is_sent_again(c.acked))
        });
        network.asked_for = asked
            .map(|(_, given_up)| sample.at.since(given_up.first))
            .max();
        if sample.depth == SampleDepth::Waits {
            self.at = Some(sample.at);
        }
        network
    }

    /// Remembers what the connections that are gone had asked for.
    fn see_given_up(
        &mut self,
        before: &BTreeMap<u64, ConnectionCadence>,
        sample: &Sample,
        patience: Duration,
    ) {
        let here: BTreeSet<u64> = sample.sockets.iter().map(|s| s.inode).collect();
        let gone = before.iter().filter(|(inode, _)| !here.contains(inode));
        let given_up = gone.filter(|(_, c)| c.is_unanswered && c.silent >= patience);
        if let Some((inode, connection)) = given_up.max_by_key(|(_, c)| c.acked) {
            let earlier = self.repeats.get(inode).copied();
            self.given_up = Some(GivenUp::with(connection, earlier, sample.at));
        }
        self.repeats.retain(|inode, _| here.contains(inode));
    }

    /// Whether all that this connection carried was carried by one that was given up: nothing new came of it.
    fn asks_again(&mut self, inode: u64, connection: &ConnectionCadence) -> bool {
        let Some(given_up) = self.repeats.get(&inode) else {
            return false;
        };
        match given_up.repeat(connection.received, connection.acked) {
            Repeat::Unanswered => true,
            Repeat::Other => {
                self.repeats.remove(&inode);
                false
            }
            Repeat::Answered => {
                self.forget_given_up();
                false
            }
        }
    }

    /// The agent works: what it asks from now on is a request of its own.
    pub(super) fn forget_given_up(&mut self) {
        self.given_up = None;
        self.repeats.clear();
    }

    /// Whether a request was given up since the agent last worked.
    pub(super) fn gave_up(&self) -> bool {
        self.given_up.is_some()
    }

    /// Whether a request that was given up may still be answered at the next attempt, on this connection if there is one.
    pub(super) fn may_be_answered(
        &self,
        inode: Option<u64>,
        now: Moment,
        moment: Duration,
    ) -> bool {
        let since = inode.and_then(|inode| self.known.get(&inode)?.first);
        let given_up = self.given_up;
        given_up.is_some_and(|given_up| given_up.may_be_answered(since, now, moment))
    }

    /// Whether only the same small question with the same small answer goes over it.
    pub(super) fn is_polled(&self, inode: u64) -> bool {
        self.known
            .get(&inode)
            .is_some_and(ConnectionCadence::is_polled)
    }

    /// For how long this connection has been known, with those before it on which the same was asked.
    pub(super) fn age(&self, inode: u64, now: Moment) -> Duration {
        let first = self.repeats.get(&inode).map(|given_up| given_up.first);
        let first = first.or_else(|| self.known.get(&inode).and_then(|c| c.first));
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

/// The server's part of a handshake ends a moment after the request is sent: no model answers so soon.
fn is_greeted_only(tcp: &Tcp) -> bool {
    tcp.state == TcpState::Established
        && tcp.received <= thresholds::GREETING_BYTES
        && tcp.sent_ago <= tcp.received_ago + thresholds::GREETING
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
            let of = if turn.is_asker(process.pid) {
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

    /// Where the bytes that the tree wrote went. A request that was sent again went nowhere new.
    pub(super) fn written(&mut self, sample: &Sample, moved: Io, repeated: u64) -> Written {
        let written = moved.written.saturating_sub(repeated);
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
