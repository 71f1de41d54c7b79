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
use crate::verdict::active_clock::Time;
use crate::verdict::assessment::{Draft, paused, reported, unseen};
use crate::verdict::finding::observed;
use crate::verdict::judgement::{confidence, rank};
use crate::verdict::rules::repetition::Circle;
use crate::verdict::rules::waiting;
use crate::verdict::sample::{Depth, Sample, Socket, Tcp};
use crate::verdict::signals::{Flow, Memory};
use crate::verdict::thresholds;
use crate::verdict::thresholds::Bar;
use crate::verdict::tree_view::Scene;
use crate::verdict::{
    Confidence, EVIDENCE_MAX, Fix, Input, Judgement, Said, Settings, Word, is_flag,
};
use crate::wire::beat::{Evidence, Verdict};
use std::time::Duration;

/// The machine.
#[derive(Clone, Debug)]
pub struct Activity {
    settings: Settings,
    word: Word,
    memory: Memory,
    judgement: Judgement,
    /// What makes the present judgement another one than the last.
    key: String,
    time: Time,
    /// Since when, on the counted clock, the first thread burns.
    burning: Option<Duration>,
    cooling: bool,
    pinged: bool,
    polls_queue: bool,
    animates: bool,
    /// In the last look that showed no progress, a model had the word.
    awaits_model: bool,
    circle: Circle,
    /// When, on that clock, the last close look was.
    closely: Duration,
    /// Worth telling, whatever the verdict.
    notes: Vec<Evidence>,
    progressed: bool,
    next: Moment,
    depth: Depth,
}

impl Activity {
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
            word: Word::default(),
            memory: Memory::default(),
            judgement,
            key: String::new(),
            time: Time::new(settings.patience, settings.glance),
            burning: None,
            cooling: false,
            pinged: false,
            polls_queue: false,
            animates: false,
            awaits_model: false,
            circle: Circle::default(),
            closely: Duration::ZERO,
            notes: Vec::new(),
            progressed: false,
            next: now,
            depth: Depth::Waits,
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
    pub fn depth(&self) -> Depth {
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
            Input::Word(word) => self.listen(word, now),
            Input::Sample(sample) => self.look(&sample, now),
        }
    }

    fn listen(&mut self, word: Word, now: Moment) -> Option<Judgement> {
        let moved = word.last_progress_at > self.word.last_progress_at;
        self.word = word;
        self.circle.hear(&self.word, now, &self.time);
        if let Some(draft) =
            crate::verdict::rules::spin::repeated_word(&self.word, self.circle.words(), now)
        {
            return self.judge(draft, now);
        }
        // Tokens that are spent in a circle of calls move nothing.
        if !moved || self.circle.is_of_calls(&self.time) {
            return None;
        }
        self.progress(false);
        let seen = reported("progress", "a reported value changed");
        self.judge(
            Draft::working("reports progress".to_owned(), vec![seen]),
            now,
        )
    }

    fn look(&mut self, sample: &Sample, now: Moment) -> Option<Judgement> {
        let at_once = self.depth == Depth::Waits && self.time.is_at_once(now);
        let bar = if self.awaits_model {
            Bar::ABOVE_HOUSEKEEPING
        } else {
            Bar::USUAL
        };
        let flow = self.memory.follow(sample, &self.word, &bar, at_once);
        self.schedule(sample, now);
        if sample.root().is_none() {
            return self.judge(unseen(sample), now);
        }
        let Some(flow) = flow else {
            // The first look of an incarnation: nothing to compare with.
            self.time.restart(sample);
            self.burning = None;
            return None;
        };
        self.time.count(sample, flow.starved);
        self.notes.clone_from(&flow.notes);
        let draft = self.decide(sample, &flow, now)?;
        self.judge(draft, now)
    }

    fn schedule(&mut self, sample: &Sample, now: Moment) {
        let cost = self
            .time
            .scaled(sample.cost * crate::verdict::thresholds::LOOK_COST_SHARE);
        let pause = self
            .time
            .scaled(crate::verdict::thresholds::LOOK_EVERY)
            .max(cost)
            .min(self.time.scaled(crate::verdict::thresholds::LOOK_EVERY_MAX));
        self.next = now + pause;
        self.depth = Depth::Waits;
    }

    fn decide(&mut self, sample: &Sample, flow: &Flow, now: Moment) -> Option<Draft> {
        let patient = self.word.asks_patience(now);
        self.pinged |= flow.pinged;
        self.polls_queue = flow.polls_queue;
        self.animates = flow.frames.is_some();
        if let Some(length) = flow.frames {
            self.time.take_back_output(length);
        }
        if sample.depth == Depth::Waits {
            self.closely = self.time.clock();
        }
        let serves = !self.word.owes()
            && Scene {
                sample,
                word: &self.word,
            }
            .listens(0);
        if let Some(draft) = paused(sample) {
            return Some(draft);
        }
        if patient.is_none()
            && !serves
            && let Some(draft) = self.goes_in_circles(sample, flow, now)
        {
            return Some(draft);
        }
        if flow.is_progress() {
            self.progress(flow.is_output_only());
            let first = &flow.progress[0];
            let sentence = format!("works: {}, {}", first.signal, first.value);
            // Counters are enough as long as they move, but not for ever.
            let close = self.time.clock().saturating_sub(self.closely);
            let often = self.time.scaled(crate::verdict::thresholds::CLOSE_EVERY);
            if close < often && !self.circle.is_begun() {
                self.depth = Depth::Counters;
            }
            return Some(Draft::working(sentence, flow.progress.clone()));
        }
        if let Some(draft) = self.burning(sample, flow, patient) {
            return Some(draft);
        }
        if sample.depth == Depth::Counters {
            // Nothing moved: look closer at once.
            self.next = now;
            return None;
        }
        if let Some(until) = patient {
            return Some(waiting::patience(&self.word, until));
        }
        self.causes(sample, now)
    }

    /// What keeps a tree that does not move from moving.
    fn causes(&mut self, sample: &Sample, now: Moment) -> Option<Draft> {
        let word = self.word.clone();
        let scene = Scene {
            sample,
            word: &word,
        };
        let mut findings = crate::verdict::rules::deadlock::find(&scene);
        findings.extend(crate::verdict::rules::network::find(&scene));
        let memory = &self.memory;
        findings.extend(crate::verdict::rules::blocked::find(&scene, &|pid| {
            memory.peer_cpu(pid) >= thresholds::CPU_PEER
        }));
        findings.extend(waiting::inputs(&scene, self.settings.owns_stdin));
        self.time.remember(&findings);
        let asks_person = word.state == Some(Said::WaitingInput);
        let ripe = findings
            .into_iter()
            .filter(|finding| self.time.is_ripe(finding));
        let worst = ripe.min_by_key(|finding| rank(finding.verdict));
        match worst {
            Some(finding) if !asks_person => Some(Draft::from(finding)),
            Some(_) | None if asks_person => Some(waiting::asks_person()),
            Some(_) | None => self
                .rests(&scene, now)
                .filter(|draft| !self.still_glows(draft)),
        }
    }

    /// Between two bursts of work a harmless wait is no news.
    fn still_glows(&self, draft: &Draft) -> bool {
        let glow = self
            .time
            .scaled(crate::verdict::thresholds::AFTERGLOW)
            .max(crate::verdict::thresholds::AFTERGLOW_MIN);
        let nothing_yet = self.key.is_empty();
        self.settings.glance.is_none()
            && (self.judgement.verdict == Verdict::Working || nothing_yet)
            && !is_flag(draft.verdict)
            && draft.fix == Fix::None
            && self.time.quiet() < glow
    }

    /// Nothing wrong was found: what does it wait for, and may it take so long?
    fn rests(&mut self, scene: &Scene<'_>, now: Moment) -> Option<Draft> {
        self.time.notice_sleeps(scene.sample);
        self.awaits_model = false;
        let flying = if self.polls_queue {
            Vec::new()
        } else {
            scene.in_flight()
        };
        let owes = scene.word.owes();
        let batch = scene.is_batch() && !scene.word.has_nothing_to_do();
        // It does not say so, but how it was started or what it draws does: an answer may have stopped half way.
        let asked = if !owes && (batch || self.animates) {
            scene.asked_over()
        } else {
            Vec::new()
        };
        let asking = asked.iter().map(|(socket, _)| socket.pid).collect();
        if let Some((who, until)) = self.time.asleep(self.settings.stall_after, &asking, now)
            && flying.is_empty()
            && (owes || batch || !scene.listens(0))
        {
            return Some(waiting::asleep(scene, who, until, now));
        }
        if !flying.is_empty() || scene.word.state == Some(Said::WaitingModel) {
            return Some(self.awaits(scene, &flying, now));
        }
        if let Some(draft) = waiting::unreadable(scene) {
            return Some(draft);
        }
        if let Some(peer) = waiting::unix_peer(scene)
            && (self.memory.peer_cpu(peer) >= crate::verdict::thresholds::CPU_PEER || !owes)
        {
            if owes {
                self.time.excuse();
            }
            return Some(waiting::peer(scene, peer));
        }
        if let Some(tool) = scene.tool(&asked) {
            let quiet = self.time.unexcused();
            let over = quiet >= self.time.scaled(crate::verdict::thresholds::ANSWER);
            return Some(waiting::tool(tool, quiet, over));
        }
        if !asked.is_empty() {
            return Some(self.awaits(scene, &asked, now));
        }
        if owes || batch {
            let quiet = self.time.unexcused();
            let over = quiet >= self.time.scaled(self.settings.stall_after);
            return Some(waiting::owed(scene, quiet, over));
        }
        Some(waiting::idle(scene))
    }

    /// The answer may come over these.
    fn awaits(&mut self, scene: &Scene<'_>, flying: &[(&Socket, &Tcp)], now: Moment) -> Draft {
        self.awaits_model = true;
        let budget = if self.pinged {
            thresholds::ANSWER_PINGED
        } else {
            thresholds::ANSWER
        };
        let quiet = self.time.unexcused();
        let quiet = match self.settings.glance {
            // A one-off diagnosis has only the kernel's memory of how long nothing came.
            Some(_) => {
                let silent = flying
                    .iter()
                    .map(|(_, tcp)| tcp.received_ago.min(tcp.sent_ago));
                quiet.max(silent.min().unwrap_or_default())
            }
            // Whoever opens a new connection has got an answer on the one before, or given up on it.
            None => {
                let ages = flying.iter().map(|(s, _)| self.memory.age(s.inode, now));
                quiet.min(ages.min().unwrap_or(quiet))
            }
        };
        let over = quiet >= self.time.scaled(budget.max(self.settings.stall_after));
        let mut draft = waiting::model(scene, flying, self.pinged, over.then_some(quiet));
        if self.animates {
            let frames = "only the frames of a spinner, which are no sign of work";
            draft.evidence.push(observed("output", frames));
        }
        draft
    }

    /// The first thread burns processor time, and nothing comes of it.
    fn burning(&mut self, sample: &Sample, flow: &Flow, patient: Option<Moment>) -> Option<Draft> {
        if !flow.burns {
            // One look without is a pause for breath, two are an end.
            if !flow.starved && std::mem::replace(&mut self.cooling, true) {
                self.burning = None;
            }
            return None;
        }
        self.cooling = false;
        let since = *self
            .burning
            .get_or_insert(self.time.clock().saturating_sub(flow.elapsed));
        let burnt = self
            .time
            .clock()
            .saturating_sub(since)
            .min(self.time.quiet());
        let root = sample.root()?;
        // Without its counters of reading and writing, effects cannot be excluded.
        let blind = root.io.is_none();
        let over = burnt >= self.time.scaled(crate::verdict::thresholds::SPIN)
            && patient.is_none()
            && !blind;
        Some(crate::verdict::rules::spin::burning(
            root,
            flow.main_cpu,
            burnt,
            over,
        ))
    }

    /// The same action again and again: what moves by that is no progress. A failure again and again may be harmless, as
    /// long as anything else moves.
    fn goes_in_circles(&mut self, sample: &Sample, flow: &Flow, now: Moment) -> Option<Draft> {
        let output = crate::verdict::rules::spin::repeated(sample);
        if sample.depth == Depth::Waits {
            let repeats = output.map(crate::verdict::rules::spin::is_call);
            self.circle.see(repeats, flow.output_grew, &self.time);
        }
        if self.circle.speaks(now, &self.time)
            && let Some(draft) =
                crate::verdict::rules::spin::repeated_word(&self.word, self.circle.words(), now)
        {
            return Some(draft);
        }
        let output = output.filter(|o| o.repeats >= crate::verdict::thresholds::REPEATS)?;
        let quiet = self.time.quiet() >= self.time.scaled(crate::verdict::thresholds::LOOP)
            && !flow.is_progress();
        let closed = self.circle.is_closed(&self.time)
            && (quiet || crate::verdict::rules::spin::is_call(output));
        closed.then(|| crate::verdict::rules::spin::repeated_line(output))
    }

    fn progress(&mut self, output_only: bool) {
        self.progressed = true;
        self.pinged = false;
        self.awaits_model = false;
        self.time.progress(output_only);
    }

    fn judge(&mut self, draft: Draft, now: Moment) -> Option<Judgement> {
        let mut verdict = draft.verdict;
        let calm = matches!(verdict, Verdict::Working | Verdict::Idle | Verdict::Unknown);
        if !self.word.ready && calm {
            verdict = Verdict::Starting;
        }
        let same = self.judgement.verdict == verdict;
        let changed = !same || self.key != draft.key || self.judgement.fix != draft.fix;
        let mut evidence = draft.evidence;
        evidence.truncate(EVIDENCE_MAX - self.notes.len());
        evidence.extend(self.notes.iter().cloned());
        self.judgement = Judgement {
            verdict,
            since: if same { self.judgement.since } else { now },
            confidence: confidence(verdict),
            sentence: draft.sentence,
            evidence,
            fix: draft.fix,
            until: draft.until,
        };
        self.key = draft.key;
        changed.then(|| self.judgement.clone())
    }
}
