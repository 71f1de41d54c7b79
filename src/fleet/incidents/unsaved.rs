//! Records that the store has not confirmed: a write that was refused or lost is repeated until it is carried out.

use super::LedgerEffect;
use crate::base::moment::Moment;
use crate::wire::incident::{Incident, IncidentId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A write without a confirmation is repeated after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// The latest write of each record; `None`: its removal.
    writes: BTreeMap<IncidentId, Option<Arc<Incident>>>,
    again_at: Option<Moment>,
    is_out_of_reach: bool,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes the writes among these effects.
    pub(super) fn keep(&mut self, effects: &[LedgerEffect], now: Moment) {
        for effect in effects {
            match effect {
                LedgerEffect::Store(incident) => {
                    let write = Some(Arc::clone(incident));
                    self.writes.insert(incident.id.clone(), write);
                }
                LedgerEffect::Remove(id) => drop(self.writes.insert(id.clone(), None)),
                LedgerEffect::Changed(_)
                | LedgerEffect::Joined(_)
                | LedgerEffect::OtherReason(_)
                | LedgerEffect::Resolved(_) => {}
            }
        }
        if !self.writes.is_empty() && !self.is_out_of_reach {
            self.again_at.get_or_insert(now + AGAIN_AFTER);
        }
    }

    /// The store has this record. An earlier version of it confirms nothing.
    pub(super) fn saved(&mut self, incident: &Arc<Incident>) {
        let latest = self.writes.get(&incident.id).and_then(Option::as_ref);
        if latest.is_some_and(|latest| Arc::ptr_eq(latest, incident)) {
            self.confirmed(&incident.id);
        }
    }

    /// The store has this record no more.
    pub(super) fn removed(&mut self, id: &IncidentId) {
        if self.writes.get(id).is_some_and(Option::is_none) {
            self.confirmed(id);
        }
    }

    fn confirmed(&mut self, id: &IncidentId) {
        self.writes.remove(id);
        if self.writes.is_empty() {
            self.again_at = None;
        }
    }

    /// When writes are repeated.
    pub(super) fn again_at(&self) -> Option<Moment> {
        self.again_at
    }

    /// Repeats what is due.
    pub(super) fn again(&mut self, now: Moment, effects: &mut Vec<LedgerEffect>) {
        if self.again_at.is_none_or(|at| at > now) {
            return;
        }
        self.again_at = None;
        effects.extend(self.writes.iter().map(|(id, write)| match write {
            Some(incident) => LedgerEffect::Store(Arc::clone(incident)),
            None => LedgerEffect::Remove(id.clone()),
        }));
    }

    /// Nothing can be written; what is under way may be lost.
    pub(super) fn out_of_reach(&mut self) {
        self.is_out_of_reach = true;
        self.again_at = None;
    }

    /// The store was read, and what it lacks is written again.
    pub(super) fn in_reach(&mut self) {
        self.is_out_of_reach = false;
        self.writes.clear();
    }

    /// Whether our record tells more than the one that the store holds.
    pub(super) fn is_newer(&self, ours: &Arc<Incident>, held: &Incident) -> bool {
        let is_unsaved = self.writes.contains_key(&ours.id);
        ours.is_closed() != held.is_closed()
            || ours.agents.len() > held.agents.len()
            || (is_unsaved && **ours != *held)
    }
}
