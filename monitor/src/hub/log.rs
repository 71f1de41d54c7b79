//! What of the fleet's life stands in the log.

use heartbeat::fleet::agent::State;
use heartbeat::fleet::incidents::{IncidentChange, IncidentChangeKind};
use heartbeat::fleet::machine::Change;
use heartbeat::wire::life::Reason;
use heartbeat::wire::notice::Notice;
use heartbeat::wire::word;

pub(super) fn change(change: &Change) {
    let Change {
        agent,
        from,
        to,
        sentence,
        ..
    } = change;
    match to {
        State::Failed if *from == Some(State::Failed) => {
            tracing::error!("{agent} still failed: {sentence}");
        }
        State::Healthy if change.reason == Some(Reason::Duplicate) => {
            tracing::warn!("duplicate id {agent}: {sentence}");
        }
        State::Healthy => tracing::info!("{agent} is healthy: {sentence}"),
        State::Stopped => tracing::info!("{agent} is stopped: {sentence}"),
        State::Missing => tracing::warn!("{agent} is missing: {sentence}"),
        State::Failed => tracing::error!("{agent} failed: {sentence}"),
    }
}

pub(super) fn notice(notice: &Notice) {
    let (agent, verdict) = (&notice.agent, word(&notice.verdict));
    match notice.closed_at {
        Some(_) => tracing::info!("{agent} needs no person any more"),
        None => tracing::warn!("{agent} needs a person ({verdict}): {}", notice.sentence),
    }
}

pub(super) fn incident(change: &IncidentChange) {
    let incident = &change.incident;
    let id = &incident.id;
    match change.kind {
        IncidentChangeKind::Opened => {
            tracing::warn!("incident {id} opened: {}", incident.sentence);
        }
        IncidentChangeKind::Updated => {
            let next = incident
                .next
                .as_ref()
                .map(|next| format!(" Next: {}.", next.what));
            let (sentence, next) = (&incident.sentence, next.unwrap_or_default());
            tracing::warn!("incident {id} goes on: {sentence}{next}");
        }
        IncidentChangeKind::Closed => tracing::info!("incident {id} closed"),
    }
}
