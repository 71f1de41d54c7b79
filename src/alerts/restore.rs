//! Pages of a monitor before this one: those that are out go on, their ends are not lost.

use super::matter::Matter;
use super::page::{Page, Stage};
use super::pages::Pages;
use crate::alerts::exchange::Now;
use crate::wire::incident::IncidentId;
use crate::wire::notification::{Notification, Occasion, PageId, ReceiverName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Pages {
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
        let open = matters.iter().filter(|matter| matter.closed_at.is_none());
        let lasting: BTreeSet<IncidentId> = open.filter_map(|matter| matter.page.clone()).collect();
        for matter in matters {
            if self.of_matter.contains_key(&matter.id) {
                continue;
            }
            let head = matter
                .page
                .clone()
                .or_else(|| pages.get(&matter.id).cloned());
            match head {
                Some(head) if !lasting.contains(&head) && is_done(&matter, &head, outbox) => {}
                Some(head) => self.restore_sent(matter, head, outbox, now),
                None if matter.closed_at.is_none() => self.matter(matter, now),
                None => {}
            }
        }
    }

    pub(super) fn restore_sent(
        &mut self,
        matter: Matter,
        head: IncidentId,
        outbox: &[Notification],
        now: Now,
    ) {
        let id = PageId::from(&head);
        let of_page = |record: &&Notification| record.message.page == id;
        let waits = outbox.iter().filter(of_page);
        // Who knows that it is over needs nothing more.
        let is_over = |name: &&String| matter.closed_at.is_some() && matter.resolved.contains(name);
        let knows = matter.paged.iter().filter(|name| !is_over(name));
        let knows = knows.filter_map(|name| ReceiverName::parse(name).ok());
        let mut sent_to: BTreeSet<ReceiverName> = knows.collect();
        sent_to.extend(waits.map(|record| record.receiver.clone()));
        let ago = matter
            .notified_at
            .map_or(0, |at| now.wall_ms.saturating_sub(at));
        let last = now.at - Duration::from_millis(ago);
        self.index(&matter, id.clone());
        let acked_by = matter.acked_by.clone();
        let patience = self.patience;
        let page = self.pages.entry(id.clone()).or_insert_with(|| {
            let mut page = Page::new(matter.clone(), patience, now.at);
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
}

/// It is over, and everyone who was paged knows that, or is about to.
fn is_done(matter: &Matter, head: &IncidentId, outbox: &[Notification]) -> bool {
    let page = PageId::from(head);
    let waiting: Vec<&Notification> = outbox
        .iter()
        .filter(|record| record.message.page == page)
        .collect();
    let knows = |name: &String| {
        let waits = waiting
            .iter()
            .any(|record| record.receiver.as_str() == name);
        waits || matter.resolved.contains(name)
    };
    matter.closed_at.is_some()
        && waiting
            .iter()
            .all(|record| record.message.occasion == Occasion::Resolved)
        && matter.paged.iter().all(knows)
}
