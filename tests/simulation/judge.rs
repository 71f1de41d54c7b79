//! What is wrong with what the monitor said: compared with the truth, which only the simulation knows.
//!
//! Never: an agent whose beats the store took is failed (0F), an agent is failed on an unanswered question, many living
//! agents fail without a gate (0A). In the end, when all is calm: the state of each agent is the true one, and the open
//! incidents are those of the failed agents, each once.

use crate::faults::Fault;
use crate::sidecar::{Process, Script, Sidecar};
use crate::store::Data;
use crate::world::{FIRST, Plan, World};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::ladder::exchange::Ticket;
use heartbeat::fleet::machine::{Change, FleetEffect};
use heartbeat::fleet::recovery::RecoveryEffect;
use heartbeat::fleet::watch::WatchEffect;
use heartbeat::wire::incident::{GateKind, IncidentId};
use heartbeat::wire::life::{Reason, Standing};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An agent that failed by silence has sent nothing for so many intervals: three are counted from the beginning of the
/// last beat's slot, and it may be sent at the end of it.
const INTERVALS_TO_FAIL: u64 = 2;
/// Within this time a sidecar that lost the store is back, or within its interval if that is longer, in milliseconds.
const RETURN_WITHIN: u64 = 3500;
/// Until a tick has looked at what arrived, in milliseconds.
pub(crate) const UNDER_WAY: u64 = 100;
/// Living agents that fail within a minute are a storm from so many, and from this share of the fleet.
const STORM_MIN: usize = 5;
const STORM_SHARE: usize = 5;

pub(crate) struct Judge {
    pub(crate) faults: Vec<String>,
    pub(crate) failures: u64,
    pub(crate) changes: u64,
    pub(crate) actions: u64,
    /// What was done, and in which incident last.
    acted: BTreeMap<Ticket, Option<IncidentId>>,
    pub(crate) holders: BTreeMap<AgentId, (u64, usize)>,
    pub(crate) lost_at: Option<u64>,
    /// When the store last lost its hashes.
    pub(crate) hashes_lost_at: Option<u64>,
    active: BTreeSet<Fault>,
    /// Of each monitor.
    living_failed: Vec<VecDeque<(u64, AgentId)>>,
    /// Of each monitor: agents that failed, and have not been healthy since.
    down: Vec<BTreeSet<AgentId>>,
    story: Option<Vec<String>>,
    /// The agent whose every beat the story has.
    followed: Option<String>,
}

impl Judge {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            faults: Vec::new(),
            failures: 0,
            changes: 0,
            actions: 0,
            acted: BTreeMap::new(),
            holders: BTreeMap::new(),
            lost_at: None,
            hashes_lost_at: None,
            active: BTreeSet::new(),
            living_failed: vec![VecDeque::new(); plan.monitors],
            down: vec![BTreeSet::new(); plan.monitors],
            story: None,
            followed: None,
        }
    }

    /// Prints what happens, and each beat of one agent.
    pub(crate) fn tell(&mut self, followed: Option<String>) {
        self.story = Some(Vec::new());
        self.followed = followed;
    }

    /// A line of the story of the agent that is followed.
    pub(crate) fn note_of(&mut self, id: &AgentId, now: u64, text: impl FnOnce() -> String) {
        if self.followed.as_deref() == Some(id.as_str()) {
            self.note(now, || format!("        {id} {}", text()));
        }
    }

    pub(crate) fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9.3} s  {}", (now as f64 - 1e6) / 1e3, text()));
        }
    }

    pub(crate) fn begin(&mut self, fault: Fault, now: u64) {
        self.active.insert(fault);
        self.note(now, || format!("begins: {}", fault.name()));
    }

    pub(crate) fn end(&mut self, fault: Fault, now: u64) {
        self.active.remove(&fault);
        self.note(now, || format!("ends:   {}", fault.name()));
    }

    pub(crate) fn granted(&mut self, id: &AgentId, epoch: u64, sidecar: usize) {
        let holder = self.holders.entry(id.clone()).or_insert((0, sidecar));
        if epoch > holder.0 {
            *holder = (epoch, sidecar);
        }
    }

    pub(crate) fn data_was_lost(&mut self, now: u64) {
        self.lost_at = Some(now);
        self.hashes_were_lost(now);
    }

    pub(crate) fn hashes_were_lost(&mut self, now: u64) {
        self.hashes_lost_at = Some(now);
    }

    /// It counts those that are silent now, not those that a monitor before it saw recover.
    pub(crate) fn monitor_started(&mut self, m: usize) {
        self.living_failed[m].clear();
        self.down[m].clear();
    }

    /// Whether any monitor did this before, in this incident or in one that is still open.
    pub(crate) fn is_repeated(
        &mut self,
        ticket: &Ticket,
        incident: Option<&IncidentId>,
        data: &Data,
    ) -> bool {
        let before = self.acted.insert(ticket.clone(), incident.cloned());
        // A store that lost its data knows no intent, and the monitor that knew of it may be gone.
        let Some(before) = before.filter(|_| self.lost_at.is_none()) else {
            return false;
        };
        let is_open = |id: &IncidentId| data.incidents.get(id).is_some_and(|one| !one.is_closed());
        before.as_ref() == incident || before.as_ref().is_some_and(is_open)
    }

    pub(crate) fn wrong(&mut self, now: u64, what: String) {
        self.note(now, || format!("WRONG: {what}"));
        self.faults
            .push(format!("{:.3} s: {what}", (now as f64 - 1e6) / 1e3));
    }
}

impl World {
    pub(crate) fn judge_effects(&mut self, m: usize, effects: &[WatchEffect]) {
        for effect in effects {
            match effect {
                WatchEffect::Fleet(FleetEffect::Changed(change)) => self.judge_change(m, change),
                WatchEffect::GateClosed(gate) => {
                    let text = format!("gate {:?} {:?} closes", gate.gate, gate.host);
                    self.judge.note(self.now, || text);
                }
                WatchEffect::GateOpened(gate) => {
                    let text = format!("gate {:?} {:?} opens", gate.gate, gate.host);
                    self.judge.note(self.now, || text);
                }
                WatchEffect::IncidentChanged(change) => {
                    let text = format!(
                        "incident {:?} {:?} of monitor {m}",
                        change.kind, change.incident.agents
                    );
                    self.judge.note(self.now, || text);
                }
                WatchEffect::Reconnect => self.judge.note(self.now, || "link given up".to_owned()),
                WatchEffect::TookOver => self.judge.note(self.now, || format!("monitor {m} leads")),
                WatchEffect::SteppedDown => {
                    let text = || format!("monitor {m} leads no more");
                    self.judge.note(self.now, text);
                }
                WatchEffect::Recovery(RecoveryEffect::Perform(deed)) => {
                    self.judge_action(m, &deed.ticket);
                }
                WatchEffect::Recovery(_)
                | WatchEffect::Fleet(_)
                | WatchEffect::SendCanary(_)
                | WatchEffect::AskForLead
                | WatchEffect::ReadRecords
                | WatchEffect::StoreIncident(_)
                | WatchEffect::RemoveIncident(_)
                | WatchEffect::StoreNotice(_)
                | WatchEffect::RemoveNotice(_)
                | WatchEffect::NoticeChanged(_) => {}
            }
        }
    }

    fn judge_change(&mut self, m: usize, change: &Change) {
        self.judge.changes += 1;
        let text = format!(
            "{} {:?} {:?} of monitor {m}: {}",
            change.agent, change.to, change.reason, change.sentence
        );
        self.judge.note(self.now, || text);
        let down = &mut self.judge.down[m];
        // One that was missing meanwhile, and not healthy, is no news.
        let is_news = match change.to {
            State::Failed => down.insert(change.agent.clone()),
            State::Healthy | State::Stopped => down.remove(&change.agent),
            State::Missing => false,
        };
        if change.to != State::Failed || change.reason != Some(Reason::HeartbeatLost) {
            return;
        }
        self.judge.failures += 1;
        if m == FIRST {
            self.score_ours(&change.agent);
        }
        let Some((_, n)) = self.judge.holders.get(&change.agent).copied() else {
            return;
        };
        let sidecar = &self.sidecars[n];
        if !sidecar.is_beating() {
            return;
        }
        let now = self.now;
        let seat = &self.seats[m];
        if !seat.is_first_sight && now < seat.sighted_at + RETURN_WITHIN {
            let what = format!(
                "{} is failed, but its sidecar may still wait after the outage",
                change.agent
            );
            return self.judge.wrong(now, what);
        }
        let none_kept = self.store.evicts || self.store.refuses_writes;
        let wait = |at: u64| {
            let lost = none_kept || self.judge.hashes_lost_at.is_some_and(|lost| lost >= at);
            let sighted = seat.sighted_at >= at;
            // A monitor that was blind and finds no hash gives one interval.
            let intervals = if lost && sighted {
                1
            } else {
                INTERVALS_TO_FAIL
            };
            intervals * sidecar.interval
        };
        // What the store took a moment ago may still be on its way.
        let under_way = seat.query.round_trip_max() + 2 * self.store.latency + UNDER_WAY;
        let ages = sidecar.accepted.iter();
        let mut ages = ages.map(|at| (now.saturating_sub(*at), wait(*at)));
        if let Some((ago, _)) = ages.find(|(ago, wait)| *ago > under_way && ago < wait) {
            let what = format!(
                "{} is failed, but the store took its beat {ago} ms ago",
                change.agent
            );
            return self.judge.wrong(now, what);
        }
        // An answer of the last moment before may still be on its way.
        if seat.cut_at.is_some_and(|at| at + under_way <= now) {
            let what = format!(
                "{} is failed while the monitor cannot ask the store",
                change.agent
            );
            return self.judge.wrong(now, what);
        }
        if is_news {
            self.judge_storm(m, &change.agent, change.host.as_deref());
        }
    }

    /// Many living agents that fail together are a common cause: a gate must be closed.
    fn judge_storm(&mut self, m: usize, agent: &AgentId, host: Option<&str>) {
        let now = self.now;
        let failed = &mut self.judge.living_failed[m];
        failed.retain(|(at, id)| at + 60_000 > now && id != agent);
        failed.push_back((now, agent.clone()));
        let many = failed.len();
        let fleet = self.judge.holders.len();
        let gates = self.seats[m]
            .monitor
            .as_ref()
            .map(|monitor| monitor.watch.view().watch.gates.clone());
        let gated = gates.unwrap_or_default().iter().any(|gate| {
            gate.gate != GateKind::MassCrash
                && (gate.host.is_none() || gate.host.as_deref() == host)
        });
        if many >= STORM_MIN && many * STORM_SHARE >= fleet && !gated {
            self.judge.wrong(
                now,
                format!("{many} of {fleet} living agents failed without a gate"),
            );
        }
    }

    /// A fault began or ended.
    pub(crate) fn judge_reach(&mut self) {
        let answers = self.store.is_up && self.store.busy_until <= self.now;
        for seat in &mut self.seats {
            let reaches = answers && seat.query.flows();
            let cut_at = seat.cut_at.unwrap_or(self.now);
            seat.cut_at = (!reaches).then_some(cut_at);
        }
    }

    /// When all is calm.
    pub(crate) fn judge_end(&mut self) {
        (0..self.seats.len()).for_each(|m| self.judge_end_of(m));
        let monitors = self.seats.iter().filter_map(|seat| seat.monitor.as_ref());
        let leads = monitors.filter(|monitor| monitor.watch.view().watch.leads);
        let leaders = leads.count();
        if leaders != 1 {
            self.judge
                .wrong(self.now, format!("{leaders} monitors lead"));
        }
    }

    fn judge_end_of(&mut self, m: usize) {
        let Some(monitor) = &self.seats[m].monitor else {
            return self.judge.wrong(self.now, format!("no monitor {m}"));
        };
        let view = monitor.watch.view();
        let mut wrong = Vec::new();
        if !view.link_up {
            wrong.push("the monitor is not connected".to_owned());
        }
        let mut failed = BTreeSet::new();
        for (id, agent) in view.agents.iter() {
            if agent.state == State::Failed {
                failed.insert(id.clone());
            }
        }
        for (id, (_, n)) in &self.judge.holders {
            let shown = view.agents.get(id).map(|agent| agent.state);
            let sidecar = &self.sidecars[*n];
            let excused = shown.is_none() && self.may_be_unknown(sidecar);
            // The store lost the report of its end, perhaps before the monitor saw it.
            let lost = self.judge.lost_at.zip(sidecar.ended_at);
            let excused = excused || lost.is_some_and(|(lost, ended)| ended <= lost);
            if !expected(sidecar).contains(&shown) && !excused {
                wrong.push(format!(
                    "{id} is shown as {shown:?}, not one of {:?}",
                    expected(sidecar)
                ));
            }
        }
        // A follower has the records of a moment ago.
        let records = view.watch.leads;
        let incidents = &view.watch.incidents;
        let of_failed = failed
            .iter()
            .filter(|id| records && !incidents.of_agent.contains_key(*id));
        wrong.extend(of_failed.map(|id| format!("{id} is failed and has no open incident")));
        // One that ended badly a moment ago is healthy for an interval before its incident closes.
        let settled = |id: &AgentId| {
            let holder = self.judge.holders.get(id);
            let sidecar = holder.map(|(_, n)| &self.sidecars[*n]);
            let back = |s: &Sidecar| s.changed_within(3 * s.interval, self.now);
            !failed.contains(id)
                && sidecar.is_none_or(|s| s.script == Script::Runs || !s.is_beating())
                && !sidecar.is_some_and(back)
        };
        let over = incidents.open.values();
        let over = over.filter(|incident| records && incident.agents.iter().all(settled));
        wrong.extend(over.map(|incident| {
            format!(
                "the incident of {:?} is open, none is failed",
                incident.agents
            )
        }));
        let (stored, open) = self.open_incidents(m);
        if records && stored != open {
            wrong.push(format!(
                "{stored} open incidents are stored, {open} are known"
            ));
        }
        for what in wrong {
            self.judge.wrong(self.now, what);
        }
    }

    /// Open incidents that are stored, and that are known.
    fn open_incidents(&self, m: usize) -> (usize, usize) {
        let stored = self.store.data.incidents.values();
        let stored = stored.filter(|incident| incident.closed_at.is_none());
        let known = self.seats[m].monitor.as_ref();
        let known = known.map(|monitor| monitor.watch.view().watch.incidents.open.len());
        (stored.count(), known.unwrap_or(0))
    }

    /// Whether what is known of incidents is stored.
    pub(crate) fn is_recorded(&self) -> bool {
        let same = |m| {
            let (stored, known) = self.open_incidents(m);
            stored == known
        };
        let leads = |m: &usize| {
            let monitor = self.seats[*m].monitor.as_ref();
            monitor.is_some_and(|monitor| monitor.watch.view().watch.leads)
        };
        (0..self.seats.len()).filter(leads).all(same)
    }

    /// The store forgot it, and the monitor that knew it is gone.
    fn may_be_unknown(&self, sidecar: &Sidecar) -> bool {
        let lost = self.judge.lost_at.is_some() && !sidecar.is_beating();
        lost || sidecar.accepted.is_empty()
    }
}

/// The states that may be shown of an agent.
fn expected(sidecar: &Sidecar) -> Vec<Option<State>> {
    let reported = match sidecar.standing() {
        Standing::Up => State::Healthy,
        Standing::Stopping | Standing::Off => State::Stopped,
        Standing::Troubled(_) | Standing::Down(_) => State::Failed,
    };
    match sidecar.process {
        Process::Running => match sidecar.standing() {
            Standing::Stopping => vec![Some(State::Healthy), Some(State::Stopped)],
            Standing::Up | Standing::Off | Standing::Troubled(_) | Standing::Down(_) => {
                vec![Some(reported)]
            }
        },
        Process::Paused => vec![
            Some(State::Failed),
            Some(State::Missing),
            Some(State::Stopped),
        ],
        Process::Killed => match reported {
            State::Healthy | State::Missing | State::Failed => vec![Some(State::Failed)],
            State::Stopped => vec![Some(State::Stopped), Some(State::Failed)],
        },
        // Its last report may not have reached the store.
        Process::Ended if sidecar.is_stored() => vec![Some(reported)],
        Process::Ended => vec![Some(State::Stopped), Some(State::Failed)],
    }
}
