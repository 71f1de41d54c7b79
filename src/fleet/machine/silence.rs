//! Silence: what happens when the deadline of an agent comes. The store is asked, and only its answer decides: what the
//! agent's hash holds, and a message of the monitor itself that came back over the channel of the beats. Either of the two
//! ways may be dead without the other.

use super::{Fleet, FleetEffect, Occurred, due_at};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::State;
use crate::fleet::agents::Place;
use crate::fleet::detector::Silence;
use std::time::Duration;

/// A question that was not answered for so long is asked again. It never becomes a verdict by itself.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The silence of one agent is being verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verification {
    /// When the store was asked first: silence up to here counts.
    asked_at: Moment,
    /// When it is asked again.
    pub(super) again_at: Moment,
    /// The hash was read, and what it holds was applied.
    is_answered: bool,
}

impl Fleet {
    /// Agents that are due; looks at `most` deadlines at most, and counts them there.
    pub(super) fn take_due(&mut self, now: Moment, most: &mut usize) -> Vec<Place> {
        let (agents, verifying) = (&self.agents, &self.verifying);
        let due = |place| due_at(agents, verifying, place);
        std::iter::from_fn(|| self.deadlines.take(now, most, due)).collect()
    }

    pub(super) fn due(&mut self, place: Place, now: Moment, effects: &mut Vec<FleetEffect>) {
        self.observed(place, now);
        let id = self.agents.id(place).clone();
        let agent = self.agents.agent(place);
        if agent.over.is_some_and(|over| over.until() <= now) {
            return self.leave(place, effects);
        }
        let asks = match agent.state {
            State::Healthy => agent.run.question_at().is_some_and(|at| at <= now),
            State::Missing => agent.run.detector.silence(now) == Silence::Failed,
            State::Failed | State::Stopped => false,
        };
        if asks && agent.state == State::Missing {
            let begun = Verification {
                asked_at: now,
                again_at: now,
                is_answered: false,
            };
            let verification = self.verifying.entry(id.clone()).or_insert(begun);
            verification.again_at = now + ASK_AGAIN_AFTER;
        } else {
            self.verifying.remove(&id);
        }
        effects.extend(asks.then_some(FleetEffect::Verify(id)));
        self.apply(place, Occurred::Now, now, effects, |agent, context| {
            if asks {
                return agent.run.question();
            }
            if agent.run.duplicate_until().is_some_and(|at| at <= now) {
                agent.run.end_duplicate();
            }
            agent.settle(context);
        });
    }

    /// The hash of an agent was read.
    pub(super) fn verified(&mut self, id: &AgentId, now: Moment, effects: &mut Vec<FleetEffect>) {
        if !self.link_up {
            return;
        }
        let Some(place) = self.agents.find(id.as_str()) else {
            return;
        };
        self.observed(place, now);
        self.apply(place, Occurred::Now, now, effects, |agent, context| {
            agent.answered(context);
        });
        if let Some(verification) = self.verifying.get_mut(id) {
            verification.is_answered = true;
            self.declare_all(now, effects);
        }
    }

    /// What was published before `at` has arrived.
    pub(super) fn witnessed(&mut self, at: Moment, now: Moment, effects: &mut Vec<FleetEffect>) {
        self.witnessed = self.witnessed.max(at);
        if self.link_up && !self.verifying.is_empty() {
            self.declare_all(now, effects);
        }
    }

    fn declare_all(&mut self, now: Moment, effects: &mut Vec<FleetEffect>) {
        let witnessed = self.witnessed;
        let is_over = |one: &Verification| one.is_answered && one.asked_at <= witnessed;
        let over = self.verifying.extract_if(.., |_, one| is_over(one));
        let over: Vec<AgentId> = over.map(|(id, _)| id).collect();
        for id in over {
            if let Some(place) = self.agents.find(id.as_str()) {
                self.declare(place, now, effects);
            }
        }
    }

    /// The verification found no newer beat.
    fn declare(&mut self, place: Place, now: Moment, effects: &mut Vec<FleetEffect>) {
        self.observed(place, now);
        self.apply(place, Occurred::Now, now, effects, |agent, context| {
            if agent.run.detector.silence(now) == Silence::Failed {
                agent.lost(context);
            }
        });
    }

    /// Brings into the agent what of the time up to now was observed.
    pub(super) fn observed(&mut self, place: Place, now: Moment) {
        let detector = &self.agents.agent(place).run.detector;
        let mut since = self.observation.since(detector);
        if self.loaded && !self.link_up {
            since = now; // the monitor is blind, so the silence proves nothing
        }
        if detector.is_observed_from(since) {
            return;
        }
        self.agents
            .agent_mut(place)
            .run
            .detector
            .observe_from(since);
    }
}
