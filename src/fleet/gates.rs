//! Gates: reasons why nothing may be done automatically for now. They veto actions and never hide a state.
//!
//! The commonest cause of many failures at once is a sick observer, and the next one a common cause that a restart does
//! not mend. Thresholds: detection of Sentinel (TILT), Eureka and Kubernetes (mass failures), scaled to beats of 30 s.
//!
//! Deliberately absent: a gate without an exit. Each one ends by itself.

use crate::base::duration::format_duration;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
pub use crate::wire::incident::GateKind;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A tick that is later than this means that the monitor itself stood still.
pub const TILT_AFTER: Duration = Duration::from_secs(2);
/// So long the monitor observes in time before it acts again: one and a half intervals of 30 s.
const TILT_HOLD: Duration = Duration::from_secs(45);
/// After the store is back an agent has so long for a beat: an interval of 30 s and the slack.
const BLIND_HOLD: Duration = Duration::from_secs(35);
/// Agents that fall silent within this time count together.
pub const STORM_WINDOW: Duration = Duration::from_secs(60);
/// A storm is at least so many agents, or all of a scope that has fewer.
const STORM_AGENTS_MIN: usize = 5;
/// A scope of one agent has no storm.
const SCOPE_MIN: usize = 2;
/// A storm begins at one in so many agents, and ends below one in so many for [`STORM_CALM`].
const STORM_SHARE: usize = 5;
const CALM_SHARE: usize = 10;
const STORM_CALM: Duration = Duration::from_secs(60);
/// The longest storm: then the budgets of the actions are enough.
const STORM_MAX: Duration = Duration::from_secs(15 * 60);
/// Bad ends within this time count together.
const CRASH_WINDOW: Duration = Duration::from_secs(5 * 60);
const CRASH_AGENTS_MIN: usize = 5;
const CRASH_SHARE: usize = 5;
/// Bad ends that are kept: more than any share of the largest fleet needs.
const CRASHES_MAX: usize = 100_000;

/// The machine.
#[derive(Debug, Default)]
pub struct Gates {
    tilt: Option<Hold>,
    blind: Option<Hold>,
    /// By host; the whole fleet under `None`.
    storms: BTreeMap<Option<String>, Storm>,
    crashes: VecDeque<(Moment, AgentId)>,
    mass_crash: Option<Moment>,
    paused: Option<Hold>,
    /// Who paused the fleet.
    paused_by: String,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Moment,
    /// `None`: its cause lasts.
    until: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Storm {
    since: Moment,
    agents: usize,
    /// Since when few are silent.
    calm_since: Option<Moment>,
}

/// Agents of one scope at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those whose beats come.
    pub live: usize,
    /// Those that are silent, whose end no event reported.
    pub silent: usize,
    /// Those of them that fell silent within [`STORM_WINDOW`].
    pub newly_silent: usize,
}

/// All agents, by host and together.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// The whole fleet.
    pub fleet: Tally,
    /// By host.
    pub hosts: BTreeMap<String, Tally>,
}

/// An input of the gates.
#[derive(Clone, Debug)]
pub enum GatesInput {
    /// A tick came so much too late.
    LateTick(Duration),
    /// The store cannot be observed.
    Blind,
    /// The store can be observed again.
    Sighted,
    /// An agent ended badly.
    Crashed(AgentId),
    /// The fleet was counted.
    Counted(Census),
    /// This person paused all actions, until then.
    Paused(String, Option<Moment>),
    /// A person ended the pause.
    Resumed,
    /// Time passed.
    Tick,
}

/// A gate that is closed, or was until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Which one.
    pub gate: GateKind,
    /// The host that it is about; `None`: the whole fleet.
    pub host: Option<String>,
    /// Since when.
    pub since: Moment,
    /// Until when, where that is known.
    pub until: Option<Moment>,
    /// For people.
    pub sentence: String,
}

impl Gates {
    /// Applies one input.
    pub fn handle(&mut self, input: GatesInput, now: Moment) {
        match input {
            GatesInput::LateTick(late) if late > TILT_AFTER => {
                let since = self.tilt.map_or(now, |hold| hold.since);
                let until = Some(now + TILT_HOLD);
                self.tilt = Some(Hold { since, until });
            }
            GatesInput::LateTick(_) => {}
            GatesInput::Blind => {
                let since = self.blind.map_or(now, |hold| hold.since);
                self.blind = Some(Hold { since, until: None });
            }
            GatesInput::Sighted => {
                if let Some(hold) = &mut self.blind {
                    hold.until = Some(now + BLIND_HOLD);
                }
            }
            GatesInput::Crashed(agent) => {
                self.crashes.retain(|(_, known)| *known != agent);
                self.crashes.push_back((now, agent));
                self.crashes.truncate(CRASHES_MAX);
            }
            GatesInput::Counted(census) => self.counted(census, now),
            GatesInput::Paused(by, until) => {
                let since = self.paused.map_or(now, |hold| hold.since);
                self.paused = Some(Hold { since, until });
                self.paused_by = by;
            }
            GatesInput::Resumed => self.paused = None,
            GatesInput::Tick => {}
        }
        self.expire(now);
    }

    /// When a gate next opens by itself, and why.
    pub fn deadline(&self) -> Option<(Moment, &'static str)> {
        let held = [self.tilt, self.blind, self.paused].into_iter().flatten();
        let held = held.filter_map(|hold| hold.until);
        let storms = self.storms.values().map(|storm| {
            let calm = storm.calm_since.map(|since| since + STORM_CALM);
            calm.unwrap_or(Moment::from_millis(u64::MAX))
                .min(storm.since + STORM_MAX)
        });
        held.chain(storms).min().map(|at| (at, "gate"))
    }

    /// Every gate that is closed.
    pub fn view(&self) -> Vec<Gate> {
        let hold = |gate, hold: Option<Hold>, sentence: &str| {
            hold.map(|Hold { since, until }| Gate {
                gate,
                host: None,
                since,
                until,
                sentence: sentence.to_owned(),
            })
        };
        let tilt = "hbmonitor itself stood still: silence meanwhile proves nothing.";
        let blind = match self.blind {
            Some(Hold { until: Some(_), .. }) => {
                "The store was unreachable; agents get one interval for a beat."
            }
            Some(_) | None => "The store is unreachable: what is shown was known before.",
        };
        let storms = self.storms.iter().map(|(host, storm)| Gate {
            gate: GateKind::Storm,
            host: host.clone(),
            since: storm.since,
            until: None,
            sentence: storm.sentence(host.as_deref()),
        });
        let crash = self.mass_crash.map(|since| Gate {
            gate: GateKind::MassCrash,
            host: None,
            since,
            until: None,
            sentence: format!(
                "{} agents ended badly within {}: restarts would not help.",
                self.crashes.len(),
                format_duration(CRASH_WINDOW)
            ),
        });
        let paused = format!("Recovery was paused by {}.", self.paused_by);
        let held = [
            hold(GateKind::Tilt, self.tilt, tilt),
            hold(GateKind::Blind, self.blind, blind),
            hold(GateKind::Paused, self.paused, &paused),
        ];
        held.into_iter()
            .flatten()
            .chain(storms)
            .chain(crash)
            .collect()
    }

    /// Why nothing may be done about an agent of this host, if so.
    pub fn veto(&self, host: Option<&str>) -> Option<GateKind> {
        let storm = self.storms.contains_key(&None)
            || host.is_some_and(|host| self.storms.contains_key(&Some(host.to_owned())));
        let closed = [
            (self.blind.is_some(), GateKind::Blind),
            (self.tilt.is_some(), GateKind::Tilt),
            (storm, GateKind::Storm),
            (self.mass_crash.is_some(), GateKind::MassCrash),
            (self.paused.is_some(), GateKind::Paused),
        ];
        closed
            .into_iter()
            .find_map(|(closed, gate)| closed.then_some(gate))
    }

    /// Whether there is a storm of a host or of the fleet.
    pub fn has_storms(&self) -> bool {
        !self.storms.is_empty()
    }

    /// Whether the whole fleet is in a storm.
    pub fn is_storm(&self) -> bool {
        self.storms.contains_key(&None)
    }

    fn counted(&mut self, census: Census, now: Moment) {
        let known = census.fleet.live + census.fleet.silent;
        if self.crashes.len() >= CRASH_AGENTS_MIN.max(known.div_ceil(CRASH_SHARE)) {
            self.mass_crash.get_or_insert(now);
        }
        let hosts = census
            .hosts
            .into_iter()
            .map(|(host, tally)| (Some(host), tally));
        for (scope, tally) in hosts.chain([(None, census.fleet)]) {
            match self.storms.get_mut(&scope) {
                Some(storm) => storm.counted(tally, now),
                None if tally.is_storm() => {
                    let agents = tally.newly_silent;
                    let storm = Storm {
                        since: now,
                        agents,
                        calm_since: None,
                    };
                    self.storms.insert(scope, storm);
                }
                None => {}
            }
        }
    }

    fn expire(&mut self, now: Moment) {
        for hold in [&mut self.tilt, &mut self.blind, &mut self.paused] {
            if hold
                .and_then(|hold| hold.until)
                .is_some_and(|until| until <= now)
            {
                *hold = None;
            }
        }
        self.storms.retain(|_, storm| !storm.is_over(now));
        while self
            .crashes
            .front()
            .is_some_and(|(at, _)| *at + CRASH_WINDOW <= now)
        {
            self.crashes.pop_front();
        }
        if self.crashes.len() < CRASH_AGENTS_MIN {
            self.mass_crash = None;
        }
    }
}

impl Tally {
    /// Counts an agent whose beats come.
    pub fn add_live(&mut self) {
        self.live += 1;
    }

    /// Counts a silent one.
    pub fn add_silent(&mut self, newly: bool) {
        self.silent += 1;
        self.newly_silent += usize::from(newly);
    }

    fn is_storm(&self) -> bool {
        let before = self.live + self.newly_silent;
        let share = before
            .div_ceil(STORM_SHARE)
            .max(STORM_AGENTS_MIN)
            .min(before);
        before >= SCOPE_MIN && self.newly_silent >= share
    }

    fn is_calm(&self) -> bool {
        self.silent * CALM_SHARE < (self.live + self.silent).max(1)
    }
}

impl Storm {
    fn counted(&mut self, tally: Tally, now: Moment) {
        self.agents = tally.silent;
        if tally.is_calm() {
            self.calm_since.get_or_insert(now);
        } else {
            self.calm_since = None;
        }
    }

    fn is_over(&self, now: Moment) -> bool {
        let calm = self
            .calm_since
            .is_some_and(|since| since + STORM_CALM <= now);
        calm || self.since + STORM_MAX <= now
    }

    fn sentence(&self, host: Option<&str>) -> String {
        let within = format_duration(STORM_WINDOW);
        match host {
            Some(host) => format!(
                "{} agents of {host} fell silent within {within}.",
                self.agents
            ),
            None => format!(
                "{} agents of the fleet fell silent within {within}.",
                self.agents
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn tally(live: usize, newly_silent: usize) -> Tally {
        Tally {
            live,
            silent: newly_silent,
            newly_silent,
        }
    }

    fn storm(live: usize, newly_silent: usize) -> bool {
        let mut gates = Gates::default();
        let fleet = tally(live, newly_silent);
        gates.handle(
            GatesInput::Counted(Census {
                fleet,
                ..Census::default()
            }),
            at(0),
        );
        gates.veto(None) == Some(GateKind::Storm)
    }

    #[test]
    fn a_storm_is_a_fifth_of_the_fleet_and_five_at_least_or_all_of_a_few() {
        assert!(storm(80, 20) && !storm(81, 19));
        assert!(storm(5, 5) && !storm(6, 4));
        assert!(storm(0, 3) && !storm(1, 2));
        assert!(!storm(0, 1), "one agent is no storm");
        assert!(storm(0, 100), "all at once is a storm too");
    }

    #[test]
    fn a_storm_of_a_host_vetoes_that_host_only_and_ends_when_few_are_silent() {
        let mut gates = Gates::default();
        let census = |silent| Census {
            fleet: tally(200 - silent, silent),
            hosts: [("h1".to_owned(), tally(10 - silent, silent))].into(),
        };
        gates.handle(GatesInput::Counted(census(6)), at(0));
        assert_eq!(
            (gates.veto(Some("h1")), gates.veto(Some("h2"))),
            (Some(GateKind::Storm), None)
        );
        gates.handle(GatesInput::Counted(census(0)), at(100));
        gates.handle(GatesInput::Tick, at(159));
        assert!(gates.veto(Some("h1")).is_some());
        gates.handle(GatesInput::Tick, at(160));
        assert_eq!(gates.veto(Some("h1")), None);
    }

    #[test]
    fn a_storm_of_agents_that_never_return_ends_after_fifteen_minutes() {
        let mut gates = Gates::default();
        let census = Census {
            fleet: tally(0, 100),
            ..Census::default()
        };
        gates.handle(GatesInput::Counted(census), at(0));
        gates.handle(GatesInput::Tick, at(899));
        assert!(gates.is_storm());
        gates.handle(GatesInput::Tick, at(900));
        assert!(!gates.is_storm());
    }

    #[test]
    fn a_late_tick_is_tilt_for_45_seconds_of_ticks_in_time() {
        let mut gates = Gates::default();
        gates.handle(GatesInput::LateTick(Duration::from_secs(2)), at(0));
        assert_eq!(gates.veto(None), None);
        gates.handle(GatesInput::LateTick(Duration::from_millis(2001)), at(10));
        gates.handle(GatesInput::Tick, at(54));
        assert_eq!(gates.veto(None), Some(GateKind::Tilt));
        gates.handle(GatesInput::Tick, at(55));
        assert_eq!(gates.veto(None), None);
    }

    #[test]
    fn blindness_lasts_until_agents_had_one_interval_for_a_beat() {
        let mut gates = Gates::default();
        gates.handle(GatesInput::Blind, at(0));
        gates.handle(GatesInput::Tick, at(1000));
        assert_eq!(gates.veto(None), Some(GateKind::Blind));
        gates.handle(GatesInput::Sighted, at(1000));
        gates.handle(GatesInput::Tick, at(1034));
        assert_eq!(
            (gates.veto(None), gates.view()[0].since),
            (Some(GateKind::Blind), at(0))
        );
        gates.handle(GatesInput::Tick, at(1035));
        assert_eq!(gates.veto(None), None);
    }

    #[test]
    fn a_fifth_of_the_agents_that_crash_within_five_minutes_close_the_gate_also_when_restarted() {
        let mut gates = Gates::default();
        let census = Census {
            fleet: tally(20, 0),
            ..Census::default()
        };
        for n in 0..5 {
            let agent = AgentId::parse(&format!("a{n}")).unwrap();
            gates.handle(GatesInput::Crashed(agent.clone()), at(n));
            gates.handle(GatesInput::Crashed(agent), at(n));
            gates.handle(GatesInput::Counted(census.clone()), at(n));
            assert_eq!(gates.veto(None).is_some(), n == 4, "after {} agents", n + 1);
        }
        gates.handle(GatesInput::Tick, at(301));
        assert_eq!(gates.veto(None), None);
    }
}
