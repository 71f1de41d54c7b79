//! What a monitor shows that does not record: the incidents of the one that leads, as the store holds them.

use super::{IncidentChange, IncidentChangeKind, IncidentsView, Ledger, LedgerEffect};
use crate::wire::incident::Incident;
use std::sync::Arc;

impl Ledger {
    /// Forgets everything: the store holds it.
    pub(super) fn begin_again(&mut self, follows: bool) {
        *self = Self {
            follows,
            ..Self::new(self.random)
        };
    }

    /// Shows these records, and reports what changed in them.
    pub(super) fn mirror(&mut self, records: Vec<Incident>, effects: &mut Vec<LedgerEffect>) {
        let is_first = !std::mem::replace(&mut self.restored, true);
        let before = std::mem::replace(&mut self.shown, view(records));
        if is_first {
            return;
        }
        let mut changed = |kind, incident: &Arc<Incident>| {
            let incident = Arc::clone(incident);
            effects.push(LedgerEffect::Changed(IncidentChange { kind, incident }));
        };
        for (id, incident) in &self.shown.open {
            match before.open.get(id) {
                None => changed(IncidentChangeKind::Opened, incident),
                Some(known) if known != incident => changed(IncidentChangeKind::Updated, incident),
                Some(_) => {}
            }
        }
        for (id, _) in &before.open {
            if let Some(incident) = self.shown.closed.get(id) {
                changed(IncidentChangeKind::Closed, incident);
            }
        }
    }
}

fn view(records: Vec<Incident>) -> IncidentsView {
    let mut view = IncidentsView::default();
    for record in records.into_iter().map(Arc::new) {
        let id = record.id.clone();
        if record.is_closed() {
            view.closed.insert(id, record);
            continue;
        }
        for agent in &record.agents {
            view.of_agent.insert(agent.clone(), id.clone());
        }
        view.open.insert(id, record);
    }
    view
}
