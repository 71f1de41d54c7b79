//! The life of one agent's process under supervision: start, exit, back-off, stop. Decides; `sidecar/` carries out.
//!
//! ```text
//! Starting ─► Running ─► Stopping(Stopping ─► Killed ─► Unkillable) ─► BackingOff ─► Starting …
//!                   └──► Stopping(CleaningUp ─► Killed …) (processes left by an agent that exited) ─► Done
//! ```
//!
//! An incarnation is over when its *last* process has ended, not when the first one did. Numbers are those of
//! Kubernetes' back-off (KEP-4603) with Nomad's jitter.

mod budgeted;
mod ends;
mod policy;
mod restart_budget;

use crate::base::moment::Moment;
use ends::ForwardedSignals;
pub use ends::{Ended, Forwarded, is_by_signal};
pub use policy::{Policy, Restart};
use restart_budget::RestartBudget;
use std::time::Duration;

/// Time from TERM to KILL for processes left behind, and from KILL to the report as unkillable for every process.
pub const AFTER_KILL: Duration = Duration::from_secs(2);
/// How often KILL is repeated for survivors.
pub const RECHECK: Duration = Duration::from_secs(30);
/// `EX_CONFIG`, not executable, not found: a restart changes nothing.
const FATAL: [u8; 3] = [78, 126, 127];
/// `EX_TEMPFAIL`: the agent itself requests another attempt.
const TRY_AGAIN: u8 = 75;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The process runs.
    Started,
    /// The process could not be started. `permanent`: another attempt would fail too.
    NotStarted {
        /// The command does not exist or is not executable.
        permanent: bool,
    },
    /// The first process ended.
    Exited(Ended),
    /// A descendant ended; others are left.
    DescendantExited,
    /// The last process of the tree has ended.
    TreeEmpty,
    /// The deadline is reached.
    Due,
    /// Proof that work moves.
    Progress,
    /// A signal that may end the agent was forwarded to it.
    SignalForwarded(Forwarded),
    /// Stop the agent.
    Stop,
    /// The sidecar ends while it searches for the next process: what ended stays as it ended.
    SearchGivenUp,
    /// Restart the agent, whatever the policy is.
    Restart,
    /// The agent is hung: restart it at the expense of the restart budget, like after a crash.
    RestartCharged,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process; `Started` or `NotStarted` answers.
    Start,
    /// The stop signal and CONT to the process group.
    RequestStop,
    /// TERM and CONT to every process that is left.
    CleanUp,
    /// Capture evidence before the process ends.
    TakeEvidence,
    /// KILL to the group and to every process that is left.
    Kill,
    /// Report the processes that survived KILL.
    ReportSurvivors,
    /// Report that the next start comes after this delay.
    ReportDelay(Duration),
    /// Report that the restart budget is used up: the monitor must act.
    ReportCrashLoop,
    /// Report that the crash loop is over: an incarnation of an agent that another program starts has lasted.
    ReportCrashLoopOver,
    /// The supervisor is done.
    End,
}

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping {
        stage: Stage,
        until: Moment,
        then: Then,
    },
    BackingOff {
        until: Moment,
        delay: Duration,
    },
    Done,
}

/// What follows the present or last process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It is meant to continue.
    Continues,
    /// It ends, or has ended, and nothing follows.
    Ends,
    /// The next one is started, or searched for, this long after the end.
    Restarts(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Stopping,
    CleaningUp,
    Killed,
    Unkillable,
}

/// What follows when nothing of the incarnation is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    End,
    CrashLoop,
    Start { delay: Duration },
}

const NOW: Then = Then::Start {
    delay: Duration::ZERO,
};

/// The machine.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    policy: Policy,
    phase: Phase,
    incarnation: u64,
    budget: RestartBudget,
    /// Signals that were forwarded to this incarnation.
    forwarded: ForwardedSignals,
    requested: bool,
    stop_requested: bool,
    /// No restart is left, and that was reported: for the ends before this incarnation, or for its hang.
    crash_loop: bool,
    /// When the present incarnation has lasted for so long that it ends a crash loop.
    lasts_at: Option<Moment>,
}

impl Lifecycle {
    /// Before the first start, which the caller makes.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Starting,
            incarnation: 0,
            budget: RestartBudget::default(),
            forwarded: ForwardedSignals::default(),
            requested: false,
            stop_requested: false,
            crash_loop: false,
            lasts_at: None,
        }
    }

    /// How many incarnations came before the present one.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether the present or last exit was requested.
    pub fn requested(&self) -> bool {
        self.requested
    }

    /// Whether a stop was requested, with or without a process to stop.
    pub fn is_stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// Whether a process is there that is meant to continue.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether KILL has been sent: a death by KILL is then our own doing.
    pub fn is_killing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Stopping {
                stage: Stage::Killed | Stage::Unkillable,
                ..
            }
        )
    }

    /// Whether a restart that is ordered now would be carried out.
    pub fn takes_restart(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::BackingOff { .. })
    }

    /// Whether a process is searched for or being started.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// What follows the present or last process.
    pub fn outlook(&self) -> Outlook {
        match self.phase {
            Phase::Running => Outlook::Continues,
            Phase::Starting => Outlook::Restarts(Duration::ZERO),
            Phase::BackingOff { delay, .. } => Outlook::Restarts(delay),
            Phase::Stopping { then, .. } => match then {
                Then::Start { delay } => Outlook::Restarts(delay),
                Then::CrashLoop if self.is_followed() => Outlook::Restarts(Duration::ZERO),
                Then::End | Then::CrashLoop => Outlook::Ends,
            },
            Phase::Done => Outlook::Ends,
        }
    }

    /// Which restart of its window the next or last one is, from 1, and how many the window holds; `None` for one that
    /// costs nothing.
    pub fn attempt(&self) -> Option<(u32, u32)> {
        let used = u32::try_from(self.budget.counted.len()).unwrap_or(u32::MAX);
        self.budget
            .charged
            .then_some((used, self.policy.restarts_max))
    }

    /// When `Due` is due.
    pub fn deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Stopping { until, .. } | Phase::BackingOff { until, .. } => Some(until),
            Phase::Running => self.lasts_at,
            Phase::Starting | Phase::Done => None,
        }
    }

    /// Takes one input. `random` is from 0 to 1 and comes from outside: it spreads the delays of a fleet.
    pub fn handle(&mut self, input: Input, now: Moment, random: f64) -> Vec<Effect> {
        match input {
            Input::Started => self.started(now),
            Input::NotStarted { permanent } => self.not_started(permanent, now, random),
            Input::Exited(ended) => self.exited(ended, now, random),
            Input::DescendantExited => self.descendant_exited(),
            Input::TreeEmpty => self.tree_empty(now),
            Input::Due => self.due(now),
            Input::Progress => self.progress(now),
            Input::SignalForwarded(signal) => {
                self.forwarded.add(signal, now);
                Vec::new()
            }
            Input::Stop => self.requested_end(Then::End, now),
            Input::SearchGivenUp => self.search_given_up(),
            Input::Restart => self.requested_end(NOW, now),
            Input::RestartCharged => self.restart_charged(now, random),
        }
    }

    fn started(&mut self, now: Moment) -> Vec<Effect> {
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
            self.requested = false;
            self.lasts_at = self.lasts_at(now);
            self.forwarded = ForwardedSignals::default();
            self.budget.new_incarnation();
        }
        Vec::new()
    }

    fn search_given_up(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Starting {
            self.phase = Phase::Done;
        }
        Vec::new()
    }

    fn not_started(&mut self, permanent: bool, now: Moment, random: f64) -> Vec<Effect> {
        if self.phase != Phase::Starting {
            return Vec::new();
        }
        let then = if permanent || self.incarnation == 0 || self.policy.restart == Restart::Never {
            Then::End
        } else {
            self.failed(now, random)
        };
        self.follow(then, now)
    }

    fn exited(&mut self, ended: Ended, now: Moment, random: f64) -> Vec<Effect> {
        match self.phase {
            Phase::Running => {
                let asked = ended.by_person
                    || ended.unread
                    || ended.by_its_runner
                    || self
                        .forwarded
                        .answered_by(ended.exit, self.policy.grace, now);
                let announced = ended.is_as_announced();
                self.requested = asked || announced;
                // Always is always: that an agent says goodbye is no wish of its user.
                let over = asked || (announced && self.policy.restart != Restart::Always);
                let then = self.after(ended, over, now, random);
                if ended.alone || self.policy.keep_orphans {
                    return self.follow(then, now);
                }
                self.enter_stopping(Stage::CleaningUp, AFTER_KILL, then, now);
                vec![Effect::CleanUp]
            }
            Phase::Stopping { then, .. } if ended.alone || self.policy.keep_orphans => {
                self.follow(then, now)
            }
            Phase::Stopping {
                stage: Stage::Stopping,
                then,
                until,
            } => {
                let left = until.since(now).min(AFTER_KILL);
                self.enter_stopping(Stage::CleaningUp, left, then, now);
                vec![Effect::CleanUp]
            }
            Phase::Stopping { .. } | Phase::Starting | Phase::BackingOff { .. } | Phase::Done => {
                Vec::new()
            }
        }
    }

    /// What this end of a running agent leads to.
    fn after(&mut self, ended: Ended, asked: bool, now: Moment, random: f64) -> Then {
        let exit = ended.exit;
        let was_crash_loop = std::mem::take(&mut self.crash_loop);
        let fatal = exit.code.is_some_and(|code| FATAL.contains(&code));
        if (asked || fatal || ended.cut_off) && !self.is_followed() {
            return Then::End;
        }
        match (self.policy.restart, exit.code) {
            (Restart::Follow, _) if asked || !ended.is_own_failure() => NOW,
            (Restart::Follow, _) => self.followed_failed(was_crash_loop, now, random),
            (Restart::Never, _) | (Restart::OnFailure, Some(0)) => Then::End,
            (Restart::Always, Some(0))
            | (Restart::OnFailure | Restart::Always, Some(TRY_AGAIN)) => {
                self.budget.charged = false;
                self.budget.postpone(&self.policy, random)
            }
            // Without any restart in the budget, one failure is an end and no crash loop.
            (Restart::OnFailure, _) if self.policy.restarts_max == 0 => Then::End,
            (Restart::OnFailure | Restart::Always, _) => self.failed(now, random),
        }
    }

    /// One less, and not the last: processes that were forked during KILL are killed again.
    fn descendant_exited(&self) -> Vec<Effect> {
        match self.phase {
            Phase::Stopping {
                stage: Stage::Killed | Stage::Unkillable,
                ..
            } => vec![Effect::Kill],
            Phase::Stopping {
                stage: Stage::Stopping | Stage::CleaningUp,
                ..
            }
            | Phase::Starting
            | Phase::Running
            | Phase::BackingOff { .. }
            | Phase::Done => Vec::new(),
        }
    }

    fn tree_empty(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Stopping { then, .. } => self.follow(then, now),
            Phase::Starting | Phase::Running | Phase::BackingOff { .. } | Phase::Done => Vec::new(),
        }
    }

    fn due(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Running if self.lasts_at.is_some_and(|at| at <= now) => {
                self.lasts_at = None;
                self.crash_loop = false;
                vec![Effect::ReportCrashLoopOver]
            }
            Phase::BackingOff { until, .. } if until <= now => self.start(),
            Phase::Stopping { stage, until, then } if until <= now => match stage {
                Stage::Stopping | Stage::CleaningUp => {
                    self.enter_stopping(Stage::Killed, AFTER_KILL, then, now);
                    vec![Effect::TakeEvidence, Effect::Kill]
                }
                Stage::Killed => {
                    self.enter_stopping(Stage::Unkillable, RECHECK, then, now);
                    vec![Effect::Kill, Effect::ReportSurvivors]
                }
                Stage::Unkillable => {
                    self.enter_stopping(Stage::Unkillable, RECHECK, then, now);
                    vec![Effect::Kill]
                }
            },
            Phase::BackingOff { .. }
            | Phase::Stopping { .. }
            | Phase::Starting
            | Phase::Running
            | Phase::Done => Vec::new(),
        }
    }

    fn progress(&mut self, now: Moment) -> Vec<Effect> {
        if self.is_running() {
            self.budget.progress(now);
        }
        Vec::new()
    }

    /// A stop wins over a restart, whichever came first.
    fn requested_end(&mut self, wanted: Then, now: Moment) -> Vec<Effect> {
        self.stop_requested |= wanted == Then::End;
        match self.phase {
            Phase::Running => {
                self.requested = true;
                self.crash_loop = false;
                self.enter_stopping(Stage::Stopping, self.policy.grace, wanted, now);
                match wanted {
                    Then::End | Then::CrashLoop => vec![Effect::RequestStop],
                    // A restart is requested because something is wrong with this incarnation: keep the evidence.
                    Then::Start { .. } => vec![Effect::TakeEvidence, Effect::RequestStop],
                }
            }
            Phase::Stopping { stage, until, .. } if wanted == Then::End => {
                self.requested = true;
                self.phase = Phase::Stopping {
                    stage,
                    until,
                    then: wanted,
                };
                Vec::new()
            }
            Phase::BackingOff { .. } | Phase::Starting if wanted == Then::End => {
                self.requested = true;
                self.phase = Phase::Done;
                vec![Effect::End]
            }
            Phase::BackingOff { .. } => self.start(),
            Phase::Stopping { .. } | Phase::Starting | Phase::Done => Vec::new(),
        }
    }

    fn follow(&mut self, then: Then, now: Moment) -> Vec<Effect> {
        match then {
            Then::End => {
                self.phase = Phase::Done;
                vec![Effect::End]
            }
            Then::CrashLoop if self.is_followed() => {
                let mut effects = vec![Effect::ReportCrashLoop];
                effects.append(&mut self.start());
                effects
            }
            Then::CrashLoop => {
                self.phase = Phase::Done;
                vec![Effect::ReportCrashLoop, Effect::End]
            }
            Then::Start { delay } if delay.is_zero() => self.start(),
            Then::Start { delay } => {
                self.phase = Phase::BackingOff {
                    until: now + delay,
                    delay,
                };
                vec![Effect::ReportDelay(delay)]
            }
        }
    }

    fn start(&mut self) -> Vec<Effect> {
        self.phase = Phase::Starting;
        self.incarnation += 1;
        vec![Effect::Start]
    }

    fn enter_stopping(&mut self, stage: Stage, wait: Duration, then: Then, now: Moment) {
        self.phase = Phase::Stopping {
            stage,
            until: now + wait,
            then,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::beat::Exit;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        restart: Restart::OnFailure,
        restarts_max: 3,
        window: Duration::from_secs(1800),
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        grace: Duration::from_secs(10),
        keep_orphans: false,
    };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn code(code: u8) -> Exit {
        Exit {
            code: Some(code),
            signal: None,
        }
    }

    /// An end of its own, with nothing left.
    fn by_itself(exit: Exit) -> Ended {
        Ended {
            exit,
            alone: true,
            by_person: false,
            unread: false,
            cut_off: false,
            announced: false,
            by_its_runner: false,
            out_of_memory: false,
        }
    }

    fn ended(code: u8, alone: bool) -> Input {
        Input::Exited(Ended {
            alone,
            ..by_itself(self::code(code))
        })
    }

    fn forwarded(number: u8) -> Input {
        Input::SignalForwarded(Forwarded {
            number,
            reloads: number == 1,
        })
    }

    fn running(policy: Policy) -> Lifecycle {
        let mut life = Lifecycle::new(policy);
        life.handle(Input::Started, at(0), 0.0);
        life
    }

    /// Crashes until it is not started again; the delays in milliseconds come back.
    fn crash(
        life: &mut Lifecycle,
        code: u8,
        mut now: Moment,
        random: f64,
    ) -> (Vec<u64>, Vec<Effect>) {
        let mut delays = Vec::new();
        loop {
            let effects = life.handle(ended(code, true), now, random);
            match effects.as_slice() {
                [Effect::ReportDelay(delay)] => {
                    now = now + *delay;
                    delays.push(crate::base::moment::millis(*delay));
                    assert_eq!(life.handle(Input::Due, now, 0.0), [Effect::Start]);
                }
                [Effect::Start] => delays.push(0),
                _ => return (delays, effects),
            }
            life.handle(Input::Started, now, 0.0);
        }
    }

    fn phases() -> Vec<(&'static str, Lifecycle)> {
        let asked = || {
            let mut life = running(POLICY);
            life.handle(Input::Stop, at(0), 0.0);
            life
        };
        let due = |mut life: Lifecycle, times: u64| {
            for n in 0..times {
                life.handle(Input::Due, at(10 + 2 * n), 0.0);
            }
            life
        };
        let after = |code, alone| {
            let mut life = running(POLICY);
            life.handle(ended(code, alone), at(0), 0.0);
            life
        };
        vec![
            ("starting", Lifecycle::new(POLICY)),
            ("running", running(POLICY)),
            ("stopping", asked()),
            ("cleaning up", after(1, false)),
            ("killed", due(asked(), 1)),
            ("unkillable", due(asked(), 2)),
            ("backing off", after(1, true)),
            ("done", after(0, true)),
        ]
    }

    fn name(life: &Lifecycle) -> &'static str {
        match life.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping {
                stage: Stage::Stopping,
                ..
            } => "stopping",
            Phase::Stopping {
                stage: Stage::CleaningUp,
                ..
            } => "cleaning up",
            Phase::Stopping {
                stage: Stage::Killed,
                ..
            } => "killed",
            Phase::Stopping {
                stage: Stage::Unkillable,
                ..
            } => "unkillable",
            Phase::BackingOff { .. } => "backing off",
            Phase::Done => "done",
        }
    }

    #[test]
    fn every_state_meets_every_input() {
        let inputs = [
            ("started", Input::Started),
            ("not started", Input::NotStarted { permanent: false }),
            ("never to start", Input::NotStarted { permanent: true }),
            ("exit 0, alone", ended(0, true)),
            ("exit 1, alone", ended(1, true)),
            ("exit 1, leftovers", ended(1, false)),
            ("descendant exited", Input::DescendantExited),
            ("tree empty", Input::TreeEmpty),
            ("due", Input::Due),
            ("progress", Input::Progress),
            ("signal forwarded", forwarded(2)),
            ("stop", Input::Stop),
            ("search given up", Input::SearchGivenUp),
            ("restart", Input::Restart),
            ("restart charged", Input::RestartCharged),
        ];
        let mut table = String::new();
        for (phase, before) in phases() {
            assert_eq!(name(&before), phase);
            for (input, what) in inputs {
                let mut life = before.clone();
                let effects = life.handle(what, at(1000), 0.0);
                if name(&life) != phase || !effects.is_empty() {
                    table += &format!("{phase} + {input} = {} {effects:?}\n", name(&life));
                }
            }
        }
        // What is not listed changes nothing.
        let expected = "\
starting + started = running []
starting + not started = done [End]
starting + never to start = done [End]
starting + stop = done [End]
starting + search given up = done []
running + exit 0, alone = done [End]
running + exit 1, alone = backing off [ReportDelay(1s)]
running + exit 1, leftovers = cleaning up [CleanUp]
running + stop = stopping [RequestStop]
running + restart = stopping [TakeEvidence, RequestStop]
running + restart charged = stopping [TakeEvidence, RequestStop]
stopping + exit 0, alone = done [End]
stopping + exit 1, alone = done [End]
stopping + exit 1, leftovers = cleaning up [CleanUp]
stopping + tree empty = done [End]
stopping + due = killed [TakeEvidence, Kill]
cleaning up + exit 0, alone = backing off [ReportDelay(1s)]
cleaning up + exit 1, alone = backing off [ReportDelay(1s)]
cleaning up + tree empty = backing off [ReportDelay(1s)]
cleaning up + due = killed [TakeEvidence, Kill]
killed + exit 0, alone = done [End]
killed + exit 1, alone = done [End]
killed + descendant exited = killed [Kill]
killed + tree empty = done [End]
killed + due = unkillable [Kill, ReportSurvivors]
unkillable + exit 0, alone = done [End]
unkillable + exit 1, alone = done [End]
unkillable + descendant exited = unkillable [Kill]
unkillable + tree empty = done [End]
unkillable + due = unkillable [Kill]
backing off + due = starting [Start]
backing off + stop = done [End]
backing off + restart = starting [Start]
";
        assert_eq!(table, expected);
    }

    #[test]
    fn delays_double_and_the_budget_ends_in_one_crash_loop_report() {
        let mut life = running(POLICY);
        let (delays, last) = crash(&mut life, 1, at(0), 0.0);
        assert_eq!(delays, [1000, 2000, 4000]);
        assert_eq!(last, [Effect::ReportCrashLoop, Effect::End]);
    }

    #[test]
    fn the_first_restart_of_an_agent_that_progressed_is_immediate() {
        let mut life = running(POLICY);
        life.handle(Input::Progress, at(1), 0.0);
        assert_eq!(crash(&mut life, 1, at(2), 0.0).0, [0, 2000, 4000]);
    }

    #[test]
    fn fatal_codes_are_not_retried() {
        for fatal in FATAL {
            let policy = Policy {
                restart: Restart::Always,
                ..POLICY
            };
            assert_eq!(
                crash(&mut running(policy), fatal, at(0), 0.0),
                (vec![], vec![Effect::End])
            );
        }
    }

    #[test]
    fn a_temporary_failure_is_retried_without_cost() {
        let mut life = running(POLICY);
        for n in 0..20 {
            let effects = life.handle(ended(TRY_AGAIN, true), at(n), 0.0);
            assert!(
                matches!(effects[..], [Effect::ReportDelay(_)]),
                "{n}: {effects:?}"
            );
            life.handle(Input::Due, at(n + 100), 0.0);
            life.handle(Input::Started, at(n + 100), 0.0);
        }
        assert!(life.budget.counted.is_empty());
    }

    #[test]
    fn a_restart_that_was_ordered_costs_nothing() {
        let mut life = running(POLICY);
        for _ in 0..10 {
            life.handle(Input::Restart, at(5), 0.0);
            assert_eq!(life.handle(ended(143, true), at(6), 0.0), [Effect::Start]);
            life.handle(Input::Started, at(6), 0.0);
        }
        assert_eq!((life.incarnation(), life.budget.counted.len()), (10, 0));
    }

    #[test]
    fn an_ordered_restart_happens_under_any_policy() {
        let mut life = running(Policy {
            restart: Restart::Never,
            ..POLICY
        });
        life.handle(Input::Restart, at(5), 0.0);
        assert_eq!(life.handle(ended(0, true), at(6), 0.0), [Effect::Start]);
    }

    #[test]
    fn a_stop_wins_over_a_restart_that_is_under_way() {
        let mut life = running(POLICY);
        life.handle(Input::Restart, at(5), 0.0);
        life.handle(Input::Stop, at(5), 0.0);
        assert_eq!(life.handle(ended(0, true), at(6), 0.0), [Effect::End]);
    }

    #[test]
    fn an_end_soon_after_a_passed_on_signal_was_asked_for_and_a_later_one_was_not() {
        for (end, requested) in [(10, true), (11, false)] {
            let mut life = running(POLICY);
            life.handle(forwarded(2), at(0), 0.0);
            life.handle(ended(130, true), at(end), 0.0);
            assert_eq!(life.requested(), requested, "{end} s later");
        }
    }

    fn end_of(number: u8, exit: Exit, after_ms: u64) -> bool {
        let mut life = running(POLICY);
        life.handle(forwarded(number), at(0), 0.0);
        let ended = by_itself(exit);
        let now = Moment::from_millis(after_ms);
        life.handle(Input::Exited(ended), now, 0.0);
        life.requested()
    }

    #[test]
    fn a_crash_after_a_signal_that_the_agent_survived_is_a_crash() {
        for number in [1, 2, 3] {
            assert!(!end_of(number, code(3), 1000), "signal {number}");
            let fault = Exit {
                code: None,
                signal: Some(11),
            };
            assert!(!end_of(number, fault, 10), "signal {number}");
        }
        assert!(!end_of(1, code(3), 10), "HUP is a reload by convention");
    }

    #[test]
    fn an_answer_to_a_signal_is_its_death_its_code_success_or_any_code_at_once() {
        for number in [1, 2, 3] {
            let by_it = Exit {
                code: None,
                signal: Some(number),
            };
            assert!(end_of(number, by_it, 9000));
            assert!(end_of(number, code(128 + number), 9000));
            assert!(end_of(number, code(0), 9000));
        }
        assert!(end_of(2, code(3), 100));
    }

    #[test]
    fn an_agent_that_failed_as_its_reader_went_has_failed_and_is_not_restarted() {
        let mut life = running(POLICY);
        let Input::Exited(failed) = ended(1, true) else {
            panic!("an exit");
        };
        let cut_off = Ended {
            cut_off: true,
            ..failed
        };
        let effects = life.handle(Input::Exited(cut_off), at(1), 0.0);
        assert_eq!((effects, life.requested()), (vec![Effect::End], false));
    }

    #[test]
    fn an_agent_whose_output_has_no_reader_any_more_has_ended_cleanly() {
        let mut life = running(POLICY);
        let pipe = Exit {
            code: None,
            signal: Some(13),
        };
        let ended = Ended {
            unread: true,
            ..by_itself(pipe)
        };
        assert_eq!(life.handle(Input::Exited(ended), at(1), 0.0), [Effect::End]);
        let crashed = Ended {
            unread: false,
            ..ended
        };
        let effects = running(POLICY).handle(Input::Exited(crashed), at(1), 0.0);
        assert!(
            matches!(effects[..], [Effect::ReportDelay(_)]),
            "{effects:?}"
        );
    }

    #[test]
    fn ten_minutes_of_progress_halve_the_back_off_and_thirty_forget_it() {
        for (minutes, exponent, counted) in [(9, 2, 2), (10, 1, 2), (29, 0, 2), (30, 0, 0)] {
            let mut life = running(POLICY);
            for now in [0, 100] {
                life.handle(ended(1, true), at(now), 0.0);
                life.handle(Input::Due, at(now + 50), 0.0);
                life.handle(Input::Started, at(now + 50), 0.0);
            }
            for minute in 0..=minutes {
                life.handle(Input::Progress, at(200 + minute * 60), 0.0);
            }
            let budget = (life.budget.exponent, life.budget.counted.len());
            assert_eq!(budget, (exponent, counted), "after {minutes} min");
        }
    }

    #[test]
    fn uptime_alone_halves_nothing() {
        let mut life = running(POLICY);
        life.handle(ended(1, true), at(0), 0.0);
        life.handle(Input::Due, at(1), 0.0);
        life.handle(Input::Started, at(1), 0.0);
        assert_eq!(
            life.handle(ended(1, true), at(100_000), 0.0),
            [Effect::ReportDelay(Duration::from_secs(2))]
        );
    }

    #[test]
    fn the_window_slides() {
        let mut life = running(POLICY);
        let mut crash_at = |now| {
            let effects = life.handle(ended(1, true), at(now), 0.0);
            life.handle(Input::Due, at(now + 100), 0.0);
            life.handle(Input::Started, at(now + 100), 0.0);
            effects.contains(&Effect::ReportCrashLoop)
        };
        assert_eq!([0, 700, 1400, 1800].map(&mut crash_at), [false; 4]);
        assert!(
            crash_at(2499),
            "700, 1400 and 1800 are less than 30 min ago"
        );
    }

    #[test]
    fn always_restarts_what_ended_well_and_counts_nothing() {
        let mut life = running(Policy {
            restart: Restart::Always,
            ..POLICY
        });
        assert_eq!(
            life.handle(ended(0, true), at(9), 0.0),
            [Effect::ReportDelay(Duration::from_secs(1))]
        );
        assert!(life.budget.counted.is_empty());
    }

    #[test]
    fn a_hung_agent_costs_restarts_and_is_left_alone_and_reported_once_when_they_are_used_up() {
        let mut life = running(POLICY);
        for round in 0..3 {
            let effects = life.handle(Input::RestartCharged, at(round * 100), 0.0);
            assert_eq!(
                effects,
                [Effect::TakeEvidence, Effect::RequestStop],
                "{round}"
            );
            life.handle(ended(143, true), at(round * 100 + 1), 0.0);
            life.handle(Input::Due, at(round * 100 + 90), 0.0);
            life.handle(Input::Started, at(round * 100 + 90), 0.0);
        }
        assert_eq!(
            life.handle(Input::RestartCharged, at(400), 0.0),
            [Effect::ReportCrashLoop]
        );
        assert_eq!(life.handle(Input::RestartCharged, at(401), 0.0), []);
        assert!(life.is_running());
    }

    #[test]
    fn a_hung_agent_that_is_never_restarted_is_left_alone() {
        let restart = Restart::Never;
        let mut life = running(Policy { restart, ..POLICY });
        assert_eq!(life.handle(Input::RestartCharged, at(1), 0.0), []);
    }

    #[test]
    fn a_hung_agent_that_another_program_runs_is_ended_at_the_same_cost_and_searched_for_at_once() {
        let restart = Restart::Follow;
        let mut life = running(Policy { restart, ..POLICY });
        for round in 0..3 {
            let effects = life.handle(Input::RestartCharged, at(round), 0.0);
            assert_eq!(effects, [Effect::TakeEvidence, Effect::RequestStop]);
            let ended = life.handle(ended(143, true), at(round), 0.0);
            assert_eq!(ended, [Effect::Start]);
            life.handle(Input::Started, at(round), 0.0);
        }
        let effects = life.handle(Input::RestartCharged, at(4), 0.0);
        assert_eq!(effects, [Effect::ReportCrashLoop]);
    }

    #[test]
    fn an_agent_that_another_program_restarts_is_followed_until_a_stop() {
        let mut life = running(Policy {
            restart: Restart::Follow,
            ..POLICY
        });
        for now in 0..10 {
            assert_eq!(life.handle(ended(0, true), at(now), 0.0), [Effect::Start]);
            life.handle(Input::Started, at(now), 0.0);
        }
        life.handle(Input::Stop, at(20), 0.0);
        assert_eq!(life.handle(ended(0, true), at(20), 0.0), [Effect::End]);
    }

    fn followed(restarts_max: u32) -> Lifecycle {
        running(Policy {
            restart: Restart::Follow,
            restarts_max,
            ..POLICY
        })
    }

    /// The process ends, and the next one is found in the same second.
    fn ends_and_is_found(life: &mut Lifecycle, how: Input, now: Moment) -> Vec<Effect> {
        let effects = life.handle(how, now, 0.0);
        life.handle(Input::Started, now, 0.0);
        effects
    }

    #[test]
    fn an_agent_that_another_program_restarts_again_and_again_is_in_a_crash_loop_and_followed_on() {
        let mut life = followed(3);
        let mut seen = Vec::new();
        for now in 0..6 {
            let effects = ends_and_is_found(&mut life, ended(3, true), at(now * 10));
            seen.push((effects.len(), life.is_crash_loop()));
        }
        let expected = [
            (1, false),
            (1, false),
            (1, false),
            (2, true),
            (1, true),
            (1, true),
        ];
        assert_eq!(seen, expected, "one report, then the next search each time");
    }

    #[test]
    fn a_crash_loop_of_a_followed_agent_is_over_when_an_incarnation_lasts() {
        let mut life = followed(1);
        for now in [0, 1] {
            ends_and_is_found(&mut life, ended(3, true), at(now));
        }
        assert_eq!(life.deadline(), Some(at(31)));
        assert_eq!(life.handle(Input::Due, at(30), 0.0), []);
        let effects = life.handle(Input::Due, at(31), 0.0);
        assert_eq!(effects, [Effect::ReportCrashLoopOver]);
        assert_eq!((life.is_crash_loop(), life.deadline()), (false, None));
    }

    #[test]
    fn ends_that_are_no_failures_are_no_crash_loop_of_a_followed_agent() {
        let of = |exit, by_its_runner| {
            Input::Exited(Ended {
                by_its_runner,
                ..by_itself(exit)
            })
        };
        let killed = Exit {
            code: None,
            signal: Some(9),
        };
        for how in [
            ended(0, true),
            ended(TRY_AGAIN, true),
            of(Exit::UNKNOWN, false),
            of(killed, false),
            of(code(143), true),
        ] {
            let mut life = followed(3);
            for now in 0..10 {
                let effects = ends_and_is_found(&mut life, how, at(now));
                assert_eq!(effects, [Effect::Start], "{how:?}");
            }
        }
        let mut without_budget = followed(0);
        let effects = ends_and_is_found(&mut without_budget, ended(3, true), at(1));
        assert_eq!(effects, [Effect::Start]);
    }

    #[test]
    fn an_agent_that_the_kernel_ends_for_memory_again_and_again_is_in_a_crash_loop() {
        let mut life = followed(1);
        let exit = Exit {
            code: None,
            signal: Some(9),
        };
        for now in [0, 1] {
            let ended = Ended {
                out_of_memory: true,
                ..by_itself(exit)
            };
            ends_and_is_found(&mut life, Input::Exited(ended), at(now));
        }
        assert!(life.is_crash_loop());
    }

    #[test]
    fn a_crash_on_the_way_to_an_announced_end_is_a_failure() {
        let ends = |exit| {
            let mut life = running(POLICY);
            life.handle(
                Input::Exited(Ended {
                    announced: true,
                    ..by_itself(exit)
                }),
                at(9),
                0.0,
            )
        };
        let by = |signal| Exit {
            code: None,
            signal: Some(signal),
        };
        let own = Exit {
            code: Some(3),
            signal: None,
        };
        assert_eq!(ends(own), [Effect::End]);
        assert_eq!(ends(by(15)), [Effect::End]);
        assert_ne!(ends(by(11)), [Effect::End]);
    }

    #[test]
    fn a_clean_end_ends_the_crash_loop_of_a_followed_agent() {
        let mut life = followed(1);
        for code in [3, 3, 0] {
            ends_and_is_found(&mut life, ended(code, true), at(1));
        }
        assert!(!life.is_crash_loop());
    }

    #[test]
    fn orphans_that_are_kept_hold_nothing_up() {
        let mut life = running(Policy {
            keep_orphans: true,
            ..POLICY
        });
        assert_eq!(life.handle(ended(0, false), at(9), 0.0), [Effect::End]);
    }

    proptest! {
        #[test]
        fn delays_stay_between_their_bounds_and_jitter_adds_at_most_a_quarter(random in 0.0..1.0f64) {
            let policy = Policy { restarts_max: 20, ..POLICY };
            let (delays, _) = crash(&mut running(policy), 1, at(0), random);
            prop_assert_eq!(delays.len(), 20);
            for (n, delay) in delays.iter().enumerate() {
                let base = (1000 << n.min(6)).min(60_000) as f64;
                prop_assert!((base..=base * 1.25).contains(&(*delay as f64)), "{} is {}", n, delay);
            }
        }

        #[test]
        fn no_order_of_inputs_starts_two_or_survives_its_end(
            inputs in proptest::collection::vec((0..15_usize, 0..40_u64), 1..60),
        ) {
            let mut life = Lifecycle::new(POLICY);
            let (mut now, mut over) = (0, false);
            for (pick, later) in inputs {
                now += later;
                let alive = matches!(life.phase, Phase::Running | Phase::Stopping { .. });
                let effects = life.handle(input(pick), at(now), 0.5);
                prop_assert!(!over || effects.is_empty(), "nothing after the end: {:?}", effects);
                let starts = effects.iter().filter(|e| **e == Effect::Start).count();
                let may = !alive || matches!(input(pick), Input::Exited(_) | Input::TreeEmpty);
                prop_assert!(starts == 0 || (starts == 1 && may));
                over |= effects.contains(&Effect::End);
            }
        }
    }

    fn input(pick: usize) -> Input {
        match pick {
            0 => Input::Started,
            1 => Input::NotStarted { permanent: false },
            2 => Input::NotStarted { permanent: true },
            3 => ended(0, true),
            4 => ended(1, true),
            5 => ended(1, false),
            6 => Input::DescendantExited,
            7 => Input::TreeEmpty,
            8 => Input::Due,
            9 => Input::Progress,
            10 => forwarded(1),
            11 => Input::Stop,
            12 => Input::Restart,
            13 => Input::SearchGivenUp,
            _ => Input::RestartCharged,
        }
    }
}
