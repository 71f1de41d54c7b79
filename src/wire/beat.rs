//! A beat: what a sidecar, or any producer written from the seed's interface, reports of its agent. Encode and decode.
//!
//! The domain type [`Beat`] cannot be wrong; a private wire type is what stands on the channel. A beat without the object `hb`
//! is as good as one with it. Unknown fields are ignored: a newer sidecar still counts as alive.

pub mod view;

mod json;
mod scan;

use crate::base::id::AgentId;
use crate::base::number;
pub use crate::wire::activity::{
    Activity, Cause, Confidence, Evidence, Source, Verdict, VerdictClass,
};
use crate::wire::lenient;
use crate::wire::life::{End, Life, Phase};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// The largest beat, in bytes; checked before a byte of it is parsed.
pub const BEAT_BYTES_MAX: usize = 8 * 1024;
/// The shortest interval between beats: below it the load on the store outweighs what is gained.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The longest interval between beats: beyond it a failure would be detected hours late.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// The default interval between beats.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
/// The longest task text that is kept, in characters.
pub const TASK_CHARS_MAX: usize = 200;
/// The longest type, host, instance or runtime id that is kept, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Progress is a percentage.
const PROGRESS_MAX: f64 = 100.0;
/// What other programs' rounding makes of 0 and of [`PROGRESS_MAX`] differs by less than this.
const PROGRESS_ROUNDING: f64 = 0.5;

/// One heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// The agent that the beat is about.
    pub agent: AgentId,
    /// What sort of agent it is; free text.
    pub agent_type: String,
    /// The sender's wall clock in Unix milliseconds: shown, never compared.
    pub timestamp_ms: u64,
    /// Counts what this sender emitted.
    pub sequence: u64,
    /// What the agent's load looks like from inside.
    pub status: Status,
    /// Figures of the whole process tree.
    pub metrics: Metrics,
    /// The task that the agent reported.
    pub current_task: Option<String>,
    /// The progress that the agent reported, 0 to 100.
    pub task_progress: Option<f64>,
    /// What only hb's own sidecar reports.
    pub hb: Option<Extension>,
}

/// The load that a beat reports, and both ends of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not ready yet.
    Starting,
    /// Memory above its limit.
    Degraded,
    /// Queue above its limit.
    Busy,
    /// Errors above their limit.
    Recovering,
    /// A clean end: nothing more will come of this epoch.
    Stopped,
    /// Nothing unusual. Also what a status of a newer version counts as: the beat proves that the agent is there.
    #[default]
    #[serde(other)]
    Healthy,
}

/// Figures of an agent's whole process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Of one core: 400 is four cores busy.
    #[serde(deserialize_with = "number::amount_or_zero")]
    pub cpu_percent: f64,
    /// Proportional set size where readable, else resident set size; in MiB.
    #[serde(rename = "memoryMB", deserialize_with = "number::amount_or_zero")]
    pub memory_mb: f64,
    /// As the agent reported.
    #[serde(deserialize_with = "number::count_or_zero")]
    pub active_tasks: u64,
    /// As the agent reported.
    #[serde(deserialize_with = "number::count_or_zero")]
    pub queue_depth: u64,
    /// Sliding hour.
    #[serde(deserialize_with = "number::count_or_zero")]
    pub tokens_used_this_hour: u64,
    /// Sliding five minutes.
    #[serde(rename = "errorsLast5Min", deserialize_with = "number::count_or_zero")]
    pub errors_last_5_min: u64,
}

/// The object `hb` of a beat.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Time between beats, [`INTERVAL_MIN`] to [`INTERVAL_MAX`].
    pub interval: Duration,
    /// The fencing number of this registration.
    pub epoch: u64,
    /// Whole intervals since the sidecar started, on its own boot-time clock: freshness comes from here.
    pub slot: u64,
    /// How long after the beginning of that slot the beat was sent; zero from a sidecar that does not report it.
    pub slot_age: Duration,
    /// One sidecar process.
    pub instance: String,
    /// The machine.
    pub host: String,
    /// The agent's process on that machine.
    pub pid: u32,
    /// When this incarnation started, Unix milliseconds of the sender.
    pub started_at_ms: u64,
    /// Incarnations before this one inside the epoch.
    pub restarts: u64,
    /// Start-up is over.
    pub ready: bool,
    /// `STATUS=` of sd_notify, at most [`TASK_CHARS_MAX`] characters.
    pub status_text: Option<String>,
    /// What the agent is doing, with evidence.
    pub activity: Option<Activity>,
    /// What it runs in.
    pub runtime: Option<Runtime>,
    /// How the last incarnation ended.
    pub exit: Option<Exit>,
    /// Where its process is; `None` from a sidecar that does not report it.
    pub life: Option<Life>,
    /// What became of the last order.
    pub order: Option<OrderOutcome>,
    /// The store takes the beat and refuses what the sidecar writes: read-only, full, or not allowed.
    pub store_refuses: bool,
    /// The sidecar does not hold the id: its agent runs beside the holder's, and no hash holds this beat.
    pub fenced: bool,
}

/// What the agent runs in; decides which rung can reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `docker`, `podman`, `kubernetes`, `systemd`, `host` or `unknown`.
    pub kind: String,
    /// The container's id; `NAMESPACE/POD`; `UNIT`, or `user@UID.service/UNIT` of a user's manager. Empty: not known.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub id: String,
}

/// How an incarnation ended: with a code or by a signal. Neither: the exit status could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub code: Option<u8>,
    /// The signal's number.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub signal: Option<u8>,
}

impl Exit {
    /// An exit status that could not be read.
    pub const UNKNOWN: Self = Self {
        code: None,
        signal: None,
    };
}

/// What became of an order; rides on the next beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The order's id.
    pub id: String,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// Why, for people.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub detail: String,
}

/// Why a payload is no beat. The payload is dropped and counted; the agent's last good beat stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// More than [`BEAT_BYTES_MAX`]; not parsed.
    #[error("a beat may have {BEAT_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but a field is missing or out of range.
    #[error("not a beat: {0}")]
    NotABeat(String),
    /// An interval outside the allowed range, in milliseconds.
    #[error("intervalMs must be from 100 to 3600000, got {0}")]
    Interval(u64),
}

impl BeatError {
    /// A short stable word for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::NotJson(_) => "not_json",
            Self::NotABeat(_) | Self::Interval(_) => "not_a_beat",
        }
    }
}

impl Beat {
    /// Takes a payload from the channel or from the hash's field `beat`. It needs an id, a status, a number by which two
    /// beats differ and, with `hb`, what says when the next one is due; every other field costs only itself.
    pub fn decode(payload: &[u8]) -> Result<Self, BeatError> {
        within_bounds(payload)?;
        // A byte that is no text costs itself, and a byte order mark nothing.
        let text = String::from_utf8_lossy(payload);
        let text = text.trim_start_matches('\u{feff}');
        let wire = match json::Wire::parse(text) {
            Err(BeatError::NotJson(why)) => match mended(text) {
                Some(text) => json::Wire::parse(&text)?,
                None => return Err(BeatError::NotJson(why)),
            },
            parsed => parsed?,
        };
        wire.try_into()
    }

    /// The payload for the channel. Fits [`BEAT_BYTES_MAX`] whenever its texts came through [`cut`].
    pub fn encode(&self) -> String {
        serde_json::to_string(&json::Wire::from(self)).unwrap_or_default()
    }

    /// Where the agent's process is. Without a report of it, it is derived from process number, exit and status.
    pub fn life(&self) -> Life {
        match &self.hb {
            Some(hb) => match &hb.life {
                Some(life) => life.clone(),
                None => life_of(self.status, Some((hb.pid, hb.restarts, hb.exit))),
            },
            None => life_of(self.status, None),
        }
    }

    /// The registration this beat belongs to; 0 for a producer without epochs.
    pub fn epoch(&self) -> u64 {
        self.hb.as_ref().map_or(0, |hb| hb.epoch)
    }
}

/// Progress as a percentage, if it is one.
pub(crate) fn percentage(reported: f64) -> Option<f64> {
    let within = reported.clamp(0.0, PROGRESS_MAX);
    // -0 would be shown with its sign.
    ((reported - within).abs() < PROGRESS_ROUNDING).then_some(within.abs())
}

fn within_bounds(payload: &[u8]) -> Result<(), BeatError> {
    if payload.len() > BEAT_BYTES_MAX {
        return Err(BeatError::TooLarge(payload.len()));
    }
    Ok(())
}

/// What another language writes in its own way as JSON; `None` when it wrote nothing of that kind.
fn mended(text: &str) -> Option<String> {
    let whole = lenient::whole_characters(text);
    lenient::without_nan(&whole).or(match whole {
        Cow::Owned(whole) => Some(whole),
        Cow::Borrowed(_) => None,
    })
}

/// Where the process is, of a beat that does not report it: from its status and, with hb, process, restarts and exit.
fn life_of(status: Status, hb: Option<(u32, u64, Option<Exit>)>) -> Life {
    let Some((pid, restarts, exit)) = hb else {
        return Life {
            phase: stopped_or_running(status, Phase::Ended),
            ..Life::default()
        };
    };
    let end = exit.filter(|_| pid == 0).map(|exit| End {
        incarnation: restarts,
        exit,
        reason: None,
        requested: status == Status::Stopped,
        not_started: false,
    });
    let phase = match (pid, &end) {
        (0, Some(_)) => Phase::Ended,
        (0, None) => stopped_or_running(status, Phase::Ended),
        (_, _) => stopped_or_running(status, Phase::Suspended),
    };
    Life {
        phase,
        incarnation: restarts,
        end,
        ..Life::default()
    }
}

fn stopped_or_running(status: Status, stopped: Phase) -> Phase {
    match status {
        Status::Stopped => stopped,
        Status::Starting
        | Status::Healthy
        | Status::Degraded
        | Status::Busy
        | Status::Recovering => Phase::Running,
    }
}

/// A text of at most so many characters; the rest is dropped.
pub fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars_max) {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = r#"{"agentId":"w1","agentType":"writer","timestamp":1764000000000,"sequence":1,"status":"healthy","metrics":{"cpuPercent":1.5,"memoryMB":10,"activeTasks":0,"queueDepth":0,"tokensUsedThisHour":0,"errorsLast5Min":0}}"#;

    #[test]
    fn a_beat_without_hb_is_a_beat() {
        let beat = Beat::decode(SEED.as_bytes()).unwrap();
        assert_eq!(
            (beat.agent.as_str(), beat.epoch(), beat.hb),
            ("w1", 0, None)
        );
    }

    #[test]
    fn a_python_clock_with_a_fraction_is_a_timestamp() {
        let text = SEED.replace("1764000000000", "1764000000000.75");
        assert_eq!(
            Beat::decode(text.as_bytes()).unwrap().timestamp_ms,
            1_764_000_000_000
        );
    }

    #[test]
    fn a_text_that_is_cut_within_a_character_costs_that_character() {
        let whole = Beat::decode(SEED.as_bytes()).unwrap();
        let with = |task: &[u8]| {
            let (before, after) = SEED.split_once("\"sequence\":1").unwrap();
            let task = [b"\"sequence\":1,\"currentTask\":\"".as_slice(), task, b"\""].concat();
            Beat::decode(&[before.as_bytes(), &task, after.as_bytes()].concat()).unwrap()
        };
        for task in [
            br"half \ud83d".as_slice(),
            b"half \xf0\x9f",
            br"half \udce9",
        ] {
            let beat = with(task);
            assert_eq!(beat.current_task.as_deref(), Some("half \u{fffd}"));
            assert_eq!(beat.agent, whole.agent);
        }
        let marked = format!("\u{feff}{SEED}");
        assert_eq!(Beat::decode(marked.as_bytes()).unwrap(), whole);
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored() {
        let text = SEED.replace("\"sequence\":1", "\"sequence\":1,\"mood\":{\"deep\":[1,2]}");
        assert!(Beat::decode(text.as_bytes()).is_ok());
    }

    #[test]
    fn every_wrong_beat_is_refused_with_its_kind() {
        let wrong = |from: &str, to: &str| Beat::decode(SEED.replace(from, to).as_bytes());
        let kind = |r: Result<Beat, BeatError>| r.unwrap_err().kind();
        assert_eq!(kind(Beat::decode(&[b'x'; BEAT_BYTES_MAX + 1])), "too_large");
        assert_eq!(kind(Beat::decode(b"\xff\xfe")), "not_json");
        assert_eq!(kind(Beat::decode(b"{oops")), "not_json");
        assert_eq!(kind(Beat::decode(b"")), "not_json");
        assert_eq!(kind(Beat::decode(b"[]")), "not_a_beat");
        assert_eq!(kind(wrong("1.5", "1e999")), "not_json");
        assert_eq!(
            kind(wrong(
                "1764000000000,\"sequence\":1",
                "null,\"sequence\":-1"
            )),
            "not_a_beat"
        );
        let hb = r#""status":"healthy","hb":{"intervalMs":30000,"epoch":1,"slot":1}"#;
        let hb = SEED.replace(r#""status":"healthy""#, hb);
        for (from, to) in [
            (":30000", ":0"),
            ("\"epoch\":1", "\"epoch\":null"),
            ("\"slot\":1", "\"slot\":-1"),
            ("\"sequence\":1", "\"sequence\":null"),
        ] {
            assert!(Beat::decode(hb.as_bytes()).is_ok());
            let odd = hb.replace(from, to);
            assert_eq!(kind(Beat::decode(odd.as_bytes())), "not_a_beat", "{to}");
        }
        assert_eq!(kind(wrong("\"w1\"", "\"w}1\"")), "not_a_beat");
        assert_eq!(kind(wrong("\"status\":\"healthy\",", "")), "not_a_beat");
    }

    /// A plain beat with `more` in the place of this part of it.
    fn odd(part: &str, more: &str) -> Beat {
        assert!(SEED.contains(part), "{part}");
        let text = SEED.replace(part, more);
        Beat::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_figure_that_another_language_writes_its_own_way_costs_itself() {
        for figure in [
            "null",
            "-0.0001",
            "NaN",
            "-Infinity",
            "\"1.5\"",
            "[1]",
            "{}",
            "true",
        ] {
            let beat = odd("1.5", figure);
            let metrics = (beat.metrics.cpu_percent, beat.metrics.memory_mb);
            assert_eq!(metrics, (0.0, 10.0), "{figure}");
        }
        let beat = odd("\"queueDepth\":0", "\"queueDepth\":1e300,\"gpuPercent\":{}");
        assert_eq!(
            (beat.metrics.queue_depth, beat.metrics.cpu_percent),
            (0, 1.5)
        );
    }

    #[test]
    fn a_progress_is_a_percentage_up_to_rounding_or_is_left_out() {
        let progress = |of: &str| {
            odd(
                "\"sequence\":1",
                &format!("\"sequence\":1,\"taskProgress\":{of}"),
            )
            .task_progress
        };
        let read = [
            "100.00000000000001",
            "-0.0001",
            "42",
            "150",
            "-3",
            "null",
            "\"4\"",
        ]
        .map(progress);
        let expected = [Some(100.0), Some(0.0), Some(42.0), None, None, None, None];
        assert_eq!(read, expected);
    }

    #[test]
    fn every_other_field_that_is_odd_is_left_out_and_the_beat_counts() {
        let odd_ones = [
            "null",
            "-1",
            "1.5e300",
            "\"x\"",
            "[]",
            "{\"a\":[]}",
            "false",
        ];
        let fields = [
            "agentType",
            "status",
            "metrics",
            "currentTask",
            "taskProgress",
        ];
        let of_hb = [
            "v",
            "slotAgeMs",
            "instance",
            "host",
            "pid",
            "startedAt",
            "restarts",
            "ready",
            "statusText",
            "activity",
            "runtime",
            "exit",
            "life",
            "order",
            "storeRefuses",
        ];
        for value in odd_ones {
            for field in fields {
                let text =
                    format!(r#"{{"agentId":"w1","timestamp":5,"sequence":7,"{field}":{value}"#);
                let status = if field == "status" {
                    "}"
                } else {
                    ",\"status\":\"busy\"}"
                };
                let beat = Beat::decode((text.clone() + status).as_bytes());
                assert_eq!(beat.map(|beat| beat.sequence), Ok(7), "{text}");
            }
            for field in of_hb {
                let text = format!(
                    r#"{{"agentId":"w1","timestamp":5,"sequence":7,"status":"busy","hb":{{"intervalMs":500,"epoch":3,"slot":9,"{field}":{value}}}}}"#
                );
                let beat = Beat::decode(text.as_bytes());
                assert_eq!(beat.map(|beat| beat.hb.unwrap().slot), Ok(9), "{text}");
            }
        }
    }

    #[test]
    fn one_number_by_which_beats_differ_is_enough_without_hb() {
        let iso = odd("1764000000000", "\"2026-01-02T03:04:05Z\"");
        assert_eq!((iso.timestamp_ms, iso.sequence), (0, 1));
        let uncounted = odd("\"sequence\":1", "\"sequence\":null");
        assert_eq!(
            (uncounted.timestamp_ms, uncounted.sequence),
            (1_764_000_000_000, 0)
        );
    }

    #[test]
    fn nesting_without_end_in_an_unknown_field_is_passed_over() {
        let deep = SEED.replace(
            "\"sequence\":1",
            &format!(
                "\"sequence\":1,\"x\":{}{}",
                "[".repeat(3000),
                "]".repeat(3000)
            ),
        );
        assert!(Beat::decode(deep.as_bytes()).is_ok());
    }

    #[test]
    fn a_status_of_a_newer_version_is_still_a_beat() {
        let text = SEED.replace("\"healthy\"", "\"splendid\"");
        let beat = Beat::decode(text.as_bytes()).unwrap();
        assert_eq!(beat.status, Status::Healthy);
    }

    #[test]
    fn a_verdict_of_a_newer_version_is_unknown() {
        let activity: Activity =
            serde_json::from_str(r#"{"verdict":"dreaming","since":1}"#).unwrap();
        assert_eq!(activity.verdict, Verdict::Unknown);
    }

    #[test]
    fn a_status_text_travels_and_is_cut() {
        let hb = r#""sequence":1,"hb":{"v":1,"intervalMs":30000,"epoch":1,"slot":1,"statusText":"TEXT"}"#;
        let decoded = |text: &str| {
            let hb = hb.replace("TEXT", text);
            let beat = Beat::decode(SEED.replace("\"sequence\":1", &hb).as_bytes()).unwrap();
            Beat::decode(beat.encode().as_bytes()).unwrap().hb.unwrap()
        };
        assert_eq!(decoded("busy").status_text.as_deref(), Some("busy"));
        assert_eq!(decoded("").status_text, None);
        let long = decoded(&"x".repeat(500)).status_text.unwrap();
        assert_eq!(long.len(), TASK_CHARS_MAX);
    }

    #[test]
    fn a_long_task_is_cut_at_a_character_not_inside_one() {
        assert_eq!(cut("ääää".into(), 3), "äää");
    }
}
