//! Which rung comes next: a function of the policy, the facts and the budgets.

use crate::base::moment::Moment;
use crate::fleet::ladder::budget::Budgets;
use crate::fleet::ladder::climb::Climb;
use crate::fleet::ladder::exchange::{Facts, Planned, RuntimeKind, Ticket};
use crate::fleet::ladder::rung::Rung;
use crate::wire::life::Reason;
use std::time::Duration;

/// A gate, a busy host and a sidecar at work are asked again after this time at the latest.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(5);
/// With `--exclusive` the old copy has ended by itself after the silence of 4 intervals and this: 10 s and 5 s to end it, 15 s for
/// the difference of two clocks (detection.md E4).
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// It is replaced no earlier than one with the default interval of 30 s.
const REPLACE_AFTER: Duration = Duration::from_secs(150);
/// At most this many agents are acted upon at a time, and never more than a tenth of those that live.
const AT_ONCE_MAX: usize = 10;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Choice {
    /// This rung.
    Climb(Rung),
    /// Nothing before this time, because of this.
    Wait(Moment, String),
    /// Nothing as long as this lasts.
    Hold(String),
    /// People, because of this; a budget allows another try then.
    People(String, Option<Moment>),
}

/// What else is under way in the fleet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    /// Agents that are acted upon.
    pub(super) fleet: usize,
    /// Of them on the same host.
    pub(super) host: usize,
}

/// Chooses the next rung and moves the climb's place behind it. Rungs that cannot apply are left out.
pub(super) fn choose(
    climb: &mut Climb,
    facts: &Facts,
    budgets: &Budgets,
    busy: Busy,
    ticket: &impl Fn(Rung) -> Ticket,
    now: Moment,
) -> Choice {
    if let Some(choice) = held_back(climb, facts) {
        return choice;
    }
    let mut again: Option<Moment> = None;
    while let Some(rung) = climb.policy.ladder.get(climb.place).copied() {
        if climb.climbed.contains(&ticket(rung)) {
            climb.place += 1;
            continue;
        }
        match applies(rung, climb, facts, now) {
            Applies::Never => {}
            Applies::From(at) if at > now => {
                let what = format!("hb {}", rung.describe());
                return Choice::Wait(at, what);
            }
            Applies::From(_) if rung == Rung::Alert => break,
            Applies::From(_) => {
                let free = budgets.agent_free_at(&ticket(rung).agent, rung, now);
                if free <= now || climb.by_hand {
                    return within_fleet(climb, rung, facts, budgets, busy, now);
                }
                again = Some(again.map_or(free, |at: Moment| at.min(free)));
            }
        }
        climb.place += 1;
    }
    let why = match again {
        Some(_) => "its budget of automatic restarts is used up",
        None if climb.climbed.is_empty() => "hb has no way to restart it",
        None => "nothing that hb may do has helped",
    };
    Choice::People(why.to_owned(), again)
}

/// What would become of each rung from the climb's place on.
pub(super) fn plan(climb: &Climb, facts: &Facts, now: Moment) -> Vec<Planned> {
    let mut is_first = true;
    let rungs = climb.policy.ladder.iter().skip(climb.place).copied();
    let rungs = rungs.filter(|rung| *rung != Rung::Alert);
    let planned = rungs.chain([Rung::Alert]).map(|rung| {
        let (when, detail) = match applies(rung, climb, facts, now) {
            Applies::Never => ("never", "it cannot act on this agent".to_owned()),
            Applies::From(_) if std::mem::take(&mut is_first) => {
                ("now", rung.describe().to_owned())
            }
            Applies::From(_) => ("then", rung.describe().to_owned()),
        };
        Planned { rung, when, detail }
    });
    planned.collect()
}

/// Why no rung may be climbed by itself.
pub(super) fn held_back(climb: &Climb, facts: &Facts) -> Option<Choice> {
    let wait = |what: String| Some(Choice::Hold(what));
    if climb.by_hand {
        return None;
    }
    if let Some(gate) = facts.gate {
        return wait(format!("nothing by itself: {gate}"));
    }
    if facts.sidecar_acts {
        return wait("its sidecar restarts it".to_owned());
    }
    let people = |why: &str| Some(Choice::People(why.to_owned(), None));
    match facts.reason {
        None => return wait("nothing by itself: it is not failed any more".to_owned()),
        Some(Reason::CrashLoop) => {
            return people("it is in a crash loop: another restart would not help");
        }
        Some(Reason::Duplicate) => return people("two living agents use its id"),
        Some(Reason::Unkillable) => return people("its processes survive SIGKILL"),
        Some(Reason::Unknown) => return people("its sidecar reports a reason of a newer version"),
        Some(Reason::Hung) if facts.alert_only => {
            return people("it is hung, and its user wants no restart for that (--on-hung alert)");
        }
        Some(
            Reason::HeartbeatLost
            | Reason::Exited
            | Reason::Killed
            | Reason::OomKilled
            | Reason::Hung
            | Reason::Fenced
            | Reason::Operator,
        ) => {}
    }
    (!climb.policy.auto).then(|| {
        let why = "its policy proposes and waits: hbmonitor restart brings it back";
        Choice::People(why.to_owned(), None)
    })
}

/// From when a rung can act on the agent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Applies {
    Never,
    From(Moment),
}

fn applies(rung: Rung, climb: &Climb, facts: &Facts, now: Moment) -> Applies {
    let may_be_container = match facts.runtime {
        // A container that is named or labelled as the agent may hold it: the engine knows.
        RuntimeKind::Docker | RuntimeKind::Podman | RuntimeKind::Unknown => true,
        // A container of that name would be another program's.
        RuntimeKind::Host | RuntimeKind::Kubernetes | RuntimeKind::Systemd => false,
    };
    let when = |condition: bool| {
        if condition {
            Applies::From(now)
        } else {
            Applies::Never
        }
    };
    match rung {
        Rung::Sidecar => when(facts.sidecar_answers),
        Rung::Docker => when(may_be_container),
        Rung::Pod => when(facts.sidecar_answers && facts.pod_restart),
        Rung::Kubernetes => when(facts.runtime == RuntimeKind::Kubernetes),
        Rung::Systemd => when(facts.runtime == RuntimeKind::Systemd),
        Rung::Exec => when(!climb.policy.exec.is_empty()),
        Rung::Replace if !may_be_container => Applies::Never,
        Rung::Replace if climb.by_hand || climb.is_gone(facts.epoch) => Applies::From(now),
        Rung::Replace if facts.proof_of_death && !climb.may_work_unseen(facts) => {
            Applies::From(now)
        }
        // Its old copy ends by itself, unless it still writes.
        Rung::Replace if facts.exclusive => {
            let after = REPLACE_AFTER.max(facts.interval * 4 + ENDS_WITHIN);
            Applies::From(now + after.saturating_sub(facts.silent))
        }
        Rung::Replace => Applies::Never,
        Rung::Alert => Applies::From(now),
    }
}

/// The fleet's own limits: pace, and how many at once.
fn within_fleet(
    climb: &mut Climb,
    rung: Rung,
    facts: &Facts,
    budgets: &Budgets,
    busy: Busy,
    now: Moment,
) -> Choice {
    if !climb.by_hand {
        let at_once = AT_ONCE_MAX.min(facts.fleet_alive / 10).max(1);
        if busy.host > 0 || busy.fleet >= at_once {
            let what = "its turn: another agent is being brought back";
            return Choice::Hold(what.to_owned());
        }
        let free = budgets.fleet_free_at(now);
        if free > now {
            let what = format!("hb {}, after others of the fleet", rung.describe());
            return Choice::Wait(free, what);
        }
    }
    climb.place += 1;
    Choice::Climb(rung)
}
