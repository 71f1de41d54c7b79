//! The fast way to read a beat: a scanner for one text, the one that this version's `Beat::encode` writes.
//!
//! Keys in that order, no blanks, no backslash, whole numbers of at most [`DIGITS_MAX`] digits. The first byte that differs ends
//! the scan, and serde reads the payload instead. Whatever the scanner takes, serde takes with the same value: a property
//! test compares them.

use crate::wire::beat::view::{ActivityView, BeatView, ExtensionView, RuntimeView};
use crate::wire::beat::{
    Confidence, Exit, INTERVAL_MAX, INTERVAL_MIN, Metrics, NAME_CHARS_MAX, PROGRESS_MAX, Status,
    TASK_CHARS_MAX, Verdict,
};
use crate::wire::life::{End, Life, Phase, Reason};
use std::borrow::Cow;
use std::time::Duration;

/// Digits that fit a whole number below 2^53 and a float without rounding.
const DIGITS_MAX: usize = 15;
/// Powers of ten that are exact as floats.
const POWERS: [f64; DIGITS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Reads a beat of the one shape; `None` for every other text, good or bad.
pub(super) fn beat(text: &str) -> Option<BeatView<'_>> {
    let mut scan = Scan { text, at: 0 };
    scan.skip(r#"{"agentId":""#)?;
    let agent = scan.id()?;
    scan.skip(r#","agentType":""#)?;
    let agent_type = scan.text_of(NAME_CHARS_MAX)?;
    scan.skip(r#","timestamp":"#)?;
    let timestamp_ms = scan.count()?;
    scan.skip(r#","sequence":"#)?;
    let sequence = scan.count()?;
    scan.skip(r#","status":""#)?;
    let status = status(scan.string()?)?;
    let metrics = scan.metrics()?;
    scan.skip(r#","currentTask":"#)?;
    let current_task = scan.text_or_null()?;
    scan.skip(r#","taskProgress":"#)?;
    let task_progress = scan.progress()?;
    let hb = if scan.skip(r#","hb":{"v":1,"intervalMs":"#).is_some() {
        Some(scan.extension()?)
    } else {
        None
    };
    scan.skip("}")?;
    (scan.at == text.len()).then_some(BeatView {
        agent,
        agent_type,
        timestamp_ms,
        sequence,
        status,
        metrics,
        current_task: current_task.filter(|task| !task.is_empty()),
        task_progress,
        hb,
    })
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn metrics(&mut self) -> Option<Metrics> {
        self.skip(r#","metrics":{"cpuPercent":"#)?;
        let cpu_percent = self.amount()?;
        self.skip(r#","memoryMB":"#)?;
        let memory_mb = self.amount()?;
        self.skip(r#","activeTasks":"#)?;
        let active_tasks = self.count()?;
        self.skip(r#","queueDepth":"#)?;
        let queue_depth = self.count()?;
        self.skip(r#","tokensUsedThisHour":"#)?;
        let tokens_used_this_hour = self.count()?;
        self.skip(r#","errorsLast5Min":"#)?;
        let errors_last_5_min = self.count()?;
        self.skip("}")?;
        Some(Metrics {
            cpu_percent,
            memory_mb,
            active_tasks,
            queue_depth,
            tokens_used_this_hour,
            errors_last_5_min,
        })
    }

    /// The object `hb`, from the value of `intervalMs` on.
    fn extension(&mut self) -> Option<ExtensionView<'a>> {
        let interval = Duration::from_millis(self.count()?);
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            return None;
        }
        self.skip(r#","epoch":"#)?;
        let epoch = self.count()?;
        self.skip(r#","slot":"#)?;
        let slot = self.count()?;
        let slot_age = match self.skip(r#","slotAgeMs":"#) {
            Some(()) => Duration::from_millis(self.count()?),
            None => Duration::ZERO,
        };
        self.skip(r#","instance":""#)?;
        let instance = self.text_of(NAME_CHARS_MAX)?;
        self.skip(r#","host":""#)?;
        let host = self.text_of(NAME_CHARS_MAX)?;
        self.skip(r#","pid":"#)?;
        let pid = u32::try_from(self.count()?).ok()?;
        self.skip(r#","startedAt":"#)?;
        let started_at_ms = self.count()?;
        self.skip(r#","restarts":"#)?;
        let restarts = self.count()?;
        self.skip(r#","ready":"#)?;
        let ready = self.flag()?;
        let status_text = match self.skip(r#","statusText":""#) {
            Some(()) => Some(self.text_of(TASK_CHARS_MAX)?).filter(|text| !text.is_empty()),
            None => None,
        };
        self.skip(r#","activity":"#)?;
        let activity = self.or_null(Self::activity)?;
        self.skip(r#","runtime":"#)?;
        let runtime = self.or_null(Self::runtime)?;
        self.skip(r#","exit":null"#)?;
        let life = match self.skip(r#","life":"#) {
            Some(()) => Some(Cow::Owned(self.life()?)),
            None => None,
        };
        self.skip(r#","order":null}"#)?;
        Some(ExtensionView {
            interval,
            epoch,
            slot,
            slot_age,
            instance,
            host,
            pid,
            started_at_ms,
            restarts,
            ready,
            status_text,
            activity,
            runtime,
            exit: None,
            life,
            order: None,
            store_refuses: false,
            fenced: false,
        })
    }

    fn activity(&mut self) -> Option<ActivityView<'a>> {
        let start = self.at;
        self.skip(r#"{"verdict":""#)?;
        let verdict = verdict(self.string()?)?;
        self.skip(r#","since":"#)?;
        self.count()?;
        if self.skip(r#","cause":""#).is_some() {
            crate::wire::activity::is_cause(self.string()?).then_some(())?;
        }
        if self.skip(r#","confidence":""#).is_some() {
            confidence(self.string()?)?;
        }
        if self.skip(r#","sentence":""#).is_some() {
            // Encoding leaves an empty sentence out.
            (!self.string()?.is_empty()).then_some(())?;
        }
        self.skip(r#","evidence":["#)?;
        if self.skip("]").is_none() {
            self.evidence()?;
            while self.skip(",").is_some() {
                self.evidence()?;
            }
            self.skip("]")?;
        }
        self.skip("}")?;
        Some(ActivityView {
            verdict,
            json: &self.text[start..self.at],
        })
    }

    fn evidence(&mut self) -> Option<()> {
        self.skip(r#"{"signal":""#)?;
        self.string()?;
        self.skip(r#","value":""#)?;
        self.string()?;
        self.skip(r#","source":""#)?;
        match self.string()? {
            "observed" | "reported" => self.skip("}"),
            _ => None,
        }
    }

    fn runtime(&mut self) -> Option<RuntimeView<'a>> {
        self.skip(r#"{"kind":""#)?;
        let kind = self.string()?;
        self.skip(r#","id":""#)?;
        let id = self.string()?;
        self.skip("}")?;
        Some(RuntimeView { kind, id })
    }

    /// A process that runs or is being stopped, also after an end; every other phase is rare.
    fn life(&mut self) -> Option<Life> {
        self.skip(r#"{"step":"#)?;
        let step = self.count()?;
        self.skip(r#","phase":""#)?;
        let phase = match self.string()? {
            "running" => Phase::Running,
            "stopping" => Phase::Stopping,
            _ => return None,
        };
        self.skip(r#","since":"#)?;
        let since = self.count()?;
        self.skip(r#","incarnation":"#)?;
        let incarnation = self.count()?;
        let end = match self.skip(r#","end":{"incarnation":"#) {
            Some(()) => Some(self.end()?),
            None => None,
        };
        let exclusive = self.skip(r#","exclusive":true"#).is_some();
        let alert_only = self.skip(r#","alertOnly":true"#).is_some();
        let restarts_stalled = self.skip(r#","restartsStalled":true"#).is_some();
        let pod_restart = self.skip(r#","podRestart":true"#).is_some();
        let stall_ms = match self.skip(r#","stallMs":"#) {
            Some(()) => self.count()?,
            None => 0,
        };
        self.skip("}")?;
        Some(Life {
            step,
            phase,
            since,
            incarnation,
            end,
            exclusive,
            alert_only,
            restarts_stalled,
            pod_restart,
            stall_ms,
            ..Life::default()
        })
    }

    /// An end, from the value of `incarnation` on.
    fn end(&mut self) -> Option<End> {
        let incarnation = self.count()?;
        self.skip(r#","exit":{"#)?;
        let exit = if self.skip(r#""code":"#).is_some() {
            Exit {
                code: Some(u8::try_from(self.count()?).ok()?),
                signal: None,
            }
        } else if self.skip(r#""signal":"#).is_some() {
            Exit {
                code: None,
                signal: Some(u8::try_from(self.count()?).ok()?),
            }
        } else {
            Exit::UNKNOWN
        };
        self.skip("}")?;
        let reason = match self.skip(r#","reason":""#) {
            Some(()) => Some(reason(self.string()?)?),
            None => None,
        };
        let requested = self.skip(r#","requested":true"#).is_some();
        let not_started = self.skip(r#","notStarted":true"#).is_some();
        self.skip("}")?;
        Some(End {
            incarnation,
            exit,
            reason,
            requested,
            not_started,
        })
    }

    fn progress(&mut self) -> Option<Option<f64>> {
        let progress = self.or_null(Self::amount)?;
        progress
            .is_none_or(|p| p <= PROGRESS_MAX)
            .then_some(progress)
    }

    fn text_or_null(&mut self) -> Option<Option<&'a str>> {
        self.or_null(|scan| {
            scan.skip("\"")?;
            scan.text_of(TASK_CHARS_MAX)
        })
    }

    fn or_null<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.skip("null") {
            Some(()) => Some(None),
            None => value(self).map(Some),
        }
    }

    fn flag(&mut self) -> Option<bool> {
        if self.skip("true").is_some() {
            return Some(true);
        }
        self.skip("false").map(|()| false)
    }

    fn id(&mut self) -> Option<&'a str> {
        self.string().filter(|text| crate::base::id::is_id(text))
    }

    /// A text that is not longer than it may be: a longer one is cut by serde's way.
    fn text_of(&mut self, chars_max: usize) -> Option<&'a str> {
        self.string().filter(|text| text.len() <= chars_max)
    }

    /// A text without escapes, whose opening quote is behind us.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let length = rest
            .iter()
            .position(|b| matches!(b, b'"' | b'\\' | ..b' '))?;
        if rest[length] != b'"' {
            return None;
        }
        self.at = start + length + 1;
        Some(&self.text[start..start + length])
    }

    fn count(&mut self) -> Option<u64> {
        self.digits().map(|(value, _)| value)
    }

    /// A whole number, and how many digits it has.
    fn digits(&mut self) -> Option<(u64, usize)> {
        let rest = &self.text.as_bytes()[self.at..];
        let mut value = 0;
        let mut length = 0;
        while let Some(digit) = rest.get(length).filter(|b| b.is_ascii_digit()) {
            value = value * 10 + u64::from(digit - b'0');
            length += 1;
            if length > DIGITS_MAX {
                return None;
            }
        }
        if length == 0 || (rest[0] == b'0' && length > 1) {
            return None;
        }
        self.at += length;
        Some((value, length))
    }

    fn amount(&mut self) -> Option<f64> {
        let (mut mantissa, whole) = self.digits()?;
        if self.skip(".").is_none() {
            return Some(mantissa as f64);
        }
        let rest = &self.text.as_bytes()[self.at..];
        let mut length = 0;
        while let Some(digit) = rest.get(length).filter(|b| b.is_ascii_digit()) {
            length += 1;
            if whole + length > DIGITS_MAX {
                return None;
            }
            mantissa = mantissa * 10 + u64::from(digit - b'0');
        }
        if length == 0 {
            return None;
        }
        self.at += length;
        // Both are exact, so the quotient is rounded once, as in serde_json.
        Some(mantissa as f64 / POWERS[length])
    }

    #[inline]
    fn skip(&mut self, expected: &str) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        rest.starts_with(expected.as_bytes())
            .then(|| self.at += expected.len())
    }
}

fn status(word: &str) -> Option<Status> {
    Some(match word {
        "healthy" => Status::Healthy,
        "starting" => Status::Starting,
        "degraded" => Status::Degraded,
        "busy" => Status::Busy,
        "recovering" => Status::Recovering,
        "stopped" => Status::Stopped,
        _ => return None,
    })
}

fn verdict(word: &str) -> Option<Verdict> {
    Some(match word {
        "starting" => Verdict::Starting,
        "working" => Verdict::Working,
        "waiting_model" => Verdict::WaitingModel,
        "waiting_input" => Verdict::WaitingInput,
        "sleeping" => Verdict::Sleeping,
        "idle" => Verdict::Idle,
        "paused" => Verdict::Paused,
        "stalled" => Verdict::Stalled,
        "spinning" => Verdict::Spinning,
        "looping" => Verdict::Looping,
        "hung" => Verdict::Hung,
        "unknown" => Verdict::Unknown,
        _ => return None,
    })
}

fn confidence(word: &str) -> Option<Confidence> {
    Some(match word {
        "proof" => Confidence::Proof,
        "suspicion" => Confidence::Suspicion,
        "none" => Confidence::None,
        _ => return None,
    })
}

fn reason(word: &str) -> Option<Reason> {
    Some(match word {
        "exited" => Reason::Exited,
        "killed" => Reason::Killed,
        "oom_killed" => Reason::OomKilled,
        "hung" => Reason::Hung,
        _ => return None,
    })
}
