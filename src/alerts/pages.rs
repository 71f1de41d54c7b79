//! Which matters belong to one page, and when its receivers are sent what.
//!
//! Grouped by place and cause, and wider when many places open at once; held back while a silent host explains it, while a
//! person takes care, while it flaps or comes back by itself. At most one page a cause.

use crate::alerts::exchange::{Now, Receiver, Standing, Suppressed};
use crate::alerts::flaps::{Flaps, OPENINGS};
use crate::alerts::matter::{Matter, Place};
use crate::alerts::page::{Page, Want};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::incident::{GateKind, IncidentId};
use crate::wire::notification::{Message, Notification, Occasion, PageId, ReceiverName, Severity};
use crate::wire::silence::Silence;
use std::collections::{BTreeMap, BTreeSet};

/// Pages for one cause that wait at so many places at once have a common cause.
const WIDE: usize = 5;
/// Pages that are over and renewed.
const RESOLVED_MAX: usize = 1000;

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) receivers: Vec<Receiver>,
    pub(super) pages: BTreeMap<PageId, Page>,
    pub(super) of_matter: BTreeMap<IncidentId, PageId>,
    pub(super) of_agent: BTreeMap<AgentId, BTreeSet<IncidentId>>,
    /// When each page wants something by itself.
    pub(super) due: BTreeSet<(Moment, PageId)>,
    /// Gates of the whole fleet, and hosts in a storm.
    pub(super) gates: BTreeSet<GateKind>,
    pub(super) storms: BTreeSet<String>,
    pub(super) silences: Vec<Silence>,
    pub(super) flaps: Flaps,
    /// Messages that are over and still renewed.
    pub(super) resolved: Vec<(Moment, Message)>,
    pub(super) renew_at: Option<Moment>,
    /// The last number that orders notifications.
    pub(super) order: u64,
    /// What was not sent.
    pub(super) suppressed: BTreeMap<Suppressed, u64>,
    /// Sent without a page: tests, repairs.
    pub(super) loose: Vec<Notification>,
    pub(super) patience: Patience,
}

pub(super) enum PagesEffect {
    Send(Box<Notification>),
    Paged(Vec<IncidentId>, IncidentId),
    Renew(ReceiverName, Vec<Message>),
}

impl Pages {
    pub(super) fn silence(&mut self, silences: Vec<Silence>) {
        self.silences = silences;
    }

    pub(super) fn configure(&mut self, receivers: Vec<Receiver>) {
        self.receivers = receivers;
    }

    /// Pages that are out.
    pub(super) fn sent(&self) -> usize {
        self.pages.values().filter(|page| page.is_sent()).count()
    }

    /// Pages that are held back.
    pub(super) fn muted(&self) -> usize {
        self.pages.len() - self.sent()
    }

    /// Pages that are out, by severity.
    pub(super) fn firing(&self) -> BTreeMap<Severity, usize> {
        let none = [Severity::Info, Severity::Warning, Severity::Critical].map(|of| (of, 0));
        let mut firing = BTreeMap::from(none);
        for page in self.pages.values().filter(|page| page.is_sent()) {
            *firing.entry(page.severity()).or_default() += 1;
        }
        firing
    }

    /// What was not sent, by why.
    pub(super) fn suppressed(&self) -> BTreeMap<Suppressed, u64> {
        let mut all: BTreeMap<_, _> = Suppressed::ALL.map(|why| (why, 0)).into();
        all.extend(&self.suppressed);
        all
    }

    pub(super) fn suppress(&mut self, why: Suppressed) {
        *self.suppressed.entry(why).or_default() += 1;
    }

    pub(super) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let page = self.due.first().map(|(at, _)| (*at, "page"));
        let renew = self.renew_at.map(|at| (at, "renewal"));
        page.into_iter().chain(renew).min_by_key(|(at, _)| *at)
    }

    /// A receiver gets this page in another's place; false when it has it anyway.
    pub(super) fn also_sent(&mut self, page: &PageId, receiver: &ReceiverName) -> bool {
        let page = self.pages.get_mut(page);
        page.is_none_or(|page| page.sent_to.insert(receiver.clone()))
    }

    pub(super) fn agent(&mut self, agent: &AgentId, standing: Standing) {
        for id in self.of_agent.get(agent).into_iter().flatten() {
            let page = self
                .of_matter
                .get(id)
                .and_then(|page| self.pages.get_mut(page));
            // What a notice is about lasts while the beats come.
            let page = page.filter(|page| !page.subject.is_notice());
            let Some(member) = page.and_then(|page| page.members.get_mut(id)) else {
                continue;
            };
            match standing {
                Standing::Up => drop(member.up.insert(agent.clone())),
                Standing::Down => drop(member.up.remove(agent)),
            }
        }
    }

    /// A matter that is new, changed or over.
    pub(super) fn matter(&mut self, matter: Matter, now: Now) {
        if let Some(id) = self.of_matter.get(&matter.id).cloned() {
            self.index(&matter, id.clone());
            if let Some(page) = self.pages.get_mut(&id) {
                page.put(matter, now.at);
            }
            return self.schedule(&id);
        }
        if matter.closed_at.is_some() {
            return self.late_end(matter, now);
        }
        let (place, subject) = self.cause(&matter);
        let lasting = self.is_wide(subject);
        let fits = |page: &&Page| {
            page.subject == subject && page.place == place && page.takes_more(lasting, now.at)
        };
        let found = self.pages.values().find(fits).map(|page| page.id.clone());
        self.index(
            &matter,
            found.as_ref().unwrap_or(&matter.own_page()).clone(),
        );
        let id = match found {
            Some(id) => {
                if let Some(page) = self.pages.get_mut(&id) {
                    page.put(matter, now.at);
                }
                self.suppress(Suppressed::Grouped);
                id
            }
            None => {
                let mut page = Page::new(matter, self.patience, now.at);
                page.place = place;
                let id = page.id.clone();
                self.pages.insert(id.clone(), page);
                id
            }
        };
        self.schedule(&id);
    }

    /// Carries out all that is due.
    pub(super) fn advance(&mut self, now: Now) -> Vec<PagesEffect> {
        let mut effects = Vec::new();
        while let Some((at, id)) = self.due.first().cloned() {
            if at > now.at {
                break;
            }
            self.due.remove(&(at, id.clone()));
            self.carry_out(&id, now, &mut effects);
            self.schedule(&id);
        }
        let loose = std::mem::take(&mut self.loose);
        effects.extend(
            loose
                .into_iter()
                .map(|sent| PagesEffect::Send(Box::new(sent))),
        );
        self.renew(now, &mut effects);
        effects
    }

    fn carry_out(&mut self, id: &PageId, now: Now, effects: &mut Vec<PagesEffect>) {
        let Some(page) = self.pages.get(id) else {
            return;
        };
        match page.wants(now.at) {
            Want::Nothing => {}
            Want::Fire => self.fire(id, now, effects),
            Want::Update if self.is_silenced(page, now) => {
                self.hold(id, Suppressed::Silenced, now);
                self.suppress(Suppressed::Silenced);
            }
            Want::Update => self.again(id, Occasion::Updated, now, effects),
            Want::Acknowledge => {
                self.again(id, Occasion::Acknowledged, now, effects);
                if let Some(page) = self.pages.get_mut(id) {
                    page.acked_by = page.acker().map(str::to_owned);
                }
            }
            Want::Resolve => self.end(id, now, effects),
        }
    }

    fn fire(&mut self, id: &PageId, now: Now, effects: &mut Vec<PagesEffect>) {
        let Some(page) = self.pages.get(id) else {
            return;
        };
        if let Some(why) = self.held_by(page, now) {
            return self.hold(id, why, now);
        }
        let subject = page.subject;
        let waiting =
            |page: &&Page| !page.is_sent() && page.subject == subject && page.place != Place::Fleet;
        if self.is_wide(subject) || self.pages.values().filter(waiting).count() >= WIDE {
            self.widen(subject, now.at);
        }
        let Some(page) = self.pages.get_mut(id) else {
            return; // it is part of a wider one
        };
        if page.openings.is_none() {
            let place = match page.open().next().map(|member| &*member.matter.agents) {
                Some([agent]) => Place::Agent(agent.clone()),
                Some(_) | None => page.place.clone(),
            };
            page.openings = Some(self.flaps.opened((place, subject), now.at));
        }
        if page.is_patient(OPENINGS, now.at) {
            return self.hold(id, Suppressed::Flapping, now);
        }
        let occasion = match subject.is_notice() {
            true => Occasion::Notice,
            false => Occasion::Firing,
        };
        self.again(id, occasion, now, effects);
    }

    /// Sends a page to those who know of it, or should by now.
    fn again(&mut self, id: &PageId, occasion: Occasion, now: Now, effects: &mut Vec<PagesEffect>) {
        let Some(page) = self.pages.get_mut(id) else {
            return;
        };
        let severity = page.severity();
        let gets = |receiver: &&Receiver| receiver.severities.contains(&severity);
        let new: BTreeSet<ReceiverName> = match occasion {
            Occasion::Firing | Occasion::Notice | Occasion::Updated => {
                let all = self
                    .receivers
                    .iter()
                    .filter(gets)
                    .map(|receiver| receiver.name.clone());
                // One that takes nothing is not notified of that itself.
                let about = |name: &ReceiverName| {
                    let mut open = page.open();
                    open.any(|member| member.matter.about.as_ref() == Some(name))
                };
                all.filter(|name| !page.sent_to.contains(name) && !about(name))
                    .collect()
            }
            Occasion::Acknowledged | Occasion::Resolved | Occasion::Repaired | Occasion::Test => {
                BTreeSet::new()
            }
        };
        page.sent(now.at);
        let known = page.sent_to.clone();
        page.sent_to.extend(new.iter().cloned());
        let first = match page.subject.is_notice() {
            true => Occasion::Notice,
            false => Occasion::Firing,
        };
        let sent = [
            (new, page.message(first, now.wall_ms)),
            (known, page.message(occasion, now.wall_ms)),
        ];
        let incidents = page.open().map(|member| member.matter.id.clone()).collect();
        effects.push(PagesEffect::Paged(incidents, page.head.clone()));
        for (receivers, message) in sent {
            for name in receivers {
                if let Some(message) = message.clone() {
                    effects.extend(self.to(name, message, now));
                }
            }
        }
    }

    fn end(&mut self, id: &PageId, now: Now, effects: &mut Vec<PagesEffect>) {
        let Some(page) = self.pages.remove(id) else {
            return;
        };
        for (id, member) in &page.members {
            self.of_matter.remove(id);
            for agent in &member.matter.agents {
                if let Some(known) = self.of_agent.get_mut(agent) {
                    known.remove(id);
                    if known.is_empty() {
                        self.of_agent.remove(agent);
                    }
                }
            }
        }
        if !page.is_sent() {
            self.suppress(page.held.unwrap_or(Suppressed::Recovered));
            return self.repaired(&page, now);
        }
        let Some(message) = page.message(Occasion::Resolved, now.wall_ms) else {
            return;
        };
        for name in &page.sent_to {
            let tracks = self
                .receivers
                .iter()
                .any(|receiver| receiver.name == *name && receiver.tracks);
            if tracks || !page.subject.is_notice() {
                effects.extend(self.to(name.clone(), message.clone(), now));
            }
        }
        if self.resolved.len() < RESOLVED_MAX {
            self.resolved.push((now.at, message));
        }
    }

    /// Why a page does not go out now.
    fn held_by(&self, page: &Page, now: Now) -> Option<Suppressed> {
        if page.acker().is_some() {
            Some(Suppressed::Acknowledged)
        } else if !page.needs_people() {
            Some(Suppressed::Recovered)
        } else if self.is_explained(page) {
            Some(Suppressed::Inhibited)
        } else {
            self.is_silenced(page, now).then_some(Suppressed::Silenced)
        }
    }

    /// A silence holds for all that is open.
    fn is_silenced(&self, page: &Page, now: Now) -> bool {
        let silences = &self.silences;
        let mut open = page.open();
        open.all(|member| member.matter.is_silenced(silences, now.wall_ms))
    }

    fn hold(&mut self, id: &PageId, why: Suppressed, now: Now) {
        if let Some(page) = self.pages.get_mut(id) {
            page.hold(why, now.at);
        }
    }

    pub(super) fn index(&mut self, matter: &Matter, page: PageId) {
        self.of_matter.insert(matter.id.clone(), page);
        for agent in &matter.agents {
            self.of_agent
                .entry(agent.clone())
                .or_default()
                .insert(matter.id.clone());
        }
    }

    /// An entry that is left behind is corrected when it comes up.
    pub(super) fn schedule(&mut self, id: &PageId) {
        if let Some(at) = self.pages.get(id).and_then(Page::due) {
            self.due.insert((at, id.clone()));
        }
    }
}
