//! What pages become for each receiver: notifications, renewals, and what has no page.

use super::exchange::{Now, RENEW_EVERY, Receiver};
use super::matter::Matter;
use super::page::Page;
use super::pages::{Pages, PagesEffect};
use crate::wire::notification::{Message, Notification, Occasion, ReceiverName, Severity};
use std::time::Duration;

/// A receiver that renews gets what is over for so long.
const RENEW_RESOLVED: Duration = Duration::from_secs(5 * 60);

impl Pages {
    /// hb brought it back before anyone was needed.
    pub(super) fn repaired(&mut self, page: &Page, now: Now) {
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
    pub(super) fn to(
        &mut self,
        receiver: ReceiverName,
        message: Message,
        now: Now,
    ) -> Option<PagesEffect> {
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

    pub(super) fn notification(
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
            receipt: None,
            message,
            more: serde_json::Map::new(),
        }
    }

    pub(super) fn renew(&mut self, now: Now, effects: &mut Vec<PagesEffect>) {
        let renewing = self.receivers.iter().filter(|receiver| receiver.renews);
        let names: Vec<ReceiverName> = renewing.map(|receiver| receiver.name.clone()).collect();
        if names.is_empty() {
            (self.renew_at, self.resolved) = (None, Vec::new());
            return;
        }
        if self.renew_at.is_some_and(|at| at > now.at) {
            return;
        }
        self.renew_at = Some(now.at + self.patience.scale(RENEW_EVERY));
        self.resolved
            .retain(|(at, _)| now.at.since(*at) < self.patience.scale(RENEW_RESOLVED));
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

    /// What ended before it was known here: a repair is reported all the same.
    pub(super) fn late_end(&mut self, matter: Matter, now: Now) {
        if matter.repaired_by.is_some() {
            let page = Page::new(matter, self.patience, now.at);
            self.repaired(&page, now);
        }
    }
}
