//! `--exclusive` in a simulated world: lease, partition, pause, kill -9, slow and lossy networks, clocks that run at other
//! rates. Never two agents of one id, in 10,000 seeds. The arithmetic and the lifecycle are those of the programs; the store
//! is the script `register.lua`, as a value. Time is simulated: the test takes seconds.

use heartbeat::base::moment::Moment;
use heartbeat::supervise::exclusive::{CLOCK_ERROR, ExclusiveLease, Terms};
use heartbeat::supervise::lifecycle::{
    AFTER_KILL, Effect, Ended, Input, Lifecycle, Policy, Restart,
};
use heartbeat::wire::beat::Exit;
use std::time::Duration;

const SEEDS: u64 = 10_000;
/// What is simulated of each seed, and in which steps, in ms of the store's clock.
const LASTS: u64 = 60_000;
const STEP: u64 = 25;
const SIDECARS: usize = 3;
/// A sidecar is restarted by its service manager this soon, at the most.
const BACK_WITHIN: u64 = 5_000;

/// xorshift: a seed that failed is run again by its number.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in so many.
    fn once_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// The exclusive lease at the store: its holder, and when it runs out.
#[derive(Clone, Copy, Debug, Default)]
struct Store {
    holder: Option<u64>,
    until: u64,
}

impl Store {
    /// `register.lua` and `lease.lua`: granted or renewed unless it is another's. `broken`: whose may be taken.
    fn lease(&mut self, instance: u64, ttl: u64, broken: Option<u64>, now: u64) -> bool {
        if now >= self.until {
            self.holder = None;
        }
        let free = self
            .holder
            .is_none_or(|holder| holder == instance || Some(holder) == broken);
        if free {
            self.holder = Some(instance);
            self.until = now + ttl;
        }
        free
    }

    fn release(&mut self, instance: u64) {
        if self.holder == Some(instance) {
            self.holder = None;
        }
    }
}

/// A request on its way to the store, and its answer on the way back.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// On the caller's clock.
    sent: Moment,
    arrives: u64,
    /// Set when the store has it; never, when it was lost.
    answered: Option<(u64, bool)>,
    given_up_at: u64,
}

/// An agent's processes.
#[derive(Clone, Copy, Debug)]
struct Agent {
    /// It ends at TERM, this long after it.
    polite: Option<u64>,
    dies_at: Option<u64>,
}

/// One sidecar with its guard, on a machine of its own clock.
struct Sidecar {
    instance: u64,
    terms: Terms,
    /// How long the store lets a renewal last, in ms.
    ttl: u64,
    /// Whose lease it may break: that of the process before it on its machine, which it knows to be dead.
    broken: Option<u64>,
    rate: f64,
    offset: u64,
    life: Lifecycle,
    lease: ExclusiveLease,
    call: Option<Call>,
    asks_at: u64,
    agent: Option<Agent>,
    /// The sidecar process stands still until then; its guard does not.
    paused_until: u64,
    /// It is dead and comes back then.
    back_at: Option<u64>,
    cut_off_until: u64,
    /// The guard has ended the agent, or was told to.
    guard_acts: bool,
    started: u64,
}

impl Sidecar {
    fn new(instance: u64, terms: Terms, ttl: u64, chance: &mut Chance) -> Self {
        let error = 1.0 / f64::from(CLOCK_ERROR) / 2.0;
        let rate = 1.0 - error + 2.0 * error * (chance.below(1001) as f64 / 1000.0);
        Self {
            instance,
            terms,
            ttl,
            broken: None,
            rate,
            offset: chance.below(1_000_000),
            life: life(terms),
            lease: ExclusiveLease::new(terms),
            call: None,
            asks_at: chance.below(2000),
            agent: None,
            paused_until: 0,
            back_at: None,
            cut_off_until: 0,
            guard_acts: false,
            started: 0,
        }
    }

    /// What its machine's clock shows.
    fn clock(&self, now: u64) -> Moment {
        Moment::from_millis(self.offset + (now as f64 * self.rate) as u64)
    }

    fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    fn step(&mut self, now: u64, store: &mut Store, chance: &mut Chance) {
        self.bury(now);
        self.store_side(now, store, chance);
        self.guard(now);
        self.misfortune(now, chance);
        if self.back_at.is_some() || self.paused_until > now {
            return;
        }
        self.read_answer(now);
        let clock = self.clock(now);
        if self.is_over() {
            return self.start_over(now, store, chance);
        }
        if self.lease.fence_at().is_some_and(|at| at <= clock) && !self.life.is_stop_requested() {
            self.decide(Input::Stop, now, chance);
        }
        if self.life.deadline().is_some_and(|at| at <= clock) {
            self.decide(Input::Due, now, chance);
        }
        // The agent crashes now and then, and is restarted: only under the lease.
        if self.agent.is_some_and(|agent| agent.dies_at.is_none()) && chance.once_in(400) {
            self.agent = self.agent.map(|agent| Agent {
                dies_at: Some(now),
                ..agent
            });
        }
        if self.life.is_starting() && self.agent.is_none() && self.lease.covers(clock) {
            self.start(now, chance);
        }
        if self.call.is_none() && now >= self.asks_at {
            self.ask(now, chance);
        }
    }

    fn start(&mut self, now: u64, chance: &mut Chance) {
        let polite = (!chance.once_in(3)).then(|| chance.below(500));
        self.agent = Some(Agent {
            polite,
            dies_at: None,
        });
        self.started += 1;
        self.guard_acts = false;
        self.decide(Input::Started, now, chance);
    }

    fn decide(&mut self, input: Input, now: u64, chance: &mut Chance) {
        let random = chance.below(1000) as f64 / 1000.0;
        let clock = self.clock(now);
        for effect in self.life.handle(input, clock, random) {
            match effect {
                Effect::RequestStop | Effect::CleanUp => {
                    if let Some(agent) = &mut self.agent
                        && let Some(takes) = agent.polite
                    {
                        agent.dies_at = Some(agent.dies_at.unwrap_or(now + takes).min(now + takes));
                    }
                }
                Effect::Kill => self.kill(now, chance),
                Effect::Start
                | Effect::TakeEvidence
                | Effect::ReportSurvivors
                | Effect::ReportDelay(_)
                | Effect::ReportCrashLoop
                | Effect::ReportCrashLoopOver
                | Effect::End => {}
            }
        }
    }

    /// A killed process takes up to 2 s to be gone.
    fn kill(&mut self, now: u64, chance: &mut Chance) {
        let takes = chance.below(AFTER_KILL.as_millis() as u64 - STEP);
        if let Some(agent) = &mut self.agent {
            agent.dies_at = Some(agent.dies_at.unwrap_or(now + takes).min(now + takes));
        }
    }

    /// The agent's last process ends.
    fn bury(&mut self, now: u64) {
        let over = self
            .agent
            .and_then(|agent| agent.dies_at)
            .is_some_and(|at| at <= now);
        if !over {
            return;
        }
        self.agent = None;
        if self.back_at.is_none() {
            let exit = Exit {
                code: Some(1),
                signal: None,
            };
            let ended = Ended {
                exit,
                alone: true,
                by_person: false,
                unread: false,
                cut_off: false,
                announced: false,
                by_its_runner: false,
                out_of_memory: false,
            };
            let clock = self.clock(now);
            self.life.handle(Input::Exited(ended), clock, 0.5);
        }
    }

    fn ask(&mut self, now: u64, chance: &mut Chance) {
        let lost = self.cut_off_until > now || chance.once_in(20);
        let travels = if chance.once_in(10) {
            chance.below(3000)
        } else {
            chance.below(60)
        };
        self.call = Some(Call {
            sent: self.clock(now),
            arrives: if lost { u64::MAX } else { now + travels },
            answered: None,
            given_up_at: now + 2000,
        });
        self.asks_at = now + self.terms.interval.as_millis() as u64;
    }

    /// Requests arrive although their sender may be dead by then.
    fn store_side(&mut self, now: u64, store: &mut Store, chance: &mut Chance) {
        if let Some(call) = &mut self.call
            && call.answered.is_none()
            && call.arrives <= now
        {
            let granted = store.lease(self.instance, self.ttl, self.broken, now);
            let back = if chance.once_in(15) {
                u64::MAX
            } else {
                now + chance.below(200)
            };
            call.answered = Some((back, granted));
        }
    }

    fn read_answer(&mut self, now: u64) {
        let Some(call) = self.call else { return };
        match call.answered {
            Some((at, granted)) if at <= now => {
                if granted {
                    self.lease.confirmed(call.sent);
                }
                self.call = None;
            }
            _ if call.given_up_at <= now => self.call = None,
            _ => {}
        }
    }

    /// A process of its own: it acts when the sidecar is dead, and when its deadline comes.
    fn guard(&mut self, now: u64) {
        let late = self
            .lease
            .guard_at()
            .is_some_and(|at| at <= self.clock(now));
        if !self.guard_acts && self.agent.is_some() && (late || self.back_at.is_some()) {
            self.guard_acts = true;
            let gone = now + AFTER_KILL.as_millis() as u64 - STEP;
            self.agent = self.agent.map(|agent| Agent {
                dies_at: Some(agent.dies_at.unwrap_or(gone).min(gone)),
                ..agent
            });
        }
    }

    fn misfortune(&mut self, now: u64, chance: &mut Chance) {
        if chance.once_in(1500) {
            self.cut_off_until = now + chance.below(20_000);
        }
        if chance.once_in(1500) {
            self.paused_until = now + chance.below(20_000);
        }
        if self.back_at.is_none() && chance.once_in(1500) {
            self.back_at = Some(now + 100 + chance.below(BACK_WITHIN));
        }
        if self.back_at.is_some_and(|at| at <= now) {
            self.come_back(chance);
        }
    }

    /// The next sidecar of the id on this machine, after kill -9. Its start waits for the end of what is left.
    fn come_back(&mut self, chance: &mut Chance) {
        self.broken = Some(self.instance);
        self.renew(chance);
        self.call = None;
        self.back_at = None;
    }

    fn renew(&mut self, chance: &mut Chance) {
        self.instance = chance.next();
        self.life = life(self.terms);
        self.lease = ExclusiveLease::new(self.terms);
        self.paused_until = 0;
    }

    fn is_over(&self) -> bool {
        self.agent.is_none() && self.life.is_stop_requested() && self.life.deadline().is_none()
    }

    /// It has stopped its agent, gives the lease up and is started again.
    fn start_over(&mut self, now: u64, store: &mut Store, chance: &mut Chance) {
        if self.cut_off_until <= now {
            store.release(self.instance);
        }
        self.renew(chance);
        (self.call, self.broken) = (None, None);
        self.asks_at = now + chance.below(BACK_WITHIN);
    }
}

fn life(terms: Terms) -> Lifecycle {
    Lifecycle::new(Policy {
        restart: Restart::Always,
        restarts_max: 1000,
        window: Duration::from_secs(1800),
        backoff: Duration::from_millis(200),
        backoff_max: Duration::from_secs(2),
        grace: terms.grace,
        keep_orphans: false,
    })
}

/// One world, with leases of a length that follows from the terms. The number of starts comes back; two agents at once are
/// an error with the time.
fn world(seed: u64, ttl: fn(&Terms) -> Duration) -> Result<u64, String> {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 {
        chance.next();
    }
    let terms = Terms {
        interval: Duration::from_millis(100 + chance.below(3000)),
        grace: Duration::from_millis(chance.below(4000)),
    };
    let mut store = Store::default();
    let mut sidecars: Vec<Sidecar> = (0..SIDECARS)
        .map(|n| {
            Sidecar::new(
                n as u64 + 1,
                terms,
                ttl(&terms).as_millis() as u64,
                &mut chance,
            )
        })
        .collect();
    for now in (0..LASTS).step_by(STEP as usize) {
        for sidecar in &mut sidecars {
            sidecar.step(now, &mut store, &mut chance);
        }
        let running = sidecars
            .iter()
            .filter(|sidecar| sidecar.is_running())
            .count();
        if running > 1 {
            return Err(format!(
                "seed {seed}: {running} agents at {now} ms, {terms:?}"
            ));
        }
    }
    Ok(sidecars.iter().map(|sidecar| sidecar.started).sum())
}

#[test]
fn never_two_agents_of_one_id_in_ten_thousand_worlds() {
    let worlds = (1..=SEEDS).map(|seed| world(seed, Terms::time_to_live));
    let started: u64 = worlds
        .map(|started| started.unwrap_or_else(|fault| panic!("{fault}")))
        .sum();
    // A world in which none starts proves nothing.
    assert!(started > SEEDS * 3, "{started} starts in {SEEDS} worlds");
}

#[test]
fn the_simulation_finds_a_lease_that_is_too_short() {
    // The same worlds, with a lease that does not wait for the agent's end.
    let found = (1..=SEEDS).any(|seed| world(seed, Terms::fence_after).is_err());
    assert!(found, "the simulation cannot fail");
}
