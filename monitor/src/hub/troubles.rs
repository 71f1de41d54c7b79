//! Troubles of hbmonitor itself: when one begins, lasts across a restart, and is over.

use super::alerting::{Alerting, Wish};
use crate::bus::inbox::Request;
use crate::clock;
use heartbeat::alerts::exchange::AlertsInput;
use heartbeat::alerts::matter::Matter;
use heartbeat::base::moment::Moment;
use heartbeat::base::patience::Patience;
use heartbeat::wire::incident::{IncidentId, Notified};
use heartbeat::wire::trouble::{Trouble, TroubleKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// A disk that fails for a moment is no trouble.
const DISK_FAILS_FOR: Duration = Duration::from_secs(60);
const DISK_FAILS: &str = "The store cannot save its data: its disk is full or not writable. What it holds is lost when it ends.";

/// The troubles that last.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) all: BTreeMap<TroubleKind, Trouble>,
    /// What the store holds of them, until the incidents have been read too.
    read: Vec<Trouble>,
    /// Since when the store cannot write to its disk.
    disk_fails: Option<Moment>,
}

impl Troubles {
    pub(super) fn read(&mut self, held: Vec<Trouble>) {
        self.read = held;
    }

    pub(super) fn deadline(&self, patience: Patience) -> Option<(Moment, &'static str)> {
        let since = self
            .disk_fails
            .filter(|_| !self.all.contains_key(&TroubleKind::Disk));
        since.map(|since| (since + patience.scale(DISK_FAILS_FOR), "disk"))
    }

    /// Takes what the store holds; what it lacks is written again.
    fn merge(&mut self) -> Vec<Wish> {
        let held = std::mem::take(&mut self.read);
        let lacks = |own: &&Trouble| held.iter().all(|held| held.name != own.name);
        let again: Vec<Wish> = self.all.values().filter(lacks).map(stored).collect();
        for trouble in held {
            self.all.entry(trouble.name.clone()).or_insert(trouble);
        }
        again
    }

    fn change(&mut self, ids: &[IncidentId], change: impl Fn(&mut Trouble)) -> Vec<Wish> {
        let about = self.all.values_mut();
        let changed = about.filter(|trouble| ids.contains(&trouble.name.id()));
        let wish = |trouble: &mut Trouble| {
            change(trouble);
            stored(trouble)
        };
        changed.map(wish).collect()
    }

    pub(super) fn paged(&mut self, ids: &[IncidentId], page: &IncidentId) -> Vec<Wish> {
        self.change(ids, |trouble| trouble.page = Some(page.clone()))
    }

    pub(super) fn notified(&mut self, ids: &[IncidentId], notified: &Notified) -> Vec<Wish> {
        self.change(ids, |trouble| trouble.notified.push(notified.clone()))
    }
}

impl Alerting {
    /// A trouble begins, with what people read of it, or is over.
    pub(super) fn trouble(
        &mut self,
        kind: TroubleKind,
        error: Option<&str>,
        now: Moment,
    ) -> Vec<Wish> {
        match (error, self.troubles.all.contains_key(&kind)) {
            (Some(error), false) => {
                let trouble = Trouble::new(kind.clone(), error, clock::wall_ms());
                let mut wishes = vec![stored(&trouble)];
                let matter = Matter::troubled(&trouble, None);
                self.troubles.all.insert(kind, trouble);
                wishes.append(&mut self.handle(AlertsInput::Matter(Box::new(matter)), now));
                wishes
            }
            (None, true) => {
                let mut wishes = Vec::new();
                if let Some(trouble) = self.troubles.all.remove(&kind) {
                    let matter = Matter::troubled(&trouble, Some(clock::wall_ms()));
                    wishes.append(&mut self.handle(AlertsInput::Matter(Box::new(matter)), now));
                }
                wishes.push(Wish::Ask(Request::RemoveTrouble(kind)));
                wishes
            }
            (Some(_), true) | (None, false) => Vec::new(),
        }
    }

    /// A person takes care of a trouble, if that lasts.
    pub(super) fn trouble_acknowledged(
        &mut self,
        kind: &TroubleKind,
        by: &str,
        now: Moment,
    ) -> Vec<Wish> {
        let Some(trouble) = self.troubles.all.get_mut(kind) else {
            return Vec::new(); // it ended a moment ago
        };
        trouble.acked_by = Some(by.to_owned());
        let matter = Matter::troubled(trouble, None);
        let mut wishes = vec![stored(trouble)];
        wishes.append(&mut self.handle(AlertsInput::Matter(Box::new(matter)), now));
        wishes
    }

    /// The store was read: its troubles go on, and those that are over end.
    pub(super) fn troubles_restored(&mut self) -> (Vec<Matter>, Vec<Wish>) {
        let known: Vec<TroubleKind> = self.troubles.all.keys().cloned().collect();
        let wishes = self.troubles.merge();
        let all = self.troubles.all.values();
        let new = all.filter(|trouble| !known.contains(&trouble.name));
        let matters = new.map(|trouble| Matter::troubled(trouble, None)).collect();
        (matters, wishes)
    }

    /// Ends the troubles that cannot last: of receivers that are no longer configured, and, at the start, of the
    /// configuration before.
    pub(super) fn end_outdated(&mut self, at_start: bool, now: Moment) -> Vec<Wish> {
        let rules = self.dispatch.rules();
        let is_over = |kind: &&TroubleKind| match kind {
            TroubleKind::Receiver(name) => rules.iter().all(|rule| rule.name != *name),
            TroubleKind::Configuration => at_start,
            TroubleKind::Disk => false,
        };
        let over: Vec<TroubleKind> = self.troubles.all.keys().filter(is_over).cloned().collect();
        let ends = over.into_iter().map(|kind| self.trouble(kind, None, now));
        ends.flatten().collect()
    }

    /// Whether the store reports that it cannot write to its disk.
    pub(super) fn disk(&mut self, fails: bool, now: Moment) -> Vec<Wish> {
        if fails {
            self.troubles.disk_fails.get_or_insert(now);
            return Vec::new();
        }
        self.troubles.disk_fails = None;
        self.trouble(TroubleKind::Disk, None, now)
    }

    pub(super) fn troubles_due(&mut self, now: Moment) -> Vec<Wish> {
        match self.troubles.deadline(self.dispatch.patience()) {
            Some((at, _)) if at <= now => self.trouble(TroubleKind::Disk, Some(DISK_FAILS), now),
            Some(_) | None => Vec::new(),
        }
    }
}

fn stored(trouble: &Trouble) -> Wish {
    Wish::Ask(Request::StoreTrouble(Box::new(trouble.clone())))
}
