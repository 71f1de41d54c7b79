//! Every waiting time and threshold of the verdict, each with its reason. Waiting times are at patience 1.
//!
//! A time within which something must be found is longer than the limit here by two looks: the first that finds nothing
//! moving, and the one after the limit.

use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Between two looks.
pub const SAMPLE_INTERVAL: Duration = seconds(5);
/// The longest pause between looks when a look is expensive: findings of half a minute still come in time.
pub const SAMPLE_INTERVAL_MAX: Duration = seconds(15);
/// A look may cost the machine one thousandth of a core.
pub const SAMPLE_COST_SHARE: u32 = 1000;

/// How long `working` outlasts the last progress, before a harmless wait takes its place: bursts are not told one by one.
pub const HYSTERESIS: Duration = seconds(15);
/// The same, whatever the patience: tokens half a second apart are one stream.
pub const HYSTERESIS_MIN: Duration = Duration::from_millis(1500);

/// A process stopped by a signal (found within 15 s, of which the look at its start may take five): nobody stops an agent
/// for a moment and means it.
pub const STOPPED: Duration = seconds(4);
/// A knot of waits that logic alone proves (30 s): long enough that no start-up passes through it.
pub const WAIT_CYCLE: Duration = seconds(12);
/// A full pipe or terminal that nobody outside empties (30 s).
pub const UNDRAINED: Duration = seconds(16);
/// A read from a person or an open pipe (30 s).
pub const INPUT: Duration = seconds(10);
/// Work done, process still there (30 s; claude-code#25629 waited 5 minutes).
pub const DONE_NOT_EXITED: Duration = seconds(14);
/// A dead child or peer that somebody still waits for (60 s).
pub const PEER_GONE: Duration = seconds(35);
/// An output pipe kept open by a process left behind (60 s).
pub const LEFT_BEHIND: Duration = seconds(35);
/// A connection request without an answer (60 s): the kernel's own limit is 127 s.
pub const CONNECT: Duration = seconds(40);
/// Work owed and nothing in the world that could wake the process (2 min).
pub const DEADLOCK: Duration = seconds(95);
/// A lock on a file (2 min).
pub const FILE_LOCK: Duration = seconds(95);
/// Clients that nobody serves (2 min).
pub const UNSERVED: Duration = seconds(95);
/// A wait that no signal can end (2 min): a disk that answers is done sooner.
pub const DISK: Duration = seconds(95);
/// A busy wait for a lock, a tool that became a server, a stopped daemon (5 min).
pub const TOOL_BLOCKED: Duration = seconds(270);
/// Processor time without any effect (5 min): tokenising 60 s of text is normal (litellm#26193).
pub const CPU_BOUND_WITHOUT_EFFECT: Duration = seconds(285);
/// The same failing action again and again (2 min).
pub const REPETITION: Duration = seconds(90);
/// An answer of a model: longer thinking than 10 min is rare, and then only a person is told (300-1800 s were seen).
pub const ANSWER_BUDGET: Duration = seconds(612);
/// The same when the peer at least sends signs of life (15 min).
pub const ANSWER_BUDGET_PEER_ALIVE: Duration = seconds(885);
/// How long past its own deadline a sleeper may sleep.
pub const OVERSLEPT: Duration = seconds(15);
/// A sleep of the first thread this long is a deadline worth showing.
pub const SLEEP: Duration = seconds(15);
/// A sleep this long is meant; shorter ones that come again and again are a timer, and hide no stall.
pub const SLEEP_DELIBERATE: Duration = seconds(60);
/// Of another thread: telemetry threads sleep up to a minute for ever.
pub const SLEEP_HELPER_THREAD: Duration = seconds(120);
/// A recurring timer of an event loop is at most this long.
pub const TIMER: Duration = seconds(35);
/// A busy wait for a lock sleeps at most this long at a time.
pub const BUSY_WAIT: Duration = seconds(5);

/// Even work is looked at closely this often: going round in circles looks like work.
pub const DEEP_SAMPLE_INTERVAL: Duration = seconds(15);
/// The same call again at least this often is a loop; asking seldom how a long job goes is none.
pub const REPETITION_GAP_MAX: Duration = seconds(20);

/// Same action this often is a loop (hangs.md h32).
pub const REPEATS_MIN: u32 = 20;
/// Share of a core in children or helper threads that counts as work.
pub const CPU_WORK: f64 = 0.05;
/// Share of a core of the first thread that counts as burning.
pub const CPU_BOUND: f64 = 0.20;
/// Ready or running for this share of the time is burning too, on a machine that gives less: it never waits.
pub const CPU_DEMAND: f64 = 0.8;
/// But it must have got at least this much.
pub const CPU_DEMAND_RUN: f64 = 0.03;
/// Beside a burning first thread, helpers must do this much to count as work of their own: garbage collectors help too.
pub const CPU_HELPERS: f64 = 0.5;
/// Share of a core that makes somebody outside the tree a working peer.
pub const CPU_PEER: f64 = 0.02;
/// Short-lived children that take less than this share of a core may be a status heartbeat.
pub const CPU_TRIVIAL: f64 = 0.05;
/// Ready but not running for this share of the time: the machine starves the agent.
pub const STARVED_READY: f64 = 0.5;
/// And running for less than this.
pub const STARVED_RUN: f64 = 0.10;
/// All tasks wait for memory, in percent of the last 10 s: nothing on this machine can be blamed.
pub const MEMORY_PRESSURE: f64 = 25.0;

/// Bytes meant for a disk, a look.
pub const DISK_BYTES: u64 = 16 * 1024;
/// A log that repeats a line dirties its last page again each time that page was written back: 16 kB a look were seen.
pub const LOG_BYTES: u64 = 64 * 1024;
/// Bytes read, a look: polling a status file reads less.
pub const READ_BYTES: u64 = 64 * 1024;
/// While a model has the word, an agent's own housekeeping is no work: its journal and its measurements (Codex reads 2.4 MB
/// a minute for them), garbage collection (9 % of a core under Claude Code's spinner). Bytes of files, a look,
pub const HOUSEKEEPING_BYTES: u64 = 4 << 20;
/// and the share of a core in children or helper threads, that it stays below.
pub const HOUSEKEEPING_CPU: f64 = 0.2;
/// Bytes sent and confirmed, a look: pings are smaller.
pub const SENT_BYTES: u64 = 512;
/// Largest mean segment that may be a ping, with what TLS adds.
pub const PING_BYTES: u64 = 96;
/// Pings come at most this often, whatever the patience: a slow model's tokens come faster.
pub const PING_INTERVAL_MIN: Duration = Duration::from_millis(750);
/// Equal looks that make a rhythm.
pub const CADENCE_SAMPLES: usize = 6;
/// Frames of a spinner are at most this long on average.
pub const FRAME_BYTES: f64 = 256.0;
/// Their mean length over so much time, whatever the patience,
pub const FRAMES_WINDOW: Duration = seconds(2);
/// differs by no more than this share: Claude Code's pulse and count seconds (measured: 28 to 40 bytes),
pub const FRAME_SPREAD: f64 = 0.5;
/// and their pace by no more than this.
pub const PACE_SPREAD: f64 = 0.6;
/// And come at least this often a second.
pub const FRAMES_PER_SECOND: f64 = 4.0;
/// Looks over which memory must grow to be worth telling.
pub const MEMORY_SAMPLES: usize = 12;
/// And by at least this much, in bytes.
pub const MEMORY_GROWN: u64 = 100 << 20;
/// Children that ended and were not waited for: a few are normal.
pub const ZOMBIES: usize = 20;
/// Questions in a row that a peer's kernel did not answer.
pub const PROBES: u32 = 4;
/// Sends in a row that it did not confirm.
pub const RETRANSMITS: u32 = 6;

/// How much of something is work.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgressFloor {
    /// Share of a core in children or helper threads.
    pub(super) cpu: f64,
    /// Bytes meant for a disk, a look.
    pub(super) written: u64,
    /// Bytes read, a look.
    pub(super) read: u64,
}

impl ProgressFloor {
    /// Any of it.
    pub(super) const ANY: Self = Self {
        cpu: CPU_WORK,
        written: DISK_BYTES,
        read: READ_BYTES,
    };
    /// More than an agent does beside its waiting for a model.
    pub(super) const ABOVE_HOUSEKEEPING: Self = Self {
        cpu: HOUSEKEEPING_CPU,
        written: HOUSEKEEPING_BYTES,
        read: HOUSEKEEPING_BYTES,
    };
}
