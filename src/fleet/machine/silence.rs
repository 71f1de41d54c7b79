//! Silence: what happens when the deadline of an agent comes. The store is asked, and only its answer decides.

use super::{ASK_AGAIN_AFTER, Fleet, FleetEffect, Occurred};
use crate::base::moment::Moment;
use crate::fleet::agent::State;
use crate::fleet::agents::Place;
use crate::fleet::detector::Silence;

impl Fleet {
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<Place> {
        let mut due = Vec::new();
        while let Some(place) = self.deadlines.take(now) {
            due.push(place);
            self.correct_deadlines();
        }
        due
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
            self.verifying.insert(id.clone(), now + ASK_AGAIN_AFTER);
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

    /// The verification found no newer beat.
    pub(super) fn declare(&mut self, place: Place, now: Moment, effects: &mut Vec<FleetEffect>) {
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
