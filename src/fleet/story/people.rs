//! What people asked for, and what they silenced.

use super::Line;
use crate::base::foreign;
use crate::base::id::AgentId;
use crate::wire::audit::AuditEntry;
use crate::wire::silence::Silence;
use crate::wire::timeline::{TimelineEntry, TimelineKind};

/// The label by which a silence names one agent.
const AGENT_LABEL: &str = "agent";
/// What a person asks for when an agent is to leave: its timeline goes with it.
const FORGET: &str = "forget";

/// What a person asked for; `forget` takes the timeline with it.
pub(super) fn of_request(asked: &AuditEntry) -> Option<Line> {
    let agent = AgentId::parse(&asked.agent).ok()?;
    if asked.what == FORGET {
        return None;
    }
    let by = foreign::visible(&asked.who);
    let what = format!("{by} asked for {}: {}", asked.what, asked.outcome);
    let entry = TimelineEntry::new(asked.at_ms, TimelineKind::Asked, &what, &asked.detail)
        .fact("action", asked.what)
        .fact("by", asked.who.as_str())
        .fact("from", asked.from.as_str())
        .fact("outcome", asked.outcome)
        .fact("time", asked.at_ms.to_string());
    Some((agent, entry))
}

/// A silence shows in the timelines of the agents that it names.
pub(super) fn of_silence(silence: &Silence, wall_ms: u64) -> Vec<Line> {
    let named = silence
        .matchers
        .iter()
        .filter(|matcher| matcher.name == AGENT_LABEL && matcher.is_equal && !matcher.is_regex);
    let agents = named.filter_map(|matcher| AgentId::parse(&matcher.value).ok());
    let by = foreign::visible(&silence.created_by);
    let what = format!("silenced by {by}");
    let comment = foreign::visible(&silence.comment);
    let entry = TimelineEntry::new(wall_ms, TimelineKind::Asked, &what, &comment)
        .fact("action", "silence")
        .fact("by", silence.created_by.as_str())
        .fact("silence", silence.id.to_string())
        .fact("until", silence.ends_at.to_string());
    agents.map(|agent| (agent, entry.clone())).collect()
}
