//! What moved between two samples, classified as progress, liveness or noise.
//!
//! Progress: bytes received, files written, processor time of children and helper threads, new processes. Liveness: the
//! process woke. Noise: keep-alives, screens, repeated lines, an event loop that wakes itself, helpers that end and restart,
//! and an agent's housekeeping while it waits for an answer.

use crate::verdict::cadence::MeanShare;
use crate::verdict::counters::Counters;
use crate::verdict::explain::describe_bytes;
use crate::verdict::notes::{self, MemoryGrowth};
use crate::verdict::peers::{Peers, is_served};
use crate::verdict::restarts::Restarts;
use crate::verdict::sample::{Io, Process, Sample, SampleDepth, Socket, TICKS_PER_SECOND, Tcp};
use crate::verdict::self_report::SelfReport;
use crate::verdict::signal::{Signal, SignalKind};
use crate::verdict::thresholds::{self, ProgressFloor};
use crate::verdict::traffic::{Bytes, Connections, Network, Outputs};
use crate::verdict::tree_view::TreeView;
use crate::verdict::turn::Turn;
use crate::wire::activity::Evidence;
use std::collections::BTreeSet;
use std::time::Duration;

/// What changed between two samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    /// Time between the two samples.
    pub(super) elapsed: Duration,
    /// Signals of progress.
    pub(super) progress: Vec<Signal>,
    /// Bytes of any class were received over TCP: the peer is alive.
    pub(super) peer_alive: bool,
    /// Share of a core that the root's main thread used.
    pub(super) main_cpu: f64,
    /// The root's main thread is CPU-bound: it computes, or waits for a processor to do so.
    pub(super) cpu_bound: bool,
    /// One thread of one child uses a core, and nothing else shows that the tree works: the process, and the share.
    pub(super) lone_cpu: Option<(u32, f64)>,
    /// How much of the interval counts, 0-1: less than all where the machine gave the tree too little processor time or memory
    /// to progress.
    pub(super) granted: f64,
    /// Output that goes to a file grew.
    pub(super) output_grew: bool,
    /// For this long, no output said anything new: frames of a spinner, or equal lines at a steady pace.
    pub(super) nothing_new: Option<Duration>,
    /// A screen is redrawn as an agent does while a turn runs.
    pub(super) draws_turn: bool,
    /// Evidence that is published beside any verdict.
    pub(super) notes: Vec<Evidence>,
    /// A connection is there that was not there before.
    pub(super) new_connection: bool,
    /// For how long the same was asked over one connection after the other, without an answer.
    pub(super) asked_for: Option<Duration>,
}

/// What a sample is compared under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) report: &'a SelfReport,
    /// Below these amounts activity is no progress.
    pub(super) floor: ProgressFloor,
    /// The sample only deepens the one before it.
    pub(super) immediate: bool,
    /// The screen was redrawn as an agent does while a turn runs.
    pub(super) draws_turn: bool,
    /// Starts of a helper no further apart than this are in a row.
    pub(super) restart_gap: Duration,
    /// A request whose connection is closed after this much silence was given up.
    pub(super) given_up_after: Duration,
}

/// What the last samples showed.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleHistory {
    last: Option<Counters>,
    /// The sample before the last one: a deep sample right after a cheap one is compared with it.
    before_last: Option<Counters>,
    pub(super) connections: Connections,
    outputs: Outputs,
    growth: MemoryGrowth,
    askers_cpu: MeanShare,
    restarts: Restarts,
    turn: Turn,
    peers: Peers,
    /// A client from outside the tree was connected once.
    served: bool,
}

impl SampleHistory {
    /// Takes a sample. Returns none for the first one of an incarnation.
    pub(super) fn advance(&mut self, sample: &Sample, terms: &Terms<'_>) -> Option<Interval> {
        let now = Counters::of(sample)?;
        let deep = sample.depth == SampleDepth::Waits;
        let Some(before) = self.before(&now, terms.immediate) else {
            *self = Self {
                last: Some(now),
                ..Self::default()
            };
            self.see(sample, terms, Duration::ZERO);
            self.connections
                .observe(sample, &self.turn, terms.given_up_after);
            self.outputs.written(sample, Io::default(), 0);
            return None;
        };
        let mut interval = Interval {
            elapsed: now.at.since(before.at),
            ..Interval::default()
        };
        if deep {
            let elapsed = self.connections.since(sample.at);
            self.see(sample, terms, elapsed.unwrap_or(interval.elapsed));
        }
        let fresh = now.processes.iter();
        let fresh = fresh.filter(|(key, _)| !before.processes.contains_key(key));
        let lives = |key: &(u32, u64)| now.processes.contains_key(key);
        // A fork that runs on in its parent's program is a worker, and no helper that was started.
        let started = fresh.map(|(_, p)| p).filter(|p| !now.is_copy(p));
        self.restarts
            .observe(started, lives, now.at, terms.restart_gap);
        let shares = interval.processor(&before, &now, sample, terms, self);
        self.askers_cpu.record(shares, interval.elapsed);
        if self.askers_cpu.mean() >= thresholds::HOUSEKEEPING_CPU {
            interval.add(SignalKind::CpuOfChildren, percent(self.askers_cpu.mean()));
        }
        // What a helper did that ends and restarts is no work either.
        let lasting = now.processes.iter();
        let lasting = lasting.filter(|(_, process)| !self.is_restarted(process));
        let pairs = lasting.map(|(key, process)| {
            let then = before.processes.get(key).and_then(|p| p.io);
            (process, then.unwrap_or_default())
        });
        let bytes = self.outputs.bytes(pairs, &self.turn, deep);
        self.files(&bytes, deep, &terms.floor, &mut interval);
        interval.notes.extend(notes::zombies(sample));
        interval
            .notes
            .extend(self.growth.advance(sample, terms.immediate));
        if deep {
            let network = self
                .connections
                .observe(sample, &self.turn, terms.given_up_after);
            interval.network(&network);
            self.written(sample, &bytes, &network, &terms.floor, &mut interval);
        }
        interval.lone_cpu = interval.lone_cpu.filter(|_| {
            interval
                .progress
                .iter()
                .all(|s| s.kind == SignalKind::CpuOfChildren)
        });
        Some(interval)
    }

    /// Remembers what only a deep sample shows.
    fn see(&mut self, sample: &Sample, terms: &Terms<'_>, elapsed: Duration) {
        self.served |= is_served(sample);
        let busy = self.busy_peers();
        let view = TreeView {
            sample,
            report: terms.report,
            busy: &busy,
            serves: self.served,
            is_patient: false,
        };
        let longest = |socket: &Socket, tcp: &Tcp| self.longest_request(socket, tcp);
        let turn = Turn::of(&view, terms.draws_turn, longest);
        self.turn = turn;
        self.outputs.see_screens(sample);
        self.peers.observe(sample, elapsed, terms.restart_gap);
    }

    fn before(&mut self, now: &Counters, immediate: bool) -> Option<Counters> {
        let last = self
            .last
            .take()
            .filter(|last| last.root == now.root && now.at >= last.at)?;
        let before = match self.before_last.take() {
            Some(before) if immediate => {
                self.outputs.take_back();
                before
            }
            Some(_) | None => {
                self.outputs.keep();
                last
            }
        };
        self.before_last = Some(before.clone());
        self.last = Some(now.clone());
        Some(before)
    }

    /// Processes outside the tree that were at work not long ago.
    pub(super) fn busy_peers(&self) -> BTreeSet<u32> {
        self.peers.busy().clone()
    }

    /// Whether an answer was due as of the last deep sample.
    pub(super) fn owes_turn(&self) -> bool {
        self.turn.owed
    }

    /// Whether a client from outside the tree was ever connected.
    pub(super) fn served(&self) -> bool {
        self.served
    }

    /// The longest request that was sent on a connection.
    pub(super) fn longest_request(&self, socket: &Socket, tcp: &Tcp) -> u64 {
        self.connections.longest_request(socket.inode, tcp.acked)
    }

    /// Whether a process stands where it stood in the sample before.
    pub(super) fn stands_still(&self, process: &Process) -> bool {
        let key = (process.pid, process.started);
        let then = self.before_last.as_ref();
        let then = then.and_then(|c| c.processes.get(&key));
        let turns = |p: &Process| p.threads.iter().map(|t| t.turns).sum::<u64>();
        then.is_some_and(|then| then.state == process.state && turns(then) == turns(process))
    }

    /// What the tree read and wrote, as far as the counters alone show it.
    fn files(&mut self, bytes: &Bytes, deep: bool, floor: &ProgressFloor, interval: &mut Interval) {
        let read = |io: &Io| io.read.max(io.disk_read);
        let own = &ProgressFloor::ABOVE_HOUSEKEEPING;
        if read(&bytes.work) >= floor.read || read(&bytes.housekeeping) >= own.read {
            let all = bytes.work.plus(bytes.housekeeping);
            interval.add(SignalKind::FilesRead, describe_bytes(read(&all)));
        }
        self.outputs.record(bytes, interval.elapsed);
        // What a CPU-bound thread writes is output, not a spinner.
        let bound = interval.cpu_bound;
        interval.nothing_new = self.outputs.says_nothing_new().filter(|_| !bound);
        let known = self.last.iter().flat_map(|c| c.processes.values());
        let pace = if known.clone().any(|p| p.agent) {
            thresholds::KNOWN_TURN_FRAMES_PER_SECOND
        } else {
            thresholds::TURN_FRAMES_PER_SECOND
        };
        interval.draws_turn = !bound && self.outputs.is_redrawn(pace);
        if bound && bytes.screen.written > 0 {
            interval.add(SignalKind::Output, describe_bytes(bytes.screen.written));
        }
        if deep {
            return;
        }
        let logs = self.outputs.has_files();
        let (work, own_disk) = (bytes.work.disk_written, bytes.housekeeping.disk_written);
        let log = logs && work <= thresholds::LOG_BYTES;
        if work >= floor.written && !log || own_disk >= own.written {
            interval.add(SignalKind::FilesWritten, describe_bytes(work + own_disk));
        }
        let written = bytes.work.written + bytes.housekeeping.written;
        if written > 0 && !logs && interval.nothing_new.is_none() {
            interval.add(SignalKind::Output, describe_bytes(written));
        }
    }

    /// Where it went, as a deep sample shows.
    fn written(
        &mut self,
        sample: &Sample,
        bytes: &Bytes,
        network: &Network,
        floor: &ProgressFloor,
        interval: &mut Interval,
    ) {
        let moved = bytes.work.plus(bytes.housekeeping);
        let output = self.outputs.written(sample, moved, network.repeated);
        interval.output_grew = output.grew;
        let (work, own) = (bytes.work.disk_written, bytes.housekeeping.disk_written);
        let log = output.elsewhere == 0 && work <= thresholds::LOG_BYTES;
        if work >= floor.written && !log || own >= ProgressFloor::ABOVE_HOUSEKEEPING.written {
            interval.add(SignalKind::FilesWritten, describe_bytes(work + own));
        }
        if output.fresh {
            interval.add(
                SignalKind::Output,
                "new lines in its output file".to_owned(),
            );
        } else if output.elsewhere > 0 && interval.nothing_new.is_none() {
            // Output in a file counts by its content, other output only by its cadence.
            interval.add(SignalKind::Output, describe_bytes(output.elsewhere));
        }
    }
}

/// Processor time of the threads of a tree, in cores, by what it may be.
#[derive(Debug, Default)]
struct Shares {
    /// Helper threads of the root.
    helpers: f64,
    /// Children at work.
    children: f64,
    /// Agents that ask for an answer, beside the root's main thread: garbage collection comes in bursts.
    askers: f64,
    run: f64,
    ready: f64,
    /// What the root's main thread used and would have used.
    wants: f64,
    /// Threads of children that used more than a trifle.
    active: Vec<(u32, f64)>,
}

impl Interval {
    /// Whether there was any progress.
    pub(super) fn is_progress(&self) -> bool {
        !self.progress.is_empty()
    }

    /// Whether all progress is output.
    pub(super) fn is_output_only(&self) -> bool {
        self.progress.iter().all(|s| s.kind == SignalKind::Output)
    }

    /// Whether files were written, beyond the lines of a log.
    pub(super) fn writes_files(&self) -> bool {
        let mut kinds = self.progress.iter().map(|s| s.kind);
        kinds.any(|kind| kind == SignalKind::FilesWritten)
    }

    fn add(&mut self, kind: SignalKind, value: String) {
        self.progress.push(Signal { kind, value });
    }

    /// Returns the share of a core that agents used which ask for an answer.
    fn processor(
        &mut self,
        before: &Counters,
        now: &Counters,
        sample: &Sample,
        terms: &Terms<'_>,
        history: &SampleHistory,
    ) -> f64 {
        let mut shares = self.shares(before, now, history);
        let wall = self.elapsed.as_secs_f64().max(0.001);
        let reaped = |c: &Counters| c.root().map_or(0, |p| p.reaped_ticks);
        // What helpers used that ended and restarted looks like what others used that ended.
        if !(history.turn.asks() && history.restarts.any()) {
            shares.children += seconds(reaped(now).saturating_sub(reaped(before))) / wall;
        }
        let starved =
            shares.ready >= thresholds::STARVED_READY && shares.run < thresholds::STARVED_RUN;
        let pressed = sample
            .host
            .memory_full
            .is_some_and(|p| p >= thresholds::MEMORY_PRESSURE);
        self.granted = match (pressed, starved) {
            (true, _) => 0.0,
            // It counts as the same processor time would count where there is enough of it.
            (false, true) => shares.run / thresholds::CPU_BOUND,
            (false, false) => 1.0,
        };
        let floor = &terms.floor;
        if shares.children >= floor.cpu {
            self.add(SignalKind::CpuOfChildren, percent(shares.children));
        }
        self.cpu_bound = self.main_cpu >= thresholds::CPU_BOUND
            || shares.wants >= thresholds::CPU_DEMAND
                && self.main_cpu >= thresholds::CPU_DEMAND_RUN;
        let needed = if self.cpu_bound {
            thresholds::CPU_HELPERS
        } else {
            floor.cpu
        };
        if shares.helpers >= needed {
            self.add(SignalKind::CpuOfHelperThreads, percent(shares.helpers));
        }
        self.lone_cpu = match shares.active.as_slice() {
            [lone] if shares.helpers < thresholds::CPU_WORK && !self.cpu_bound => {
                Some(*lone).filter(|(pid, _)| !now.has_effect_since(before, *pid))
            }
            [] | [_] | [_, _, ..] => None,
        };
        self.turnover(before, now, shares.children, terms.report, history);
        shares.askers
    }

    fn shares(&mut self, before: &Counters, now: &Counters, history: &SampleHistory) -> Shares {
        let wall = self.elapsed.as_secs_f64().max(0.001);
        let mut shares = Shares::default();
        for (key, process) in &now.processes {
            let then = before.processes.get(key);
            let restarts = history.is_restarted(process);
            for thread in &process.threads {
                let earlier = then.and_then(|p| p.threads.iter().find(|t| t.tid == thread.tid));
                let (was_run, was_ready) =
                    earlier.map_or_else(Default::default, |t| (t.run, t.ready));
                let used = thread.run.saturating_sub(was_run).as_secs_f64() / wall;
                let waited = thread.ready.saturating_sub(was_ready).as_secs_f64() / wall;
                if earlier.is_some() {
                    shares.ready = shares.ready.max(waited);
                }
                shares.run += used;
                if *key == now.root && thread.tid == process.pid {
                    self.main_cpu = used;
                    shares.wants = used + waited;
                } else if history.turn.is_asker(process.pid) {
                    shares.askers += used;
                } else if *key == now.root {
                    shares.helpers += used;
                } else if !restarts {
                    shares.children += used;
                    let bound = used >= thresholds::CPU_BOUND
                        || used + waited >= thresholds::CPU_DEMAND
                            && used >= thresholds::CPU_DEMAND_RUN;
                    if bound || used >= thresholds::CPU_WORK {
                        shares.active.push((process.pid, used));
                    }
                }
            }
        }
        shares
    }

    /// New and ended processes. An agent that reports only liveness starts processes to do so; those are no progress.
    fn turnover(
        &mut self,
        before: &Counters,
        now: &Counters,
        children: f64,
        report: &SelfReport,
        history: &SampleHistory,
    ) {
        let count = |here: &Counters, there: &Counters| {
            let here = here.processes.iter();
            here.filter(|(key, process)| {
                !there.processes.contains_key(key) && !history.is_restarted(process)
            })
            .count()
        };
        let (fresh, ended) = (count(now, before), count(before, now));
        let trivial = children < thresholds::CPU_TRIVIAL
            && report.reports_liveness_only(now.at, self.elapsed);
        if fresh + ended > 0 && !trivial {
            self.add(SignalKind::Processes, format!("{fresh} new, {ended} ended"));
        }
    }

    fn network(&mut self, network: &Network) {
        self.peer_alive = network.peer_alive;
        self.new_connection = network.fresh;
        self.asked_for = network.asked_for;
        if network.received > 0 {
            self.add(SignalKind::BytesReceived, describe_bytes(network.received));
        }
        if network.sent > 0 {
            self.add(SignalKind::BytesAcknowledged, describe_bytes(network.sent));
        }
    }
}

impl SampleHistory {
    /// Whether it is a helper of an agent that asks, and ends and restarts again and again.
    fn is_restarted(&self, process: &Process) -> bool {
        self.turn.is_helper(process) && self.restarts.includes(process)
    }
}

/// Clock ticks as processor time.
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

fn percent(share: f64) -> String {
    format!("{:.0} % of a core", share * 100.0)
}
