//! The life of one agent's process under supervision: start, end, back-off, stop. Decides; `sidecar/` does.
//!
//! ```text
//! Starting ─► Running ─► Stopping(Asked ─► Killed ─► Unkillable) ─► Waiting ─► Starting …
//!                   └──► Stopping(Swept ─► Killed …) (leftovers of an agent that ended) ─► Over
//! ```
//!
//! An incarnation is over when its *last* process is gone, not when the first one ended. Numbers are those of
//! Kubernetes' back-off (KEP-4603) with Nomad's jitter.

mod attempts;

use crate::beat::Exit;
use crate::moment::Moment;
use attempts::Attempts;
use std::time::Duration;

/// How long leftovers have between TERM and KILL, and everything between KILL and being called unkillable.
pub const AFTER_KILL: Duration = Duration::from_secs(2);
/// How often survivors of KILL are looked at again.
pub const RECHECK: Duration = Duration::from_secs(30);
/// `EX_CONFIG`, not executable, not found: starting again changes nothing.
const FATAL: [u8; 3] = [78, 126, 127];
/// `EX_TEMPFAIL`: the agent itself says that it wants another try.
const TRY_AGAIN: u8 = 75;

/// When an agent that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// After anything but exit code 0.
    OnFailure,
    /// After everything but a fatal exit code.
    Always,
    /// Not by itself; an order still restarts it.
    Never,
    /// Somebody else starts it: whoever comes next is the next incarnation.
    Follow,
}

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether.
    pub restart: Restart,
    /// How many restarts a window holds.
    pub restarts_max: u32,
    /// The sliding window.
    pub window: Duration,
    /// The first delay; doubles with each restart.
    pub backoff: Duration,
    /// The longest delay, before its jitter of up to a quarter.
    pub backoff_max: Duration,
    /// From the stop signal to KILL.
    pub grace: Duration,
    /// Whether processes that outlive the agent are left alone.
    pub keep_orphans: bool,
}

/// What an incarnation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of its first process.
    pub exit: Exit,
    /// Nothing of its tree is left.
    pub alone: bool,
    /// The person at its terminal ended it.
    pub by_person: bool,
    /// It said before that it would end.
    pub announced: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The process runs.
    Started,
    /// There is no process. `permanent`: trying again would fail again.
    NotStarted {
        /// The command is not there or not executable.
        permanent: bool,
    },
    /// The first process ended.
    Exited(Ended),
    /// Some descendant ended; others are left.
    Fewer,
    /// The last process of the tree is gone.
    Empty,
    /// The deadline is reached.
    Due,
    /// Proof that work moves.
    Progress,
    /// A signal that may mean an end was passed on to the agent.
    Hinted,
    /// It shall end.
    Stop,
    /// It shall end and start again, whatever the policy says.
    Restart,
    /// It does not work any more: it shall be started again as if it had ended badly.
    Condemned,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process; `Started` or `NotStarted` answers.
    Start,
    /// The stop signal and CONT to the process group.
    Ask,
    /// TERM and CONT to every process that is left.
    Sweep,
    /// Write down what can be seen before it is gone.
    TakeEvidence,
    /// KILL to the group and to every process that is left.
    Kill,
    /// Say who survived KILL.
    TellSurvivors,
    /// Say that the next start comes after this delay.
    TellDelay(Duration),
    /// Say that restarts are used up: others must act.
    TellCrashLoop,
    /// The supervisor's work is over.
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
    Waiting {
        until: Moment,
        delay: Duration,
    },
    Over,
}

/// What follows the present or last process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It is meant to go on.
    GoesOn,
    /// It ends, or has ended, and nothing follows.
    Ends,
    /// The next one is started, or looked for, this long after the end.
    StartsAgain(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Swept,
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
    attempts: Attempts,
    /// An end before this was asked for by a signal that was passed on.
    hinted_until: Option<Moment>,
    requested: bool,
    stopping_for_good: bool,
    /// It was told that no restart is left for this incarnation.
    handed_over: bool,
}

impl Lifecycle {
    /// Before the first start, which the caller makes.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Starting,
            incarnation: 0,
            attempts: Attempts::default(),
            hinted_until: None,
            requested: false,
            stopping_for_good: false,
            handed_over: false,
        }
    }

    /// How many incarnations came before the present one.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether the present or last end was asked for.
    pub fn requested(&self) -> bool {
        self.requested
    }

    /// Whether a stop was asked for, with or without a process to end.
    pub fn is_asked_to_stop(&self) -> bool {
        self.stopping_for_good
    }

    /// Whether a process is meant to be there and to go on.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether KILL has been sent: a death by it is then no news.
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
        matches!(self.phase, Phase::Running | Phase::Waiting { .. })
    }

    /// Whether a process is looked for or being started.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// What follows the present or last process.
    pub fn outlook(&self) -> Outlook {
        match self.phase {
            Phase::Running => Outlook::GoesOn,
            Phase::Starting => Outlook::StartsAgain(Duration::ZERO),
            Phase::Waiting { delay, .. } => Outlook::StartsAgain(delay),
            Phase::Stopping { then, .. } => match then {
                Then::Start { delay } => Outlook::StartsAgain(delay),
                Then::End | Then::CrashLoop => Outlook::Ends,
            },
            Phase::Over => Outlook::Ends,
        }
    }

    /// The how-manieth restart of its window the next or last one is, and how many the window holds; `None` for one that
    /// costs nothing.
    pub fn attempt(&self) -> Option<(u32, u32)> {
        let used = u32::try_from(self.attempts.counted.len()).unwrap_or(u32::MAX);
        self.attempts
            .charged
            .then_some((used, self.policy.restarts_max))
    }

    /// When `Due` is due.
    pub fn deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Stopping { until, .. } | Phase::Waiting { until, .. } => Some(until),
            Phase::Starting | Phase::Running | Phase::Over => None,
        }
    }

    /// Takes one input. `random` is from 0 to 1 and comes from outside: it spreads the delays of a fleet.
    pub fn handle(&mut self, input: Input, now: Moment, random: f64) -> Vec<Effect> {
        match input {
            Input::Started => self.started(),
            Input::NotStarted { permanent } => self.not_started(permanent, now, random),
            Input::Exited(ended) => self.exited(ended, now, random),
            Input::Fewer => self.fewer(),
            Input::Empty => self.empty(now),
            Input::Due => self.due(now),
            Input::Progress => self.progress(now),
            Input::Hinted => {
                self.hinted_until = Some(now + self.policy.grace);
                Vec::new()
            }
            Input::Stop => self.asked(Then::End, now),
            Input::Restart => self.asked(NOW, now),
            Input::Condemned => self.condemned(now, random),
        }
    }

    fn started(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
            self.requested = false;
            self.handed_over = false;
            self.hinted_until = None;
            self.attempts.new_incarnation();
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
            self.attempts.charge(&self.policy, now, random)
        };
        self.follow(then, now)
    }

    fn exited(&mut self, ended: Ended, now: Moment, random: f64) -> Vec<Effect> {
        match self.phase {
            Phase::Running => {
                let asked = ended.by_person || self.hinted_until.is_some_and(|at| now <= at);
                self.requested = asked || ended.announced;
                // Always is always: that an agent says goodbye is no wish of its user.
                let over = asked || (ended.announced && self.policy.restart != Restart::Always);
                let then = self.after(ended.exit, over, now, random);
                if ended.alone || self.policy.keep_orphans {
                    return self.follow(then, now);
                }
                self.stopping(Stage::Swept, AFTER_KILL, then, now);
                vec![Effect::Sweep]
            }
            Phase::Stopping { then, .. } if ended.alone || self.policy.keep_orphans => {
                self.follow(then, now)
            }
            Phase::Stopping {
                stage: Stage::Asked,
                then,
                until,
            } => {
                let left = until.since(now).min(AFTER_KILL);
                self.stopping(Stage::Swept, left, then, now);
                vec![Effect::Sweep]
            }
            Phase::Stopping { .. } | Phase::Starting | Phase::Waiting { .. } | Phase::Over => {
                Vec::new()
            }
        }
    }

    /// What this end of a running agent leads to.
    fn after(&mut self, exit: Exit, asked: bool, now: Moment, random: f64) -> Then {
        let fatal = exit.code.is_some_and(|code| FATAL.contains(&code));
        if (asked || fatal) && self.policy.restart != Restart::Follow {
            return Then::End;
        }
        match (self.policy.restart, exit.code) {
            (Restart::Follow, _) => NOW,
            (Restart::Never, _) | (Restart::OnFailure, Some(0)) => Then::End,
            (Restart::Always, Some(0))
            | (Restart::OnFailure | Restart::Always, Some(TRY_AGAIN)) => {
                self.attempts.charged = false;
                self.attempts.postpone(&self.policy, random)
            }
            // Without any restart in the budget, one failure is an end and no crash loop.
            (Restart::OnFailure, _) if self.policy.restarts_max == 0 => Then::End,
            (Restart::OnFailure | Restart::Always, _) => {
                self.attempts.charge(&self.policy, now, random)
            }
        }
    }

    /// A restart like any other costs. With none left the agent stays as it is, and others must act.
    fn condemned(&mut self, now: Moment, random: f64) -> Vec<Effect> {
        let restarts = matches!(self.policy.restart, Restart::OnFailure | Restart::Always);
        if self.phase != Phase::Running || !restarts {
            return Vec::new();
        }
        match self.attempts.charge(&self.policy, now, random) {
            Then::Start { delay } => {
                self.requested = true;
                self.stopping(Stage::Asked, self.policy.grace, Then::Start { delay }, now);
                vec![Effect::TakeEvidence, Effect::Ask]
            }
            Then::CrashLoop | Then::End if std::mem::replace(&mut self.handed_over, true) => {
                Vec::new()
            }
            Then::CrashLoop | Then::End => vec![Effect::TellCrashLoop],
        }
    }

    /// One less, and not the last: whoever was born during KILL is looked for again.
    fn fewer(&self) -> Vec<Effect> {
        match self.phase {
            Phase::Stopping {
                stage: Stage::Killed | Stage::Unkillable,
                ..
            } => vec![Effect::Kill],
            Phase::Stopping {
                stage: Stage::Asked | Stage::Swept,
                ..
            }
            | Phase::Starting
            | Phase::Running
            | Phase::Waiting { .. }
            | Phase::Over => Vec::new(),
        }
    }

    fn empty(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Stopping { then, .. } => self.follow(then, now),
            Phase::Starting | Phase::Running | Phase::Waiting { .. } | Phase::Over => Vec::new(),
        }
    }

    fn due(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Waiting { until, .. } if until <= now => self.start(),
            Phase::Stopping { stage, until, then } if until <= now => match stage {
                Stage::Asked | Stage::Swept => {
                    self.stopping(Stage::Killed, AFTER_KILL, then, now);
                    vec![Effect::TakeEvidence, Effect::Kill]
                }
                Stage::Killed => {
                    self.stopping(Stage::Unkillable, RECHECK, then, now);
                    vec![Effect::Kill, Effect::TellSurvivors]
                }
                Stage::Unkillable => {
                    self.stopping(Stage::Unkillable, RECHECK, then, now);
                    vec![Effect::Kill]
                }
            },
            Phase::Waiting { .. }
            | Phase::Stopping { .. }
            | Phase::Starting
            | Phase::Running
            | Phase::Over => Vec::new(),
        }
    }

    fn progress(&mut self, now: Moment) -> Vec<Effect> {
        if self.is_running() {
            self.attempts.progress(now);
        }
        Vec::new()
    }

    /// A stop wins over a restart, whichever came first.
    fn asked(&mut self, wanted: Then, now: Moment) -> Vec<Effect> {
        self.stopping_for_good |= wanted == Then::End;
        match self.phase {
            Phase::Running => {
                self.requested = true;
                self.stopping(Stage::Asked, self.policy.grace, wanted, now);
                match wanted {
                    Then::End | Then::CrashLoop => vec![Effect::Ask],
                    // Whoever wants another incarnation wants to know what was wrong with this one.
                    Then::Start { .. } => vec![Effect::TakeEvidence, Effect::Ask],
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
            Phase::Waiting { .. } | Phase::Starting if wanted == Then::End => {
                self.requested = true;
                self.phase = Phase::Over;
                vec![Effect::End]
            }
            Phase::Waiting { .. } => self.start(),
            Phase::Stopping { .. } | Phase::Starting | Phase::Over => Vec::new(),
        }
    }

    fn follow(&mut self, then: Then, now: Moment) -> Vec<Effect> {
        match then {
            Then::End => {
                self.phase = Phase::Over;
                vec![Effect::End]
            }
            Then::CrashLoop => {
                self.phase = Phase::Over;
                vec![Effect::TellCrashLoop, Effect::End]
            }
            Then::Start { delay } if delay.is_zero() => self.start(),
            Then::Start { delay } => {
                self.phase = Phase::Waiting {
                    until: now + delay,
                    delay,
                };
                vec![Effect::TellDelay(delay)]
            }
        }
    }

    fn start(&mut self) -> Vec<Effect> {
        self.phase = Phase::Starting;
        self.incarnation += 1;
        vec![Effect::Start]
    }

    fn stopping(&mut self, stage: Stage, wait: Duration, then: Then, now: Moment) {
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

    fn ended(code: u8, alone: bool) -> Input {
        Input::Exited(Ended {
            exit: self::code(code),
            alone,
            by_person: false,
            announced: false,
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
                [Effect::TellDelay(delay)] => {
                    now = now + *delay;
                    delays.push(crate::moment::millis(*delay));
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
            ("asked", asked()),
            ("swept", after(1, false)),
            ("killed", due(asked(), 1)),
            ("unkillable", due(asked(), 2)),
            ("waiting", after(1, true)),
            ("over", after(0, true)),
        ]
    }

    fn name(life: &Lifecycle) -> &'static str {
        match life.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping {
                stage: Stage::Asked,
                ..
            } => "asked",
            Phase::Stopping {
                stage: Stage::Swept,
                ..
            } => "swept",
            Phase::Stopping {
                stage: Stage::Killed,
                ..
            } => "killed",
            Phase::Stopping {
                stage: Stage::Unkillable,
                ..
            } => "unkillable",
            Phase::Waiting { .. } => "waiting",
            Phase::Over => "over",
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
            ("fewer", Input::Fewer),
            ("empty", Input::Empty),
            ("due", Input::Due),
            ("progress", Input::Progress),
            ("hinted", Input::Hinted),
            ("stop", Input::Stop),
            ("restart", Input::Restart),
            ("condemned", Input::Condemned),
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
starting + not started = over [End]
starting + never to start = over [End]
starting + stop = over [End]
running + exit 0, alone = over [End]
running + exit 1, alone = waiting [TellDelay(1s)]
running + exit 1, leftovers = swept [Sweep]
running + stop = asked [Ask]
running + restart = asked [TakeEvidence, Ask]
running + condemned = asked [TakeEvidence, Ask]
asked + exit 0, alone = over [End]
asked + exit 1, alone = over [End]
asked + exit 1, leftovers = swept [Sweep]
asked + empty = over [End]
asked + due = killed [TakeEvidence, Kill]
swept + exit 0, alone = waiting [TellDelay(1s)]
swept + exit 1, alone = waiting [TellDelay(1s)]
swept + empty = waiting [TellDelay(1s)]
swept + due = killed [TakeEvidence, Kill]
killed + exit 0, alone = over [End]
killed + exit 1, alone = over [End]
killed + fewer = killed [Kill]
killed + empty = over [End]
killed + due = unkillable [Kill, TellSurvivors]
unkillable + exit 0, alone = over [End]
unkillable + exit 1, alone = over [End]
unkillable + fewer = unkillable [Kill]
unkillable + empty = over [End]
unkillable + due = unkillable [Kill]
waiting + due = starting [Start]
waiting + stop = over [End]
waiting + restart = starting [Start]
";
        assert_eq!(table, expected);
    }

    #[test]
    fn delays_double_and_the_budget_ends_in_a_crash_loop_told_once() {
        let mut life = running(POLICY);
        let (delays, last) = crash(&mut life, 1, at(0), 0.0);
        assert_eq!(delays, [1000, 2000, 4000]);
        assert_eq!(last, [Effect::TellCrashLoop, Effect::End]);
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
                matches!(effects[..], [Effect::TellDelay(_)]),
                "{n}: {effects:?}"
            );
            life.handle(Input::Due, at(n + 100), 0.0);
            life.handle(Input::Started, at(n + 100), 0.0);
        }
        assert!(life.attempts.counted.is_empty());
    }

    #[test]
    fn a_restart_that_was_ordered_costs_nothing() {
        let mut life = running(POLICY);
        for _ in 0..10 {
            life.handle(Input::Restart, at(5), 0.0);
            assert_eq!(life.handle(ended(143, true), at(6), 0.0), [Effect::Start]);
            life.handle(Input::Started, at(6), 0.0);
        }
        assert_eq!((life.incarnation(), life.attempts.counted.len()), (10, 0));
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
            life.handle(Input::Hinted, at(0), 0.0);
            life.handle(ended(130, true), at(end), 0.0);
            assert_eq!(life.requested(), requested, "{end} s later");
        }
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
            let attempts = (life.attempts.exponent, life.attempts.counted.len());
            assert_eq!(attempts, (exponent, counted), "after {minutes} min");
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
            [Effect::TellDelay(Duration::from_secs(2))]
        );
    }

    #[test]
    fn the_window_slides() {
        let mut life = running(POLICY);
        let mut crash_at = |now| {
            let effects = life.handle(ended(1, true), at(now), 0.0);
            life.handle(Input::Due, at(now + 100), 0.0);
            life.handle(Input::Started, at(now + 100), 0.0);
            effects.contains(&Effect::TellCrashLoop)
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
            [Effect::TellDelay(Duration::from_secs(1))]
        );
        assert!(life.attempts.counted.is_empty());
    }

    #[test]
    fn a_hung_agent_costs_restarts_and_is_left_alone_and_told_once_when_they_are_used_up() {
        let mut life = running(POLICY);
        for round in 0..3 {
            let effects = life.handle(Input::Condemned, at(round * 100), 0.0);
            assert_eq!(effects, [Effect::TakeEvidence, Effect::Ask], "{round}");
            life.handle(ended(143, true), at(round * 100 + 1), 0.0);
            life.handle(Input::Due, at(round * 100 + 90), 0.0);
            life.handle(Input::Started, at(round * 100 + 90), 0.0);
        }
        assert_eq!(
            life.handle(Input::Condemned, at(400), 0.0),
            [Effect::TellCrashLoop]
        );
        assert_eq!(life.handle(Input::Condemned, at(401), 0.0), []);
        assert!(life.is_running());
    }

    #[test]
    fn a_hung_agent_that_is_never_restarted_or_is_anothers_is_left_alone() {
        for restart in [Restart::Never, Restart::Follow] {
            let mut life = running(Policy { restart, ..POLICY });
            assert_eq!(life.handle(Input::Condemned, at(1), 0.0), []);
        }
    }

    #[test]
    fn an_agent_that_others_start_again_is_followed_for_ever_and_ends_when_told() {
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
            inputs in proptest::collection::vec((0..14_usize, 0..40_u64), 1..60),
        ) {
            let mut life = Lifecycle::new(POLICY);
            let (mut now, mut over) = (0, false);
            for (pick, later) in inputs {
                now += later;
                let alive = matches!(life.phase, Phase::Running | Phase::Stopping { .. });
                let effects = life.handle(input(pick), at(now), 0.5);
                prop_assert!(!over || effects.is_empty(), "nothing after the end: {:?}", effects);
                let starts = effects.iter().filter(|e| **e == Effect::Start).count();
                let may = !alive || matches!(input(pick), Input::Exited(_) | Input::Empty);
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
            6 => Input::Fewer,
            7 => Input::Empty,
            8 => Input::Due,
            9 => Input::Progress,
            10 => Input::Hinted,
            11 => Input::Stop,
            12 => Input::Restart,
            _ => Input::Condemned,
        }
    }
}
