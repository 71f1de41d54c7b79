//! Entries of timelines on their way to the store, each of them once.
//!
//! A monitor that starts, and a connection after one whose answers were lost, may bring what the store holds already. So the
//! newest entries of an agent are read before the first one is added, and what they report is left out.

use super::answers::{bytes, is_own_fault, list, pairs};
use super::load::ask;
use super::{Output, Request};
use hbshell::store::Link;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::story::Line;
use heartbeat::wire::keys;
use heartbeat::wire::timeline::{TimelineEntry, TimelineError};
use redis::{Pipeline, Value};
use std::collections::{HashMap, HashSet};

/// The newest entries that are looked through.
const NEWEST: usize = 50;
/// Agents that are remembered; then all of them are read again.
const KNOWN_MAX: usize = 200_000;

/// Whose newest entries one connection has read: what comes later is new.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    known: HashSet<AgentId>,
}

impl Timelines {
    /// Removes from the batch what the store holds already.
    pub(super) async fn leave_out_known(
        &mut self,
        link: &mut Link,
        batch: &mut [Request],
        output: &Output,
    ) -> anyhow::Result<()> {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut unread: Vec<AgentId> = Vec::new();
        for (agent, _) in lines(batch).flatten() {
            if self.known.insert(agent.clone()) {
                unread.push(agent.clone());
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        let mut question = redis::pipe();
        for agent in &unread {
            let newest = question.cmd("XREVRANGE").arg(keys::timeline(agent));
            newest.arg("+").arg("-").arg("COUNT").arg(NEWEST);
        }
        let answers = ask(link, &mut question, output).await?;
        let mut held: HashMap<AgentId, Vec<TimelineEntry>> = HashMap::new();
        for (agent, answer) in unread.into_iter().zip(answers) {
            match answer {
                Ok(found) => {
                    held.insert(agent, entries(found, output));
                }
                Err(error) if is_own_fault(&error) => output.count("timeline", &error),
                Err(error) => return Err(error.into()),
            }
        }
        for lines in lines(batch) {
            lines.retain(|(agent, entry)| {
                let held = held.get(agent).map(Vec::as_slice);
                !held.is_some_and(|held| is_known(entry, held))
            });
        }
        Ok(())
    }
}

/// Adds entries: two answers each.
pub(super) fn write(question: &mut Pipeline, lines: &[Line]) {
    let lasts = u64::try_from(keys::TIMELINE_LASTS.as_millis()).unwrap_or(u64::MAX);
    for (agent, entry) in lines {
        let key = keys::timeline(agent);
        let add = question.cmd("XADD").arg(&key);
        add.arg("MAXLEN").arg("~").arg(keys::TIMELINE_KEPT).arg("*");
        for (field, value) in entry.encode() {
            add.arg(field).arg(value);
        }
        question.cmd("PEXPIRE").arg(key).arg(lasts);
    }
}

/// The entries of an answer, as the store orders them, with their ids; one that is wrong is left out.
pub(crate) fn read(
    answer: Value,
) -> impl Iterator<Item = (String, Result<TimelineEntry, TimelineError>)> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    list(answer).into_iter().filter_map(move |entry| {
        let mut parts = list(entry).into_iter();
        let id = text(bytes(parts.next()?)?);
        let fields = pairs(parts.next()?).into_iter();
        let fields = fields.map(|(name, value)| (text(name), text(value)));
        Some((id, TimelineEntry::decode(fields)))
    })
}

fn lines(batch: &mut [Request]) -> impl Iterator<Item = &mut Vec<Line>> {
    batch.iter_mut().filter_map(|request| {
        if let Request::Timeline(lines) = request {
            Some(lines)
        } else {
            None
        }
    })
}

fn entries(answer: Value, output: &Output) -> Vec<TimelineEntry> {
    let mut entries = Vec::new();
    for (_, entry) in read(answer) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => output.count("timeline", &error),
        }
    }
    entries
}

/// Whether these newest entries, the newest first, report the same thing.
fn is_known(entry: &TimelineEntry, held: &[TimelineEntry]) -> bool {
    let mut of_kind = held.iter().filter(|held| held.kind == entry.kind);
    if entry.recurs() {
        of_kind.next().is_some_and(|newest| entry.repeats(newest))
    } else {
        of_kind.any(|held| entry.repeats(held))
    }
}
