//! Every waiting time and threshold of the verdict, each with its reason. Waiting times are at patience 1.
//!
//! A finding is due two samples after its limit: one sample finds that nothing moves, and one follows the limit.

use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Between two samples.
pub const SAMPLE_INTERVAL: Duration = seconds(5);
/// The longest pause between samples when sampling is expensive: findings due in half a minute still come in time.
pub const SAMPLE_INTERVAL_MAX: Duration = seconds(15);
/// After this much silence of a program that owes work, samples are aimed at the moments when it wakes.
pub const AIM_AFTER: Duration = seconds(20);
/// This long after it is due to wake: it opens a connection first.
pub const AIM_BEHIND: Duration = Duration::from_millis(1);
/// A connection that has just been opened is sampled again at once, so many times at most.
pub const AIM_MAX: u32 = 4;
/// Sampling may cost the machine one thousandth of a core.
pub const SAMPLE_COST_SHARE: u32 = 1000;

/// How long `working` outlasts the last progress, before a harmless wait replaces it: bursts are not published one by one.
pub const HYSTERESIS: Duration = seconds(15);
/// The same, whatever the patience: tokens half a second apart are one stream.
pub const HYSTERESIS_MIN: Duration = Duration::from_millis(1500);

/// Processor time without any effect (5 min): tokenising 60 s of text is normal (litellm#26193).
pub const CPU_BOUND_WITHOUT_EFFECT: Duration = seconds(285);
/// The same failing action again and again (2 min).
pub const REPETITION: Duration = seconds(90);
/// An answer of a model: thinking for longer than 10 min is rare, and only an alert follows (300-1800 s were seen).
pub const ANSWER_BUDGET: Duration = seconds(612);
/// The same when the peer at least sends keep-alive messages (15 min).
pub const ANSWER_BUDGET_PEER_ALIVE: Duration = seconds(885);
/// What a server sends within this time of a request may be the end of the handshake: tickets, settings.
pub const GREETING: Duration = Duration::from_millis(200);
/// A handshake has no more than this, in bytes: certificates are most of it.
pub const GREETING_BYTES: u64 = 8192;
/// Another attempt may say in its headers which one it is, in bytes; a conversation that got an answer grows by more.
pub const SAME_REQUEST: u64 = 32;
/// And HTTP/2 leaves out headers that the connection knows already, in bytes.
pub const HEADERS_KNOWN: u64 = 1024;
/// A request is given up when its connection was silent for at least this long before it was closed; a third attempt that
/// is silent for as long fails like the two before.
pub const GIVEN_UP_AFTER: Duration = seconds(20);
/// A proof holds in this many samples in a row: two may share one moment, three do not.
pub const DOOMED_SAMPLES: u32 = 3;
/// How long past its deadline a timer may be.
pub const OVERSLEPT: Duration = seconds(15);
/// A timer of the main thread this long is a deadline worth showing.
pub const SLEEP: Duration = seconds(15);
/// A timer this long is deliberate, as after a 429 that asks for a minute; shorter ones that recur explain no stall.
pub const SLEEP_DELIBERATE: Duration = seconds(45);
/// Who looks for something each ten seconds or less often sleeps at least this long at some sample; a loop that only ticks
/// does not.
pub const POLL_SLEEP: Duration = Duration::from_millis(5500);
/// And has slept so within this time: a back-off grows to minutes.
pub const POLL_RECENT: Duration = seconds(60);
/// Who looks for something now and then may wait for it this long: half an hour of a build or a deployment.
pub const POLLING_BUDGET: Duration = seconds(1800);
/// One thread of a child that uses a core without any effect: a link or a proof of a theorem may take as long as a tool may.
pub const LONE_CPU_WITHOUT_EFFECT: Duration = seconds(650);
/// The same for another thread: telemetry threads sleep up to a minute at a time.
pub const SLEEP_HELPER_THREAD: Duration = seconds(120);
/// The longest recurring timer of an event loop.
pub const TIMER: Duration = seconds(35);
/// A busy wait for a lock sleeps at most this long at a time.
pub const BUSY_WAIT: Duration = seconds(5);

/// Even while work moves, a deep sample is taken this often: repetition looks like work.
pub const DEEP_SAMPLE_INTERVAL: Duration = seconds(15);
/// The same call again within this time is a loop; polling a long job less often is none.
pub const REPETITION_GAP_MAX: Duration = seconds(20);

/// The last tool calls that are remembered.
pub const CALLS_KEPT: usize = 128;
/// So many calls like one another in a row are looked at closely.
pub const CALLS_SUSPECTED: usize = 3;
/// The same call of a known agent at this pace, at any patience, is a loop: no model answers, and no test runs, so fast that
/// it could be one edit after the other.
pub const CALL_PACE: Duration = seconds(5);
/// The same of any other program, which may look at a job each second or two.
pub const CALL_PACE_UNKNOWN: Duration = Duration::from_millis(900);
/// Where a shell becomes the last program of its command, so many equal commands must be seen whole: calls that differ may
/// end alike.
pub const CALLS_WHOLE_MIN: usize = 3;
/// The same action this many times is a loop (hangs.md h32).
pub const REPEATS_MIN: u32 = 20;
/// Share of a core in children or helper threads that counts as work.
pub const CPU_WORK: f64 = 0.05;
/// Share of a core that makes the main thread CPU-bound.
pub const CPU_BOUND: f64 = 0.20;
/// Runnable for this share of the time is CPU-bound too, on a machine that grants less: the thread never waits.
pub const CPU_DEMAND: f64 = 0.8;
/// But it must have run for at least this share: with less its state between two samples is chance.
pub const CPU_DEMAND_RUN: f64 = 0.01;
/// Beside a CPU-bound main thread, helper threads must use this share to count as work: garbage collectors are helpers too.
pub const CPU_HELPERS: f64 = 0.5;
/// Share of a core that shows a process outside the tree at work.
pub const CPU_PEER: f64 = 0.02;
/// Short-lived children that use less than this share of a core may only report liveness.
pub const CPU_TRIVIAL: f64 = 0.05;
/// Runnable but not running for this share of the time: the machine starves the agent, and time counts in the measure of
/// the processor time that it grants.
pub const STARVED_READY: f64 = 0.5;
/// And running for less than this.
pub const STARVED_RUN: f64 = 0.10;
/// All tasks wait for memory, in percent of the last 10 s: no process on this machine can be blamed.
pub const MEMORY_PRESSURE: f64 = 25.0;

/// Bytes destined for a disk, per sample.
pub const DISK_BYTES: u64 = 16 * 1024;
/// A log that repeats a line dirties its last page again after each write-back: 16 kB per sample were seen.
pub const LOG_BYTES: u64 = 64 * 1024;
/// Bytes read, per sample: polling a status file reads less.
pub const READ_BYTES: u64 = 64 * 1024;
/// While the agent waits for a model, its own housekeeping is no work: its journal and its measurements (Codex reads 2.4 MB
/// a minute for them), garbage collection (9 % of a core under Claude Code's spinner). Bytes of files, per sample,
pub const HOUSEKEEPING_BYTES: u64 = 4 << 20;
/// and the share of a core in children or helper threads, that it stays below.
pub const HOUSEKEEPING_CPU: f64 = 0.2;
/// That share is a mean over this time, at any patience: garbage collection comes in bursts of a tenth of a second.
pub const MEAN_SHARE_OVER: Duration = seconds(2);
/// Bytes sent and acknowledged, per sample: pings are smaller.
pub const SENT_BYTES: u64 = 512;
/// Largest mean segment that may be a ping, with what TLS adds.
pub const PING_BYTES: u64 = 96;
/// The same of events that say what they are and where the work stands (`{"type":"heartbeat", …}`), with what carries them.
pub const HEARTBEAT_BYTES: u64 = 256;
/// Pings come at most this often, at any patience: a slow model's tokens come faster.
pub const PING_INTERVAL_MIN: Duration = Duration::from_millis(750);
/// Equal intervals that make a cadence.
pub const CADENCE_SAMPLES: usize = 6;
/// The same question with the same answer so often is a poll.
pub const EXCHANGES: usize = 3;
/// Neither question nor answer of a poll is larger: an empty queue says little, with the headers of HTTP.
pub const POLL_BYTES: u64 = 512;
/// While another connection owes the answer, a question with its answer below this, in bytes, is housekeeping: telemetry, a
/// look for updates.
pub const SMALL_EXCHANGE: u64 = 4096;
/// And so is what is sent below this, per sample.
pub const SENT_WHILE_ASKING: u64 = 64 * 1024;
/// A screen that is redrawn this often a second shows that a turn runs: resting screens show a clock, at most five times.
pub const TURN_FRAMES_PER_SECOND: f64 = 7.0;
/// The same of an agent that is known to rest its screen between turns (measured: Claude Code's spinner, 7 to 8).
pub const KNOWN_TURN_FRAMES_PER_SECOND: f64 = 4.0;
/// Starts of a helper no further apart than this are in a row, at any patience: no patience makes a program start faster.
pub const RESTART_GAP_MIN: Duration = seconds(5);
/// A helper that is started so often in a row is in a loop of ends and restarts.
pub const RESTARTS: u32 = 3;
/// Frames of a spinner are at most this long on average.
pub const FRAME_BYTES: f64 = 256.0;
/// Their mean length over this much time, at any patience,
pub const FRAMES_WINDOW: Duration = seconds(2);
/// differs by no more than this share: Claude Code's pulse and count seconds (measured: 28 to 40 bytes),
pub const FRAME_SPREAD: f64 = 0.5;
/// and their pace by no more than this.
pub const PACE_SPREAD: f64 = 0.6;
/// And come at least this often a second.
pub const FRAMES_PER_SECOND: f64 = 4.0;
/// Memory of a computing process that changes by more than this, per sample, shows that it gets on.
pub const MEMORY_AT_WORK: u64 = 64 << 10;
/// Samples over which memory must grow to be noted.
pub const MEMORY_SAMPLES: usize = 12;
/// And by at least this much, in bytes.
pub const MEMORY_GROWN: u64 = 100 << 20;
/// Children that ended and were not reaped: a few are normal.
pub const ZOMBIES: usize = 20;
/// Consecutive keep-alive probes without an answer.
pub const PROBES: u32 = 4;
/// Consecutive retransmissions without an acknowledgement.
pub const RETRANSMITS: u32 = 6;

/// The amounts below which activity does not count as progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgressFloor {
    /// Share of a core in children or helper threads.
    pub(super) cpu: f64,
    /// Bytes destined for a disk, per sample.
    pub(super) written: u64,
    /// Bytes read, per sample.
    pub(super) read: u64,
}

impl ProgressFloor {
    /// The usual amounts.
    pub(super) const ANY: Self = Self {
        cpu: CPU_WORK,
        written: DISK_BYTES,
        read: READ_BYTES,
    };
    /// More than an agent's housekeeping while it waits for a model.
    pub(super) const ABOVE_HOUSEKEEPING: Self = Self {
        cpu: HOUSEKEEPING_CPU,
        written: HOUSEKEEPING_BYTES,
        read: HOUSEKEEPING_BYTES,
    };
}
