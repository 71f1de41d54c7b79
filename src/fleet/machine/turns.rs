//! Verdicts that a person should see, while the beats come: announced when an agent begins or ceases to have one.

use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State};
use crate::fleet::agents::Place;
use crate::fleet::machine::{Fleet, FleetEffect, Turn};
use crate::wire::activity::VerdictClass;
use crate::wire::beat::Verdict;

/// The verdict of an agent whose beats come.
pub(super) fn verdict(agent: &Agent) -> Option<Verdict> {
    let beat = agent.run.beat.as_ref()?;
    beat.hb?.verdict.filter(|_| agent.state == State::Healthy)
}

impl Fleet {
    /// Compares with the verdict before a beat. What an agent does between calm verdicts is no news.
    pub(super) fn turned(
        &mut self,
        place: Place,
        from: Option<Verdict>,
        now: Moment,
        effects: &mut Vec<FleetEffect>,
    ) {
        let agent = self.agents.agent(place);
        let to = verdict(agent);
        let is_news = self.loaded && from != to && (is_seen(from) || is_seen(to));
        if is_news && agent.state == State::Healthy {
            effects.push(FleetEffect::Turned(Turn {
                agent: self.agents.id(place).clone(),
                from,
                to,
                sentence: agent.sentence(now).into_owned(),
            }));
        }
    }
}

fn is_seen(verdict: Option<Verdict>) -> bool {
    match verdict.map(Verdict::class) {
        Some(VerdictClass::Person | VerdictClass::Suspicion | VerdictClass::Proof) => true,
        Some(VerdictClass::Undecided) => verdict == Some(Verdict::Paused),
        Some(VerdictClass::Progress | VerdictClass::Waiting) | None => false,
    }
}
