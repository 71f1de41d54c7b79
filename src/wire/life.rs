//! Where an agent's process is in its life, as its sidecar reports it.
//!
//! One value, the same on the beat, in the roster and in the events of the stream, so that whichever arrives first says
//! all of it. `step` numbers the reports of one registration: a report with a lower step is of the past, whatever way it
//! took.

use crate::base::number;
use crate::wire::beat::Exit;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A clean end that is followed by a start within this time is no stop: nobody could react to it.
pub const SHORT_RESTART: Duration = Duration::from_secs(1);

/// A sidecar's report of its agent's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Numbers the reports of one registration, from 1; 0 is a report that was derived from a writer without steps.
    #[serde(default, deserialize_with = "number::count")]
    pub step: u64,
    /// Where the process is.
    pub phase: Phase,
    /// When that began, Unix milliseconds of the sender: shown, never compared.
    #[serde(default, deserialize_with = "number::count")]
    pub since: u64,
    /// The last incarnation that was started or tried.
    #[serde(default, deserialize_with = "number::count")]
    pub incarnation: u64,
    /// How the last incarnation that ended has ended; stays while the next one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What is wrong although the process is there: `crash_loop` (no restart is left for a hung one), `unkillable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
    /// The next start that the sidecar will make by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<NextStart>,
    /// What the sidecar waits for, for people: `a process that matches …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Where a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was asked to end for good and is still there.
    Stopping,
    /// It has ended; the sidecar starts the next incarnation.
    Restarting,
    /// There is none; the sidecar waits until somebody else starts one.
    Waiting,
    /// A person suspended it at its terminal, and the sidecar with it.
    Suspended,
    /// It runs, and its sidecar has left it.
    Detached,
    /// It has ended, and nothing follows.
    Ended,
    /// It runs. Also what a phase of a newer version counts as.
    #[default]
    #[serde(other)]
    Running,
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Which one.
    #[serde(default, deserialize_with = "number::count")]
    pub incarnation: u64,
    /// Its code or signal.
    pub exit: Exit,
    /// What the end is put down to, where more is known than the exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// A person asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested: bool,
    /// The command could not be started: there was no process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_started: bool,
}

/// The sidecar's next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextStart {
    /// Milliseconds from the beginning of the phase.
    #[serde(deserialize_with = "number::count")]
    pub in_ms: u64,
    /// The how-manieth restart of the window it is, and how many the window holds; absent for a start that costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<(u32, u32)>,
}

/// Why a state is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Silence.
    HeartbeatLost,
    /// The process ended with a code that is no success.
    Exited,
    /// A signal ended the process.
    Killed,
    /// The kernel ended it for memory.
    OomKilled,
    /// Proof that it cannot go on by itself.
    Hung,
    /// It dies again and again.
    CrashLoop,
    /// A living holder has the id.
    Duplicate,
    /// A higher epoch has the id.
    Fenced,
    /// A person wanted it so.
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
    /// A process is there and was asked to end: silence means that it has.
    Stopping,
    /// A process is there, and something is wrong with it.
    Troubled(Reason),
    /// No process, and that is as wanted; or nobody watches it.
    Off,
    /// No process after a bad end.
    Down(Reason),
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

    /// Whether this report is news to somebody who knows `known`. Reports without steps are ordered by what they say:
    /// an incarnation ends after it has run, and the next one runs after that.
    pub fn is_after(&self, known: &Self) -> bool {
        if self.step > 0 {
            return self.step > known.step;
        }
        let place = |life: &Self| (life.incarnation, !life.has_process());
        place(self) > place(known) || (place(self) == place(known) && self.phase != known.phase)
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
    fn reports_without_steps_are_ordered_by_what_they_say() {
        let run = |incarnation| Life {
            incarnation,
            ..Life::default()
        };
        assert!(ended(1).is_after(&run(0)) && !run(0).is_after(&ended(1)));
        assert!(run(1).is_after(&ended(1)) && !ended(1).is_after(&run(1)));
    }
}
