//! What is written into an incident about its page: where it belongs, and which receivers know of it.

use super::{IncidentChange, IncidentChangeKind, Ledger, LedgerEffect};
use crate::wire::incident::{Incident, IncidentId, Notified};
use std::sync::Arc;

/// Entries about notifications that a record keeps; beyond it the oldest goes.
pub(crate) const NOTIFIED_MAX: usize = 50;
/// Nothing more is added to a sentence of this length.
const SENTENCE_BYTES: usize = 400;

impl Ledger {
    pub(super) fn paged(
        &mut self,
        ids: &[IncidentId],
        page: &IncidentId,
        effects: &mut Vec<LedgerEffect>,
    ) {
        for id in ids {
            self.note(id, effects, |incident| incident.page = Some(page.clone()));
        }
    }

    pub(super) fn notified(
        &mut self,
        ids: &[IncidentId],
        notified: &Notified,
        effects: &mut Vec<LedgerEffect>,
    ) {
        for id in ids {
            self.note(id, effects, |incident| {
                if incident.notified.len() >= NOTIFIED_MAX {
                    // The first of each receiver says that it was paged.
                    incident.notified.remove(NOTIFIED_MAX / 2);
                }
                incident.notified.push(notified.clone());
            });
        }
    }

    /// Said after the incident's own sentence, once, also when the agent is back already.
    pub(super) fn surroundings(
        &mut self,
        id: &IncidentId,
        said: &str,
        effects: &mut Vec<LedgerEffect>,
    ) {
        let before = effects.len();
        self.note(id, effects, |incident| {
            let has_room = incident.sentence.len() < SENTENCE_BYTES;
            if has_room && !incident.sentence.contains(said) {
                incident.sentence.push(' ');
                incident.sentence.push_str(said);
            }
        });
        if let Some(LedgerEffect::Store(incident)) = effects.get(before)
            && !incident.is_closed()
        {
            let incident = Arc::clone(incident);
            effects.push(LedgerEffect::Changed(IncidentChange {
                kind: IncidentChangeKind::Updated,
                incident,
            }));
        }
    }

    pub(super) fn acked(&mut self, id: &IncidentId, by: &str, effects: &mut Vec<LedgerEffect>) {
        let Some(open) = self.open.get_mut(id) else {
            return;
        };
        Arc::make_mut(&mut open.incident).acked_by = Some(by.to_owned());
        let incident = Arc::clone(&open.incident);
        self.publish(IncidentChangeKind::Updated, incident, effects);
    }

    /// Changes a record and writes it, if that makes it another.
    fn note(
        &mut self,
        id: &IncidentId,
        effects: &mut Vec<LedgerEffect>,
        change: impl FnOnce(&mut Incident),
    ) {
        let known = self
            .shown
            .open
            .get(id)
            .or_else(|| self.shown.closed.get(id));
        let Some(before) = known.cloned() else {
            return;
        };
        let mut after = Incident::clone(&before);
        change(&mut after);
        if after == *before {
            return;
        }
        let after = Arc::new(after);
        if let Some(open) = self.open.get_mut(id) {
            open.incident = Arc::clone(&after);
        }
        let shown = match after.is_closed() {
            true => &mut self.shown.closed,
            false => &mut self.shown.open,
        };
        shown.insert(id.clone(), Arc::clone(&after));
        effects.push(LedgerEffect::Store(after));
    }
}
