//! Reads what the agent prints, as far as its allowance reaches, and finds in it what the agent reports.

use super::OutputLine;
use crate::clock;
use crate::config::Reads;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::base::sliding::RateLimiter;
use heartbeat::contract::agent_streams::{EVENT_BYTES_MAX, Events};
use heartbeat::contract::framing::LineSplitter;
use heartbeat::contract::line::{Field, LINE_BYTES_MAX, Line, pair};
use heartbeat::contract::terminal_text::TerminalText;
use heartbeat::wire::declared_state::DeclaredState;
use regex_lite::Regex;
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes read of the output, per second and at once; the rest passes unread. A pattern costs more than an event.
const EVENT_BYTES_PER_SECOND: u64 = 1024 * 1024;
const PATTERN_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Lines reported per second, as everywhere in the contract.
const LINES_PER_SECOND: usize = 50;
/// Lines that report only that work continues.
const STEPS_PER_SECOND: usize = 5;
/// A line that has no end after this silence is read as it is.
pub(super) const LINE_ENDS_WITHIN: Duration = Duration::from_millis(250);
/// After this time without a match the pattern is probably wrong.
const MATCHES_WITHIN: Duration = Duration::from_secs(60);

/// Reads every output of one agent.
pub(super) struct Reader {
    kind: Kind,
    send: mpsc::Sender<OutputLine>,
    per_second: u64,
    /// Bytes that may be read now.
    allowance: u64,
    since: Moment,
    all: RateLimiter,
    steps: RateLimiter,
    /// Lines of a pattern's output until the first one matches.
    unmatched: Option<Unmatched>,
}

/// One output: its text up to the present line.
pub(super) struct Text {
    terminal: TerminalText,
    lines: LineSplitter,
    /// So much of the present line was read before its end.
    read: usize,
    /// When it grew last, until it was read so far.
    grew: Option<Moment>,
}

enum Kind {
    Events(Box<Events>),
    Pattern {
        pattern: Regex,
        last: String,
        unreported: Option<String>,
    },
}

struct Unmatched {
    since: Moment,
    lines: u64,
}

impl Text {
    pub(super) fn of(reads: &Reads) -> Self {
        let longest = match reads {
            Reads::Events => EVENT_BYTES_MAX,
            Reads::Pattern(_) => LINE_BYTES_MAX,
        };
        Self {
            terminal: TerminalText::default(),
            lines: LineSplitter::new(longest),
            read: 0,
            grew: None,
        }
    }

    /// When the present line is read although its end has not come.
    pub(super) fn deadline(&self) -> Option<Moment> {
        Some(self.grew? + LINE_ENDS_WITHIN)
    }
}

impl Reader {
    pub(super) fn new(reads: Reads, send: mpsc::Sender<OutputLine>) -> Self {
        let now = clock::now();
        let (kind, per_second, unmatched) = match reads {
            Reads::Events => {
                let kind = Kind::Events(Box::default());
                (kind, EVENT_BYTES_PER_SECOND, None)
            }
            Reads::Pattern(pattern) => {
                let (last, unreported) = (String::new(), None);
                let kind = Kind::Pattern {
                    pattern,
                    last,
                    unreported,
                };
                let unmatched = Unmatched {
                    since: now,
                    lines: 0,
                };
                (kind, PATTERN_BYTES_PER_SECOND, Some(unmatched))
            }
        };
        Self {
            kind,
            send,
            per_second,
            allowance: per_second,
            since: now,
            all: RateLimiter::new(LINES_PER_SECOND),
            steps: RateLimiter::new(STEPS_PER_SECOND),
            unmatched,
        }
    }

    /// When it may read again; `None`: now.
    pub(super) fn reads_again(&mut self, packet: usize) -> Option<Moment> {
        let now = clock::now();
        let earned = millis(now.since(self.since)).saturating_mul(self.per_second) / 1000;
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(earned).min(self.per_second);
            self.since = now;
        }
        let missing = (packet as u64).saturating_sub(self.allowance);
        let wait = Duration::from_millis(missing.saturating_mul(1000) / self.per_second + 1);
        (missing > 0).then(|| now + wait)
    }

    /// Reads what has been passed on already. `gap`: something before it passed unread.
    pub(super) fn read(&mut self, text: &mut Text, bytes: &[u8], gap: bool) {
        self.allowance = self.allowance.saturating_sub(bytes.len() as u64);
        if gap {
            text.lines.drop_line(true);
            text.read = 0;
        }
        let mut shown = Vec::with_capacity(bytes.len());
        text.terminal.feed(bytes, &mut shown);
        let mut read = text.read;
        text.lines.feed(&shown, |line| {
            if let Ok(line) = line {
                self.line(line.get(read..).unwrap_or_default(), read > 0);
            }
            read = 0;
        });
        // A line that grew too long is gone, and what was read of it.
        text.read = read.min(text.lines.pending().len());
        text.grew = (text.lines.pending().len() > text.read).then(clock::now);
    }

    /// The present line has had no end for a while: it is read as it is.
    pub(super) fn pause(&mut self, text: &mut Text, now: Moment) {
        if text.deadline().is_none_or(|at| at > now) {
            return;
        }
        text.grew = None;
        let line = text.lines.pending().get(text.read..).unwrap_or_default();
        let end = match &self.kind {
            // Half an event is none, and its other half may come.
            Kind::Events(_) if !line.trim_ascii_end().ends_with(b"}") => 0,
            Kind::Events(_) => line.len(),
            // What follows the match belongs to the next.
            Kind::Pattern { pattern, .. } => {
                let found = pattern
                    .find(&String::from_utf8_lossy(line))
                    .map(|found| found.end());
                found.unwrap_or(0).min(line.len())
            }
        };
        if end > 0 {
            let line = line.get(..end).unwrap_or_default().to_vec();
            text.read += end;
            self.line(&line, true);
        }
    }

    /// `part`: it is a line's rest, or its begin.
    fn line(&mut self, line: &[u8], part: bool) {
        let report = match &mut self.kind {
            Kind::Events(events) => events.line(line),
            Kind::Pattern {
                pattern,
                last,
                unreported,
            } => {
                let found = by_pattern(pattern, line);
                match (&found, &mut self.unmatched) {
                    (Some(_), unmatched) => *unmatched = None,
                    (None, Some(unmatched)) if !part && !line.trim_ascii().is_empty() => {
                        unmatched.lines += 1
                    }
                    (None, _) => {}
                }
                let matched = found.filter(|line| line != last);
                if let Some(matched) = &matched {
                    last.clone_from(matched);
                    *unreported = None;
                }
                matched
            }
        };
        if let Some(report) = report {
            self.report(report);
        }
    }

    fn report(&mut self, raw: String) {
        // A number beyond a hundred, a text too long: output is not the contract, so it is dropped silently.
        let Ok(line) = Line::parse(raw.as_bytes()) else {
            return;
        };
        let at = clock::now();
        let only_goes_on = line.tokens == 0 && line.task == Field::Kept;
        let frequent = match &self.kind {
            Kind::Events(_) => only_goes_on && line.state == Field::Set(DeclaredState::Working),
            Kind::Pattern { .. } => true,
        };
        let passes = (!frequent || self.steps.pass(at)) && self.all.pass(at);
        let sent = passes && self.send(line, raw.clone(), at);
        match &mut self.kind {
            Kind::Pattern { unreported, .. } if !sent => *unreported = Some(raw),
            Kind::Pattern { .. } | Kind::Events(_) => {}
        }
    }

    fn send(&self, line: Line, raw: String, at: Moment) -> bool {
        self.send.try_send(OutputLine { line, raw, at }).is_ok()
    }

    /// When something is due although nothing is printed.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let owed = match &self.kind {
            Kind::Pattern {
                unreported: Some(_),
                ..
            } => Some(clock::now() + LINE_ENDS_WITHIN),
            Kind::Pattern { .. } | Kind::Events(_) => None,
        };
        let unmatched = self
            .unmatched
            .as_ref()
            .map(|unmatched| unmatched.since + MATCHES_WITHIN);
        owed.into_iter().chain(unmatched).min()
    }

    /// Reports what is due. The last value counts, though it came too soon after the one before.
    pub(super) fn tick(&mut self, now: Moment) {
        if let Kind::Pattern { unreported, .. } = &mut self.kind
            && unreported.is_some()
            && self.steps.pass(now)
            && let Some(raw) = unreported.take()
            && let Ok(line) = Line::parse(raw.as_bytes())
        {
            self.send(line, raw, now); // a hub that has ended needs no last line
        }
        if let Some(unmatched) = self
            .unmatched
            .take_if(|it| now.since(it.since) >= MATCHES_WITHIN)
        {
            tracing::warn!(
                "--progress-regex matched nothing in a minute; the agent printed {} lines",
                unmatched.lines
            );
        }
    }

    /// The agent has ended, or its output: lines without an end and values that wait count now.
    pub(super) fn flush<'a>(&mut self, texts: impl Iterator<Item = &'a mut Text>) {
        for text in texts {
            self.pause(text, clock::now() + LINE_ENDS_WITHIN);
        }
        if let Kind::Pattern { unreported, .. } = &mut self.kind
            && let Some(raw) = unreported.take()
            && let Ok(line) = Line::parse(raw.as_bytes())
        {
            self.send(line, raw, clock::now());
        }
    }
}

/// Bytes that are no UTF-8 cost themselves only.
fn by_pattern(pattern: &Regex, line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let groups = pattern.captures(&text)?;
    let pairs = Reads::GROUPS
        .iter()
        .filter_map(|name| Some(pair(name, groups.name(name)?.as_str().trim())));
    let line = pairs.collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}
