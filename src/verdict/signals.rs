//! What moved between two samples, classified as progress, liveness or noise.
//!
//! Progress: bytes received, files written, processor time of children and helper threads, new processes. Liveness: the
//! process woke. Noise: keep-alives, spinners, repeated lines, an event loop that wakes itself.

use crate::base::moment::Moment;
use crate::verdict::cadence::{ConnectionCadence, ConnectionDelta, OutputCadence};
use crate::verdict::explain::describe_bytes;
use crate::verdict::notes::{self, MemoryGrowth};
use crate::verdict::sample::{
    Io, Kind, Process, Sample, SampleDepth, SocketKind, TICKS_PER_SECOND, TcpState, Wait,
};
use crate::verdict::self_report::SelfReport;
use crate::verdict::signal::{Signal, SignalKind};
use crate::verdict::thresholds::{self, ProgressFloor};
use crate::wire::activity::Evidence;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The machine gave the tree too little processor time or memory to progress.
    pub(super) starved: bool,
    /// Output that goes to a file grew.
    pub(super) output_grew: bool,
    /// For this long, all output was the frames of a spinner.
    pub(super) spinner: Option<Duration>,
    /// Evidence that is published beside any verdict.
    pub(super) notes: Vec<Evidence>,
    /// Only small requests with small answers at a steady pace: the agent polls a queue.
    pub(super) polls_queue: bool,
}

/// What the last samples showed.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleHistory {
    last: Option<Counters>,
    /// The sample before the last one: a deep sample right after a cheap one is compared with it.
    before_last: Option<Counters>,
    sockets: BTreeMap<u64, ConnectionCadence>,
    outputs: BTreeMap<String, u64>,
    /// What was written in the last interval, and by how much the output files grew.
    earlier: (Io, u64),
    frames: OutputCadence,
    /// As of the sample before the last one.
    frames_before: OutputCadence,
    growth: MemoryGrowth,
    peers: BTreeMap<(u32, u64), (u64, f64)>,
    /// When sockets were last sampled.
    sockets_at: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Counters {
    at: Moment,
    root: (u32, u64),
    processes: BTreeMap<(u32, u64), Process>,
}

/// Where the written bytes went.
struct Written {
    /// Some went into an output file.
    grew: bool,
    /// The lines there are new.
    fresh: bool,
    /// Bytes that went elsewhere.
    elsewhere: u64,
}

impl SampleHistory {
    /// Takes a sample. Returns none for the first one of an incarnation.
    /// `immediate`: it only deepens the sample before it.
    pub(super) fn advance(
        &mut self,
        sample: &Sample,
        report: &SelfReport,
        floor: &ProgressFloor,
        immediate: bool,
    ) -> Option<Interval> {
        let now = Counters::of(sample)?;
        let Some(before) = self.before(&now, immediate) else {
            *self = Self {
                last: Some(now),
                ..Self::default()
            };
            self.sockets(sample);
            self.outputs(sample, Io::default());
            self.peers(sample, Duration::ZERO);
            return None;
        };
        let mut interval = Interval {
            elapsed: now.at.since(before.at),
            ..Interval::default()
        };
        interval.processor(&before, &now, sample, report, floor);
        let deep = sample.depth == SampleDepth::Waits;
        let total = traffic(&before, &now, deep);
        self.files(total, deep, floor, &mut interval);
        interval.notes.extend(notes::zombies(sample));
        interval
            .notes
            .extend(self.growth.advance(sample, immediate));
        if deep {
            let since_sampled = self
                .sockets_at
                .map_or(interval.elapsed, |at| sample.at.since(at));
            let steps = self.sockets(sample);
            interval.network(&steps, &self.sockets);
            let output = self.outputs(sample, total);
            interval.output_grew = output.grew;
            let log = output.elsewhere == 0 && total.disk_written <= thresholds::LOG_BYTES;
            if total.disk_written >= floor.written && !log {
                interval.add(SignalKind::FilesWritten, describe_bytes(total.disk_written));
            }
            if output.fresh {
                interval.add(
                    SignalKind::Output,
                    "new lines in its output file".to_owned(),
                );
            } else if output.elsewhere > 0 && interval.spinner.is_none() {
                // Output in a file counts by its content, other output only by its cadence.
                interval.add(SignalKind::Output, describe_bytes(output.elsewhere));
            }
            self.peers(sample, since_sampled);
            self.sockets_at = Some(sample.at);
        }
        Some(interval)
    }

    fn before(&mut self, now: &Counters, immediate: bool) -> Option<Counters> {
        let last = self
            .last
            .take()
            .filter(|last| last.root == now.root && now.at >= last.at)?;
        let before = match self.before_last.take() {
            Some(before) if immediate => {
                self.frames.clone_from(&self.frames_before);
                before
            }
            Some(_) | None => {
                self.frames_before.clone_from(&self.frames);
                last
            }
        };
        self.before_last = Some(before.clone());
        self.last = Some(now.clone());
        Some(before)
    }

    /// Processes outside the tree that were at work in the last interval.
    pub(super) fn busy_peers(&self) -> BTreeSet<u32> {
        let busy = self
            .peers
            .iter()
            .filter(|(_, (_, share))| *share >= thresholds::CPU_PEER);
        busy.map(|((pid, _), _)| *pid).collect()
    }

    /// For how long this connection has been known.
    pub(super) fn age(&self, inode: u64, now: Moment) -> Duration {
        let first = self
            .sockets
            .get(&inode)
            .and_then(|connection| connection.first);
        first.map_or(Duration::ZERO, |first| now.since(first))
    }

    fn peers(&mut self, sample: &Sample, elapsed: Duration) {
        let before = std::mem::take(&mut self.peers);
        for outsider in &sample.outsiders {
            let key = (outsider.pid, outsider.started);
            let ticks = before
                .get(&key)
                .map_or(0, |(t, _)| outsider.cpu_ticks.saturating_sub(*t));
            let share = if elapsed.is_zero() {
                0.0
            } else {
                seconds(ticks) / elapsed.as_secs_f64()
            };
            self.peers.insert(key, (outsider.cpu_ticks, share));
        }
    }

    fn sockets(&mut self, sample: &Sample) -> Vec<(u64, ConnectionDelta)> {
        let before = std::mem::take(&mut self.sockets);
        let elapsed = self
            .sockets_at
            .map_or(Duration::ZERO, |at| sample.at.since(at));
        let mut steps = Vec::new();
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
            let step = ConnectionDelta {
                received: tcp.received.saturating_sub(connection.received),
                acked: tcp.acked.saturating_sub(connection.acked),
                segments: tcp.segments_in.saturating_sub(connection.segments),
                elapsed,
            };
            connection.first.get_or_insert(sample.at);
            connection.record(tcp, step, known.is_some());
            if known.is_some() || self.sockets_at.is_some() {
                steps.push((socket.inode, step));
            }
            self.sockets.insert(socket.inode, connection);
        }
        if sample.depth == SampleDepth::Waits {
            self.sockets_at = Some(sample.at);
        }
        steps
    }

    /// Where the bytes that the tree wrote went.
    fn outputs(&mut self, sample: &Sample, moved: Io) -> Written {
        let written = moved.written;
        let (mut into, mut fresh) = (0, false);
        for output in &sample.outputs {
            let before = self.outputs.insert(output.path.clone(), output.length);
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

    /// What the tree read and wrote, as far as the counters alone show it.
    fn files(&mut self, total: Io, deep: bool, floor: &ProgressFloor, interval: &mut Interval) {
        if total.read.max(total.disk_read) >= floor.read {
            interval.add(
                SignalKind::FilesRead,
                describe_bytes(total.read.max(total.disk_read)),
            );
        }
        self.frames
            .record(total.written, total.writes, interval.elapsed);
        // What a CPU-bound thread writes is output, not a spinner.
        interval.spinner = self.frames.spinner().filter(|_| !interval.cpu_bound);
        if deep {
            return;
        }
        let logs = !self.outputs.is_empty();
        if total.disk_written >= floor.written
            && !(logs && total.disk_written <= thresholds::LOG_BYTES)
        {
            interval.add(SignalKind::FilesWritten, describe_bytes(total.disk_written));
        }
        if total.written > 0 && !logs && interval.spinner.is_none() {
            interval.add(SignalKind::Output, describe_bytes(total.written));
        }
    }
}

/// What the tree read and wrote between two samples.
fn traffic(before: &Counters, now: &Counters, deep: bool) -> Io {
    let mut total = Io::default();
    for (key, process) in &now.processes {
        let Some(io) = process.io else { continue };
        let then = before.processes.get(key).and_then(|p| p.io);
        let part = io.since(then.unwrap_or_default());
        // Without a deep sample, 8-byte writes are assumed to be wake-ups, not output.
        let wakes = part.writes > 0
            && part.written == 8 * part.writes
            && (!deep || part.read >= 8 || polls_counter(process));
        total = total.plus(if wakes { without_wake_ups(part) } else { part });
    }
    total
}

impl Counters {
    fn of(sample: &Sample) -> Option<Self> {
        let root = sample.root()?;
        let key = |p: &Process| (p.pid, p.started);
        Some(Self {
            at: sample.at,
            root: key(root),
            processes: sample
                .processes
                .iter()
                .map(|p| (key(p), p.clone()))
                .collect(),
        })
    }

    fn root(&self) -> Option<&Process> {
        self.processes.get(&self.root)
    }
}

impl Interval {
    /// Whether there was any progress.
    pub(super) fn is_progress(&self) -> bool {
        !self.progress.is_empty()
    }

    /// Whether all progress is output whose content is unknown.
    pub(super) fn is_output_only(&self) -> bool {
        !self.output_grew && self.progress.iter().all(|s| s.kind == SignalKind::Output)
    }

    fn add(&mut self, kind: SignalKind, value: String) {
        self.progress.push(Signal { kind, value });
    }

    fn processor(
        &mut self,
        before: &Counters,
        now: &Counters,
        sample: &Sample,
        report: &SelfReport,
        floor: &ProgressFloor,
    ) {
        let wall = self.elapsed.as_secs_f64().max(0.001);
        let (mut helpers, mut children, mut ready, mut run) = (0.0, 0.0, 0.0_f64, 0.0);
        let mut wants = 0.0;
        for (key, process) in &now.processes {
            let then = before.processes.get(key);
            for thread in &process.threads {
                let earlier = then.and_then(|p| p.threads.iter().find(|t| t.tid == thread.tid));
                let (was_run, was_ready) =
                    earlier.map_or_else(Default::default, |t| (t.run, t.ready));
                let used = thread.run.saturating_sub(was_run).as_secs_f64() / wall;
                let waited = thread.ready.saturating_sub(was_ready).as_secs_f64() / wall;
                if earlier.is_some() {
                    ready = ready.max(waited);
                }
                run += used;
                if *key != now.root {
                    children += used;
                } else if thread.tid == process.pid {
                    self.main_cpu = used;
                    wants = used + waited;
                } else {
                    helpers += used;
                }
            }
        }
        let reaped = |c: &Counters| c.root().map_or(0, |p| p.reaped_ticks);
        children += seconds(reaped(now).saturating_sub(reaped(before))) / wall;
        self.starved = (ready >= thresholds::STARVED_READY && run < thresholds::STARVED_RUN)
            || sample
                .host
                .memory_full
                .is_some_and(|p| p >= thresholds::MEMORY_PRESSURE);
        if children >= floor.cpu {
            self.add(SignalKind::CpuOfChildren, percent(children));
        }
        self.cpu_bound = self.main_cpu >= thresholds::CPU_BOUND
            || wants >= thresholds::CPU_DEMAND && self.main_cpu >= thresholds::CPU_DEMAND_RUN;
        let needed = if self.cpu_bound {
            thresholds::CPU_HELPERS
        } else {
            floor.cpu
        };
        if helpers >= needed {
            self.add(SignalKind::CpuOfHelperThreads, percent(helpers));
        }
        self.turnover(before, now, children, report);
    }

    /// New and ended processes. An agent that reports only liveness starts processes to do so; those are no progress.
    fn turnover(&mut self, before: &Counters, now: &Counters, children: f64, report: &SelfReport) {
        let fresh = now
            .processes
            .keys()
            .filter(|key| !before.processes.contains_key(key))
            .count();
        let ended = before
            .processes
            .keys()
            .filter(|key| !now.processes.contains_key(key))
            .count();
        let trivial = children < thresholds::CPU_TRIVIAL
            && report.reports_liveness_only(now.at, self.elapsed);
        if fresh + ended > 0 && !trivial {
            self.add(SignalKind::Processes, format!("{fresh} new, {ended} ended"));
        }
    }

    fn network(
        &mut self,
        steps: &[(u64, ConnectionDelta)],
        connections: &BTreeMap<u64, ConnectionCadence>,
    ) {
        let (mut received, mut sent) = (0, 0);
        for (inode, step) in steps {
            self.peer_alive |= step.received > 0;
            let connection = connections.get(inode);
            if step.received > 0 && !connection.is_some_and(ConnectionCadence::is_keepalive) {
                received += step.received;
            }
            if connection.is_some_and(|l| l.is_keepalive() && l.is_polled()) {
                self.polls_queue = true;
            }
            if step.acked >= thresholds::SENT_BYTES {
                sent += step.acked;
            }
        }
        if received > 0 {
            self.add(SignalKind::BytesReceived, describe_bytes(received));
        }
        if sent > 0 {
            self.add(SignalKind::BytesAcknowledged, describe_bytes(sent));
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
    let waits = process.threads.iter().filter_map(|t| t.wait.as_ref());
    waits
        .flat_map(Wait::targets)
        .any(|target| matches!(&target.kind, Kind::Internal(name) if name == "eventfd"))
}

/// Clock ticks as processor time.
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

fn percent(share: f64) -> String {
    format!("{:.0} % of a core", share * 100.0)
}
