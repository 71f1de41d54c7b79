//! Troubles of hbmonitor itself, as what people have to know of.

use super::matter::{Matter, Place, bounded, outcome, receipts, receivers};
use crate::wire::notification::{Severity, Subject};
use crate::wire::trouble::{Trouble, TroubleKind};

impl Matter {
    /// A trouble of hbmonitor itself, as it is kept; `closed_at`, Unix milliseconds, ends it.
    pub fn troubled(trouble: &Trouble, closed_at: Option<u64>) -> Self {
        let over = closed_at.is_some();
        let (label, about) = match (&trouble.name, over) {
            (TroubleKind::Receiver(name), false) => (
                format!("receiver {name} takes no notifications"),
                Some(name.clone()),
            ),
            (TroubleKind::Receiver(name), true) => (
                format!("receiver {name} takes notifications again"),
                Some(name.clone()),
            ),
            (TroubleKind::Configuration, false) => (
                "the new configuration cannot be used, the one before goes on".to_owned(),
                None,
            ),
            (TroubleKind::Configuration, true) => {
                ("the configuration is in order again".to_owned(), None)
            }
            (TroubleKind::Disk, false) => ("the store cannot write to its disk".to_owned(), None),
            (TroubleKind::Disk, true) => ("the store writes to its disk again".to_owned(), None),
        };
        let severity = match &trouble.name {
            TroubleKind::Receiver(_) | TroubleKind::Configuration => Severity::Warning,
            TroubleKind::Disk => Severity::Critical,
        };
        let name = trouble.name.field();
        Self {
            place: Place::Monitor(name.clone()),
            reason: name,
            label,
            sentence: match over {
                true => String::new(),
                false => bounded(&trouble.sentence),
            },
            closed_at,
            acked_by: trouble.acked_by.clone(),
            page: trouble.page.clone(),
            paged: receivers(&trouble.notified, outcome::PAGED),
            resolved: receivers(&trouble.notified, outcome::RESOLVED),
            receipts: receipts(&trouble.notified),
            notified_at: trouble.notified.iter().map(|n| n.at).max(),
            about,
            ..Self::empty(trouble.name.id(), Subject::Monitor, severity, trouble.since)
        }
    }
}
