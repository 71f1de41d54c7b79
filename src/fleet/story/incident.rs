//! What is new in an incident, as entries of its agents' timelines.

use crate::base::duration::format_duration;
use crate::base::foreign;
use crate::fleet::ladder::exchange::RungOutcome;
use crate::fleet::ladder::rung;
use crate::fleet::word::{reason_text, rung_text};
use crate::wire::incident::{Incident, Notified, Rung};
use crate::wire::timeline::{TimelineEntry, TimelineKind};
use crate::wire::word;
use std::time::Duration;

pub(super) fn opened(incident: &Incident, wall_ms: u64) -> TimelineEntry {
    let what = format!("incident opened: {}", reason_text(incident.reason));
    of_incident(incident, wall_ms, TimelineKind::Incident, &what, "")
        .fact("change", "opened")
        .fact("reason", word(&incident.reason))
}

pub(super) fn closed(incident: &Incident, at: u64) -> TimelineEntry {
    let lasted = Duration::from_secs(at.saturating_sub(incident.opened_at) / 1000);
    let lasted = format_duration(lasted);
    let what = format!("incident closed, it lasted {lasted}");
    of_incident(incident, at, TimelineKind::Incident, &what, "").fact("change", "closed")
}

pub(super) fn acknowledged(incident: &Incident, by: &str, wall_ms: u64) -> TimelineEntry {
    let what = format!("acknowledged by {}", foreign::visible(by));
    of_incident(incident, wall_ms, TimelineKind::Acknowledged, &what, "").fact("by", by)
}

pub(super) fn notified_of(incident: &Incident, one: &Notified) -> TimelineEntry {
    let what = format!(
        "{}: {}",
        foreign::visible(&one.receiver),
        foreign::visible(&one.outcome)
    );
    let error = one
        .error
        .as_deref()
        .map(foreign::visible)
        .unwrap_or_default();
    of_incident(incident, one.at, TimelineKind::Notified, &what, &error)
        .fact("receiver", one.receiver.as_str())
        .fact("outcome", one.outcome.as_str())
        .fact("time", one.at.to_string())
}

/// A rung began; `number` counts those of its agent in the incident, from 1.
pub(super) fn began(incident: &Incident, number: usize, rung: &Rung) -> TimelineEntry {
    let name = foreign::visible(&rung.rung);
    let does = rung::Rung::parse(&rung.rung);
    let does = does.map_or_else(
        || "begins".to_owned(),
        |does| format!("hb {}", does.describe()),
    );
    of_rung(
        incident,
        rung,
        rung.started_at,
        &format!("rung {number}, {name}: {does}"),
        "",
    )
}

/// A rung ended, with its outcome and the time it took.
pub(super) fn ended(incident: &Incident, number: usize, rung: &Rung, at: u64) -> TimelineEntry {
    let outcome = rung
        .outcome
        .as_deref()
        .unwrap_or(RungOutcome::Unknown.as_str());
    let name = foreign::visible(&rung.rung);
    let what = format!("rung {number}, {name}: {}", rung_text(rung, at));
    let detail = rung
        .detail
        .as_deref()
        .map(foreign::visible)
        .unwrap_or_default();
    of_rung(incident, rung, at, &what, &detail).fact("outcome", outcome)
}

fn of_rung(incident: &Incident, rung: &Rung, at: u64, what: &str, detail: &str) -> TimelineEntry {
    of_incident(incident, at, TimelineKind::Rung, what, detail)
        .fact("rung", rung.rung.as_str())
        .fact("epoch", rung.epoch.to_string())
        .fact("incarnation", rung.incarnation.to_string())
        .fact("started", rung.started_at.to_string())
}

fn of_incident(
    incident: &Incident,
    at: u64,
    kind: TimelineKind,
    what: &str,
    detail: &str,
) -> TimelineEntry {
    TimelineEntry::new(at, kind, what, detail).fact("incident", incident.id.to_string())
}
