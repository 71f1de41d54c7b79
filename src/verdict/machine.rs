//! The verdict machine: working or stuck, from samples of an agent's process tree and from what the agent reports.
//!
//! ```text
//! Sample ─► Interval: what moved? ─ progress ─► working
//!                   │ nothing
//!                   ▼
//!           rules: deadlock, pipes, network, blocked ─ lasted long enough ─► hung (proof) or stalled (suspicion)
//!                   │ none
//!                   ▼
//!           waits: input, timer, model ─► waiting_input, sleeping, waiting_model ─► stalled past the budget
//!                   │ none
//!                   ▼
//!           owed? ─► working, then stalled            not owed ─► idle
//! ```
//!
//! Two principles stand above all: silence alone proves nothing, and activity alone clears nothing. Time counts only while
//! the agent could have used it: not while the machine is suspended or hbsidecar samples late, and where the machine starves
//! the agent only in the measure of what it grants.

mod silence;
mod timetable;

use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::assessment::{Assessment, paused, unseen};
use crate::verdict::finding::{Finding, FindingId};
use crate::verdict::judgement::rank;
use crate::verdict::known_programs::runs_commands;
use crate::verdict::rule::{RULES, RuleId};
use crate::verdict::rules::repetition::RepetitionTracker;
use crate::verdict::rules::spin::{CpuBoundTracker, LoneCpuTracker};
use crate::verdict::rules::{spin, waiting};
use crate::verdict::sample::{Sample, SampleDepth};
use crate::verdict::self_report::Announced;
use crate::verdict::signals::{Interval, SampleHistory, Terms};
use crate::verdict::thresholds::{self, ProgressFloor};
use crate::verdict::tree_view::TreeView;
use crate::verdict::wakeup::DoomWatch;
use crate::verdict::{Fix, Input, Judgement, SelfReport, Settings};
use crate::wire::activity::{Confidence, Evidence, Verdict};
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;

/// The machine, of one incarnation.
#[derive(Clone, Debug)]
pub struct VerdictMachine {
    settings: Settings,
    report: SelfReport,
    history: SampleHistory,
    judgement: Judgement,
    /// What makes an assessment another one than the last; none before the first.
    published: Option<FindingId>,
    clock: ActiveClock,
    cpu_bound: spin::CpuBoundTracker,
    repetition: RepetitionTracker,
    doom: DoomWatch,
    /// Bytes of any class were received since the last progress.
    peer_alive: bool,
    /// The screen is redrawn as while a turn runs.
    draws_turn: bool,
    /// Output comes that cannot be read, and that seems to say nothing new.
    repeats_output: bool,
    /// The last sample without progress found a pending request.
    awaits_model: bool,
    /// A request was in flight since the last progress: the model's budget holds, across a back-off too.
    asked_model: bool,
    lone_cpu: LoneCpuTracker,
    /// How many samples in a row were taken beside the timetable.
    aimed: u32,
    starts_tools: Vec<u32>,
    /// One of them is a known agent.
    is_known_agent: bool,
    /// When the last deep sample was taken, on the active clock.
    last_deep_sample: Duration,
    /// Evidence that is published beside any verdict.
    notes: Vec<Evidence>,
    progressed: bool,
    next: Moment,
    depth: SampleDepth,
}

impl VerdictMachine {
    /// No sample yet.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let judgement = Judgement {
            verdict: Verdict::Unknown,
            cause: RuleId::NoSample,
            since: now,
            confidence: Confidence::None,
            sentence: "no sample yet".to_owned(),
            evidence: Vec::new(),
            fix: Fix::None,
            until: None,
        };
        Self {
            settings,
            report: SelfReport::default(),
            history: SampleHistory::default(),
            judgement,
            published: None,
            clock: ActiveClock::new(settings.patience, settings.one_off),
            cpu_bound: spin::CpuBoundTracker::default(),
            repetition: RepetitionTracker::default(),
            doom: DoomWatch::default(),
            peer_alive: false,
            draws_turn: false,
            repeats_output: false,
            awaits_model: false,
            asked_model: false,
            lone_cpu: LoneCpuTracker::default(),
            aimed: 0,
            starts_tools: Vec::new(),
            is_known_agent: false,
            last_deep_sample: Duration::ZERO,
            notes: Vec::new(),
            progressed: false,
            next: now,
            depth: SampleDepth::Waits,
        }
    }

    /// The present judgement.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// When the next sample is due.
    pub fn deadline(&self) -> Moment {
        self.next
    }

    /// How deep the next sample must be.
    pub fn depth(&self) -> SampleDepth {
        self.depth
    }

    /// Whether the last input showed progress, reported or observed.
    pub fn progressed(&self) -> bool {
        self.progressed
    }

    /// Takes one input. Returns the new judgement when verdict, finding or fix changed.
    pub fn handle(&mut self, input: Input, now: Moment) -> Option<Judgement> {
        self.progressed = false;
        match input {
            Input::SelfReport(report) => self.handle_report(report, now),
            Input::Sample(sample) => self.handle_sample(&sample, now),
            Input::ToolCalls(calls) => {
                self.repetition.observe_calls(calls, now);
                self.same_call(now)
                    .and_then(|assessment| self.conclude(assessment, now))
            }
        }
    }

    /// Processes whose children are tool calls, as of the last deep sample: none while no answer is due.
    pub fn starts_tools(&self) -> &[u32] {
        &self.starts_tools
    }

    /// Whether one tool call follows another like it, so that none may be missed.
    pub fn repeats_tools(&self, now: Moment) -> bool {
        self.repetition.repeats_calls(now, &self.clock)
    }

    fn same_call(&self, now: Moment) -> Option<Assessment> {
        let announced = self.report.announced_silence(now).is_some();
        let found = self
            .repetition
            .same_call(self.is_known_agent, now, &self.clock);
        let (call, times, lasted) = found.filter(|_| !announced)?;
        Some(spin::same_call(&call, times, lasted))
    }

    fn handle_report(&mut self, report: SelfReport, now: Moment) -> Option<Judgement> {
        let moved = report.last_progress_at > self.report.last_progress_at;
        self.report = report;
        self.repetition
            .observe_report(&self.report, now, &self.clock);
        let repeats = self.repetition.report_repeats();
        if let Some(assessment) = spin::repeated_report(&self.report, repeats, now) {
            return self.conclude(assessment, now);
        }
        // Tokens that are spent on repeated tool calls are no progress.
        let loops = self.repetition.is_of_tool_calls(&self.clock) || self.same_call(now).is_some();
        if !moved || loops {
            return None;
        }
        self.progress(false, false);
        let evidence = crate::verdict::finding::reported("progress", "a reported value changed");
        let sentence = "works: reports progress".to_owned();
        self.conclude(Assessment::working(sentence, vec![evidence]), now)
    }

    fn handle_sample(&mut self, sample: &Sample, now: Moment) -> Option<Judgement> {
        let immediate = self.depth == SampleDepth::Waits && self.clock.is_immediate_resample(now);
        let floor = if self.awaits_model {
            ProgressFloor::ABOVE_HOUSEKEEPING
        } else {
            ProgressFloor::ANY
        };
        let terms = Terms {
            report: &self.report,
            floor,
            immediate,
            draws_turn: self.draws_turn,
            restart_gap: self
                .clock
                .scaled(thresholds::REPETITION_GAP_MAX)
                .max(thresholds::RESTART_GAP_MIN),
            given_up_after: self.clock.scaled(thresholds::GIVEN_UP_AFTER),
        };
        let interval = self.history.advance(sample, &terms);
        self.schedule(sample, now);
        if sample.root().is_none() {
            return self.conclude(unseen(sample), now);
        }
        let Some(interval) = interval else {
            // The first sample of an incarnation has nothing to be compared with.
            self.clock.restart(sample);
            self.track_timers(sample);
            self.cpu_bound = CpuBoundTracker::default();
            self.lone_cpu = LoneCpuTracker::default();
            return None;
        };
        if self.clock.advance(sample, interval.granted) {
            self.doom.interrupt();
        }
        self.notes.clone_from(&interval.notes);
        let assessment = self.evaluate(sample, &interval, now);
        self.aim(sample, &interval, now);
        self.conclude(assessment?, now)
    }

    fn evaluate(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        now: Moment,
    ) -> Option<Assessment> {
        let announced = self.report.announced_silence(now);
        self.peer_alive |= interval.peer_alive;
        self.asked_model |= interval.new_connection;
        self.draws_turn = interval.draws_turn;
        self.repeats_output = interval.nothing_new.is_some() && sample.outputs.is_empty();
        if let Some(length) = interval.nothing_new {
            self.clock.discount_output(length);
        }
        // What was said between two attempts was no answer.
        if let Some(length) = interval.asked_for {
            self.clock.discount_output(length);
        }
        if sample.depth == SampleDepth::Waits {
            self.last_deep_sample = self.clock.elapsed();
            self.find_tool_starters(sample);
        }
        if interval.writes_files() {
            self.repetition.observe_files(&self.clock);
        }
        let serves = !self.report.owes_work() && self.history.served();
        if let Some(assessment) = paused(sample, |p| self.history.stands_still(p)) {
            return Some(assessment);
        }
        if announced.is_none()
            && !serves
            && let Some(assessment) = self.repeats_itself(sample, interval, now)
        {
            return Some(assessment);
        }
        if let Some(assessment) = self.spinning_child(sample, interval, announced.is_some(), now) {
            return Some(assessment);
        }
        if let Some(first) = interval.progress.first() {
            // What it prints about a request that was given up is no more than output, wherever it goes.
            let words = interval.is_output_only();
            let gave_up = words && self.history.connections.gave_up();
            self.progress(words && (gave_up || !interval.output_grew), gave_up);
            let sentence = format!("works: {}, {}", first.kind.as_str(), first.value);
            // While counters move they are enough, except for a deep sample now and then.
            let since_deep = self.clock.elapsed().saturating_sub(self.last_deep_sample);
            let often = self.clock.scaled(thresholds::DEEP_SAMPLE_INTERVAL);
            if since_deep < often && !self.repetition.is_suspected() {
                self.depth = SampleDepth::Counters;
            }
            let evidence = interval.progress.iter().map(Evidence::from).collect();
            return Some(Assessment::working(sentence, evidence));
        }
        if let Some(assessment) = self.cpu_bound(sample, interval, announced.is_some()) {
            return Some(assessment);
        }
        if sample.depth == SampleDepth::Counters {
            // Nothing moved: a deep sample is due at once.
            self.next = now;
            return None;
        }
        self.check_rules(sample, announced, now)
    }

    /// Known agents start tools; of another program that owes work, the root does, unless it starts what it was given.
    fn find_tool_starters(&mut self, sample: &Sample) {
        let agents = sample.processes.iter().filter(|p| p.agent);
        let agents: Vec<u32> = agents.map(|p| p.pid).collect();
        let root = sample.root().filter(|p| !runs_commands(&p.name));
        self.is_known_agent = !agents.is_empty();
        self.starts_tools = match (self.history.owes_turn(), self.report.owes_work(), root) {
            (true, _, _) if self.is_known_agent => agents,
            (_, true, Some(root)) => vec![root.pid],
            (true | false, _, _) => Vec::new(),
        };
    }

    /// What keeps a tree that does not move from moving.
    fn check_rules(
        &mut self,
        sample: &Sample,
        announced: Option<(Moment, Announced)>,
        now: Moment,
    ) -> Option<Assessment> {
        let report = self.report.clone();
        let busy = self.history.busy_peers();
        let view = TreeView {
            sample,
            report: &report,
            busy: &busy,
            serves: self.history.served(),
            is_patient: self.clock.polls() || self.asked_model || self.repeats_output,
        };
        if let Some(assessment) = self.doom.observe(&view, &self.clock) {
            return Some(assessment);
        }
        // It excuses silence. Nothing excuses a wait that cannot end.
        if let Some((until, why)) = announced {
            return Some(waiting::announced(until, why, now));
        }
        let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule.findings(&view)).collect();
        self.clock.track(&findings);
        let asks_person = report.state == Some(DeclaredState::WaitingInput);
        let persistent = findings
            .into_iter()
            .filter(|finding| self.clock.has_persisted(finding));
        let worst = persistent.min_by_key(|finding| rank(finding.verdict));
        match worst {
            Some(_) | None if asks_person => Some(waiting::asks_person()),
            Some(finding) => Some(Assessment::from(finding)),
            None => self
                .explain_wait(&view, now)
                .filter(|assessment| !self.is_in_hysteresis(assessment)),
        }
    }

    /// One thread of one child uses a core, and nothing comes of it.
    fn spinning_child(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        announced: bool,
        now: Moment,
    ) -> Option<Assessment> {
        let reported = self.report.last_progress_at;
        let reports = reported.is_some_and(|at| now.since(at) <= interval.elapsed);
        let lone = interval.lone_cpu.filter(|_| !reports && !announced);
        let lasted = self.lone_cpu.observe(lone, interval, &self.clock)?;
        let limit = self.clock.scaled(thresholds::LONE_CPU_WITHOUT_EFFECT);
        let (pid, share) = lone?;
        let child = sample.process(pid).filter(|_| lasted >= limit)?;
        Some(spin::cpu_bound(child, share, lasted, limit, true))
    }

    /// The main thread uses a core, and nothing comes of it.
    fn cpu_bound(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        announced: bool,
    ) -> Option<Assessment> {
        let lasted = self.cpu_bound.observe(interval, &self.clock)?;
        let root = sample.root()?;
        // Effects cannot be excluded while the counters of reads and writes are unreadable.
        let blind = root.io.is_none();
        let limit = self.clock.scaled(thresholds::CPU_BOUND_WITHOUT_EFFECT);
        let over = lasted >= limit && !announced && !blind;
        Some(spin::cpu_bound(
            root,
            interval.main_cpu,
            lasted,
            limit,
            over,
        ))
    }

    /// The same action again and again: what moves because of it is no progress. A repeated failure may be harmless as long as
    /// anything else moves.
    fn repeats_itself(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        now: Moment,
    ) -> Option<Assessment> {
        if let Some(assessment) = self.same_call(now) {
            return Some(assessment);
        }
        let output = spin::repeated(sample);
        if sample.depth == SampleDepth::Waits {
            let call = output.map(spin::is_call);
            self.repetition
                .observe_output(call, interval.output_grew, &self.clock);
        }
        let repeats = self.repetition.report_repeats();
        if self.repetition.reported_recently(now, &self.clock)
            && let Some(assessment) = spin::repeated_report(&self.report, repeats, now)
        {
            return Some(assessment);
        }
        let output = output.filter(|o| o.repeats >= thresholds::REPEATS_MIN)?;
        let quiet = self.clock.since_progress() >= self.clock.scaled(thresholds::REPETITION)
            && !interval.is_progress();
        let is_loop = self.repetition.has_lasted(&self.clock) && (quiet || spin::is_call(output));
        is_loop.then(|| spin::repeated_line(output))
    }

    /// `gave_up`: it may only have said that a request was given up.
    fn progress(&mut self, output_only: bool, gave_up: bool) {
        self.progressed = true;
        self.doom.interrupt();
        self.clock.progress(output_only);
        if !gave_up {
            self.peer_alive = false;
            self.awaits_model = false;
            self.asked_model = false;
            self.history.connections.forget_given_up();
        }
    }

    /// Timestamps an assessment and publishes it. An agent that is not ready yet is starting, unless it waits or is stuck.
    fn conclude(&mut self, assessment: Assessment, now: Moment) -> Option<Judgement> {
        let assessment = if self.report.ready {
            assessment
        } else {
            assessment.of_one_that_starts()
        };
        let verdict = assessment.verdict;
        let same = self.judgement.verdict == verdict;
        let changed =
            !same || self.published != Some(assessment.id) || self.judgement.fix != assessment.fix;
        let evidence = assessment.evidence_beside(&self.notes);
        self.judgement = Judgement {
            verdict,
            cause: assessment.id.rule,
            since: if same { self.judgement.since } else { now },
            confidence: verdict.confidence(),
            sentence: assessment.sentence,
            evidence,
            fix: assessment.fix,
            until: assessment.until,
        };
        self.published = Some(assessment.id);
        changed.then(|| self.judgement.clone())
    }
}
