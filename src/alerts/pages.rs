//! Which matters belong to one page, and when its receivers are sent what.
//!
//! Grouped by place and cause, and wider when many places open at once; held back while a silent host explains it, while a
//! person takes care, while it flaps or comes back by itself. At most one page a cause.

use crate::alerts::exchange::{Now, RENEW_EVERY, Receiver, Standing};
use crate::alerts::flaps::{Flaps, OPENINGS};
use crate::alerts::matter::{Matter, Place, kind};
use crate::alerts::page::{Page, Stage, Want};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::wire::incident::{GateKind, IncidentId, Scope};
use crate::wire::notification::{
    Mark, Message, Notification, Occasion, PageId, ReceiverName, Severity, Subject,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pages for one cause that wait at so many places at once have a common cause.
const WIDE: usize = 5;
/// A receiver that renews gets what is over for so long.
const RENEW_RESOLVED: Duration = Duration::from_secs(5 * 60);
/// Pages that are over and renewed.
const RESOLVED_MAX: usize = 1000;

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Pages {
    receivers: Vec<Receiver>,
    pages: BTreeMap<PageId, Page>,
    of_matter: BTreeMap<IncidentId, PageId>,
    of_agent: BTreeMap<AgentId, BTreeSet<IncidentId>>,
    /// When each page wants something by itself.
    due: BTreeSet<(Moment, PageId)>,
    /// Gates of the whole fleet, and hosts in a storm.
    gates: BTreeSet<GateKind>,
    storms: BTreeSet<String>,
    flaps: Flaps,
    /// Messages that are over and still renewed.
    resolved: Vec<(Moment, Message)>,
    renew_at: Option<Moment>,
    /// The last number that orders notifications.
    order: u64,
    /// Sent without a page: tests, repairs.
    loose: Vec<Notification>,
}

pub(super) enum PagesEffect {
    Send(Box<Notification>),
    Paged(Vec<IncidentId>, IncidentId),
    Renew(ReceiverName, Vec<Message>),
}

impl Pages {
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

    pub(super) fn agent(&mut self, agent: &AgentId, standing: Standing) {
        for id in self.of_agent.get(agent).into_iter().flatten() {
            let page = self
                .of_matter
                .get(id)
                .and_then(|page| self.pages.get_mut(page));
            let Some(member) = page.and_then(|page| page.members.get_mut(id)) else {
                continue;
            };
            match standing {
                Standing::Up => drop(member.up.insert(agent.clone())),
                Standing::Down => drop(member.up.remove(agent)),
            }
        }
    }

    pub(super) fn test(&mut self, receiver: &ReceiverName, title: String, now: Now) {
        let page = PageId::parse("hb-test");
        let Ok(page) = page else { return };
        let message = Message {
            occasion: Occasion::Test,
            page,
            severity: Severity::Info,
            subject: Subject::Monitor,
            mark: Mark::Plain,
            title,
            what: String::new(),
            since: now.wall_ms,
            until: None,
            evidence: Vec::new(),
            tried: Vec::new(),
            next: String::new(),
            agents: Vec::new(),
            agents_total: 0,
            host: None,
            reason: String::new(),
            last_heartbeat: None,
            incidents: Vec::new(),
        };
        let id = format!("hb-test-{receiver}-{}", now.wall_ms);
        let notification = self.notification(id, receiver.clone(), message, now);
        self.loose.push(notification);
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
                id
            }
            None => {
                let mut page = Page::new(matter, now.at);
                page.place = place;
                let id = page.id.clone();
                self.pages.insert(id.clone(), page);
                id
            }
        };
        self.schedule(&id);
    }

    /// What the store holds: pages that are out go on, what was not paged is considered as if it had just begun.
    pub(super) fn restore(&mut self, matters: Vec<Matter>, outbox: &[Notification], now: Now) {
        let mut pages: BTreeMap<IncidentId, IncidentId> = BTreeMap::new();
        for message in outbox.iter().map(|record| &record.message) {
            for id in &message.incidents {
                if let Ok(head) = IncidentId::parse(message.page.as_str()) {
                    pages.insert(id.clone(), head);
                }
            }
        }
        for matter in matters {
            if self.of_matter.contains_key(&matter.id) {
                continue;
            }
            let head = matter
                .page
                .clone()
                .or_else(|| pages.get(&matter.id).cloned());
            match head {
                Some(head) => self.restore_sent(matter, head, outbox, now),
                None if matter.closed_at.is_none() => self.matter(matter, now),
                None => {}
            }
        }
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

    fn restore_sent(
        &mut self,
        matter: Matter,
        head: IncidentId,
        outbox: &[Notification],
        now: Now,
    ) {
        let id = PageId::from(&head);
        let of_page = |record: &&Notification| record.message.page == id;
        let waits = outbox.iter().filter(of_page);
        let knows = matter
            .paged
            .iter()
            .filter_map(|name| ReceiverName::parse(name).ok());
        let mut sent_to: BTreeSet<ReceiverName> = knows.collect();
        sent_to.extend(waits.map(|record| record.receiver.clone()));
        let done = matter.closed_at.is_some()
            && outbox
                .iter()
                .filter(of_page)
                .all(|r| r.message.occasion == Occasion::Resolved)
            && sent_to.iter().all(|name| {
                let resolved = matter.resolved.iter().any(|known| known == name.as_str());
                resolved
                    || outbox
                        .iter()
                        .any(|r| r.message.page == id && r.receiver == *name)
            });
        if done {
            return;
        }
        let ago = matter
            .notified_at
            .map_or(0, |at| now.wall_ms.saturating_sub(at));
        let last = now.at - Duration::from_millis(ago);
        self.index(&matter, id.clone());
        let acked_by = matter.acked_by.clone();
        let page = self.pages.entry(id.clone()).or_insert_with(|| {
            let mut page = Page::new(matter.clone(), now.at);
            (page.id, page.head) = (id.clone(), head);
            page.stage = Stage::Sent {
                first: last,
                last,
                news: false,
            };
            page.acked_by = acked_by;
            page
        });
        page.put(matter, now.at);
        page.sent_to.extend(sent_to);
        if let Stage::Sent { news, .. } = &mut page.stage {
            *news = false;
        }
        self.schedule(&id);
    }

    /// What ended before it was known here: a repair is reported all the same.
    fn late_end(&mut self, matter: Matter, now: Now) {
        if matter.repaired_by.is_some() {
            let page = Page::new(matter, now.at);
            self.repaired(&page, now);
        }
    }

    fn carry_out(&mut self, id: &PageId, now: Now, effects: &mut Vec<PagesEffect>) {
        let Some(page) = self.pages.get(id) else {
            return;
        };
        match page.wants(now.at) {
            Want::Nothing => {}
            Want::Fire => self.fire(id, now, effects),
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
        let subject = match self.pages.get(id) {
            Some(page) if self.is_muted(page) => return self.hold(id, now),
            Some(page) => page.subject,
            None => return,
        };
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
            return self.hold(id, now);
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
                all.filter(|name| !page.sent_to.contains(name)).collect()
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

    /// hb brought it back before anyone was needed.
    fn repaired(&mut self, page: &Page, now: Now) {
        let by_hb = page
            .members
            .values()
            .any(|member| member.matter.repaired_by.is_some());
        let Some(message) = page
            .message(Occasion::Repaired, now.wall_ms)
            .filter(|_| by_hb)
        else {
            return;
        };
        let gets = |receiver: &&Receiver| {
            receiver.takes_changes || receiver.severities.contains(&Severity::Info)
        };
        let names: Vec<ReceiverName> = self
            .receivers
            .iter()
            .filter(gets)
            .map(|receiver| receiver.name.clone())
            .collect();
        let message = Message {
            severity: Severity::Info,
            ..message
        };
        for name in names {
            let id = format!("{}-{name}-repaired", page.id);
            let notification = self.notification(id, name, message.clone(), now);
            self.loose.push(notification);
        }
    }

    /// A notification for a receiver that is configured.
    fn to(&mut self, receiver: ReceiverName, message: Message, now: Now) -> Option<PagesEffect> {
        self.receivers.iter().find(|known| known.name == receiver)?;
        let word = crate::wire::word(&message.occasion);
        // The id of an incident is used once, the page of a trouble again and again.
        let number = match message.occasion {
            Occasion::Updated => now.wall_ms,
            Occasion::Firing
            | Occasion::Notice
            | Occasion::Acknowledged
            | Occasion::Resolved
            | Occasion::Repaired
            | Occasion::Test => message.since,
        };
        let id = format!("{}-{receiver}-{word}-{number}", message.page);
        let notification = self.notification(id, receiver, message, now);
        Some(PagesEffect::Send(Box::new(notification)))
    }

    fn notification(
        &mut self,
        id: String,
        receiver: ReceiverName,
        message: Message,
        now: Now,
    ) -> Notification {
        self.order = (self.order + 1).max(now.wall_ms);
        Notification {
            id,
            receiver,
            order: self.order,
            attempts: 0,
            last_error: None,
            instead_of: None,
            fell_back: false,
            message,
            more: serde_json::Map::new(),
        }
    }

    /// Where a matter belongs, given what else is going on.
    fn cause(&self, matter: &Matter) -> (Place, Subject) {
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
    fn is_wide(&self, subject: Subject) -> bool {
        match kind(subject) {
            Subject::HeartbeatMissed => self.gates.contains(&GateKind::Storm),
            Subject::Crash => self.gates.contains(&GateKind::MassCrash),
            Subject::CrashLoop
            | Subject::Hung
            | Subject::Duplicate
            | Subject::Stalled
            | Subject::WaitingForInput
            | Subject::StoreUnavailable
            | Subject::Monitor => false,
        }
    }

    /// Makes one page of all that wait for this cause.
    fn widen(&mut self, subject: Subject, now: Moment) {
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
                Some(wide) => wide.absorb(page, now),
                None => {
                    page.place = Place::Fleet;
                    self.pages.insert(id, page);
                }
            }
            self.schedule(&into);
        }
    }

    fn is_muted(&self, page: &Page) -> bool {
        page.acker().is_some() || !page.needs_people() || self.is_explained(page)
    }

    /// The host of its agents is silent, and there is a page of that.
    fn is_explained(&self, page: &Page) -> bool {
        let Place::Host(host) = &page.place else {
            return false;
        };
        let explains = |other: &Page| {
            let silent =
                |matter: &Matter| matter.scope == Scope::Host || self.storms.contains(host);
            other.id != page.id
                && other.place == page.place
                && other.subject == Subject::HeartbeatMissed
                && other.open().any(|member| silent(&member.matter))
        };
        page.subject != Subject::HeartbeatMissed && self.pages.values().any(explains)
    }

    fn hold(&mut self, id: &PageId, now: Now) {
        if let Some(page) = self.pages.get_mut(id) {
            page.hold(now.at);
        }
    }

    fn renew(&mut self, now: Now, effects: &mut Vec<PagesEffect>) {
        let renewing = self.receivers.iter().filter(|receiver| receiver.renews);
        let names: Vec<ReceiverName> = renewing.map(|receiver| receiver.name.clone()).collect();
        if names.is_empty() {
            (self.renew_at, self.resolved) = (None, Vec::new());
            return;
        }
        if self.renew_at.is_some_and(|at| at > now.at) {
            return;
        }
        self.renew_at = Some(now.at + RENEW_EVERY);
        self.resolved
            .retain(|(at, _)| now.at.since(*at) < RENEW_RESOLVED);
        for name in names {
            let out = self
                .pages
                .values()
                .filter(|page| page.sent_to.contains(&name) && page.is_sent());
            let open = out.filter_map(|page| page.message(Occasion::Updated, now.wall_ms));
            let over = self.resolved.iter().map(|(_, message)| message.clone());
            effects.push(PagesEffect::Renew(name.clone(), open.chain(over).collect()));
        }
    }

    fn index(&mut self, matter: &Matter, page: PageId) {
        self.of_matter.insert(matter.id.clone(), page);
        for agent in &matter.agents {
            self.of_agent
                .entry(agent.clone())
                .or_default()
                .insert(matter.id.clone());
        }
    }

    /// An entry that is left behind is corrected when it comes up.
    fn schedule(&mut self, id: &PageId) {
        if let Some(at) = self.pages.get(id).and_then(Page::due) {
            self.due.insert((at, id.clone()));
        }
    }
}
