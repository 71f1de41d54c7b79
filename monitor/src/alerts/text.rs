//! Texts for receivers: cut, dated, linked, and as the JSON that programs get.

use crate::config::receivers::Receiver;
use heartbeat::wire::notification::{Message, Notification, Occasion};
use heartbeat::wire::word;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// Evidence that repeats what an agent printed or asked a tool for.
const OUTPUT: [&str; 2] = ["output.", "tool."];

/// Links to the pages of hbmonitor, where people reach it under a URL.
#[derive(Clone, Debug)]
pub(super) struct Links(Option<String>);

impl Links {
    pub(super) fn new(public_url: Option<String>) -> Self {
        Self(public_url.map(|url| url.trim_end_matches('/').to_owned()))
    }

    /// What a message is about: its agent, else its incident.
    pub(super) fn of(&self, message: &Message) -> Option<String> {
        let base = self.0.as_ref()?;
        match (&*message.agents, &*message.incidents) {
            ([agent], _) if message.agents_total == 1 => Some(format!("{base}/agents/{agent}")),
            (_, [..]) if message.subject.is_notice() => Some(format!("{base}/")),
            (_, [incident, ..]) => Some(format!("{base}/incidents/{incident}")),
            (_, []) => Some(format!("{base}/status")),
        }
    }
}

/// At most so many characters; what is cut ends in `…`.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(max.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// RFC 3339 in UTC.
pub(super) fn date(wall_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(wall_ms)).to_string()
}

/// For people: `2026-11-26 14:02:11 UTC`.
pub(super) fn shown_date(wall_ms: u64) -> String {
    let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(wall_ms));
    date.to_string().replace('T', " ").replace('Z', " UTC")
}

/// What shows it; without what an agent printed, unless the receiver may have that.
pub(super) fn evidence(message: &Message, receiver: &Receiver) -> Vec<String> {
    let shown = |line: &&String| {
        receiver.include_output || !OUTPUT.iter().any(|signal| line.starts_with(signal))
    };
    message.evidence.iter().filter(shown).cloned().collect()
}

/// What a person should do.
pub(super) fn action_required(message: &Message) -> &'static str {
    match message.occasion {
        Occasion::Firing | Occasion::Updated => {
            "hb has no safe move left: find the cause, then restart the agent or stop it."
        }
        Occasion::Notice => "Nothing has failed: look at what the agent does, or answer it.",
        Occasion::Acknowledged | Occasion::Resolved | Occasion::Repaired | Occasion::Test => {
            "None."
        }
    }
}

/// The type of an event for programs.
pub(super) fn event_type(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Firing | Occasion::Updated | Occasion::Notice => "alert.fired",
        Occasion::Acknowledged => "alert.acknowledged",
        Occasion::Resolved => "alert.resolved",
        Occasion::Repaired => "agent.recovered",
        Occasion::Test => "alert.test",
    }
}

/// A notification for programs: the words of the seed, and all else that is known.
pub(super) fn data(sent: &Notification, receiver: &Receiver, links: &Links) -> Value {
    let message = &sent.message;
    let mut data = json!({
        "notificationId": sent.id,
        "occasion": word(&message.occasion),
        "page": message.page.as_str(),
        "severity": message.severity.as_str(),
        "alertName": message.subject.alert_name(),
        "message": message.headline(),
        "what": message.what,
        "reason": message.reason,
        "evidence": evidence(message, receiver),
        "tried": message.tried,
        "next": message.next,
        "actionRequired": action_required(message),
        "agents": message.agents,
        "agentsTotal": message.agents_total,
        "host": message.host,
        "lastHeartbeat": message.last_heartbeat,
        "since": message.since,
        "until": message.until,
        "incidents": message.incidents,
        "link": links.of(message),
    });
    if let (Some(instead), Value::Object(fields)) = (&sent.instead_of, &mut data) {
        fields.insert("insteadOf".to_owned(), json!(instead.as_str()));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_has_as_many_characters_as_it_may() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    #[test]
    fn dates_are_in_utc() {
        assert_eq!(date(1_764_000_000_001), "2025-11-24T16:00:00.001Z");
        assert_eq!(shown_date(1_764_000_000_001), "2025-11-24 16:00:00 UTC");
    }
}
