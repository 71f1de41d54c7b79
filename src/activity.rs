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

mod finding;
mod flow;
mod knots;
pub mod limits;
mod lost;
mod rest;
mod scene;
mod slow;
mod word;
pub mod words;

pub use finding::{Confidence, Fix};
pub use word::{Said, Word};

use crate::beat::{Evidence, Source, Verdict};
use crate::evidence::{Depth, Process, RunState, Sample};
use crate::moment::Moment;
use finding::{Finding, Hold};
use flow::{Flow, Memory};
use scene::Scene;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Multiplies every waiting time; 0.01 to 100.
    pub patience: f64,
    /// Silence that makes an owed piece of work suspicious, at patience 1.
    pub stall_after: Duration,
    /// The sidecar holds the writing end of the agent's standard input and can close it.
    pub owns_stdin: bool,
    /// A one-off diagnosis: what follows from the waits alone need last no longer than this.
    pub glance: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: 1.0,
            stall_after: Duration::from_secs(300),
            owns_stdin: false,
            glance: None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A look at the tree, as close as [`Activity::depth`] asked.
    Sample(Box<Sample>),
    /// The agent said something.
    Word(Word),
}

/// What the agent is doing, with the reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// One of the verdicts.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// How sure.
    pub confidence: Confidence,
    /// For people.
    pub sentence: String,
    /// Why, the most telling first; at most [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    /// What can be done about it here.
    pub fix: Fix,
    /// When a sleeper wakes by itself.
    pub until: Option<Moment>,
}

/// Pieces of evidence a judgement carries.
pub const EVIDENCE_MAX: usize = 6;

/// The machine.
#[derive(Clone, Debug)]
pub struct Activity {
    settings: Settings,
    word: Word,
    memory: Memory,
    judgement: Judgement,
    /// What makes the present judgement another one than the last.
    key: String,
    /// Time that counted, since the start.
    clock: Duration,
    /// When, on that clock, progress was last seen.
    moved: Duration,
    /// Since when, on that clock, the first thread burns.
    burning: Option<Duration>,
    cooling: bool,
    /// When, on that clock, each finding was first seen.
    holds: BTreeMap<String, Duration>,
    still: BTreeMap<(u32, u32), (u64, Duration)>,
    sleeps: BTreeMap<(u32, u32), Sleep>,
    pinged: bool,
    polls_queue: bool,
    progressed: bool,
    last: Option<(Moment, Duration)>,
    next: Moment,
    depth: Depth,
}

/// One thread's sleep.
#[derive(Clone, Copy, Debug)]
struct Sleep {
    turns: u64,
    until: Moment,
    /// As it was first seen.
    length: Duration,
}

/// A verdict on the way to become the judgement.
#[derive(Clone, Debug)]
struct Draft {
    key: String,
    verdict: Verdict,
    sentence: String,
    evidence: Vec<Evidence>,
    fix: Fix,
    until: Option<Moment>,
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
            clock: Duration::ZERO,
            moved: Duration::ZERO,
            burning: None,
            cooling: false,
            holds: BTreeMap::new(),
            still: BTreeMap::new(),
            sleeps: BTreeMap::new(),
            pinged: false,
            polls_queue: false,
            progressed: false,
            last: None,
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
        if let Some(draft) = rest::repeated_word(&self.word, now) {
            return self.judge(draft, now);
        }
        if !moved {
            return None;
        }
        self.progress();
        let seen = reported("progress", "a reported value changed");
        self.judge(
            Draft::working("reports progress".to_owned(), vec![seen]),
            now,
        )
    }

    fn look(&mut self, sample: &Sample, now: Moment) -> Option<Judgement> {
        let at_once =
            self.depth == Depth::Waits && self.last.is_some_and(|(at, _)| self.is_at_once(at, now));
        let flow = self.memory.follow(sample, &self.word, at_once);
        self.schedule(sample, now);
        if sample.root().is_none() {
            return self.judge(unseen(sample), now);
        }
        let Some(flow) = flow else {
            // The first look of an incarnation: nothing to compare with.
            self.restart(sample);
            return None;
        };
        self.count(sample, &flow, now);
        self.notice_still(sample);
        let draft = self.decide(sample, &flow, now);
        let draft = draft?;
        self.judge(draft, now)
    }

    fn is_at_once(&self, last: Moment, now: Moment) -> bool {
        now.since(last) < self.scaled(limits::LOOK_EVERY) / 4
    }

    /// Adds the time since the last look, if the agent could have used it.
    fn count(&mut self, sample: &Sample, flow: &Flow, now: Moment) {
        let (at, suspended) = self.last.unwrap_or((now, sample.host.suspended));
        let slept = sample.host.suspended.saturating_sub(suspended) > Duration::from_secs(1);
        let usual = self.scaled(limits::LOOK_EVERY_MAX) + self.scaled(limits::LOOK_EVERY);
        if !slept && !flow.starved {
            self.clock += now.since(at).min(usual);
        }
        self.last = Some((now, sample.host.suspended));
    }

    fn restart(&mut self, sample: &Sample) {
        self.last = Some((sample.at, sample.host.suspended));
        self.holds.clear();
        self.still.clear();
        self.sleeps.clear();
        self.burning = None;
        self.moved = self.clock;
        self.notice_still(sample);
    }

    fn schedule(&mut self, sample: &Sample, now: Moment) {
        let cost = self.scaled(sample.cost * limits::LOOK_COST_SHARE);
        let pause = self
            .scaled(limits::LOOK_EVERY)
            .max(cost)
            .min(self.scaled(limits::LOOK_EVERY_MAX));
        self.next = now + pause;
        self.depth = Depth::Waits;
    }

    /// Since when, on the counted clock, each thread did not wake.
    fn notice_still(&mut self, sample: &Sample) {
        let mut still = BTreeMap::new();
        for process in &sample.processes {
            for thread in &process.threads {
                let key = (process.pid, thread.tid);
                let since = match self.still.get(&key) {
                    Some((turns, since)) if *turns == thread.turns => *since,
                    Some(_) | None => self.clock,
                };
                still.insert(key, (thread.turns, since));
            }
        }
        self.still = still;
    }

    fn decide(&mut self, sample: &Sample, flow: &Flow, now: Moment) -> Option<Draft> {
        let patient = self.word.asks_patience(now);
        self.pinged |= flow.pinged;
        self.polls_queue = flow.polls_queue;
        let serves = !self.word.owes()
            && Scene {
                sample,
                word: &self.word,
            }
            .listens(0);
        if patient.is_none()
            && flow.output_grew
            && !serves
            && !flow.is_progress()
            && let Some(draft) = self.repeated_output(sample)
        {
            return Some(draft);
        }
        if let Some(draft) = paused(sample) {
            return Some(draft);
        }
        if flow.is_progress() {
            self.progress();
            let first = &flow.progress[0];
            let sentence = format!("works: {}, {}", first.signal, first.value);
            // Counters are enough as long as they move.
            self.depth = Depth::Counters;
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
            return Some(rest::patience(&self.word, until));
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
        let mut findings = knots::find(&scene);
        findings.extend(lost::find(&scene));
        let memory = &self.memory;
        findings.extend(slow::find(&scene, &|pid| {
            memory.peer_cpu(pid) >= limits::CPU_PEER
        }));
        findings.extend(rest::inputs(&scene, self.settings.owns_stdin));
        self.remember(&findings);
        let asks_person = word.state == Some(Said::WaitingInput);
        let ripe = findings.into_iter().filter(|finding| self.is_ripe(finding));
        let worst = ripe.min_by_key(|finding| rank(finding.verdict));
        match worst {
            Some(finding) if !asks_person => Some(Draft::from(finding)),
            Some(_) | None if asks_person => Some(rest::asks_person()),
            Some(_) | None => self
                .rests(&scene, now)
                .filter(|draft| !self.still_glows(draft)),
        }
    }

    /// Between two bursts of work a harmless wait is no news.
    fn still_glows(&self, draft: &Draft) -> bool {
        let glow = self.scaled(limits::AFTERGLOW).max(limits::AFTERGLOW_MIN);
        let nothing_yet = self.key.is_empty();
        self.settings.glance.is_none()
            && (self.judgement.verdict == Verdict::Working || nothing_yet)
            && !is_flag(draft.verdict)
            && draft.fix == Fix::None
            && self.clock.saturating_sub(self.moved) < glow
    }

    /// Nothing wrong was found: what does it wait for, and may it take so long?
    fn rests(&mut self, scene: &Scene<'_>, now: Moment) -> Option<Draft> {
        self.notice_sleeps(scene.sample, now);
        let flying = if self.polls_queue {
            Vec::new()
        } else {
            scene.in_flight()
        };
        let quiet = self.clock.saturating_sub(self.moved);
        if let Some((who, until)) = self.asleep(quiet, now)
            && flying.is_empty()
            && !(scene.listens(0) && !scene.word.owes())
        {
            return Some(rest::asleep(scene, who, until, now));
        }
        if !flying.is_empty() || scene.word.state == Some(Said::WaitingModel) {
            let budget = if self.pinged {
                limits::ANSWER_PINGED
            } else {
                limits::ANSWER
            };
            let over = quiet >= self.scaled(budget.max(self.settings.stall_after));
            return Some(rest::model(
                scene,
                &flying,
                self.pinged,
                over.then_some(quiet),
            ));
        }
        if let Some(draft) = rest::unreadable(scene) {
            return Some(draft);
        }
        let peer = rest::unix_peer(scene);
        if let Some(peer) = peer
            && (self.memory.peer_cpu(peer) >= limits::CPU_PEER || !scene.word.owes())
        {
            if scene.word.owes() {
                self.moved = self.clock;
            }
            return Some(rest::peer(scene, peer));
        }
        if scene.word.owes() {
            let over = quiet >= self.scaled(self.settings.stall_after);
            return Some(rest::owed(scene, quiet, over));
        }
        Some(rest::idle(scene))
    }

    /// When threads wake by themselves, by the earliest reading of each wait.
    fn notice_sleeps(&mut self, sample: &Sample, now: Moment) {
        let mut sleeps = BTreeMap::new();
        for (key, turns, time) in rest::sleepers(sample) {
            let aside = key.0 != key.1;
            let long = self.scaled(if aside {
                limits::SLEEP_ASIDE
            } else {
                limits::SLEEP
            });
            let known = self.sleeps.get(&key).filter(|sleep| sleep.turns == turns);
            if known.is_some() || time >= long {
                // A limit that counts from the call looks the same in every look: the first one is the nearest.
                let until = known.map_or(now + time, |sleep| sleep.until.min(now + time));
                let length = known.map_or(time, |sleep| sleep.length);
                sleeps.insert(
                    key,
                    Sleep {
                        turns,
                        until,
                        length,
                    },
                );
            }
        }
        self.sleeps = sleeps;
    }

    /// Who sleeps longest. A timer that comes again and again hides a stall no longer than a stall may take.
    fn asleep(&self, quiet: Duration, now: Moment) -> Option<((u32, u32), Moment)> {
        let young = quiet < self.scaled(self.settings.stall_after);
        let meant = |sleep: &Sleep| young || sleep.length >= self.scaled(limits::SLEEP_MEANT);
        let due = |sleep: &Sleep| now < sleep.until + self.scaled(limits::OVERSLEPT);
        let sleeps = self
            .sleeps
            .iter()
            .filter(|(_, sleep)| meant(sleep) && due(sleep));
        sleeps
            .map(|(key, sleep)| (*key, sleep.until))
            .max_by_key(|(_, until)| *until)
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
            .get_or_insert(self.clock.saturating_sub(flow.elapsed));
        let burnt = self.clock.saturating_sub(since.max(self.moved));
        let root = sample.root()?;
        // Without its counters of reading and writing, effects cannot be excluded.
        let blind = root.io.is_none();
        let over = burnt >= self.scaled(limits::SPIN) && patient.is_none() && !blind;
        Some(rest::burning(root, flow.main_cpu, burnt, over))
    }

    fn repeated_output(&mut self, sample: &Sample) -> Option<Draft> {
        let quiet = self.clock.saturating_sub(self.moved);
        let output = sample
            .outputs
            .iter()
            .find(|o| o.repeats >= limits::REPEATS)?;
        if quiet < self.scaled(limits::LOOP) {
            return None;
        }
        rest::repeated_line(output)
    }

    fn progress(&mut self) {
        self.progressed = true;
        self.moved = self.clock;
        self.pinged = false;
        self.holds.clear();
    }

    fn remember(&mut self, findings: &[Finding]) {
        let before = std::mem::take(&mut self.holds);
        for finding in findings {
            let since = before.get(&finding.key).copied().unwrap_or(self.clock);
            self.holds.insert(finding.key.clone(), since);
        }
    }

    fn is_ripe(&self, finding: &Finding) -> bool {
        let since = match &finding.hold {
            Hold::Done => return true,
            Hold::Seen => self.holds.get(&finding.key).copied(),
            Hold::Still(threads) => threads
                .iter()
                .map(|key| self.still.get(key).map_or(self.clock, |(_, s)| *s))
                .max(),
        };
        let lasted = self.clock.saturating_sub(since.unwrap_or(self.clock));
        let needed = match self.settings.glance {
            Some(glance) if finding.logical => glance.min(self.scaled(finding.after)),
            Some(_) | None => self.scaled(finding.after),
        };
        lasted >= needed
    }

    fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.settings.patience)
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
        evidence.truncate(EVIDENCE_MAX);
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

impl Draft {
    fn new(key: &str, verdict: Verdict, sentence: String) -> Self {
        Self {
            key: key.to_owned(),
            verdict,
            sentence,
            evidence: Vec::new(),
            fix: Fix::None,
            until: None,
        }
    }

    fn working(sentence: String, evidence: Vec<Evidence>) -> Self {
        Self {
            evidence,
            ..Self::new("working", Verdict::Working, sentence)
        }
    }
}

impl From<Finding> for Draft {
    fn from(finding: Finding) -> Self {
        Self {
            key: finding.key,
            verdict: finding.verdict,
            sentence: finding.sentence,
            evidence: finding.evidence,
            fix: finding.fix,
            until: None,
        }
    }
}

/// Whether the verdict needs somebody's attention: these are the flags.
pub fn is_flag(verdict: Verdict) -> bool {
    confidence(verdict) != Confidence::None
}

fn confidence(verdict: Verdict) -> Confidence {
    match verdict {
        Verdict::Hung => Confidence::Proof,
        Verdict::Stalled | Verdict::Spinning | Verdict::Looping => Confidence::Suspicion,
        Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::WaitingInput
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Unknown => Confidence::None,
    }
}

/// Proof first, then a person's turn: who waits for a person is never called stalled.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Hung => 0,
        Verdict::WaitingInput => 1,
        Verdict::Stalled
        | Verdict::Spinning
        | Verdict::Looping
        | Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Paused
        | Verdict::Unknown => 2,
    }
}

/// A debugger holds it, or its control group is frozen: then nothing else about it means anything.
fn paused(sample: &Sample) -> Option<Draft> {
    let traced = |p: &&Process| p.state == RunState::Traced || p.tracer.is_some();
    let found = if let Some(process) = sample.processes.iter().find(traced) {
        let by = process
            .tracer
            .map(|pid| format!(" (process {pid})"))
            .unwrap_or_default();
        let sentence = format!("a debugger{by} holds {}", process.title());
        let seen = finding::observed("process.tracer", sentence.clone());
        (sentence, seen)
    } else {
        let process = sample.processes.iter().find(|p| p.frozen)?;
        let sentence = format!("the control group of {} is frozen", process.title());
        (
            sentence.clone(),
            finding::observed("cgroup.freeze", sentence),
        )
    };
    let (sentence, seen) = found;
    Some(Draft {
        evidence: vec![seen],
        ..Draft::new("paused", Verdict::Paused, sentence)
    })
}

fn unseen(sample: &Sample) -> Draft {
    let why = sample
        .gaps
        .first()
        .map_or("it is gone", |gap| gap.why.words());
    let sentence = format!("process {} cannot be seen: {why}", sample.root);
    Draft::new("unseen", Verdict::Unknown, sentence)
}

fn reported(signal: &str, value: &str) -> Evidence {
    Evidence {
        signal: signal.to_owned(),
        value: value.to_owned(),
        source: Source::Reported,
    }
}
