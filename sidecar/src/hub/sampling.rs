//! Sampling: the tree is sampled on the verdict's timetable; a changed verdict is published and acted upon.

use super::Hub;
use super::agent::Body;
use super::announcer::Announcer;
use super::declared::{is_starting, self_report};
use crate::clock;
use crate::config::{Config, Reaction, Reads, Work};
use crate::fixes::{self, FixError, FixOutcome};
use crate::probe::{self, Sampler, ToolCalls};
use crate::process::child::Loading;
use crate::process::handle;
use crate::process::usage::Vitals;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::contract::report::Report;
use heartbeat::supervise::lifecycle;
use heartbeat::supervise::remedy::{Remedy, RemedyPolicy, Step};
use heartbeat::verdict::machine::VerdictMachine;
use heartbeat::verdict::{
    Confidence, EVIDENCE_MAX, Input, Judgement, RuleId, SelfReport, Settings,
};
use heartbeat::wire::beat::{self, Verdict, VerdictClass, cut};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::evidence_snapshot::{
    EvidenceSnapshot, SNAPSHOT_BYTES_MAX, VERDICT_SNAPSHOT_BYTES_MAX,
};
use heartbeat::wire::life::Reason;
use std::time::Duration;

/// For so long a process without a verdict counts as starting: two samples are needed for one.
const FRESH: Duration = Duration::from_secs(10);
/// The longest sentence, in characters.
const SENTENCE_MAX: usize = 300;
/// The longest piece of evidence in a beat, in characters: six of them fit.
const PIECE_MAX: usize = 200;

/// What is known of the present incarnation's work.
pub(super) struct Watch {
    settings: Settings,
    policy: RemedyPolicy,
    evidence: Sampler,
    machine: VerdictMachine,
    tool_calls: ToolCalls,
    remedy: Remedy,
    /// The trouble that was reported last: each is reported once.
    reported: Option<Verdict>,
    streams_turns: bool,
    /// When the present incarnation started.
    started: Moment,
    /// Its program, where that was not read at once.
    pub(super) loading: Option<Loading>,
    /// A process below the agent's first one that announced the end.
    pub(super) announcer: Option<Announcer>,
    /// What the agent reports.
    pub(super) report: Report,
    /// Processor time and memory of the tree.
    pub(super) usage: Vitals,
}

impl Watch {
    pub(super) fn new(config: &Config, now: Moment) -> Self {
        let settings = Settings {
            patience: config.patience,
            stall_after: config.stall_after,
            one_off: None,
        };
        let policy = RemedyPolicy {
            hung_is_restarted: config.on_hung == Reaction::Restart,
            stalled_is_restarted: (config.on_stalled == Reaction::Restart)
                .then(|| config.patience.scale(config.stall_after)),
        };
        let evidence = sampler(&config.work);
        if evidence.is_blind() {
            tracing::warn!(
                "/proc is of another pid namespace, so the agent's processes cannot be sampled; mount /proc again \
                 (`unshare --mount-proc`)"
            );
        }
        if let Some(error) = Sampler::no_sockets() {
            tracing::warn!(
                "the list of sockets cannot be read ({error}), so some waits stay unknown; a seccomp profile must allow netlink \
                 sockets, as RuntimeDefault does"
            );
        }
        Self {
            machine: VerdictMachine::new(settings, now),
            tool_calls: ToolCalls::default(),
            remedy: Remedy::new(policy),
            evidence,
            reported: None,
            started: now,
            loading: None,
            announcer: None,
            report: Report::default(),
            usage: Vitals::new(),
            streams_turns: matches!(config.reads, Some(Reads::Events)),
            settings,
            policy,
        }
    }

    /// Whether it is proven that it cannot go on.
    pub(super) fn is_hung(&self) -> bool {
        self.machine.judgement().verdict == Verdict::Hung
    }

    /// Notes whether the process that announced the end has ended itself.
    pub(super) fn look_at_announcer(&mut self, now: Moment) {
        if let Some(announcer) = &mut self.announcer {
            announcer.look(now);
        }
    }

    /// Whether the agent has announced its end. One of its tools may have announced its own.
    pub(super) fn has_announced(&self, now: Moment) -> bool {
        let meant_itself = self.announcer.is_some_and(|one| one.meant_itself(now));
        self.report.stopping() && !meant_itself
    }

    /// Whether its program is still read, or it has said that it starts.
    pub(super) fn is_starting(&self) -> bool {
        self.is_loading() || is_starting(&self.report)
    }

    pub(super) fn is_loading(&self) -> bool {
        self.loading.as_ref().is_some_and(Loading::goes_on)
    }

    /// Whether /proc shows other processes than the agent's under the agent's numbers.
    pub(super) fn is_blind(&self) -> bool {
        self.evidence.is_blind()
    }

    /// Another process: what was seen of the last one says nothing of it.
    pub(super) fn new_incarnation(&mut self, now: Moment) {
        self.machine = VerdictMachine::new(self.settings, now);
        self.remedy = Remedy::new(self.policy);
        self.tool_calls = ToolCalls::default();
        self.announcer = None;
        self.started = now;
    }

    /// When the next sample is due; where none can be taken, never.
    pub(super) fn deadline(&self) -> Moment {
        if self.is_blind() {
            return Moment::from_millis(u64::MAX);
        }
        let sample = self.machine.deadline();
        self.tool_calls
            .deadline()
            .map_or(sample, |at| at.min(sample))
    }
}

impl Hub {
    /// Samples the tree, when there is one, or lists what it has started in between.
    pub(super) fn observe(&mut self) {
        let (Some(pid), true) = (self.pid(), self.agent.life.is_running()) else {
            return;
        };
        if !handle::proc_is_ours() {
            return; // processes of the same numbers are others
        }
        let now = clock::now();
        self.watch.look_at_announcer(now);
        self.list_tool_calls(now);
        if self.watch.machine.deadline() > now {
            return;
        }
        self.agent.oom.survived(pid);
        let (root, orphans) = self.roots(pid);
        let depth = self.watch.machine.depth();
        let sample = self.watch.evidence.sample(root, &orphans, depth, now);
        let changed = self
            .watch
            .machine
            .handle(Input::Sample(Box::new(sample)), now);
        let machine = &self.watch.machine;
        let eager = machine.repeats_tools(now);
        self.watch
            .tool_calls
            .watch(machine.starts_tools(), eager, now);
        self.judged(changed.as_ref());
    }

    fn list_tool_calls(&mut self, now: Moment) {
        let watch = &mut self.watch;
        if watch.tool_calls.deadline().is_none_or(|at| at > now) {
            return;
        }
        let eager = watch.machine.repeats_tools(now);
        watch
            .tool_calls
            .look(watch.machine.starts_tools(), eager, now);
        let calls = watch.tool_calls.take();
        if !calls.is_empty() {
            let changed = watch.machine.handle(Input::ToolCalls(calls), now);
            self.judged(changed.as_ref());
        }
    }

    /// The agent has reported something: that is evidence too.
    pub(super) fn listened(&mut self) {
        let now = clock::now();
        let report = SelfReport {
            streams_turns: self.watch.streams_turns,
            ..self_report(&self.watch, now)
        };
        let changed = self.watch.machine.handle(Input::SelfReport(report), now);
        self.judged(changed.as_ref());
    }

    /// The verdict for the beat.
    pub(super) fn activity(&self) -> Option<beat::Activity> {
        self.pid()?;
        let starting = clock::now().since(self.watch.started) < FRESH
            && self.watch.machine.judgement().verdict == Verdict::Unknown;
        if starting {
            let is_ours = matches!(self.agent.body, Body::Child(_));
            let sentence = if is_ours {
                "it has just started"
            } else {
                "hbsidecar has just begun to watch it"
            };
            return Some(starting_since(self.watch.started, sentence));
        }
        let judgement = self.watch.machine.judgement();
        let since = clock::now().since(judgement.since);
        let piece = |e: &beat::Evidence| beat::Evidence {
            signal: e.signal.clone(),
            value: cut(e.value.clone(), PIECE_MAX),
            source: e.source,
        };
        // A line that the agent's terminal must not show is shown with the agent.
        let unseen = self.log.unseen(clock::now()).map(|line| beat::Evidence {
            signal: "log".to_owned(),
            value: line,
            source: beat::Source::Observed,
        });
        Some(beat::Activity {
            verdict: judgement.verdict,
            cause: Some(judgement.cause.into()),
            confidence: Some(judgement.confidence),
            since: clock::wall_ms().saturating_sub(millis(since)),
            sentence: cut(judgement.sentence.clone(), SENTENCE_MAX),
            evidence: judgement
                .evidence
                .iter()
                .map(piece)
                .chain(unseen)
                .take(EVIDENCE_MAX)
                .collect(),
        })
    }

    /// Writes down what is there before something is done to it.
    pub(super) fn take_evidence(&mut self) {
        self.report_evidence(false);
    }

    /// A person asks what its processes wait for. Answers what was done, or why nothing was.
    pub(super) fn capture_by_order(&mut self) -> Result<&'static str, &'static str> {
        match self.report_evidence(true) {
            Some(()) => Ok("what its processes wait for is in its timeline"),
            None => Err("it has no process now"),
        }
    }

    fn report_evidence(&mut self, requested: bool) -> Option<()> {
        let card = Some(self.capture(SNAPSHOT_BYTES_MAX)?);
        let incarnation = Some(self.agent.life.incarnation());
        self.report_event(
            EventKind::Evidence,
            Detail {
                incarnation,
                card,
                requested,
                ..Detail::default()
            },
        );
        Some(())
    }

    /// What its processes wait for now; none without a process.
    fn capture(&mut self, bytes_max: usize) -> Option<Box<EvidenceSnapshot>> {
        let pid = self.pid()?;
        let (root, orphans) = self.roots(pid);
        let lines = self
            .watch
            .report
            .lines()
            .map(|kept| kept.line.clone())
            .collect();
        let judgement = self.watch.machine.judgement().clone();
        let card = probe::snapshot(
            &mut self.watch.evidence,
            root,
            &orphans,
            Some(&judgement),
            lines,
            clock::now(),
        );
        Some(Box::new(card.for_the_stream(bytes_max)))
    }

    /// What to show beside a verdict that needs attention. What is restarted at once is captured before its end.
    fn capture_for(&mut self, kind: EventKind) -> Option<Box<EvidenceSnapshot>> {
        let captured_later = kind == EventKind::Hung && self.watch.policy.hung_is_restarted;
        if kind == EventKind::Recovered || captured_later {
            return None;
        }
        self.capture(VERDICT_SNAPSHOT_BYTES_MAX)
    }

    fn roots(&self, pid: i32) -> (u32, Vec<u32>) {
        let mut roots = self
            .agent
            .tree
            .roots(pid)
            .into_iter()
            .filter_map(|pid| u32::try_from(pid).ok());
        let root = roots.next().unwrap_or(0);
        (root, roots.collect())
    }

    fn judged(&mut self, changed: Option<&Judgement>) {
        if self.watch.machine.progressed() {
            self.decide(lifecycle::Input::Progress);
        }
        if let Some(judgement) = changed {
            self.report_judgement(judgement);
        }
        let judgement = self.watch.machine.judgement().clone();
        if let Some(step) = self.watch.remedy.handle(&judgement, clock::now()) {
            self.remedy(step, &judgement);
        }
    }

    /// Reports trouble once, and its end. A verdict that matters is on the next beat, which is sent now.
    fn report_judgement(&mut self, judgement: &Judgement) {
        let before = self.watch.reported;
        let kind = match judgement.verdict.class() {
            VerdictClass::Proof => Some(EventKind::Hung),
            VerdictClass::Suspicion => Some(EventKind::Stalled),
            VerdictClass::Person => Some(EventKind::WaitingInput),
            VerdictClass::Progress | VerdictClass::Waiting | VerdictClass::Undecided => {
                before.map(|_| EventKind::Recovered)
            }
        };
        let trouble = kind.is_some_and(|kind| kind != EventKind::Recovered);
        let no_restart_left = self.agent.facts.trouble == Some(Reason::CrashLoop);
        if !trouble && no_restart_left && !self.agent.life.has_to_last() {
            self.agent.facts.trouble = None; // it moves again, and needs no restart
        }
        self.watch.reported = trouble.then_some(judgement.verdict);
        if let Some(kind) = kind.filter(|_| before != self.watch.reported) {
            let message = Some(cut(judgement.sentence.clone(), SENTENCE_MAX));
            let incarnation = Some(self.agent.life.incarnation());
            tracing::warn!("{}: {}", heartbeat::wire::word(&kind), judgement.sentence);
            let card = self.capture_for(kind);
            self.report_event(
                kind,
                Detail {
                    incarnation,
                    message,
                    card,
                    ..Detail::default()
                },
            );
        }
        self.beat();
    }

    /// Carries out a step that is due by itself.
    fn remedy(&mut self, step: Step, judgement: &Judgement) {
        match self.carry_out_step(step) {
            Ok(what) => tracing::warn!("{what}, because {}", judgement.sentence),
            Err(why) => tracing::warn!("{why}; wanted because {}", judgement.sentence),
        }
    }

    /// A person takes care of the present suspicion. Answers what that changes.
    pub(super) fn hold(&mut self) -> Result<String, String> {
        if self.watch.remedy.hold() {
            return Ok("it is not restarted for its present suspicion".to_owned());
        }
        Err("it is under no suspicion, so there is nothing to hold back".to_owned())
    }

    /// Applies the fix that the present verdict offers. Answers what was done, or why nothing was.
    pub(super) fn unblock(&mut self) -> Result<String, String> {
        let judgement = self.watch.machine.judgement().clone();
        let Some(step) = self.watch.remedy.unblock(&judgement) else {
            let why = "the present verdict offers no fix below a restart; order a restart";
            return Err(why.to_owned());
        };
        self.take_evidence();
        self.carry_out_step(step)
    }

    fn carry_out_step(&mut self, step: Step) -> Result<String, String> {
        let (what, done) = match step {
            Step::Fix(fix) => (fix.describe(), fixes::apply(fix, self.config.patience)),
            Step::KillChild { pid, started } => {
                (format!("kill process {pid}"), fixes::kill(pid, started))
            }
            Step::End => {
                self.decide(lifecycle::Input::Stop);
                return Ok("asked the agent to end".to_owned());
            }
            Step::Restart => {
                self.agent.facts.hung = true;
                self.decide(lifecycle::Input::RestartCharged);
                return Ok("restarting the agent".to_owned());
            }
        };
        match done {
            Ok(FixOutcome::Done) => Ok(format!("done: {what}")),
            Ok(FixOutcome::Gone) => Ok(format!("no longer needed: {what}")),
            Ok(FixOutcome::NotApplicable) => Err(format!("not a fix below a restart: {what}")),
            Err(error @ (FixError::Another | FixError::Denied | FixError::Kernel(_))) => {
                Err(format!("could not {what}: {error}"))
            }
        }
    }
}

/// What is reported before the first verdict.
fn starting_since(at: Moment, sentence: &str) -> beat::Activity {
    let since = millis(clock::now().since(at));
    beat::Activity {
        verdict: Verdict::Starting,
        cause: Some(RuleId::NoSample.into()),
        confidence: Some(Confidence::None),
        since: clock::wall_ms().saturating_sub(since),
        sentence: sentence.to_owned(),
        evidence: Vec::new(),
    }
}

/// A sampler that knows the command line it samples, where there is one.
fn sampler(work: &Work) -> Sampler {
    match work {
        Work::Supervise(command) | Work::Transparent(command) => {
            let words = [&command.program].into_iter().chain(&command.arguments);
            let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
            Sampler::of_command(words.iter().map(AsRef::as_ref))
        }
        Work::Pid(_) | Work::Match(_) => Sampler::new(),
    }
}
