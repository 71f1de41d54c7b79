//! The notices: agents whose beats come and that a person should see. One notice each for as long as that lasts.
//!
//! The store is their memory, as it is for incidents: a notice is written before anyone is notified, so a monitor that starts
//! repeats none and loses none. Deliberately absent: who is notified, and when.

use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::fleet::incidents::NOTIFIED_MAX;
use crate::wire::activity::{Evidence, Verdict};
use crate::wire::incident::{IncidentId, Notified};
use crate::wire::notice::{Notice, NoticeKind};
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A pause is noticed when it lasts: someone may have meant it.
pub const PAUSED_FOR: Duration = Duration::from_secs(15);
/// Closed notices are kept until their end has reached its receivers, so that a monitor which starts loses none.
const CLOSED_KEPT: Duration = Duration::from_secs(3600);
/// How many of them.
const CLOSED_MAX: usize = 10_000;

/// The machine.
#[derive(Debug, Default)]
pub struct Notices {
    restored: bool,
    /// Agents that are paused, and when that is noticed.
    pausing: BTreeMap<AgentId, Moment>,
    shown: NoticesView,
    /// The agent of each open notice.
    agent_of: BTreeMap<IncidentId, AgentId>,
    /// How many records were written when they were last counted.
    counted: usize,
}

/// Notices at one moment; cheap to share.
#[derive(Clone, Debug, Default)]
pub struct NoticesView {
    /// Those that are open.
    pub open: OrdMap<AgentId, Arc<Notice>>,
    /// Those that were closed lately.
    pub closed: OrdMap<IncidentId, Arc<Notice>>,
}

/// When an input is applied.
pub struct NoticesContext<'a> {
    /// The monitor's clock.
    pub now: Moment,
    /// The store's wall clock, Unix milliseconds.
    pub wall_ms: u64,
    /// Gives an id that is unique among monitors.
    pub new_id: &'a mut dyn FnMut() -> IncidentId,
}

/// An agent as it is now.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The agent.
    pub agent: AgentId,
    /// Its machine.
    pub host: Option<String>,
    /// What it is doing; `None` unless it is healthy.
    pub verdict: Option<Verdict>,
    /// For people.
    pub sentence: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// An input.
#[derive(Debug)]
pub enum NoticesInput {
    /// What the store holds.
    Restored(Vec<Notice>),
    /// How many records it holds.
    Held(usize),
    /// An agent was seen.
    Seen(Box<Sight>),
    /// A person takes care of the agent.
    Acked(AgentId, String),
    /// These notices are part of the message that carries the id of that one.
    Paged(Vec<IncidentId>, IncidentId),
    /// What became of a notification about these notices.
    Notified(Vec<IncidentId>, Notified),
    /// Time passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq)]
pub enum NoticesEffect {
    /// Write this record.
    Store(Arc<Notice>),
    /// Remove this record.
    Remove(IncidentId),
    /// It opened, changed or closed: for those who follow.
    Changed(Arc<Notice>),
}

impl Notices {
    /// Applies one input and returns what the caller must do, in this order.
    pub fn handle(
        &mut self,
        input: NoticesInput,
        context: &mut NoticesContext<'_>,
    ) -> Vec<NoticesEffect> {
        let mut effects = Vec::new();
        match input {
            NoticesInput::Restored(records) => self.restore(records, &mut effects),
            NoticesInput::Held(held) => self.held(held, &mut effects),
            NoticesInput::Seen(sight) if self.restored => self.seen(*sight, context, &mut effects),
            // All agents are seen again once the store was read.
            NoticesInput::Seen(_) => {}
            NoticesInput::Acked(agent, by) => self.acked(&agent, by, &mut effects),
            NoticesInput::Paged(ids, page) => {
                for id in ids {
                    self.amend(&id, &mut effects, |notice| notice.page = Some(page.clone()));
                }
            }
            NoticesInput::Notified(ids, notified) => {
                for id in ids {
                    self.amend(&id, &mut effects, |notice| {
                        notice.notified.truncate(NOTIFIED_MAX - 1);
                        notice.notified.push(notified.clone());
                    });
                }
            }
            NoticesInput::Tick => self.prune(context.wall_ms, &mut effects),
        }
        effects
    }

    /// When an agent must be seen again, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let due = self.pausing.values().min();
        due.map(|at| (*at, "a pause"))
    }

    /// Agents with a notice, or about to have one.
    pub fn agents(&self) -> BTreeSet<AgentId> {
        let open = self.shown.open.keys();
        open.chain(self.pausing.keys()).cloned().collect()
    }

    /// All notices.
    pub fn view(&self) -> &NoticesView {
        &self.shown
    }

    fn restore(&mut self, records: Vec<Notice>, effects: &mut Vec<NoticesEffect>) {
        let held: BTreeMap<IncidentId, Notice> = records
            .into_iter()
            .map(|notice| (notice.id.clone(), notice))
            .collect();
        let again: Vec<Arc<Notice>> = self
            .all()
            .filter(|own| held.get(&own.id).is_none_or(|held| *held != ***own))
            .cloned()
            .collect();
        effects.extend(again.into_iter().map(NoticesEffect::Store));
        let known: BTreeSet<IncidentId> = self.all().map(|own| own.id.clone()).collect();
        for notice in held.into_values().filter(|held| !known.contains(&held.id)) {
            let has_one = self.shown.open.contains_key(&notice.agent);
            // Of two for one agent, as two monitors may have written them, one stands.
            if has_one && notice.closed_at.is_none() {
                effects.push(NoticesEffect::Remove(notice.id));
            } else {
                self.put(notice);
            }
        }
        self.restored = true;
    }

    /// The store may have lost records while the connection stood. What is being written may not be counted yet.
    fn held(&mut self, held: usize, effects: &mut Vec<NoticesEffect>) {
        let records = self.shown.open.len() + self.shown.closed.len();
        let due = std::mem::replace(&mut self.counted, records).min(records);
        if held < due {
            effects.extend(self.all().cloned().map(NoticesEffect::Store));
        }
    }

    fn seen(
        &mut self,
        sight: Sight,
        context: &mut NoticesContext<'_>,
        effects: &mut Vec<NoticesEffect>,
    ) {
        let kind = sight.verdict.and_then(NoticeKind::of);
        let known = self.shown.open.get(&sight.agent).cloned();
        if kind != Some(NoticeKind::Paused) {
            self.pausing.remove(&sight.agent);
        }
        match (kind, sight.verdict, known) {
            (Some(kind), Some(verdict), Some(known)) if known.kind() == Some(kind) => {
                if known.verdict != verdict {
                    let mut notice = Notice::clone(&known);
                    (notice.verdict, notice.sentence) = (verdict, sight.sentence);
                    notice.evidence = sight.evidence;
                    self.publish(notice, effects);
                }
            }
            (Some(kind), Some(verdict), known) => {
                if let Some(known) = known {
                    self.close(&known, context.wall_ms, effects);
                }
                if !self.is_early(kind, &sight.agent, context.now) {
                    self.open(sight, verdict, context, effects);
                }
            }
            (None, _, Some(known)) | (Some(_), None, Some(known)) => {
                self.close(&known, context.wall_ms, effects);
            }
            (None, _, None) | (Some(_), None, None) => {}
        }
    }

    /// It may clear by itself within its wait.
    fn is_early(&mut self, kind: NoticeKind, agent: &AgentId, now: Moment) -> bool {
        match kind {
            NoticeKind::Suspicion | NoticeKind::Person => false,
            NoticeKind::Paused => {
                let due = self.pausing.entry(agent.clone());
                if *due.or_insert(now + PAUSED_FOR) > now {
                    return true;
                }
                self.pausing.remove(agent);
                false
            }
        }
    }

    fn open(
        &mut self,
        sight: Sight,
        verdict: Verdict,
        context: &mut NoticesContext<'_>,
        effects: &mut Vec<NoticesEffect>,
    ) {
        let notice = Notice {
            id: (context.new_id)(),
            agent: sight.agent,
            host: sight.host,
            verdict,
            sentence: sight.sentence,
            evidence: sight.evidence,
            opened_at: context.wall_ms,
            closed_at: None,
            acked_by: None,
            page: None,
            notified: Vec::new(),
            more: serde_json::Map::new(),
        };
        self.publish(notice, effects);
    }

    fn close(&mut self, notice: &Notice, wall_ms: u64, effects: &mut Vec<NoticesEffect>) {
        let mut notice = notice.clone();
        notice.closed_at = Some(wall_ms.max(notice.opened_at));
        self.shown.open.remove(&notice.agent);
        self.publish(notice, effects);
        self.prune(wall_ms, effects);
    }

    fn acked(&mut self, agent: &AgentId, by: String, effects: &mut Vec<NoticesEffect>) {
        if let Some(known) = self.shown.open.get(agent) {
            let mut notice = Notice::clone(known);
            notice.acked_by = Some(by);
            self.publish(notice, effects);
        }
    }

    fn publish(&mut self, notice: Notice, effects: &mut Vec<NoticesEffect>) {
        let notice = self.put(notice);
        effects.push(NoticesEffect::Store(Arc::clone(&notice)));
        effects.push(NoticesEffect::Changed(notice));
    }

    /// Changes what is known of its message and writes it, if that makes it another.
    fn amend(
        &mut self,
        id: &IncidentId,
        effects: &mut Vec<NoticesEffect>,
        change: impl FnOnce(&mut Notice),
    ) {
        let of_agent = |agent| self.shown.open.get(agent);
        let open = self.agent_of.get(id).and_then(of_agent);
        let Some(before) = open.or_else(|| self.shown.closed.get(id)).cloned() else {
            return;
        };
        let mut after = Notice::clone(&before);
        change(&mut after);
        if after != *before {
            effects.push(NoticesEffect::Store(self.put(after)));
        }
    }

    fn put(&mut self, notice: Notice) -> Arc<Notice> {
        let notice = Arc::new(notice);
        let (id, kept) = (notice.id.clone(), Arc::clone(&notice));
        if notice.closed_at.is_some() {
            self.agent_of.remove(&id);
            self.shown.closed.insert(id, kept);
        } else {
            self.agent_of.insert(id, notice.agent.clone());
            self.shown.open.insert(notice.agent.clone(), kept);
        }
        notice
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Notice>> {
        self.shown.open.values().chain(self.shown.closed.values())
    }

    /// Closed notices leave after their time, the oldest first when there are too many.
    fn prune(&mut self, wall_ms: u64, effects: &mut Vec<NoticesEffect>) {
        let over = |notice: &Notice| {
            let at = notice.closed_at.unwrap_or(notice.opened_at);
            at.saturating_add(millis(CLOSED_KEPT)) < wall_ms
        };
        let mut gone: Vec<IncidentId> = Vec::new();
        for (id, notice) in &self.shown.closed {
            let too_many = self.shown.closed.len() - gone.len() > CLOSED_MAX;
            if too_many || over(notice) {
                gone.push(id.clone());
            }
        }
        for id in gone {
            self.shown.closed.remove(&id);
            effects.push(NoticesEffect::Remove(id));
        }
    }
}
