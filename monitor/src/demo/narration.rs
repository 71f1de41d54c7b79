//! The story as it is printed: what the demo does, and each new entry of the agents' timelines.

use super::cast;
use crate::bus::timelines::Timelines;
use crate::cli::terminal::{Terminal, left, plain};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::story::tone;
use heartbeat::fleet::word::{Tone, Word};
use heartbeat::wire::timeline::{TimelineEntry, TimelineKind};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

/// Entries of one timeline that may come between two readings.
const NEWEST: usize = 100;
/// A reading that takes longer is repeated.
const READ_WITHIN: Duration = Duration::from_secs(2);
const NAME_COLUMNS: usize = 10;

/// What happened so far, on standard output.
pub(super) struct Narration {
    timelines: Timelines,
    agents: Vec<AgentId>,
    started: Instant,
    terminal: Terminal,
    /// Places of entries that were read, by agent.
    read: BTreeSet<(AgentId, String)>,
    entries: Vec<(AgentId, TimelineEntry)>,
}

/// An entry that the story waits for.
pub(super) struct Sign<'a> {
    pub(super) agent: &'a str,
    pub(super) kind: TimelineKind,
    pub(super) facts: &'a [(&'a str, &'a str)],
}

impl Narration {
    pub(super) fn new(timelines: Timelines) -> anyhow::Result<Self> {
        let agents = cast::ALL.into_iter().map(AgentId::parse);
        Ok(Self {
            timelines,
            agents: agents.collect::<Result<_, _>>()?,
            started: Instant::now(),
            terminal: Terminal::detect(false),
            read: BTreeSet::new(),
            entries: Vec::new(),
        })
    }

    /// How much has happened; what comes later stands behind this place.
    pub(super) fn place(&self) -> usize {
        self.entries.len()
    }

    /// Whether such an entry came behind that place.
    pub(super) fn has(&self, from: usize, sign: &Sign<'_>) -> bool {
        let is_sign = |(agent, entry): &(AgentId, TimelineEntry)| {
            let fact = |(name, value): &(&str, &str)| {
                entry.facts.get(*name).is_some_and(|known| known == value)
            };
            agent.as_str() == sign.agent && entry.kind == sign.kind && sign.facts.iter().all(fact)
        };
        self.entries.iter().skip(from).any(is_sign)
    }

    /// Reads and prints what is new.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        let mut new = Vec::new();
        for agent in &self.agents {
            // A store that is slow to answer is asked again.
            let part = self.timelines.read(agent, None, NEWEST, READ_WITHIN).await;
            for (place, entry) in part.unwrap_or_default().entries.into_iter().rev() {
                if self.read.insert((agent.clone(), place)) {
                    new.push((agent.clone(), entry));
                }
            }
        }
        new.sort_by_key(|(_, entry)| entry.at);
        for (agent, entry) in new {
            self.print(&self.line(&agent, &entry))?;
            self.entries.push((agent, entry));
        }
        Ok(())
    }

    /// One line, with the time since the start.
    pub(super) fn print(&self, text: &str) -> anyhow::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        print(&format!("{seconds:>6.1} s  {text}"))
    }

    fn line(&self, agent: &AgentId, entry: &TimelineEntry) -> String {
        let word = match tone(entry) {
            Tone::Ok => Word::Healthy,
            Tone::Wait => Word::Returning,
            Tone::You => Word::WaitingInput,
            Tone::Warn => Word::Missing,
            Tone::Bad => Word::Failed,
            Tone::Off => Word::Stopped,
        };
        let glyph = self.terminal.glyph(word).to_string();
        let mark = self.terminal.paint(word, &glyph);
        let name = left(agent.as_str(), NAME_COLUMNS);
        let mut what = plain(&entry.what);
        if !entry.detail.is_empty() {
            what = format!("{what}: {}", plain(&entry.detail));
        }
        if !self.terminal.is_unicode() {
            what = what.replace('→', "->");
        }
        format!("  {mark} {name} {what}")
    }
}

/// A line without a time. The demo ends when no one can read it.
pub(super) fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| anyhow::anyhow!("standard output takes nothing more: {error}"))
}
