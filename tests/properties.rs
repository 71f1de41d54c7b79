//! Properties of Fleet and Detector under any sequence of inputs, also impossible ones. A failure prints its input.
//!
//! `orders.rs` beside it holds what a network may do to honest runs; here inputs need not make sense.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::detector::{Detector, Silence, Stamp};
use heartbeat::fleet::machine::{Change, Fleet, FleetEffect, FleetInput, FleetSettings};
use heartbeat::wire::beat::{Beat, Exit, Extension, INTERVAL_MAX, INTERVAL_MIN, Metrics, Status};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::life::{End, Life, NextStart, Phase, Reason};
use heartbeat::wire::roster::RosterEntry;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

/// One input, as numbers that proptest can make smaller.
#[derive(Clone, Debug)]
struct Step {
    /// Milliseconds since the step before.
    wait: u64,
    kind: u8,
    agent: u8,
    epoch: u64,
    step: u64,
    slot: u64,
    incarnation: u64,
    phase: u8,
    code: Option<u8>,
    age: u64,
}

/// Mostly small numbers, sometimes those at the edges of what the wire can carry.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..6u64,
        1 => Just(COUNT_MAX),
        1 => COUNT_MAX - 3..COUNT_MAX,
    ]
}

fn steps(waits: std::ops::Range<u64>, kinds: u8) -> impl Strategy<Value = Vec<Step>> {
    let numbers = (number(), number(), number(), number());
    let small = (0..kinds, 0..3u8, 0..7u8, proptest::option::of(0..4u8));
    let step = (waits, numbers, small, number());
    let step = step.prop_map(|(wait, (epoch, step, slot, incarnation), small, age)| {
        let (kind, agent, phase, code) = small;
        Step {
            wait,
            kind,
            agent,
            epoch,
            step,
            slot,
            incarnation,
            phase,
            code,
            age,
        }
    });
    proptest::collection::vec(step, 1..80)
}

impl Step {
    fn id(&self) -> AgentId {
        AgentId::parse(&format!("a{}", self.agent)).unwrap()
    }

    fn life(&self) -> Life {
        let phases = [
            Phase::Running,
            Phase::Stopping,
            Phase::Restarting,
            Phase::Waiting,
            Phase::Suspended,
            Phase::Detached,
            Phase::Ended,
        ];
        let phase = phases[usize::from(self.phase)];
        Life {
            step: self.step,
            phase,
            incarnation: self.incarnation,
            end: self.code.map(|code| End {
                incarnation: self.incarnation,
                exit: Exit {
                    code: Some(code),
                    signal: None,
                },
                reason: None,
                requested: code == 1,
                not_started: code == 2,
            }),
            restart: (phase == Phase::Restarting).then_some(NextStart {
                in_ms: self.age,
                attempt: None,
            }),
            ..Life::default()
        }
    }

    fn beat(&self) -> Box<Beat> {
        let hb = (self.phase != 6 || self.code.is_some()).then(|| Extension {
            interval: INTERVAL,
            epoch: self.epoch,
            slot: self.slot,
            slot_age: Duration::ZERO,
            instance: "i".into(),
            host: "h".into(),
            pid: u32::from(self.code.is_none()),
            started_at_ms: self.age,
            restarts: self.incarnation,
            ready: true,
            activity: None,
            runtime: None,
            exit: None,
            status_text: None,
            life: (self.step > 0).then(|| self.life()),
            order: None,
            store_refuses: false,
            fenced: false,
        });
        Box::new(Beat {
            agent: self.id(),
            agent_type: "t".into(),
            timestamp_ms: self.age,
            sequence: self.slot,
            status: Status::Healthy,
            metrics: Metrics::default(),
            current_task: None,
            task_progress: None,
            hb,
        })
    }

    fn entry(&self) -> Box<RosterEntry> {
        Box::new(RosterEntry {
            agent_type: "t".into(),
            host: "h".into(),
            interval_ms: 1000 + self.slot,
            epoch: self.epoch,
            started_at: 0,
            runtime: None,
            hb_version: None,
            stopped_at: self.code.map(u64::from),
            life: (self.step > 0).then(|| self.life()),
        })
    }

    fn event(&self) -> Box<Event> {
        let kinds = [
            EventKind::Registered,
            EventKind::Exited,
            EventKind::Restarted,
            EventKind::Unkillable,
            EventKind::Stopped,
            EventKind::CrashLoop,
            EventKind::Unknown,
        ];
        let kind = kinds[usize::from(self.phase)];
        Box::new(Event {
            kind,
            agent: self.id(),
            epoch: self.epoch,
            at_ms: 0,
            detail: Detail {
                exit: self.code.map(|code| Exit {
                    code: Some(code),
                    signal: None,
                }),
                incarnation: Some(self.incarnation),
                life: (self.step > 0).then(|| Box::new(self.life())),
                registration: (kind == EventKind::Registered).then(|| self.entry()),
                delayed_ms: u64::from(self.agent == 2),
                ..Detail::default()
            },
        })
    }

    fn input(&self) -> FleetInput {
        match self.kind {
            0..4 => FleetInput::Tick,
            4 | 5 => FleetInput::Beat(self.beat()),
            6 => FleetInput::Event(self.event()),
            7 => FleetInput::AgedBeat(self.beat(), Duration::from_millis(self.age)),
            8 => FleetInput::RosterEntry(self.id(), self.entry()),
            9 => FleetInput::Registered(self.id(), self.entry()),
            10 => FleetInput::TtlRead(self.id(), Duration::from_millis(self.age)),
            11 => FleetInput::Verified(self.id()),
            12 => FleetInput::EventsRead,
            13 => FleetInput::LinkUp,
            15 => FleetInput::Remembered(self.id()),
            14 => FleetInput::Witnessed(Moment::from_millis(u64::MAX)),
            _ => FleetInput::LinkDown,
        }
    }
}

/// The kinds of [`Step::input`].
const KINDS: u8 = 17;

fn connected(now: Moment) -> Fleet {
    let mut fleet = Fleet::new(FleetSettings::default(), now);
    fleet.handle(FleetInput::LinkUp, now);
    fleet
}

fn counts_agree(fleet: &Fleet) -> Result<(), TestCaseError> {
    let view = fleet.view();
    let count = |state| view.agents.values().filter(|a| a.state == state).count();
    let counts = view.counts;
    prop_assert_eq!(counts.total(), view.agents.len());
    prop_assert_eq!(
        [
            counts.healthy,
            counts.missing,
            counts.failed,
            counts.stopped
        ],
        [
            State::Healthy,
            State::Missing,
            State::Failed,
            State::Stopped
        ]
        .map(count)
    );
    Ok(())
}

/// An agent fails by silence only after that silence was verified: since it was healthy last.
fn verified_before_failed(
    effects: &[FleetEffect],
    verified: &mut BTreeSet<AgentId>,
) -> Result<(), TestCaseError> {
    for effect in effects {
        match effect {
            FleetEffect::Verify(id) => drop(verified.insert(id.clone())),
            FleetEffect::Changed(Change {
                agent, to, reason, ..
            }) => {
                if *reason == Some(Reason::HeartbeatLost) {
                    prop_assert!(verified.contains(agent), "{agent} failed unverified");
                }
                if *to == State::Healthy {
                    verified.remove(agent);
                }
            }
            FleetEffect::ReadTtl(_)
            | FleetEffect::ReadEvents
            | FleetEffect::Turned(_)
            | FleetEffect::Left(..)
            | FleetEffect::Enlist(..)
            | FleetEffect::Refused(_) => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_keep_the_counts_verify_before_failing_and_leave_no_deadline_due(
        start in prop_oneof![Just(1_000_000), Just(0), Just(u64::MAX - 50_000)],
        steps in steps(0..1500, KINDS),
    ) {
        let mut now = Moment::from_millis(start);
        let mut fleet = connected(now);
        let mut verified = BTreeSet::new();
        for step in steps {
            now = now + Duration::from_millis(step.wait);
            let effects = fleet.handle(step.input(), now);
            verified_before_failed(&effects, &mut verified)?;
            counts_agree(&fleet)?;
            let effects = fleet.handle(FleetInput::Tick, now);
            verified_before_failed(&effects, &mut verified)?;
            counts_agree(&fleet)?;
            if now.as_millis() < u64::MAX - 10_000 {
                let due = fleet.deadline();
                prop_assert!(due.is_none_or(|(at, _)| at > now), "{due:?} stays due at {now:?}");
            }
        }
    }

    #[test]
    fn no_tick_before_the_deadline_has_an_effect(steps in steps(0..700, KINDS)) {
        let mut now = Moment::from_millis(1_000_000);
        let mut fleet = connected(now);
        for step in steps {
            let until = now + Duration::from_millis(step.wait);
            fleet.handle(FleetInput::Tick, now);
            let due = fleet.deadline();
            let last = due.map_or(until, |(at, _)| until.min(at - Duration::from_millis(1)));
            prop_assert_eq!(fleet.handle(FleetInput::Tick, last.max(now)), []);
            prop_assert_eq!(fleet.deadline(), due);
            now = until;
            fleet.handle(step.input(), now);
        }
    }

    #[test]
    fn messages_of_the_past_change_nothing_in_any_order(
        steps in steps(0..1, 10),
        order in any::<prop::sample::Index>(),
    ) {
        let now = Moment::from_millis(1_000_000);
        let mut fleet = connected(now);
        // The present: epoch 9 and step 9 are beyond all that the steps below carry.
        let present = Step {
            wait: 0, kind: 6, agent: 0, epoch: 9, step: 9, slot: 0, incarnation: 9, phase: 6,
            code: Some(3), age: 0,
        };
        fleet.handle(FleetInput::Event(Box::new(Event {
            kind: EventKind::Exited,
            ..*present.event()
        })), now);
        let shown = |fleet: &Fleet| {
            let view = fleet.view();
            let agent = &view.agents[&present.id()];
            (agent.state, agent.reason, agent.run.epoch, agent.run.life.clone(), view.counts)
        };
        let before = shown(&fleet);
        let mut late: Vec<Step> = steps
            .into_iter()
            .map(|step| Step { agent: 0, epoch: step.epoch % 9, step: step.step % 9, phase: step.phase % 6, ..step })
            .collect();
        let at = order.index(late.len());
        late.rotate_left(at);
        for step in late {
            // A producer without epochs may follow a registration that is over: that is no message of the past.
            let effects = fleet.handle(step.input(), now);
            let quiet = effects.iter().all(|effect| !matches!(effect, FleetEffect::Changed(_)));
            prop_assert!(quiet, "{effects:?}");
            prop_assert_eq!(shown(&fleet), before.clone());
        }
    }

    #[test]
    fn beats_within_interval_and_slack_are_never_missing_and_two_lost_ones_no_failure(
        interval_ms in 100..3_600_000u64,
        delays in proptest::collection::vec((0.0..0.99f64, any::<bool>()), 1..100),
        with_slots in any::<bool>(),
    ) {
        let interval = Duration::from_millis(interval_ms);
        let start = Moment::from_millis(1 << 40);
        let mut detector = Detector::new(interval, start);
        let slack = detector.slack();
        let (mut lost, mut lost_ever) = (0, false);
        for (slot, (delay, loses)) in (1u64..).zip(delays) {
            let due = start + Duration::from_millis(interval_ms * slot);
            let arrival = due + slack.mul_f64(delay);
            if loses && lost < 2 {
                (lost, lost_ever) = (lost + 1, true);
                continue;
            }
            let silence = detector.silence(arrival);
            prop_assert_ne!(silence, Silence::Failed);
            prop_assert!(lost_ever || silence == Silence::None, "{silence:?} at slot {slot}");
            let stamp = if with_slots { Stamp::Slot(slot, interval, Duration::ZERO) } else { Stamp::Arrival };
            detector.beat(stamp, arrival);
            lost = 0;
            prop_assert_eq!(detector.silence(arrival), Silence::None);
        }
    }

    #[test]
    fn no_numbers_make_the_detector_panic(
        interval in prop_oneof![Just(INTERVAL_MIN), Just(INTERVAL_MAX)],
        beats in proptest::collection::vec(
            (prop_oneof![number(), any::<u64>()], prop_oneof![number(), any::<u64>()]),
            1..40,
        ),
    ) {
        let mut detector = Detector::new(interval, Moment::from_millis(0));
        for (slot, arrival) in beats {
            let at = Moment::from_millis(arrival);
            let named = if slot % 3 == 0 { INTERVAL_MIN } else { interval };
            detector.beat(Stamp::Slot(slot, named, Duration::from_millis(arrival)), at);
            detector.stored_interval(named);
            detector.observe_from(Moment::from_millis(slot));
            let _ = (detector.silence(at), detector.missed(at), detector.age(at), detector.failed_at());
        }
    }
}
