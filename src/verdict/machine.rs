//! Working or stuck: the verdict on one agent, from what is seen of its process tree and what it says of itself.
//!
//! ```text
//! Sample ─► flow: what moved? ─ progress ─► working
//!                   │ nothing
//!                   ▼
//!           causes: knots, lost, slow ─ lasted long enough ─► hung (proof) or stalled (suspicion)
//!                   │ none
//!                   ▼
//!           waits: input, sleep, model ─► waiting_input, sleeping, waiting_model ─► stalled past the budget
//!                   │ none
//!                   ▼
//!           owed? ─► working, then stalled            not owed ─► idle
//! ```
//!
//! Two rules stand above all: silence alone proves nothing, and activity alone clears nothing. Time counts only while the
//! agent could have used it: not while the machine slept, starved it, or the observer itself was late.

use crate::base::moment::Moment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::assessment::{Assessment, paused, reported, unseen};
use crate::verdict::finding::observed;
use crate::verdict::judgement::{confidence, rank};
use crate::verdict::rules::repetition::RepetitionTracker;
use crate::verdict::rules::spin::CpuBoundTracker;
use crate::verdict::rules::{blocked, deadlock, network, pipes, spin, waiting};
use crate::verdict::sample::{Sample, SampleDepth, Socket, Tcp};
use crate::verdict::signals::{Interval, SampleHistory};
use crate::verdict::thresholds;
use crate::verdict::tree_view::TreeView;
use crate::verdict::{
    Confidence, EVIDENCE_MAX, Fix, Input, Judgement, SelfReport, Settings, is_flag,
};
use crate::wire::beat::{Evidence, Verdict};
use crate::wire::declared_state::DeclaredState;
use std::time::Duration;
use thresholds::ProgressFloor;

/// The machine.
#[derive(Clone, Debug)]
pub struct VerdictMachine {
    settings: Settings,
    report: SelfReport,
    history: SampleHistory,
    judgement: Judgement,
    /// What makes the present judgement another one than the last.
    key: String,
    clock: ActiveClock,
    cpu_bound: CpuBoundTracker,
    peer_alive: bool,
    polls_queue: bool,
    draws_spinner: bool,
    /// In the last look that showed no progress, a model had the word.
    awaits_model: bool,
    repetition: RepetitionTracker,
    /// When, on that clock, the last close look was.
    last_deep_sample: Duration,
    /// Worth telling, whatever the verdict.
    notes: Vec<Evidence>,
    progressed: bool,
    next: Moment,
    depth: SampleDepth,
}

impl VerdictMachine {
    /// Nothing seen yet.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let judgement = Judgement {
            verdict: Verdict::Unknown,
            since: now,
            confidence: Confidence::None,
            sentence: "not looked at yet".to_owned(),
            evidence: Vec::new(),
            fix: Fix::None,
            until: None,
        };
        Self {
            settings: Settings {
                patience: settings.patience.clamp(0.01, 100.0),
                ..settings
            },
            report: SelfReport::default(),
            history: SampleHistory::default(),
            judgement,
            key: String::new(),
            clock: ActiveClock::new(settings.patience, settings.one_off),
            cpu_bound: CpuBoundTracker::default(),
            peer_alive: false,
            polls_queue: false,
            draws_spinner: false,
            awaits_model: false,
            repetition: RepetitionTracker::default(),
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

    /// When the next look is due.
    pub fn deadline(&self) -> Moment {
        self.next
    }

    /// How close the next look must be.
    pub fn depth(&self) -> SampleDepth {
        self.depth
    }

    /// Whether the last input showed progress: reported or observed.
    pub fn progressed(&self) -> bool {
        self.progressed
    }

    /// Takes one input. A new judgement comes back when verdict, cause or fix changed.
    pub fn handle(&mut self, input: Input, now: Moment) -> Option<Judgement> {
        self.progressed = false;
        match input {
            Input::SelfReport(report) => self.handle_report(report, now),
            Input::Sample(sample) => self.handle_sample(&sample, now),
        }
    }

    fn handle_report(&mut self, report: SelfReport, now: Moment) -> Option<Judgement> {
        let moved = report.last_progress_at > self.report.last_progress_at;
        self.report = report;
        self.repetition
            .observe_report(&self.report, now, &self.clock);
        if let Some(assessment) =
            spin::repeated_word(&self.report, self.repetition.report_repeats(), now)
        {
            return self.conclude(assessment, now);
        }
        // Tokens that are spent in a circle of calls move nothing.
        if !moved || self.repetition.is_of_tool_calls(&self.clock) {
            return None;
        }
        self.progress(false);
        let seen = reported("progress", "a reported value changed");
        self.conclude(
            Assessment::working("reports progress".to_owned(), vec![seen]),
            now,
        )
    }

    fn handle_sample(&mut self, sample: &Sample, now: Moment) -> Option<Judgement> {
        let immediate = self.depth == SampleDepth::Waits && self.clock.is_immediate_resample(now);
        let floor = if self.awaits_model {
            ProgressFloor::ABOVE_HOUSEKEEPING
        } else {
            ProgressFloor::ANY
        };
        let interval = self
            .history
            .advance(sample, &self.report, &floor, immediate);
        self.schedule(sample, now);
        if sample.root().is_none() {
            return self.conclude(unseen(sample), now);
        }
        let Some(interval) = interval else {
            // The first look of an incarnation: nothing to compare with.
            self.clock.restart(sample);
            self.cpu_bound = CpuBoundTracker::default();
            return None;
        };
        self.clock.advance(sample, interval.starved);
        self.notes.clone_from(&interval.notes);
        let assessment = self.evaluate(sample, &interval, now)?;
        self.conclude(assessment, now)
    }

    fn schedule(&mut self, sample: &Sample, now: Moment) {
        let cost = self
            .clock
            .scaled(sample.cost * thresholds::SAMPLE_COST_SHARE);
        let pause = self
            .clock
            .scaled(thresholds::SAMPLE_INTERVAL)
            .max(cost)
            .min(self.clock.scaled(thresholds::SAMPLE_INTERVAL_MAX));
        self.next = now + pause;
        self.depth = SampleDepth::Waits;
    }

    fn evaluate(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        now: Moment,
    ) -> Option<Assessment> {
        let patient = self.report.patience_until(now);
        self.peer_alive |= interval.peer_alive;
        self.polls_queue = interval.polls_queue;
        self.draws_spinner = interval.spinner.is_some();
        if let Some(length) = interval.spinner {
            self.clock.discount_output(length);
        }
        if sample.depth == SampleDepth::Waits {
            self.last_deep_sample = self.clock.elapsed();
        }
        let serves = !self.report.owes_work()
            && TreeView {
                sample,
                report: &self.report,
            }
            .listens(0);
        if let Some(assessment) = paused(sample) {
            return Some(assessment);
        }
        if patient.is_none()
            && !serves
            && let Some(assessment) = self.repeats_itself(sample, interval, now)
        {
            return Some(assessment);
        }
        if interval.is_progress() {
            self.progress(interval.is_output_only());
            let first = &interval.progress[0];
            let sentence = format!("works: {}, {}", first.signal, first.value);
            // Counters are enough as long as they move, but not for ever.
            let close = self.clock.elapsed().saturating_sub(self.last_deep_sample);
            let often = self.clock.scaled(thresholds::DEEP_SAMPLE_INTERVAL);
            if close < often && !self.repetition.is_suspected() {
                self.depth = SampleDepth::Counters;
            }
            return Some(Assessment::working(sentence, interval.progress.clone()));
        }
        if let Some(assessment) = self.cpu_bound(sample, interval, patient) {
            return Some(assessment);
        }
        if sample.depth == SampleDepth::Counters {
            // Nothing moved: look closer at once.
            self.next = now;
            return None;
        }
        if let Some(until) = patient {
            return Some(waiting::patience(&self.report, until));
        }
        self.check_rules(sample, now)
    }

    /// What keeps a tree that does not move from moving.
    fn check_rules(&mut self, sample: &Sample, now: Moment) -> Option<Assessment> {
        let report = self.report.clone();
        let view = TreeView {
            sample,
            report: &report,
        };
        let mut findings = deadlock::find(&view);
        findings.extend(pipes::find(&view));
        findings.extend(network::find(&view));
        let history = &self.history;
        findings.extend(blocked::find(&view, &|pid| {
            history.peer_cpu(pid) >= thresholds::CPU_PEER
        }));
        findings.extend(waiting::inputs(&view, self.settings.owns_stdin));
        self.clock.track(&findings);
        let asks_person = report.state == Some(DeclaredState::WaitingInput);
        let ripe = findings
            .into_iter()
            .filter(|finding| self.clock.has_persisted(finding));
        let worst = ripe.min_by_key(|finding| rank(finding.verdict));
        match worst {
            Some(finding) if !asks_person => Some(Assessment::from(finding)),
            Some(_) | None if asks_person => Some(waiting::asks_person()),
            Some(_) | None => self
                .explain_wait(&view, now)
                .filter(|assessment| !self.is_in_hysteresis(assessment)),
        }
    }

    /// Between two bursts of work a harmless wait is no news.
    fn is_in_hysteresis(&self, assessment: &Assessment) -> bool {
        let hysteresis = self
            .clock
            .scaled(thresholds::HYSTERESIS)
            .max(thresholds::HYSTERESIS_MIN);
        let nothing_yet = self.key.is_empty();
        self.settings.one_off.is_none()
            && (self.judgement.verdict == Verdict::Working || nothing_yet)
            && !is_flag(assessment.verdict)
            && assessment.fix == Fix::None
            && self.clock.since_progress() < hysteresis
    }

    /// Nothing wrong was found: what does it wait for, and may it take so long?
    fn explain_wait(&mut self, view: &TreeView<'_>, now: Moment) -> Option<Assessment> {
        self.clock.track_timers(view.sample);
        self.awaits_model = false;
        let pending = if self.polls_queue {
            Vec::new()
        } else {
            view.pending_requests()
        };
        let owes = view.report.owes_work();
        let batch = view.is_headless() && !view.report.declares_no_work();
        // It does not say so, but how it was started or what it draws does: an answer may have stopped half way.
        let asked = if !owes && (batch || self.draws_spinner) {
            view.request_connections()
        } else {
            Vec::new()
        };
        let asking = asked.iter().map(|(socket, _)| socket.pid).collect();
        if let Some((who, until)) =
            self.clock
                .longest_timer(self.settings.stall_after, &asking, now)
            && pending.is_empty()
            && (owes || batch || !view.listens(0))
        {
            return Some(waiting::asleep(view, who, until, now));
        }
        if !pending.is_empty() || view.report.state == Some(DeclaredState::WaitingModel) {
            return Some(self.await_answer(view, &pending, now));
        }
        if let Some(assessment) = waiting::unreadable(view) {
            return Some(assessment);
        }
        if let Some(peer) = waiting::unix_peer(view)
            && (self.history.peer_cpu(peer) >= thresholds::CPU_PEER || !owes)
        {
            if owes {
                self.clock.excuse_silence();
            }
            return Some(waiting::peer(view, peer));
        }
        if let Some(tool) = view.tool(&asked) {
            let quiet = self.clock.unexcused_silence();
            let over = quiet >= self.clock.scaled(thresholds::ANSWER_BUDGET);
            return Some(waiting::tool(tool, quiet, over));
        }
        if !asked.is_empty() {
            return Some(self.await_answer(view, &asked, now));
        }
        if owes || batch {
            let quiet = self.clock.unexcused_silence();
            let over = quiet >= self.clock.scaled(self.settings.stall_after);
            return Some(waiting::owed(view, quiet, over));
        }
        Some(waiting::idle(view))
    }

    /// The answer may come over these.
    fn await_answer(
        &mut self,
        view: &TreeView<'_>,
        pending: &[(&Socket, &Tcp)],
        now: Moment,
    ) -> Assessment {
        self.awaits_model = true;
        let budget = if self.peer_alive {
            thresholds::ANSWER_BUDGET_PEER_ALIVE
        } else {
            thresholds::ANSWER_BUDGET
        };
        let quiet = self.clock.unexcused_silence();
        let quiet = match self.settings.one_off {
            // A one-off diagnosis has only the kernel's memory of how long nothing came.
            Some(_) => {
                let silent = pending
                    .iter()
                    .map(|(_, tcp)| tcp.received_ago.min(tcp.sent_ago));
                quiet.max(silent.min().unwrap_or_default())
            }
            // Whoever opens a new connection has got an answer on the one before, or given up on it.
            None => {
                let ages = pending.iter().map(|(s, _)| self.history.age(s.inode, now));
                quiet.min(ages.min().unwrap_or(quiet))
            }
        };
        let over = quiet >= self.clock.scaled(budget.max(self.settings.stall_after));
        let mut assessment = waiting::model(view, pending, self.peer_alive, over.then_some(quiet));
        if self.draws_spinner {
            let frames = "only the frames of a spinner, which are no sign of work";
            assessment.evidence.push(observed("output", frames));
        }
        assessment
    }

    /// The main thread uses a core, and nothing comes of it.
    fn cpu_bound(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        patient: Option<Moment>,
    ) -> Option<Assessment> {
        let lasted = self.cpu_bound.observe(interval, &self.clock)?;
        let root = sample.root()?;
        // Effects cannot be excluded while the counters of reads and writes are unreadable.
        let blind = root.io.is_none();
        let over = lasted >= self.clock.scaled(thresholds::CPU_BOUND_WITHOUT_EFFECT)
            && patient.is_none()
            && !blind;
        Some(spin::cpu_bound(root, interval.main_cpu, lasted, over))
    }

    /// The same action again and again: what moves by that is no progress. A failure again and again may be harmless, as
    /// long as anything else moves.
    fn repeats_itself(
        &mut self,
        sample: &Sample,
        interval: &Interval,
        now: Moment,
    ) -> Option<Assessment> {
        let output = spin::repeated(sample);
        if sample.depth == SampleDepth::Waits {
            let repeats = output.map(spin::is_call);
            self.repetition
                .observe_output(repeats, interval.output_grew, &self.clock);
        }
        if self.repetition.repeats_recently(now, &self.clock)
            && let Some(assessment) =
                spin::repeated_word(&self.report, self.repetition.report_repeats(), now)
        {
            return Some(assessment);
        }
        let output = output.filter(|o| o.repeats >= thresholds::REPEATS_MIN)?;
        let quiet = self.clock.since_progress() >= self.clock.scaled(thresholds::REPETITION)
            && !interval.is_progress();
        let closed = self.repetition.has_lasted(&self.clock) && (quiet || spin::is_call(output));
        closed.then(|| spin::repeated_line(output))
    }

    fn progress(&mut self, output_only: bool) {
        self.progressed = true;
        self.peer_alive = false;
        self.awaits_model = false;
        self.clock.progress(output_only);
    }

    fn conclude(&mut self, assessment: Assessment, now: Moment) -> Option<Judgement> {
        let mut verdict = assessment.verdict;
        let calm = matches!(verdict, Verdict::Working | Verdict::Idle | Verdict::Unknown);
        if !self.report.ready && calm {
            verdict = Verdict::Starting;
        }
        let same = self.judgement.verdict == verdict;
        let changed = !same || self.key != assessment.key || self.judgement.fix != assessment.fix;
        let mut evidence = assessment.evidence;
        evidence.truncate(EVIDENCE_MAX - self.notes.len());
        evidence.extend(self.notes.iter().cloned());
        self.judgement = Judgement {
            verdict,
            since: if same { self.judgement.since } else { now },
            confidence: confidence(verdict),
            sentence: assessment.sentence,
            evidence,
            fix: assessment.fix,
            until: assessment.until,
        };
        self.key = assessment.key;
        changed.then(|| self.judgement.clone())
    }
}
