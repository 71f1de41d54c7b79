//! What is new in a notice: who was notified of it, who takes care, and the restart that it ends in. That the agent is stuck is
//! an entry of its verdict.

use crate::base::foreign;
use crate::wire::incident::{IncidentId, Notified};
use crate::wire::notice::Notice;
use crate::wire::timeline::{TimelineEntry, TimelineKind};

/// The entries for its agent's timeline. `wall_ms`: Unix milliseconds of the store.
pub(super) fn news(before: Option<&Notice>, now: &Notice, wall_ms: u64) -> Vec<TimelineEntry> {
    let id = |entry: TimelineEntry| entry.fact("notice", now.id.to_string());
    let is_new = |one: &&Notified| before.is_none_or(|before| !before.notified.contains(one));
    let notified = now.notified.iter().filter(is_new);
    let mut entries: Vec<TimelineEntry> = notified.map(|one| id(notified_of(one))).collect();
    let acked_before = before.and_then(|before| before.acked_by.as_ref());
    if let Some(by) = now.acked_by.as_ref().filter(|by| Some(*by) != acked_before) {
        entries.push(id(acknowledged(by, wall_ms)));
    }
    let is_ordered = |of: &Notice| of.restart.is_some_and(|restart| restart.ordered);
    if is_ordered(now) && !before.is_some_and(is_ordered) {
        let what = "restart ordered: it did not move, and its policy says restart";
        let entry = TimelineEntry::new(wall_ms, TimelineKind::Process, what, "");
        entries.push(id(entry.fact("event", "restart_ordered")));
    }
    entries
}

/// What became of a notification.
pub(super) fn notified_of(one: &Notified) -> TimelineEntry {
    let what = format!(
        "{}: {}",
        foreign::visible(&one.receiver),
        foreign::visible(&one.outcome)
    );
    let error = one.error.as_deref().map(foreign::visible);
    TimelineEntry::new(
        one.at,
        TimelineKind::Notified,
        &what,
        &error.unwrap_or_default(),
    )
    .fact("receiver", one.receiver.as_str())
    .fact("outcome", one.outcome.as_str())
    .fact("time", one.at.to_string())
}

/// A person takes care of it.
pub(super) fn acknowledged(by: &str, wall_ms: u64) -> TimelineEntry {
    let what = format!("acknowledged by {}", foreign::visible(by));
    TimelineEntry::new(wall_ms, TimelineKind::Acknowledged, &what, "").fact("by", by)
}

/// The notices as entries show them.
pub(super) type Written = std::collections::BTreeMap<IncidentId, std::sync::Arc<Notice>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(more: &str) -> Notice {
        let text = format!(r#"{{"id":"n-1","agent":"w1","verdict":"stalled","openedAt":5{more}}}"#);
        Notice::decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_notification_each_acknowledgement_and_the_restart_are_one_entry() {
        let paged = r#","notified":[{"receiver":"team","at":8,"outcome":"paged"}]"#;
        let restart = |ordered: bool| {
            format!(r#"{paged},"ackedBy":"ann","restart":{{"at":9,"ordered":{ordered}}}"#)
        };
        let stages = [
            String::new(),
            paged.to_owned(),
            restart(false),
            restart(true),
        ];
        let stages = stages.map(|more| notice(&more));
        let mut before = None;
        let mut written = Vec::new();
        for now in &stages {
            written.extend(news(before, now, 7));
            assert_eq!(news(Some(now), now, 7), [], "nothing is new");
            before = Some(now);
        }
        let whats: Vec<&str> = written.iter().map(|entry| &*entry.what).collect();
        assert_eq!(
            whats,
            [
                "team: paged",
                "acknowledged by ann",
                "restart ordered: it did not move, and its policy says restart",
            ]
        );
        assert!(written.iter().all(|entry| entry.facts["notice"] == "n-1"));
    }
}
