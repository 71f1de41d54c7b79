//! One page: matters with one cause, as one thing to its receivers from the first message to the last.

use crate::alerts::exchange::Suppressed;
use crate::alerts::matter::{Matter, Place};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::incident::IncidentId;
use crate::wire::notification::{PageId, ReceiverName, Severity, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So long a page waits for what belongs to it.
const WAIT: Duration = Duration::from_secs(10);
/// Further messages of a page come at most this often.
const INTERVAL: Duration = Duration::from_secs(60);
/// What lasts is repeated.
const REPEAT: Duration = Duration::from_secs(4 * 3600);
/// A page that is out takes further matters for so long: a later failure deserves a page of its own, for a receiver that
/// knows the page would stay quiet.
const JOIN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// What flaps is paged all the same when it does not come back.
const FLAPPING_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// A page that is held back is considered again.
const RECHECK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Page {
    pub(super) id: PageId,
    /// The incident whose id is the page's.
    pub(super) head: IncidentId,
    pub(super) place: Place,
    pub(super) subject: Subject,
    pub(super) members: BTreeMap<IncidentId, Member>,
    pub(super) stage: Stage,
    /// Receivers that know of it.
    pub(super) sent_to: BTreeSet<ReceiverName>,
    /// Who acknowledged it, once its receivers know that.
    pub(super) acked_by: Option<String>,
    /// Why it was last held back.
    pub(super) held: Option<Suppressed>,
    /// How often its place opened within an hour, counted when it was about to be sent.
    pub(super) openings: Option<usize>,
    /// When it began here.
    pub(super) since: Moment,
    patience: Patience,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) matter: Matter,
    /// Agents of it that are healthy again.
    pub(super) up: BTreeSet<AgentId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not sent; due at this moment if people are needed.
    Waiting(Option<Moment>),
    /// Sent first and last at these moments; there is news since.
    Sent {
        first: Moment,
        last: Moment,
        news: bool,
    },
}

/// What a page wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    /// To be sent for the first time.
    Fire,
    /// To report news, or that it still lasts.
    Update,
    /// To report that a person takes care.
    Acknowledge,
    /// To report that it is over; or, where it was never sent, to go.
    Resolve,
}

impl Page {
    pub(super) fn new(matter: Matter, patience: Patience, now: Moment) -> Self {
        let (place, subject) = matter.cause();
        let mut page = Self {
            id: matter.own_page(),
            head: matter.id.clone(),
            place,
            subject,
            members: BTreeMap::new(),
            stage: Stage::Waiting(None),
            sent_to: BTreeSet::new(),
            acked_by: None,
            held: None,
            openings: None,
            since: now,
            patience,
        };
        page.put(matter, now);
        page
    }

    /// A member that is new or changed.
    pub(super) fn put(&mut self, matter: Matter, now: Moment) {
        let id = matter.id.clone();
        let before = self.members.get(&id).map(|known| &known.matter);
        // One notice each: that it spins and no longer stalls is no news.
        let is_notice = self.subject.is_notice();
        let same = before.is_some_and(|known| {
            let reason = is_notice || known.reason == matter.reason;
            known.agents.len() == matter.agents.len() && reason
        });
        if let Stage::Sent { news, .. } = &mut self.stage
            && !same
            && matter.closed_at.is_none()
        {
            *news = true;
        }
        match self.members.get_mut(&id) {
            Some(member) => member.matter = matter,
            None => {
                let up = BTreeSet::new();
                self.members.insert(id, Member { matter, up });
            }
        }
        self.arm(now);
    }

    /// Takes the members of another page that was not sent.
    pub(super) fn absorb(&mut self, other: Self, now: Moment) {
        self.members.extend(other.members);
        match &mut self.stage {
            Stage::Sent { news, .. } => *news = true,
            Stage::Waiting(due) => {
                if let Stage::Waiting(Some(earlier)) = other.stage {
                    *due = Some(due.map_or(earlier, |due| due.min(earlier)));
                }
            }
        }
        self.arm(now);
    }

    fn arm(&mut self, now: Moment) {
        let needed = self.open().any(|member| member.matter.needs_people);
        if let Stage::Waiting(due) = &mut self.stage {
            match (needed, due.is_some()) {
                (true, false) => {
                    let wait = match self.place {
                        Place::Monitor(_) => Duration::ZERO,
                        Place::Host(_) | Place::Agent(_) | Place::Fleet => {
                            self.patience.scale(WAIT)
                        }
                    };
                    *due = Some(now + wait);
                }
                (false, true) => *due = None,
                (true, true) | (false, false) => {}
            }
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Member> {
        let open = |member: &&Member| member.matter.closed_at.is_none();
        self.members.values().filter(open)
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. })
    }

    /// Whether a further matter may become part of it.
    pub(super) fn takes_more(&self, lasting: bool, now: Moment) -> bool {
        match self.stage {
            Stage::Waiting(_) => true,
            Stage::Sent { first, .. } => {
                let young = lasting || now.since(first) < self.patience.scale(JOIN_WITHIN);
                young && self.acked_by.is_none() && self.acker().is_none()
            }
        }
    }

    /// Who takes care of all that is open.
    pub(super) fn acker(&self) -> Option<&str> {
        let ackers = self.open().map(|member| member.matter.acked_by.as_deref());
        let ackers: Option<Vec<&str>> = ackers.collect();
        ackers?.last().copied()
    }

    /// Whether an agent of it is not well, so that a person is needed.
    pub(super) fn needs_people(&self) -> bool {
        self.open().any(|Member { matter, up }| {
            matter.needs_people && (matter.agents.is_empty() || up.len() < matter.agents.len())
        })
    }

    /// It opens again and again, and may come back as it did before.
    pub(super) fn is_patient(&self, openings_max: usize, now: Moment) -> bool {
        let flapping = self
            .openings
            .is_some_and(|openings| openings > openings_max);
        flapping && now.since(self.since) < self.patience.scale(FLAPPING_PATIENCE)
    }

    pub(super) fn severity(&self) -> Severity {
        let all = self.members.values().map(|member| member.matter.severity);
        all.max().unwrap_or_default()
    }

    pub(super) fn wants(&self, now: Moment) -> Want {
        if self.open().next().is_none() {
            return Want::Resolve;
        }
        match self.stage {
            Stage::Waiting(Some(due)) if due <= now => Want::Fire,
            Stage::Waiting(_) => Want::Nothing,
            Stage::Sent { .. } if self.acked_by.is_some() => Want::Nothing,
            Stage::Sent { .. } if self.acker().is_some() => Want::Acknowledge,
            Stage::Sent { last, news, .. } => {
                let repeat = !self.subject.is_notice() && last + self.repeat() <= now;
                if repeat || (news && last + self.interval() <= now) {
                    Want::Update
                } else {
                    Want::Nothing
                }
            }
        }
    }

    fn interval(&self) -> Duration {
        self.patience.scale(INTERVAL)
    }

    fn repeat(&self) -> Duration {
        self.patience.scale(REPEAT)
    }

    /// When it wants something by itself.
    pub(super) fn due(&self) -> Option<Moment> {
        if self.open().next().is_none() {
            return Some(Moment::default());
        }
        match self.stage {
            Stage::Waiting(due) => due,
            Stage::Sent { .. } if self.acked_by.is_some() => None,
            Stage::Sent { .. } if self.acker().is_some() => Some(Moment::default()),
            Stage::Sent {
                last, news: true, ..
            } => Some(last + self.interval()),
            Stage::Sent { .. } if self.subject.is_notice() => None,
            Stage::Sent { last, .. } => Some(last + self.repeat()),
        }
    }

    /// It is held back: it is considered again soon.
    pub(super) fn hold(&mut self, why: Suppressed, now: Moment) {
        self.held = Some(why);
        match &mut self.stage {
            Stage::Waiting(due) => *due = Some(now + self.patience.scale(RECHECK)),
            Stage::Sent { last, news, .. } => (*last, *news) = (now, false),
        }
    }

    pub(super) fn sent(&mut self, now: Moment) {
        let first = match self.stage {
            Stage::Waiting(_) => now,
            Stage::Sent { first, .. } => first,
        };
        let (last, news) = (now, false);
        self.stage = Stage::Sent { first, last, news };
    }
}
