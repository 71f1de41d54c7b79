//! What the agent reports of itself: status lines in, the present report and whether it proves progress out.
//!
//! The receiver's clock is the only one. Whatever comes in, memory stays bounded and the last good value is kept.

use crate::base::moment::Moment;
use crate::base::sliding::SlidingSum;
use crate::contract::line::{Field, Line};
use crate::wire::beat::{Metrics, Status, TASK_CHARS_MAX, cut};
use crate::wire::declared_state::DeclaredState;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Tokens are summed over this.
const TOKENS_OVER: Duration = Duration::from_secs(3600);
/// Errors are summed over this.
const ERRORS_OVER: Duration = Duration::from_secs(300);
/// How many lines are kept for evidence.
const LINES_KEPT: usize = 20;
/// How much of each, in characters.
const LINE_CHARS_KEPT: usize = 500;
/// A step is new when it is none of this many before it: an agent that goes in circles makes no progress.
const STEPS_REMEMBERED: usize = 256;

/// When load is called by another name than healthy. Each is exceeded, not reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// MiB of the tree.
    pub degraded_memory_mb: f64,
    /// Waiting tasks.
    pub busy_queue: u64,
    /// Errors of the last five minutes.
    pub recovering_errors: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            degraded_memory_mb: 1000.0,
            busy_queue: 50,
            recovering_errors: 10,
        }
    }
}

/// What a line proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Work moved: progress changed, a step never seen lately, tokens were used.
    Progress,
    /// The agent is alive; the line does not show whether its work moves.
    Liveness,
}

/// A line as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLine {
    /// When it came.
    pub at: Moment,
    /// The line itself, cut.
    pub line: String,
}

/// The agent's report.
#[derive(Clone, Debug)]
pub struct Report {
    declared: Declared,
    tokens: SlidingSum,
    errors: SlidingSum,
    lines: VecDeque<KeptLine>,
    unknown: u64,
}

/// What one incarnation has reported; the next one starts from nothing.
#[derive(Clone, Debug, Default)]
struct Declared {
    task: Option<String>,
    owed_since: Option<Moment>,
    progress: Option<f64>,
    step: Option<String>,
    steps: VecDeque<u64>,
    state: Option<DeclaredState>,
    state_since: Option<Moment>,
    expect_until: Option<Moment>,
    limited_until: Option<Moment>,
    active: Option<u64>,
    queue: Option<u64>,
    status: Option<String>,
    error: Option<String>,
    ready: bool,
    stopping: bool,
    heard_at: Option<Moment>,
    progress_at: Option<Moment>,
    /// The last step or error, and how often in a row it came.
    repeated: (String, u32),
}

impl Default for Report {
    fn default() -> Self {
        Self {
            declared: Declared::default(),
            tokens: SlidingSum::new(TOKENS_OVER),
            errors: SlidingSum::new(ERRORS_OVER),
            lines: VecDeque::with_capacity(LINES_KEPT),
            unknown: 0,
        }
    }
}

impl Report {
    /// Takes a parsed line; `raw` is its text, for evidence.
    pub fn handle(&mut self, line: Line, raw: &str, now: Moment) -> Worth {
        self.keep(raw, now);
        self.unknown = self.unknown.saturating_add(u64::from(line.unknown));
        self.tokens.add(line.tokens, now);
        self.errors.add(line.errors, now);
        let moved = self.declared.handle(line, now);
        if moved {
            Worth::Progress
        } else {
            Worth::Liveness
        }
    }

    /// A new incarnation starts: what the previous one reported does not count for it, its tokens and errors still do.
    pub fn new_incarnation(&mut self) {
        self.declared = Declared::default();
    }

    /// The task, for the beat.
    pub fn task(&self) -> Option<&str> {
        self.declared.task.as_deref()
    }

    /// 0 to 100, for the beat.
    pub fn progress(&self) -> Option<f64> {
        self.declared.progress
    }

    /// The last step, cut.
    pub fn step(&self) -> Option<&str> {
        self.declared.step.as_deref()
    }

    /// The state that the agent declares, and since when.
    pub fn state(&self) -> Option<(DeclaredState, Moment)> {
        self.declared.state.zip(self.declared.state_since)
    }

    /// `STATUS` of sd_notify.
    pub fn status_text(&self) -> Option<&str> {
        self.declared.status.as_deref()
    }

    /// The last error's text.
    pub fn error(&self) -> Option<&str> {
        self.declared.error.as_deref()
    }

    /// Until when silence is normal, if that is still to come.
    pub fn expect_until(&self, now: Moment) -> Option<Moment> {
        self.declared.expect_until.filter(|until| *until > now)
    }

    /// Until when the model's service asked the agent to wait, if that is still to come.
    pub fn limited_until(&self, now: Moment) -> Option<Moment> {
        self.declared.limited_until.filter(|until| *until > now)
    }

    /// The agent has reported `ready`.
    pub fn ready(&self) -> bool {
        self.declared.ready
    }

    /// The agent has reported `stopping`: a clean exit follows.
    pub fn stopping(&self) -> bool {
        self.declared.stopping
    }

    /// When this incarnation sent its last line.
    pub fn heard_at(&self) -> Option<Moment> {
        self.declared.heard_at
    }

    /// When this incarnation last reported progress.
    pub fn progress_at(&self) -> Option<Moment> {
        self.declared.progress_at
    }

    /// The last step or error, and how often it was reported in a row.
    pub fn repeated(&self) -> (&str, u32) {
        let (text, times) = &self.declared.repeated;
        (text, *times)
    }

    /// Whether the agent reports unfinished work: it named a task or declares `working`, and is not done.
    pub fn work_owed(&self) -> bool {
        self.declared.owes()
    }

    /// Since when it owes it.
    pub fn owed_since(&self) -> Option<Moment> {
        self.declared.owed_since
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &KeptLine> {
        self.lines.iter()
    }

    /// Unknown keys.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The figures that only the agent can report; those of the process tree are zero.
    pub fn metrics(&self, now: Moment) -> Metrics {
        Metrics {
            active_tasks: self.declared.active.unwrap_or(0),
            queue_depth: self.declared.queue.unwrap_or(0),
            tokens_used_this_hour: self.tokens.sum(now),
            errors_last_5_min: self.errors.sum(now),
            ..Metrics::default()
        }
    }

    fn keep(&mut self, raw: &str, now: Moment) {
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        let line = cut(raw.chars().take(LINE_CHARS_KEPT).collect(), LINE_CHARS_KEPT);
        self.lines.push_back(KeptLine { at: now, line });
    }
}

impl Declared {
    /// Whether work moved.
    fn handle(&mut self, line: Line, now: Moment) -> bool {
        self.heard_at = Some(now);
        let (says_stopping, says_ready) = (line.stopping, line.ready);
        let takes_up = matches!(line.task, Field::Set(_))
            || matches!(
                line.state,
                Field::Set(DeclaredState::Working | DeclaredState::WaitingModel)
            );
        self.ready |= says_ready;
        self.repeat(&line);
        self.error = line.error.or(self.error.take());
        line.status.apply(&mut self.status);
        line.active.apply(&mut self.active);
        line.queue.apply(&mut self.queue);
        match line.expect {
            Field::Kept => {}
            Field::Cleared => self.expect_until = None,
            Field::Set(silence) => self.expect_until = Some(now + silence),
        }
        match line.limited {
            Field::Kept => {}
            Field::Cleared => self.limited_until = None,
            Field::Set(wait) => self.limited_until = Some(now + wait),
        }
        self.state(&line.state, &line.task, now);
        self.task(line.task);
        let went_on = self.progress(line.progress);
        if went_on {
            self.repeated.1 = 0; // the same text, but the work proceeds
        }
        let moved = went_on | self.step(line.step) | (line.tokens > 0);
        if moved {
            self.limited_until = None; // the service answers again
            self.progress_at = Some(now);
        }
        // One that works on has not stopped: a tool of the agent, which writes here too, may have said so of itself.
        self.stopping = says_stopping || self.stopping && !(says_ready || takes_up || moved);
        self.owed_since = self.owes().then(|| self.owed_since.unwrap_or(now));
        moved
    }

    /// The same step or error again and again is an agent that goes in circles.
    fn repeat(&mut self, line: &Line) {
        let named = match (&line.step, &line.error) {
            (_, Some(error)) => error,
            (Field::Set(step), None) => step,
            (Field::Kept | Field::Cleared, None) => return,
        };
        let named = cut(named.clone(), TASK_CHARS_MAX);
        if self.repeated.0 == named {
            self.repeated.1 = self.repeated.1.saturating_add(1);
        } else {
            self.repeated = (named, 1);
        }
    }

    /// A task that is named is work again, though the one before was done.
    fn state(&mut self, state: &Field<DeclaredState>, task: &Field<String>, now: Moment) {
        let before = self.state;
        let over = matches!(before, Some(DeclaredState::Idle | DeclaredState::Done));
        match (state, task) {
            (Field::Kept, Field::Set(_)) if over => self.state = None,
            (Field::Kept, _) => {}
            (Field::Cleared, _) => self.state = None,
            (Field::Set(state), _) => self.state = Some(*state),
        }
        if self.state != before {
            self.state_since = self.state.map(|_| now);
        }
        if over && self.owes() {
            self.owed_since = None;
        }
    }

    /// Progress belongs to the task it was reported for.
    fn task(&mut self, task: Field<String>) {
        let before = self.task.take();
        self.task = before.clone();
        task.apply(&mut self.task);
        if self.task != before {
            self.progress = None;
            self.step = None;
            self.owed_since = None;
        }
    }

    fn progress(&mut self, progress: Field<f64>) -> bool {
        let before = self.progress;
        progress.apply(&mut self.progress);
        self.progress.is_some() && self.progress != before
    }

    fn step(&mut self, step: Field<String>) -> bool {
        let Field::Set(step) = step else {
            step.apply(&mut self.step);
            return false;
        };
        let mut hasher = DefaultHasher::new();
        step.hash(&mut hasher);
        let hash = hasher.finish();
        self.step = Some(cut(step, TASK_CHARS_MAX));
        if self.steps.contains(&hash) {
            return false;
        }
        if self.steps.len() == STEPS_REMEMBERED {
            self.steps.pop_front();
        }
        self.steps.push_back(hash);
        true
    }

    fn owes(&self) -> bool {
        match self.state {
            Some(DeclaredState::Working | DeclaredState::WaitingModel) => true,
            Some(DeclaredState::WaitingInput) | None => self.task.is_some(),
            Some(DeclaredState::Idle | DeclaredState::Done) => false,
        }
    }
}

/// What load is called, first match: errors, memory, queue.
pub fn status(metrics: &Metrics, thresholds: &Thresholds) -> Status {
    if metrics.errors_last_5_min > thresholds.recovering_errors {
        Status::Recovering
    } else if metrics.memory_mb > thresholds.degraded_memory_mb {
        Status::Degraded
    } else if metrics.queue_depth > thresholds.busy_queue {
        Status::Busy
    } else {
        Status::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::number::COUNT_MAX;
    use proptest::prelude::*;

    #[test]
    fn the_same_step_again_and_again_is_counted_until_another_comes() {
        let mut report = Report::default();
        let mut repeated_after = |text: &str| {
            report.handle(Line::parse(text.as_bytes()).unwrap(), text, at(1));
            let (named, times) = report.repeated();
            (named.to_owned(), times)
        };
        assert_eq!(repeated_after("step=a"), ("a".to_owned(), 1));
        assert_eq!(repeated_after("step=a watchdog=1"), ("a".to_owned(), 2));
        assert_eq!(
            repeated_after("watchdog=1"),
            ("a".to_owned(), 2),
            "a heartbeat names nothing"
        );
        assert_eq!(
            repeated_after("error=\"no route\""),
            ("no route".to_owned(), 1)
        );
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn take(report: &mut Report, line: &str, seconds: u64) -> Worth {
        report.handle(Line::parse(line.as_bytes()).unwrap(), line, at(seconds))
    }

    #[test]
    fn what_a_line_says_is_kept_until_it_is_said_anew() {
        let mut report = Report::default();
        take(
            &mut report,
            "task=index progress=42 active=1 queue=7 step=a",
            0,
        );
        take(&mut report, "watchdog", 1);
        assert_eq!(
            (report.task(), report.progress(), report.step()),
            (Some("index"), Some(42.0), Some("a"))
        );
        let metrics = report.metrics(at(1));
        assert_eq!((metrics.active_tasks, metrics.queue_depth), (1, 7));
        take(&mut report, "task= active=", 2);
        assert_eq!(
            (report.task(), report.metrics(at(2)).active_tasks),
            (None, 0)
        );
    }

    #[test]
    fn a_change_of_progress_a_new_step_and_tokens_are_progress_and_nothing_else_is() {
        let mut report = Report::default();
        for (line, worth) in [
            ("task=a", Worth::Liveness),
            ("progress=1", Worth::Progress),
            ("progress=1", Worth::Liveness),
            ("progress=2", Worth::Progress),
            ("progress=", Worth::Liveness),
            ("step=x", Worth::Progress),
            ("step=x", Worth::Liveness),
            ("tokens=0", Worth::Liveness),
            ("tokens=3", Worth::Progress),
            ("watchdog=1", Worth::Liveness),
            ("state=working", Worth::Liveness),
            ("STATUS=17 % done", Worth::Liveness),
            ("errors=1", Worth::Liveness),
            ("ready=1", Worth::Liveness),
            ("active=3 queue=3", Worth::Liveness),
        ] {
            assert_eq!(take(&mut report, line, 1), worth, "{line}");
        }
    }

    #[test]
    fn an_agent_that_goes_in_circles_makes_no_progress() {
        let mut report = Report::default();
        for step in ["a", "b", "c"] {
            assert_eq!(
                take(&mut report, &format!("step={step}"), 0),
                Worth::Progress
            );
        }
        for step in ["a", "b", "c", "b"] {
            assert_eq!(
                take(&mut report, &format!("step={step}"), 1),
                Worth::Liveness
            );
        }
        assert_eq!(report.progress_at(), Some(at(0)));
    }

    #[test]
    fn steps_that_differ_only_at_their_end_are_two_steps() {
        let mut report = Report::default();
        let long = "x".repeat(5000);
        assert_eq!(
            take(&mut report, &format!("step={long}1"), 0),
            Worth::Progress
        );
        assert_eq!(
            take(&mut report, &format!("step={long}2"), 0),
            Worth::Progress
        );
        assert_eq!(report.step().unwrap().len(), TASK_CHARS_MAX);
    }

    #[test]
    fn a_new_task_does_not_inherit_the_progress_of_the_last_one() {
        let mut report = Report::default();
        take(&mut report, "task=a progress=100", 0);
        take(&mut report, "task=b", 5);
        assert_eq!((report.task(), report.progress()), (Some("b"), None));
        assert_eq!(report.owed_since(), Some(at(5)));
    }

    #[test]
    fn a_task_makes_work_owed_until_the_agent_is_done() {
        let mut report = Report::default();
        assert!(!report.work_owed());
        take(&mut report, "task=a", 3);
        assert_eq!(
            (report.work_owed(), report.owed_since()),
            (true, Some(at(3)))
        );
        take(&mut report, "state=waiting_input", 4);
        assert_eq!(report.owed_since(), Some(at(3)));
        take(&mut report, "state=done", 5);
        assert_eq!((report.work_owed(), report.owed_since()), (false, None));
        take(&mut report, "task=a", 6);
        assert_eq!((report.state(), report.owed_since()), (None, Some(at(6))));
        take(&mut report, "task=", 7);
        assert!(!report.work_owed());
    }

    #[test]
    fn an_agent_that_says_it_works_owes_work_without_a_name() {
        let mut report = Report::default();
        take(&mut report, "state=waiting_model", 1);
        assert!(report.work_owed());
        take(&mut report, "state=idle", 2);
        assert_eq!(
            (report.work_owed(), report.state()),
            (false, Some((DeclaredState::Idle, at(2))))
        );
    }

    #[test]
    fn who_works_on_has_not_stopped() {
        for (line, stops) in [
            ("WATCHDOG=1", true),
            ("task=", true),
            ("state=done", true),
            ("READY=1", false),
            ("task=next", false),
            ("state=working", false),
            ("progress=7", false),
            ("progress=7 stopping=1", true),
        ] {
            let mut report = Report::default();
            take(&mut report, "progress=6 stopping=1", 1);
            take(&mut report, line, 2);
            assert_eq!(report.stopping(), stops, "{line}");
        }
    }

    #[test]
    fn silence_is_normal_up_to_the_announced_moment() {
        let mut report = Report::default();
        take(&mut report, "expect=60", 10);
        assert_eq!(report.expect_until(at(69)), Some(at(70)));
        assert_eq!(report.expect_until(at(70)), None);
        take(&mut report, "EXTEND_TIMEOUT_USEC=5000000", 20);
        assert_eq!(report.expect_until(at(20)), Some(at(25)));
        take(&mut report, "expect=0", 21);
        assert_eq!(report.expect_until(at(21)), None);
    }

    #[test]
    fn tokens_slide_over_an_hour_and_errors_over_five_minutes() {
        let mut report = Report::default();
        take(&mut report, "tokens=100 errors=2", 0);
        take(&mut report, "tokens=11 error=\"no route\"", 200);
        let figures = |report: &Report, seconds| {
            let metrics = report.metrics(at(seconds));
            (metrics.tokens_used_this_hour, metrics.errors_last_5_min)
        };
        assert_eq!(figures(&report, 200), (111, 3));
        assert_eq!(figures(&report, 301), (111, 1));
        assert_eq!(figures(&report, 3601), (11, 0));
        assert_eq!(figures(&report, 3801), (0, 0));
        assert_eq!(report.error(), Some("no route"));
    }

    #[test]
    fn a_new_incarnation_has_said_nothing_and_the_hour_goes_on() {
        let mut report = Report::default();
        take(
            &mut report,
            "task=a progress=9 state=working ready stopping tokens=5 errors=1",
            0,
        );
        report.new_incarnation();
        assert_eq!(
            (report.task(), report.progress(), report.state()),
            (None, None, None)
        );
        assert!(!report.ready() && !report.stopping() && !report.work_owed());
        let metrics = report.metrics(at(1));
        assert_eq!(
            (metrics.tokens_used_this_hour, metrics.errors_last_5_min),
            (5, 1)
        );
    }

    #[test]
    fn the_status_rules_are_the_seeds_in_the_seeds_order() {
        let name = |errors, memory, queue| {
            let metrics = Metrics {
                errors_last_5_min: errors,
                memory_mb: memory,
                queue_depth: queue,
                ..Metrics::default()
            };
            status(&metrics, &Thresholds::default())
        };
        assert_eq!(name(10, 1000.0, 50), Status::Healthy);
        assert_eq!(name(11, 1000.1, 51), Status::Recovering);
        assert_eq!(name(10, 1000.1, 51), Status::Degraded);
        assert_eq!(name(10, 1000.0, 51), Status::Busy);
    }

    #[test]
    fn the_last_twenty_lines_are_evidence_and_no_more_is_kept() {
        let mut report = Report::default();
        for n in 0..1000 {
            take(&mut report, &format!("step={n}{}", "ä".repeat(3000)), n);
        }
        let kept: Vec<&KeptLine> = report.lines().collect();
        assert_eq!(
            (kept.len(), kept[0].at, kept[0].line.chars().count()),
            (20, at(980), 500)
        );
        assert_eq!(report.declared.steps.len(), STEPS_REMEMBERED);
    }

    proptest! {
        #[test]
        fn whatever_is_said_the_beat_can_carry_it(
            lines in prop::collection::vec(("(task|progress|step|state|expect|active|queue|tokens|errors|error|ready)",
                "(|1|99|9007199254740991|working|done|0.5)"), 1..60),
        ) {
            let mut report = Report::default();
            for (second, (key, value)) in lines.into_iter().enumerate() {
                if let Ok(line) = Line::parse(format!("{key}={value}").as_bytes()) {
                    let seconds = second as u64 * 40;
                    report.handle(line, "", at(seconds));
                    let metrics = report.metrics(at(seconds));
                    prop_assert!(metrics.tokens_used_this_hour <= COUNT_MAX && metrics.errors_last_5_min <= COUNT_MAX);
                    prop_assert!(report.progress().is_none_or(|p| (0.0..=100.0).contains(&p)));
                    prop_assert_eq!(report.work_owed(), report.owed_since().is_some());
                }
            }
        }
    }
}
