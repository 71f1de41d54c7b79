//! The faults: one generator for each row of the failure catalogue that needs no real part. A plan draws some of them.

use crate::monitor::Monitor;
use crate::random::Random;
use crate::sidecar::{Process, Role, Script, Sidecar};
use crate::world::{FIRST, Plan, World};
use heartbeat::base::id::AgentId;
use heartbeat::wire::leader::Leader;

/// A kind of fault. `rows` says which rows of the catalogue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    StoreRestartsEmpty,
    StoreRestartsKept,
    MonitorCutOff,
    AllSidecarsCutOff,
    HostCutOff,
    HalfCutOff,
    PushHalfOpen,
    QueryHalfOpen,
    HostHalfOpen,
    WritesRefused,
    Eviction,
    Flush,
    StorePaused,
    ClockForward,
    ClockBack,
    StoreSlow,
    Failover,
    BackupRestored,
    MonitorDisconnected,
    MonitorPaused,
    MonitorFrozen,
    HostFrozen,
    EverythingSuspended,
    MonitorStarved,
    MonitorKilled,
    MonitorDown,
    MonitorKilledInRecovery,
    SidecarKilled,
    HostLosesPower,
    SidecarPaused,
    SecondSidecar,
    OldCopyReturns,
    Replay,
    Poison,
    LinkFlaps,
    RollingDeploy,
    AgentsStopped,
}

use Fault::*;

/// Every fault with its name and the rows of the catalogue that it plays.
pub(crate) const ALL: [(Fault, &str, &str); 37] = [
    (StoreRestartsEmpty, "store restarts without its data", "1"),
    (StoreRestartsKept, "store restarts with its data", "2"),
    (MonitorCutOff, "monitor cut off from the store", "3 19"),
    (AllSidecarsCutOff, "all sidecars cut off", "4 56 57 61"),
    (HostCutOff, "one host cut off", "5"),
    (HalfCutOff, "half the hosts cut off", "17 56"),
    (PushHalfOpen, "subscription half-open", "6 16"),
    (QueryHalfOpen, "questions half-open, pushes arrive", "7"),
    (HostHalfOpen, "a host's connections half-open", "5"),
    (WritesRefused, "writes refused, publishing works", "8"),
    (Eviction, "hashes are evicted", "9"),
    (Flush, "FLUSHALL", "10"),
    (StorePaused, "store paused beyond the time to live", "11"),
    (ClockForward, "store's clock jumps forward", "12 52"),
    (ClockBack, "store's clock jumps back", "13 52"),
    (
        StoreSlow,
        "store answers a tenth of an interval late",
        "14 66",
    ),
    (Failover, "failover loses the last writes", "15"),
    (
        BackupRestored,
        "store replaced by an older backup of itself",
        "10 15",
    ),
    (MonitorDisconnected, "monitor's connection is closed", "18"),
    (MonitorPaused, "monitor paused", "20"),
    (
        MonitorFrozen,
        "monitor's virtual machine frozen, its clocks stand",
        "21",
    ),
    (
        HostFrozen,
        "a host's virtual machine frozen, its clocks stand",
        "21",
    ),
    (
        EverythingSuspended,
        "everything suspended, all clocks jump",
        "21 53",
    ),
    (MonitorStarved, "monitor starved of processor time", "22"),
    (MonitorKilled, "monitor killed and started again", "24"),
    (MonitorDown, "monitor down for long", "25"),
    (
        MonitorKilledInRecovery,
        "monitor killed between the steps of a recovery",
        "30",
    ),
    (SidecarKilled, "a sidecar killed", "37"),
    (HostLosesPower, "a host loses power", "38 58"),
    (SidecarPaused, "a sidecar paused", "40"),
    (SecondSidecar, "a second sidecar with the same id", "47"),
    (OldCopyReturns, "an old copy returns", "48"),
    (Replay, "old beats are replayed", "49"),
    (Poison, "beats with impossible numbers", "50"),
    (LinkFlaps, "the monitor's link flaps", "64"),
    (RollingDeploy, "every agent is replaced", "65"),
    (AgentsStopped, "agents are stopped for good", "35 59"),
];

/// What happens at one moment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The sidecar of the agent of this number starts.
    Start(usize, Role),
    Begin(Fault),
    End(Fault),
    /// A moment in the middle of a fault.
    Pulse(Fault, u64),
    /// A replica, or a backup, has the data as they are now.
    Copy,
    /// The monitor of this seat is started again.
    StartMonitor(usize),
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        ALL.iter()
            .find(|(fault, ..)| *fault == self)
            .map_or("", |(_, name, _)| name)
    }

    /// Whether data of the store may be lost: what only the channel brought then counts alone.
    pub(crate) fn loses_data(self) -> bool {
        matches!(
            self,
            StoreRestartsEmpty
                | StoreRestartsKept
                | Eviction
                | Flush
                | StorePaused
                | ClockForward
                | Failover
                | BackupRestored
                | WritesRefused
                | EverythingSuspended
        )
    }

    /// How long it lasts, in milliseconds.
    fn lasts(self, interval: u64, random: &mut Random) -> u64 {
        match self {
            StoreRestartsEmpty => random.within(50, 12_000),
            StoreRestartsKept | MonitorCutOff | AllSidecarsCutOff | HostCutOff | HalfCutOff
            | HostHalfOpen | MonitorDown | StorePaused | MonitorPaused | MonitorFrozen
            | HostFrozen | EverythingSuspended | SidecarPaused | OldCopyReturns => {
                random.within(interval / 2, 10 * interval)
            }
            PushHalfOpen | QueryHalfOpen | WritesRefused | Eviction | StoreSlow | LinkFlaps
            | MonitorStarved => random.within(interval, 10 * interval + 20_000),
            ClockForward | ClockBack => random.within(interval, 20 * interval),
            MonitorKilled => random.within(10, 10_000),
            MonitorKilledInRecovery => 8 * interval + 60_000,
            Replay | Poison | RollingDeploy => random.within(interval, 4 * interval),
            Flush | Failover | BackupRestored | MonitorDisconnected | SidecarKilled
            | HostLosesPower | SecondSidecar | AgentsStopped => 1,
        }
    }

    /// How old the copy is that takes the place of the store's data, in milliseconds.
    fn copy_age(self, longest: u64, random: &mut Random) -> Option<u64> {
        if self == Failover {
            return Some(random.below(3000));
        }
        (self == BackupRestored).then(|| random.within(longest, 8 * longest))
    }

    fn pulses(self, lasts: u64, random: &mut Random) -> Vec<u64> {
        match self {
            MonitorStarved => (0..lasts / 3000).map(|n| n * 3000).collect(),
            LinkFlaps => (0..lasts / 5000).map(|n| n * 5000).collect(),
            Replay | Poison | RollingDeploy => (0..6).map(|_| random.below(lasts)).collect(),
            StoreRestartsEmpty
            | StoreRestartsKept
            | MonitorCutOff
            | AllSidecarsCutOff
            | HostCutOff
            | HalfCutOff
            | PushHalfOpen
            | QueryHalfOpen
            | HostHalfOpen
            | WritesRefused
            | Eviction
            | Flush
            | StorePaused
            | ClockForward
            | ClockBack
            | StoreSlow
            | Failover
            | BackupRestored
            | MonitorDisconnected
            | MonitorPaused
            | MonitorFrozen
            | HostFrozen
            | EverythingSuspended
            | MonitorKilled
            | MonitorDown
            | MonitorKilledInRecovery
            | SidecarKilled
            | HostLosesPower
            | SidecarPaused
            | SecondSidecar
            | OldCopyReturns
            | AgentsStopped => Vec::new(),
        }
    }
}

impl Plan {
    /// The plan of a seed; with `only`, of this one fault, with `fixed`, of this interval in milliseconds.
    pub(crate) fn of(seed: u64, only: Option<Fault>, fixed: Option<u64>) -> Self {
        let mut random = Random::new(seed ^ 0xfa_u64.rotate_left(32));
        let intervals = [1000, 1000, 2000, 2000, 5000, 5000, 10_000, 30_000];
        let drawn = intervals[random.index(intervals.len())];
        let interval = fixed.unwrap_or(drawn);
        let monitors = 1 + usize::from(random.chance(0.4));
        let hosts = 1 + random.index(4);
        let agents = (0..1 + random.index(10)).map(|_| {
            let own = if random.chance(0.1) {
                3 * interval
            } else {
                interval
            };
            let script = match random.below(8) {
                0 => Script::Exits(0, random.within(1, 30 * interval)),
                1 => Script::Exits(3, random.within(1, 20 * interval)),
                _ => Script::Runs,
            };
            Role {
                host: random.index(hosts),
                interval: own,
                script,
                exclusive: random.chance(0.25),
            }
        });
        let agents: Vec<_> = agents.collect();
        let longest = agents
            .iter()
            .map(|role| role.interval)
            .max()
            .unwrap_or(interval);
        let wanted = if only.is_some() { 1 } else { random.below(4) };
        let mut faults = Vec::new();
        let (mut steps, mut calm_from) = (Vec::new(), 1_000_000 + 5 * longest);
        for _ in 0..wanted {
            let (fault, ..) = ALL[random.index(ALL.len())];
            let fault = only.unwrap_or(fault);
            if faults.contains(&fault) {
                continue;
            }
            faults.push(fault);
            let begin = 1_000_000 + random.within(2 * longest, 8 * longest);
            let lasts = fault.lasts(interval, &mut random);
            if let Some(age) = fault.copy_age(longest, &mut random) {
                steps.push((begin - age.min(begin - 1_000_000), Step::Copy));
            }
            steps.push((begin, Step::Begin(fault)));
            for pulse in fault.pulses(lasts, &mut random) {
                steps.push((begin + pulse, Step::Pulse(fault, pulse)));
            }
            steps.push((begin + lasts, Step::End(fault)));
            calm_from = calm_from.max(begin + lasts + 4000);
        }
        let lossless = faults.iter().any(|fault| fault.loses_data());
        let loss = [0.0, 0.01, 0.05][random.index(3)];
        Self {
            seed,
            monitors,
            hosts,
            agents,
            loss: if lossless { 0.0 } else { loss },
            duplicate: [0.0, 0.02][random.index(2)],
            delay: [1, 5, 20, 50][random.index(4)],
            spread: [0, 5, 30][random.index(3)],
            faults,
            steps,
            calm_from,
            until: calm_from + 10 * longest + 90_000,
        }
    }
}

impl World {
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Start(n, role) => {
                let id = AgentId::parse(&format!("a{n}")).expect("a valid id");
                self.add(Sidecar::new(id, role, self.now));
            }
            Step::Begin(fault) => self.begin(fault),
            Step::Pulse(fault, at) => self.pulse(fault, at),
            Step::End(fault) => self.end(fault),
            Step::Copy => self.store.copy = Some(self.store.data.clone()),
            Step::StartMonitor(m) => self.start_monitor(m),
        }
        self.judge_reach();
    }

    fn begin(&mut self, fault: Fault) {
        self.judge.begin(fault, self.now);
        let m = self.struck;
        match fault {
            StoreRestartsEmpty | StoreRestartsKept => {
                self.store.is_up = false;
                self.close_all();
                if fault == StoreRestartsEmpty {
                    self.lose_data();
                }
            }
            MonitorCutOff => self.cut_monitor(m, true),
            AllSidecarsCutOff => (0..self.hosts.len()).for_each(|host| self.cut_host(host, true)),
            HostCutOff => self.cut_host(0, true),
            HalfCutOff => (0..self.hosts.len())
                .step_by(2)
                .for_each(|host| self.cut_host(host, true)),
            PushHalfOpen => self.seats[m].push.is_hole = true,
            QueryHalfOpen => self.seats[m].query.is_hole = true,
            HostHalfOpen => self.hosts[0].is_hole = true,
            WritesRefused => self.store.refuses_writes = true,
            Eviction => {
                self.store.evicts = true;
                self.store.data.hashes.clear();
            }
            Flush => self.lose_data(),
            StorePaused => self.store.busy_until = u64::MAX,
            ClockForward => {
                self.store.clock_shift += 3_600_000;
                self.judge.hashes_were_lost(self.now);
            }
            ClockBack => self.store.clock_shift -= 3_600_000,
            StoreSlow => self.store.latency = self.shortest() / 10,
            Failover | BackupRestored => self.fail_over(),
            MonitorDisconnected => self.close_monitor(m),
            MonitorPaused => self.pause_monitor(m),
            MonitorFrozen => {
                self.pause_monitor(m);
                self.seats[m].frozen_at = Some(self.now);
            }
            HostFrozen => {
                for n in 0..self.sidecars.len() {
                    if self.sidecars[n].host == 0 && self.sidecars[n].is_beating() {
                        self.pause(n);
                        self.sidecars[n].frozen_at = Some(self.now);
                    }
                }
            }
            EverythingSuspended => {
                (0..self.seats.len()).for_each(|m| self.pause_monitor(m));
                self.store.busy_until = u64::MAX;
                (0..self.sidecars.len()).for_each(|n| self.pause(n));
            }
            MonitorKilled | MonitorDown => self.end_monitor(m),
            MonitorKilledInRecovery => {
                self.kill_in = Some(self.random.below(9));
                if let Some(n) = self.any() {
                    self.sidecars[n].process = Process::Killed;
                }
            }
            SidecarKilled => {
                if let Some(n) = self.any() {
                    self.sidecars[n].process = Process::Killed;
                }
            }
            HostLosesPower => {
                for sidecar in self
                    .sidecars
                    .iter_mut()
                    .filter(|s| s.host == 0 && s.is_beating())
                {
                    sidecar.process = Process::Killed;
                }
            }
            SidecarPaused => (0..self.sidecars.len())
                .step_by(3)
                .for_each(|n| self.pause(n)),
            SecondSidecar => {
                if let Some(n) = self.any() {
                    self.start_copy_of(n);
                }
            }
            OldCopyReturns => {
                if let Some(n) = self.any() {
                    self.pause(n);
                }
            }
            AgentsStopped => (0..self.sidecars.len())
                .step_by(2)
                .for_each(|n| self.stop(n)),
            MonitorStarved | Replay | Poison | LinkFlaps | RollingDeploy => {}
        }
    }

    fn pulse(&mut self, fault: Fault, at: u64) {
        let m = self.struck;
        match fault {
            MonitorStarved if (at / 3000).is_multiple_of(2) => self.pause_monitor(m),
            MonitorStarved => self.resume_monitor(m),
            LinkFlaps => self.cut_monitor(m, (at / 5000).is_multiple_of(2)),
            Replay => self.replay(),
            Poison => self.poison(),
            RollingDeploy => {
                if let Some(n) = self.any() {
                    self.stop(n);
                    self.start_copy_of(n);
                }
            }
            StoreRestartsEmpty
            | StoreRestartsKept
            | MonitorCutOff
            | AllSidecarsCutOff
            | HostCutOff
            | HalfCutOff
            | PushHalfOpen
            | QueryHalfOpen
            | HostHalfOpen
            | WritesRefused
            | Eviction
            | Flush
            | StorePaused
            | ClockForward
            | ClockBack
            | StoreSlow
            | Failover
            | BackupRestored
            | MonitorDisconnected
            | MonitorPaused
            | MonitorFrozen
            | HostFrozen
            | EverythingSuspended
            | MonitorKilled
            | MonitorDown
            | MonitorKilledInRecovery
            | SidecarKilled
            | HostLosesPower
            | SidecarPaused
            | SecondSidecar
            | OldCopyReturns
            | AgentsStopped => {}
        }
    }

    fn end(&mut self, fault: Fault) {
        let m = self.struck;
        match fault {
            StoreRestartsEmpty | StoreRestartsKept => self.store.is_up = true,
            MonitorCutOff | LinkFlaps => self.cut_monitor(m, false),
            AllSidecarsCutOff | HalfCutOff | HostCutOff => {
                (0..self.hosts.len()).for_each(|host| self.cut_host(host, false));
            }
            PushHalfOpen => self.end_of_hole(m),
            QueryHalfOpen => self.seats[m].query.is_hole = false,
            HostHalfOpen => self.hosts[0].is_hole = false,
            WritesRefused => {
                self.store.refuses_writes = false;
                self.judge.hashes_were_lost(self.now);
            }
            Eviction => {
                self.store.evicts = false;
                self.judge.hashes_were_lost(self.now);
            }
            StorePaused => self.store.busy_until = self.now,
            ClockForward => self.store.clock_shift -= 3_600_000,
            ClockBack => {
                self.store.clock_shift += 3_600_000;
                self.judge.hashes_were_lost(self.now);
            }
            StoreSlow => self.store.latency = 0,
            MonitorPaused | MonitorStarved => self.resume_monitor(m),
            MonitorFrozen => {
                self.seats[m].thaw(self.now);
                self.resume_monitor(m);
            }
            HostFrozen => {
                for n in 0..self.sidecars.len() {
                    if self.sidecars[n].frozen_at.is_some() {
                        self.resume(n);
                    }
                }
            }
            EverythingSuspended => {
                self.store.busy_until = self.now;
                (0..self.sidecars.len()).for_each(|n| self.resume(n));
                (0..self.seats.len()).for_each(|m| self.resume_monitor(m));
            }
            MonitorKilledInRecovery => self.kill_in = None,
            MonitorKilled | MonitorDown => self.start_monitor(m),
            SidecarPaused | OldCopyReturns => {
                if fault == OldCopyReturns
                    && let Some(n) = (0..self.sidecars.len())
                        .find(|n| self.sidecars[*n].process == Process::Paused)
                {
                    self.start_copy_of(n);
                }
                (0..self.sidecars.len()).for_each(|n| self.resume(n));
            }
            Flush | Failover | BackupRestored | MonitorDisconnected | SidecarKilled
            | HostLosesPower | SecondSidecar | AgentsStopped | Replay | Poison | RollingDeploy => {}
        }
        self.judge.end(fault, self.now);
    }

    fn shortest(&self) -> u64 {
        let intervals = self.sidecars.iter().map(|sidecar| sidecar.interval);
        intervals.min().unwrap_or(1000)
    }

    fn any(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.sidecars.len())
            .filter(|n| self.sidecars[*n].is_beating())
            .collect();
        (!running.is_empty()).then(|| running[self.random.index(running.len())])
    }

    fn start_copy_of(&mut self, n: usize) {
        let of = &self.sidecars[n];
        let copy = Sidecar::new(of.id.clone(), of.role(), self.now + 1);
        self.add(copy);
    }

    fn pause(&mut self, n: usize) {
        if self.sidecars[n].is_beating() {
            self.sidecars[n].process = Process::Paused;
        }
    }

    fn pause_monitor(&mut self, m: usize) {
        if let Some(monitor) = &mut self.seats[m].monitor {
            monitor.is_paused = true;
        }
    }

    /// kill -9.
    pub(crate) fn end_monitor(&mut self, m: usize) {
        let seat = &mut self.seats[m];
        let ended = seat.monitor.take().map(|monitor| monitor.instance);
        seat.ended = ended.or(seat.ended.take());
    }

    fn start_monitor(&mut self, m: usize) {
        if self.seats[m].monitor.is_some() {
            return;
        }
        if m == FIRST {
            self.rivals.forget();
        }
        // On the same machine the new one proves that the old one is dead; elsewhere it waits.
        let seat = &mut self.seats[m];
        seat.thaw(self.now);
        let was_leader = |leader: &Leader| seat.ended.as_ref() == Some(&leader.instance);
        let leader = self.store.data.leader.as_ref().map(|(leader, _)| leader);
        if leader.is_some_and(was_leader) && self.random.chance(0.5) {
            self.store.data.leader = None;
        }
        let monitor = Monitor::new(self.random.next(), seat.local(self.now));
        seat.renew(monitor);
        self.judge.monitor_started(m);
        self.plan_monitor(m);
    }

    fn cut_monitor(&mut self, m: usize, cut: bool) {
        if cut {
            self.close_monitor(m);
        }
        let seat = &mut self.seats[m];
        (seat.push.is_refused, seat.query.is_refused) = (cut, cut);
    }

    fn cut_host(&mut self, host: usize, cut: bool) {
        if cut {
            self.close_host(host);
        }
        self.hosts[host].is_refused = cut;
    }

    /// The copy that takes over lacks the last writes.
    fn fail_over(&mut self) {
        if let Some(mut data) = self.store.copy.clone() {
            data.next_event = self.store.data.next_event;
            self.store.data = data;
            self.judge.data_was_lost(self.now);
        }
        self.close_all();
    }
}
