//! What recovery does: rungs are carried out by engines that work, and each is held against the truth.
//!
//! Never: a rung twice in one incident, an action while a gate is closed, an action on an agent whose beats the store has just
//! taken, a replacement beside an agent that may still work.

use crate::faults::Step;
use crate::judge::UNDER_WAY;
use crate::monitor::{Told, Wishes};
use crate::sidecar::{Process, Sidecar};
use crate::world::{Happening, World};
use heartbeat::base::id::AgentId;
use heartbeat::fleet::ladder::exchange::Ticket;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::fleet::recovery::{Deed, RecoveryEffect};
use heartbeat::fleet::watch::WatchEffect;
use heartbeat::wire::incident::GateKind;
use heartbeat::wire::life::Standing;

/// A monitor that is killed in the middle of a recovery is started again within this time, in milliseconds.
const AGAIN_WITHIN: u64 = 5000;
/// A paused monitor is asked again whether it takes an answer, in milliseconds.
const AGAIN_AFTER: u64 = 500;

impl World {
    /// Rungs that these effects begin.
    pub(crate) fn begin_deeds(&mut self, m: usize, effects: &[WatchEffect]) {
        for effect in effects {
            if let WatchEffect::Recovery(RecoveryEffect::Perform(deed)) = effect {
                let takes = self.random.below(1000);
                let run = self.seats[m].run;
                self.at(self.now + takes, Happening::Act(m, run, deed.clone()));
            }
        }
    }

    /// A container is restarted, or replaced: what runs of the agent is ended, and another copy starts.
    pub(crate) fn act(&mut self, deed: &Deed) {
        let id = &deed.ticket.agent;
        let is_alive = |sidecar: &&mut Sidecar| match sidecar.process {
            Process::Running | Process::Paused => sidecar.id == *id,
            Process::Killed | Process::Ended => false,
        };
        for sidecar in self.sidecars.iter_mut().filter(is_alive) {
            sidecar.process = Process::Killed;
        }
        let of = self.sidecars.iter().rfind(|sidecar| sidecar.id == *id);
        let Some(of) = of else { return };
        let mut copy = Sidecar::new(id.clone(), of.role(), self.now + 1);
        copy.takes_over = true;
        // On the same machine it proves that the one before it is dead.
        copy.breaks = self.random.chance(0.5).then_some(of.instance);
        self.add(copy);
    }

    pub(crate) fn acted(&mut self, m: usize, run: u64, ticket: Ticket) {
        let now = self.now;
        let seat = &mut self.seats[m];
        let local = seat.local(now);
        let Some(monitor) = seat.monitor.as_mut().filter(|_| seat.run == run) else {
            return;
        };
        if monitor.is_paused {
            return self.at(now + AGAIN_AFTER, Happening::Acted(m, run, ticket));
        }
        let mut wishes = Wishes::default();
        monitor.take(
            Told::Performed(ticket),
            local,
            &mut self.random,
            &mut wishes,
        );
        self.grant(m, wishes);
    }

    /// Whether a rung is under way.
    pub(crate) fn is_acting(&self) -> bool {
        let mut monitors = self.seats.iter().filter_map(|seat| seat.monitor.as_ref());
        monitors.any(|monitor| monitor.watch.view().watch.acting > 0)
    }

    /// Whether the monitor ends before these effects are carried out.
    pub(crate) fn is_killed_at(&mut self, effects: &[WatchEffect]) -> bool {
        let is_step = |effect: &&WatchEffect| {
            let WatchEffect::Recovery(effect) = effect else {
                return false;
            };
            matches!(
                effect,
                RecoveryEffect::Claim(..) | RecoveryEffect::Begin(..) | RecoveryEffect::Perform(_)
            )
        };
        let steps = effects.iter().filter(is_step).count() as u64;
        let Some(left) = self.kill_in.filter(|_| steps > 0) else {
            return false;
        };
        self.kill_in = left.checked_sub(steps);
        self.kill_in.is_none()
    }

    /// It is started again, on the same machine or elsewhere.
    pub(crate) fn kill_monitor(&mut self, m: usize) {
        self.end_monitor(m);
        let at = self.now + self.random.within(10, AGAIN_WITHIN);
        self.at(at, Happening::Step(Step::StartMonitor(m)));
    }

    /// A rung that this monitor carries out.
    pub(crate) fn judge_action(&mut self, m: usize, ticket: &Ticket) {
        let now = self.now;
        let agent = &ticket.agent;
        let text = format!(
            "{agent}: {} of incarnation {} by monitor {m}",
            ticket.rung.as_str(),
            ticket.incarnation
        );
        self.judge.note(now, || text.clone());
        self.judge.actions += 1;
        let view = self.seats[m].monitor.as_ref();
        let view = view.map(|monitor| monitor.watch.view().watch);
        let incident = view
            .as_ref()
            .and_then(|view| view.incidents.of_agent.get(agent));
        if self.judge.is_repeated(ticket, incident, &self.store.data) {
            self.judge.wrong(now, format!("{text} twice"));
        }
        let host = self
            .holder(agent)
            .map(|sidecar| format!("h{}", sidecar.host));
        let gates = view.map(|view| view.gates.clone()).unwrap_or_default();
        let holds = |host_of: &Option<String>| host_of.is_none() || *host_of == host;
        if let Some(gate) = gates.iter().find(|gate| holds(&gate.host)) {
            let gate: GateKind = gate.gate;
            self.judge
                .wrong(now, format!("{text} behind the gate {gate:?}"));
        }
        if let Some(sidecar) = self.holder(agent) {
            // What the store took a moment ago may still be on its way.
            let round_trip = self.seats[m].query.round_trip_max();
            let under_way = round_trip + 2 * self.store.latency + UNDER_WAY;
            let mut taken = sidecar.accepted.iter().map(|at| now.saturating_sub(*at));
            let is_heard = taken.any(|ago| ago > under_way && ago < sidecar.interval);
            if sidecar.is_beating() && sidecar.standing() == Standing::Up && is_heard {
                self.judge
                    .wrong(now, format!("{text}, whose beat was just taken"));
            }
        }
        let works = |sidecar: &&Sidecar| sidecar.id == *agent && sidecar.may_work(now);
        if ticket.rung == Rung::Replace && self.sidecars.iter().any(|one| works(&one)) {
            self.judge
                .wrong(now, format!("{text}, while it may still work"));
        }
    }

    /// An agent was started: under `--exclusive` no other copy may work.
    pub(crate) fn judge_copies(&mut self, n: usize) {
        let now = self.now;
        let Some(lasts) = self.sidecars[n].lease_lasts() else {
            return;
        };
        let id = &self.sidecars[n].id;
        let mut others = self.sidecars.iter().enumerate();
        // A clock that stood lets a lease last longer than the store does: until its next beat is refused.
        let may_work = |one: &Sidecar| one.id == *id && one.may_work(now) && !one.was_frozen();
        let is_second = others.any(|(m, one)| m != n && may_work(one));
        // Until each holder has renewed what the store lost.
        let lost = self.judge.hashes_lost_at.is_some_and(|at| now < at + lasts);
        if is_second && !lost {
            let what = format!("a second copy of {id} was started, which is exclusive");
            self.judge.wrong(now, what);
        }
    }

    fn holder(&self, id: &AgentId) -> Option<&Sidecar> {
        let (_, n) = self.judge.holders.get(id)?;
        self.sidecars.get(*n)
    }
}
