//! The report of the agent's process: one value derived from what is known, numbered when it changes.

use crate::base::moment::millis;
use crate::supervise::lifecycle::Outlook;
use crate::wire::life::{End, Life, NextStart, Phase, Reason, STALL_AFTER};
use std::time::Duration;

/// What is known of the agent's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What follows the present or last process.
    pub outlook: Outlook,
    /// Which restart of its window the next or last one is, and how many the window holds.
    pub attempt: Option<(u32, u32)>,
    /// A process is there.
    pub has_process: bool,
    /// The sidecar starts the agent; else it attaches to what others start.
    pub starts_agents: bool,
    /// A person suspended it at its terminal.
    pub suspended: bool,
    /// The sidecar has left it running.
    pub detached: bool,
    /// The incarnation that runs, or that was tried last.
    pub incarnation: u64,
    /// How the last incarnation ended.
    pub end: Option<End>,
    /// What is wrong although a process is there.
    pub trouble: Option<Reason>,
    /// What the sidecar waits for when there is no process, for people.
    pub waits_for: Option<String>,
    /// What keeps it from being found, for people.
    pub obstacle: Option<String>,
    /// Never two at a time.
    pub exclusive: bool,
    /// A hang is alerted, never acted upon.
    pub alert_only: bool,
    /// Silence that makes owed work suspicious.
    pub stall_after: Duration,
    /// A suspicion that lasts for as long again leads to a restart.
    pub restarts_stalled: bool,
    /// The pod restarts all its containers when the sidecar exits with the code for that.
    pub pod_restart: bool,
    /// The sidecar exits with that code now, and its agent ends with its container.
    pub ends_for_pod: bool,
}

/// The last report.
#[derive(Clone, Debug, Default)]
pub struct LifeReport {
    life: Life,
}

impl LifeReport {
    /// The report as it was last published.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Brings the report up to date; true when it changed. `wall_ms` is displayed as the time of the change.
    pub fn update(&mut self, facts: Facts, wall_ms: u64) -> bool {
        let life = Life {
            step: self.life.step,
            since: self.life.since,
            ..derive(facts)
        };
        if life == self.life && self.life.step > 0 {
            return false;
        }
        self.life = Life {
            step: self.life.step + 1,
            since: wall_ms,
            ..life
        };
        true
    }

    /// Since when the agent is stopped, for the roster; `None` while it is not.
    pub fn stopped_at(&self) -> Option<u64> {
        self.life.stopped_at()
    }
}

fn derive(facts: Facts) -> Life {
    let phase = phase(&facts);
    let restart = match facts.outlook {
        _ if facts.ends_for_pod => Some(NextStart::AT_ONCE),
        Outlook::Restarts(delay) if phase == Phase::Restarting => Some(NextStart {
            in_ms: millis(delay),
            attempt: facts.attempt,
        }),
        Outlook::Restarts(_) | Outlook::Continues | Outlook::Ends => None,
    };
    Life {
        phase,
        incarnation: facts.incarnation,
        end: facts.end,
        trouble: facts.trouble,
        restart,
        waits_for: facts.waits_for.filter(|_| phase == Phase::Waiting),
        obstacle: facts.obstacle.filter(|_| phase == Phase::Waiting),
        exclusive: facts.exclusive,
        alert_only: facts.alert_only,
        restarts_stalled: facts.restarts_stalled,
        pod_restart: facts.pod_restart,
        stall_ms: match facts.stall_after {
            STALL_AFTER => 0,
            other => millis(other),
        },
        ..Life::default()
    }
}

fn phase(facts: &Facts) -> Phase {
    let unkillable = facts.trouble == Some(Reason::Unkillable);
    if facts.ends_for_pod {
        return Phase::Restarting;
    }
    if facts.detached {
        return Phase::Detached;
    }
    if facts.suspended {
        return Phase::Suspended;
    }
    if facts.has_process || unkillable {
        return match facts.outlook {
            Outlook::Ends if !unkillable => Phase::Stopping,
            Outlook::Ends | Outlook::Continues | Outlook::Restarts(_) => Phase::Running,
        };
    }
    match facts.outlook {
        Outlook::Ends => Phase::Ended,
        Outlook::Continues | Outlook::Restarts(_) if facts.starts_agents => Phase::Restarting,
        Outlook::Continues | Outlook::Restarts(_) => Phase::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::beat::Exit;

    fn facts() -> Facts {
        Facts {
            outlook: Outlook::Continues,
            attempt: None,
            has_process: true,
            starts_agents: true,
            suspended: false,
            detached: false,
            incarnation: 0,
            end: None,
            trouble: None,
            waits_for: Some("a process".to_owned()),
            obstacle: None,
            exclusive: false,
            alert_only: false,
            stall_after: STALL_AFTER,
            restarts_stalled: false,
            pod_restart: false,
            ends_for_pod: false,
        }
    }

    fn phase_of(change: impl FnOnce(&mut Facts)) -> Phase {
        let mut facts = facts();
        change(&mut facts);
        derive(facts).phase
    }

    #[test]
    fn the_phase_follows_from_the_facts() {
        assert_eq!(phase_of(|_| {}), Phase::Running);
        assert_eq!(phase_of(|f| f.outlook = Outlook::Ends), Phase::Stopping);
        assert_eq!(phase_of(|f| f.suspended = true), Phase::Suspended);
        assert_eq!(phase_of(|f| f.detached = true), Phase::Detached);
        assert_eq!(phase_of(|f| f.has_process = false), Phase::Restarting);
        let ended = |f: &mut Facts| {
            f.has_process = false;
            f.outlook = Outlook::Ends;
        };
        assert_eq!(phase_of(ended), Phase::Ended);
        let followed = |f: &mut Facts| {
            f.has_process = false;
            f.starts_agents = false;
        };
        assert_eq!(phase_of(followed), Phase::Waiting);
    }

    #[test]
    fn a_sidecar_that_ends_for_its_pod_reports_that_its_agent_is_restarted() {
        let life = derive(Facts {
            starts_agents: false,
            ends_for_pod: true,
            ..facts()
        });
        let expected = (Phase::Restarting, Some(NextStart::AT_ONCE));
        assert_eq!((life.phase, life.restart), expected);
    }

    #[test]
    fn what_survives_kill_still_runs() {
        let unkillable = |f: &mut Facts| {
            f.has_process = false;
            f.outlook = Outlook::Ends;
            f.trouble = Some(Reason::Unkillable);
        };
        assert_eq!(phase_of(unkillable), Phase::Running);
    }

    #[test]
    fn a_report_is_numbered_when_it_changes_and_not_otherwise() {
        let mut report = LifeReport::default();
        assert!(report.update(facts(), 10), "the first");
        assert!(!report.update(facts(), 20));
        assert_eq!((report.life().step, report.life().since), (1, 10));
        let stopping = Facts {
            outlook: Outlook::Ends,
            ..facts()
        };
        assert!(report.update(stopping, 30));
        assert_eq!((report.life().step, report.life().since), (2, 30));
    }

    #[test]
    fn the_next_start_and_what_is_waited_for_are_reported_only_where_they_apply() {
        let restarting = Facts {
            has_process: false,
            outlook: Outlook::Restarts(Duration::from_secs(2)),
            attempt: Some((2, 3)),
            ..facts()
        };
        let life = derive(restarting.clone());
        assert_eq!(
            life.restart,
            Some(NextStart {
                in_ms: 2000,
                attempt: Some((2, 3))
            })
        );
        assert_eq!(life.waits_for, None);
        let waiting = derive(Facts {
            starts_agents: false,
            ..restarting
        });
        assert_eq!(waiting.restart, None);
        assert_eq!(waiting.waits_for.as_deref(), Some("a process"));
    }

    #[test]
    fn the_roster_has_a_clean_end_and_no_bad_one() {
        let ended = |code| Facts {
            has_process: false,
            outlook: Outlook::Ends,
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
            ..facts()
        };
        let mut report = LifeReport::default();
        report.update(ended(0), 10);
        assert_eq!(report.stopped_at(), Some(10));
        report.update(ended(1), 20);
        assert_eq!(report.stopped_at(), None);
    }
}
