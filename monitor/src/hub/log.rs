//! What of the fleet's life stands in the log.

use heartbeat::fleet::incidents::{IncidentChange, IncidentChangeKind};
use heartbeat::wire::notice::Notice;
use heartbeat::wire::word;

pub(super) fn log_notice(notice: &Notice) {
    let (agent, verdict) = (&notice.agent, word(&notice.verdict));
    match notice.closed_at {
        Some(_) => tracing::info!("{agent} needs no person any more"),
        None => tracing::warn!("{agent} needs a person ({verdict}): {}", notice.sentence),
    }
}

pub(super) fn log_incident(change: &IncidentChange) {
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
