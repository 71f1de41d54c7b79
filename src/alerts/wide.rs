//! Common causes: of a host that is silent, and of the whole fleet.

use super::exchange::{Now, Suppressed};
use super::matter::{Matter, Place, kind};
use super::page::Page;
use super::pages::Pages;
use crate::base::moment::Moment;
use crate::wire::incident::{GateKind, Scope};
use crate::wire::notification::{PageId, Subject};

impl Pages {
    pub(super) fn gate(&mut self, gate: GateKind, host: Option<String>, closed: bool, now: Now) {
        match (host, closed) {
            (Some(host), true) => drop(self.storms.insert(host)),
            (Some(host), false) => drop(self.storms.remove(&host)),
            (None, true) => drop(self.gates.insert(gate)),
            (None, false) => drop(self.gates.remove(&gate)),
        }
        for subject in [Subject::HeartbeatMissed, Subject::Crash] {
            if self.is_wide(subject) {
                self.widen(subject, now.at);
            }
        }
    }

    /// Where a matter belongs, given what else is going on.
    pub(super) fn cause(&self, matter: &Matter) -> (Place, Subject) {
        let (place, subject) = matter.cause();
        match place {
            Place::Monitor(_) => (place, subject),
            Place::Host(_) | Place::Agent(_) | Place::Fleet if self.is_wide(subject) => {
                (Place::Fleet, subject)
            }
            Place::Host(_) | Place::Agent(_) | Place::Fleet => (place, subject),
        }
    }

    /// The whole fleet has trouble of this kind.
    pub(super) fn is_wide(&self, subject: Subject) -> bool {
        match kind(subject) {
            Subject::HeartbeatMissed => self.gates.contains(&GateKind::Storm),
            Subject::Crash => self.gates.contains(&GateKind::MassCrash),
            Subject::CrashLoop
            | Subject::Hung
            | Subject::Duplicate
            | Subject::Stalled
            | Subject::WaitingForInput
            | Subject::Paused
            | Subject::StoreUnavailable
            | Subject::Monitor => false,
        }
    }

    /// Makes one page of all that wait for this cause.
    pub(super) fn widen(&mut self, subject: Subject, now: Moment) {
        let narrow = |page: &&Page| {
            page.subject == subject
                && !page.is_sent()
                && !matches!(page.place, Place::Monitor(_) | Place::Fleet)
        };
        let ids: Vec<PageId> = self
            .pages
            .values()
            .filter(narrow)
            .map(|page| page.id.clone())
            .collect();
        let lasting = self.is_wide(subject);
        let wide = |page: &&Page| {
            page.subject == subject && page.place == Place::Fleet && page.takes_more(lasting, now)
        };
        let mut target = self.pages.values().find(wide).map(|page| page.id.clone());
        for id in ids {
            let Some(mut page) = self.pages.remove(&id) else {
                continue;
            };
            let into = target.get_or_insert_with(|| id.clone()).clone();
            for matter in page.members.keys() {
                self.of_matter.insert(matter.clone(), into.clone());
            }
            match self.pages.get_mut(&into) {
                Some(wide) => {
                    wide.absorb(page, now);
                    self.suppress(Suppressed::Grouped);
                }
                None => {
                    page.place = Place::Fleet;
                    self.pages.insert(id, page);
                }
            }
            self.schedule(&into);
        }
    }

    /// The host of its agents fell silent after it, and there is a page of that. What is reported later comes from the host, which
    /// lives then.
    pub(super) fn is_explained(&self, page: &Page) -> bool {
        let Place::Host(host) = &page.place else {
            return false;
        };
        let explains = |other: &Page| {
            let silent = |matter: &Matter| {
                let mut members = page.open();
                (matter.scope == Scope::Host || self.storms.contains(host))
                    && members.all(|member| member.matter.opened_at <= matter.opened_at)
            };
            other.id != page.id
                && other.place == page.place
                && other.subject == Subject::HeartbeatMissed
                && other.open().any(|member| silent(&member.matter))
        };
        page.subject != Subject::HeartbeatMissed && self.pages.values().any(explains)
    }
}
