//! Where an agent's process is in its life, as its sidecar reports it.
//!
//! One value, the same on the beat, in the roster and in the events of the stream, so that whichever arrives first is
//! complete. `step` numbers the reports of one registration: a report with a lower step is of the past, whatever way it
//! took.

use crate::base::number;
use crate::wire::beat::Exit;
use crate::wire::lenient;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::time::Duration;

/// A clean end that is followed by a start within this time is no stop: there is no time to react to it.
pub const SHORT_RESTART: Duration = Duration::from_secs(1);

/// Silence that makes owed work suspicious, where nothing else is set.
pub const STALL_AFTER: Duration = Duration::from_secs(300);

/// A sidecar's report of its agent's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Numbers the reports of one registration, from 1; 0 is a report that was derived from a writer without steps.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub step: u64,
    /// Where the process is.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub phase: Phase,
    /// When that began, Unix milliseconds of the sender: shown, never compared.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub since: u64,
    /// The last incarnation that was started or tried.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub incarnation: u64,
    /// How the last incarnation that ended has ended; stays while the next one runs.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "end_of_any_shape"
    )]
    pub end: Option<End>,
    /// What is wrong although the process is there: `crash_loop` (no restart is left for a hung one, or another program
    /// started it again and it has not lasted yet), `unkillable`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub trouble: Option<Reason>,
    /// The next start that the sidecar will make by itself.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub restart: Option<NextStart>,
    /// What the sidecar waits for, for people: `a process that matches …`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub waits_for: Option<String>,
    /// What keeps that from being found, with the remedy, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Never two at a time (`--exclusive`): it ends by itself when its sidecar cannot reach the store.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub exclusive: bool,
    /// Its user wants to be alerted when it hangs, and no restart (`--on-hung alert`).
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub alert_only: bool,
    /// Its sidecar restarts it when a suspicion lasts for [`Life::stall_after`] (`--on-stalled restart`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarts_stalled: bool,
    /// Its pod restarts all containers when its sidecar exits with the code for that (`--pod-restart`).
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub pod_restart: bool,
    /// See [`Life::stall_after`], in milliseconds; 0 for [`STALL_AFTER`].
    #[serde(
        default,
        deserialize_with = "number::count",
        skip_serializing_if = "is_zero"
    )]
    pub stall_ms: u64,
}

/// Where a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was asked to stop for good and is still running.
    Stopping,
    /// It has ended; the sidecar starts the next incarnation.
    Restarting,
    /// There is none; the sidecar waits until another program starts one.
    Waiting,
    /// It is suspended at its terminal (Ctrl-Z), and the sidecar with it.
    Suspended,
    /// It runs, and its sidecar no longer watches it.
    Detached,
    /// It has ended, and nothing follows.
    Ended,
    /// It runs. Also what a phase of a newer version counts as.
    #[default]
    #[serde(other)]
    Running,
}

/// How an incarnation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Which one.
    #[serde(default, deserialize_with = "number::count_or_zero")]
    pub incarnation: u64,
    /// Its code or signal.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub exit: Exit,
    /// The cause of the end, where more is known than the exit.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub reason: Option<Reason>,
    /// A person asked for it.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub requested: bool,
    /// The command could not be started: there was no process.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "lenient::or_default"
    )]
    pub not_started: bool,
}

/// The sidecar's next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextStart {
    /// Milliseconds from the beginning of the phase.
    #[serde(deserialize_with = "number::count_or_zero")]
    pub in_ms: u64,
    /// The number of the restart within the window, and the window's limit; absent for a start that is not charged.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::or_default"
    )]
    pub attempt: Option<(u32, u32)>,
}

/// Why a state is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No beat came in time, and the silence was verified.
    HeartbeatLost,
    /// The process ended with a code that is no success.
    Exited,
    /// A signal ended the process.
    Killed,
    /// The kernel ended it for memory.
    OomKilled,
    /// Proof that it cannot go on by itself.
    Hung,
    /// It exits repeatedly, and its restarts are used up.
    CrashLoop,
    /// Two living agents use the id.
    Duplicate,
    /// A newer run took the id over.
    Fenced,
    /// A person stopped it.
    Operator,
    /// It survives every signal.
    Unkillable,
    /// A reason of a newer version.
    #[serde(other)]
    Unknown,
}

/// What a report means for the agent's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A process is there: silence and its activity decide.
    Up,
    /// A process is there and was asked to stop: silence means that it has ended.
    Stopping,
    /// A process is there, and something is wrong with it.
    Troubled(Reason),
    /// No process, as intended; or it is not watched.
    Off,
    /// No process after a bad end.
    Down(Reason),
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Life {
    /// What this report means.
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Running => self.trouble.map_or(Standing::Up, Standing::Troubled),
            Phase::Stopping => self.trouble.map_or(Standing::Stopping, Standing::Troubled),
            Phase::Suspended | Phase::Detached => Standing::Off,
            Phase::Restarting => match self.failure() {
                Some(reason) => Standing::Down(reason),
                None if self.starts_soon() => Standing::Up,
                None => Standing::Off,
            },
            Phase::Waiting | Phase::Ended => self.failure().map_or(Standing::Off, Standing::Down),
        }
    }

    /// Silence that makes owed work suspicious (`--stall-after`, stretched by `--patience`). A restart for a suspicion comes
    /// when it has lasted for as long again.
    pub fn stall_after(&self) -> Duration {
        match self.stall_ms {
            0 => STALL_AFTER,
            ms => Duration::from_millis(ms),
        }
    }

    /// Whether a process is there.
    pub fn has_process(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Stopping | Phase::Suspended | Phase::Detached => true,
            Phase::Restarting | Phase::Waiting | Phase::Ended => false,
        }
    }

    /// Whether a process is there and its sidecar watches it.
    pub fn is_watched(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Stopping => true,
            Phase::Suspended
            | Phase::Detached
            | Phase::Restarting
            | Phase::Waiting
            | Phase::Ended => false,
        }
    }

    /// Whether a process was there at some time of this registration.
    pub fn had_process(&self) -> bool {
        self.has_process() || self.end.as_ref().is_some_and(|end| !end.not_started)
    }

    /// Whether this report is later than `known`. Reports without steps are ordered by their content:
    /// an incarnation ends after it has run, and the next one runs after that.
    pub fn is_after(&self, known: &Self) -> bool {
        if self.step > 0 {
            return self.step > known.step;
        }
        let place = |life: &Self| (life.incarnation, !life.has_process());
        place(self) > place(known) || (place(self) == place(known) && self.phase != known.phase)
    }

    /// Since when the agent is stopped, for the roster; `None` while it is not.
    pub fn stopped_at(&self) -> Option<u64> {
        let stopped = match self.phase {
            Phase::Suspended | Phase::Detached | Phase::Ended => self.standing() == Standing::Off,
            Phase::Running | Phase::Stopping | Phase::Restarting | Phase::Waiting => false,
        };
        stopped.then_some(self.since)
    }

    /// Why it is stopped, where more is known than its clean end: a person stopped it, or a newer run of it took over.
    pub fn stopped_by(&self) -> Option<Reason> {
        let end = self.end.as_ref()?;
        let is_cause = matches!(end.reason, Some(Reason::Operator | Reason::Fenced));
        let ended = self.phase == Phase::Ended && end.requested;
        end.reason.filter(|_| ended && is_cause)
    }

    /// What the last end was, if it was bad.
    fn failure(&self) -> Option<Reason> {
        self.end.as_ref().and_then(End::failure)
    }

    fn starts_soon(&self) -> bool {
        self.restart
            .is_some_and(|next| Duration::from_millis(next.in_ms) <= SHORT_RESTART)
    }
}

impl NextStart {
    /// It is made at once.
    pub const AT_ONCE: Self = Self {
        in_ms: 0,
        attempt: None,
    };
}

impl End {
    /// Why this end is a failure; `None` for one that was asked for or that was a success.
    pub fn failure(&self) -> Option<Reason> {
        if self.requested {
            return None;
        }
        match (self.reason, self.exit.signal, self.exit.code) {
            (Some(Reason::Unknown), Some(_), _) | (None, Some(_), _) => Some(Reason::Killed),
            // The newer sidecar has a reason, so the end was no success.
            (Some(Reason::Unknown), None, _) => Some(Reason::Exited),
            (Some(reason), _, _) => Some(reason),
            (None, None, Some(0)) => None,
            (None, None, Some(_) | None) => Some(Reason::Exited),
        }
    }
}

/// An end that is unreadable is an end all the same, and no success: an agent that failed must not look stopped.
fn end_of_any_shape<'de, D: Deserializer<'de>>(from: D) -> Result<Option<End>, D::Error> {
    let value = Value::deserialize(from)?;
    let is_there = !value.is_null();
    Ok(is_there.then(|| serde_json::from_value(value).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: u8) -> Life {
        Life {
            phase: Phase::Ended,
            end: Some(End {
                incarnation: 0,
                exit: Exit {
                    code: Some(code),
                    signal: None,
                },
                reason: None,
                requested: false,
                not_started: false,
            }),
            ..Life::default()
        }
    }

    fn restarting(code: u8, in_ms: u64) -> Life {
        Life {
            phase: Phase::Restarting,
            restart: Some(NextStart {
                in_ms,
                attempt: None,
            }),
            ..ended(code)
        }
    }

    #[test]
    fn no_process_is_never_up_but_for_a_moment_after_a_clean_end() {
        let standings = [
            (restarting(0, 100), Standing::Up),
            (restarting(0, 4000), Standing::Off),
            (restarting(3, 100), Standing::Down(Reason::Exited)),
            (ended(0), Standing::Off),
            (ended(3), Standing::Down(Reason::Exited)),
        ];
        for (life, standing) in standings {
            assert_eq!(life.standing(), standing, "{life:?}");
        }
    }

    #[test]
    fn a_phase_of_a_newer_version_counts_as_running_and_loses_nothing_else() {
        let text = r#"{"step":4,"phase":"dreaming","since":5,"incarnation":1,"mood":1}"#;
        let life: Life = serde_json::from_str(text).unwrap();
        assert_eq!(
            (life.step, life.phase, life.incarnation),
            (4, Phase::Running, 1)
        );
    }

    #[test]
    fn an_end_that_is_unreadable_is_a_failure_and_not_a_stop() {
        for end in [
            "7",
            "\"crashed\"",
            r#"{"incarnation":-1,"exit":{"code":-11}}"#,
        ] {
            let text = format!(r#"{{"step":4,"phase":"ended","incarnation":2,"end":{end}}}"#);
            let life: Life = serde_json::from_str(&text).unwrap();
            assert_eq!(life.standing(), Standing::Down(Reason::Exited), "{end}");
        }
    }

    #[test]
    fn reports_without_steps_are_ordered_by_what_they_say() {
        let run = |incarnation| Life {
            incarnation,
            ..Life::default()
        };
        assert!(ended(1).is_after(&run(0)) && !run(0).is_after(&ended(1)));
        assert!(run(1).is_after(&ended(1)) && !ended(1).is_after(&run(1)));
    }
}
