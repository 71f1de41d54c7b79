//! Every agent by id, in pieces that snapshots share.
//!
//! An agent has a place in a slab; the pieces of the slab and the agents in them are copied when they change while a
//! snapshot holds them, and only then. The order of ids changes with newcomers alone.

mod order;

use crate::base::id::AgentId;
use crate::fleet::agent::Agent;
use order::Order;
use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;

/// Agents per piece: so many pointers are copied when the first agent of a piece changes after a snapshot.
const PIECE: usize = 256;

/// The place of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u32);

/// Every agent by id, as a snapshot has them.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    pieces: Vec<Arc<Piece>>,
    order: Order,
}

/// Every agent by id, as the fleet has them.
#[derive(Debug, Default)]
pub(super) struct Slab {
    agents: Agents,
    places: HashMap<AgentId, Place>,
    /// Places that agents have left.
    free: Vec<Place>,
}

type Piece = Vec<Arc<Entry>>;

#[derive(Clone, Debug)]
struct Entry {
    id: AgentId,
    agent: Agent,
}

impl Agents {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The agent of this id.
    pub fn get(&self, id: &AgentId) -> Option<&Agent> {
        Some(&self.entry(self.place(id)?).agent)
    }

    /// Every agent, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.after(None)
    }

    /// Every agent, by id.
    pub fn values(&self) -> impl Iterator<Item = &Agent> {
        self.iter().map(|(_, agent)| agent)
    }

    /// Agents by id, those behind this one.
    pub fn after(&self, id: Option<&AgentId>) -> impl Iterator<Item = (&AgentId, &Agent)> {
        let is_before = move |place| id.is_some_and(|id| self.entry(place).id <= *id);
        self.order.behind(is_before).map(|place| {
            let Entry { id, agent } = self.entry(place);
            (id, agent)
        })
    }

    /// Where the agent of this id stands.
    pub(super) fn place(&self, id: &AgentId) -> Option<Place> {
        let mut behind = self.order.behind(|place| self.entry(place).id < *id);
        behind.next().filter(|place| self.entry(*place).id == *id)
    }

    /// How many places there are, also those that agents have left.
    pub(super) fn places(&self) -> usize {
        let last = self.pieces.last();
        last.map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    /// What stands at each place, from this one on. An agent that has left counts as stopped.
    pub(super) fn standing(&self, from: usize) -> impl Iterator<Item = (Place, &AgentId, &Agent)> {
        (from..self.places()).map(|number| {
            let place = Place::of(number);
            let Entry { id, agent } = self.entry(place);
            (place, id, agent)
        })
    }

    fn entry(&self, place: Place) -> &Entry {
        entry_at(&self.pieces, place)
    }

    fn entry_mut(&mut self, place: Place) -> &mut Entry {
        let piece = Arc::make_mut(&mut self.pieces[place.piece()]);
        Arc::make_mut(&mut piece[place.within()])
    }
}

fn entry_at(pieces: &[Arc<Piece>], place: Place) -> &Entry {
    &pieces[place.piece()][place.within()]
}

impl Index<&AgentId> for Agents {
    type Output = Agent;

    #[expect(
        clippy::expect_used,
        reason = "as with every map: the caller knows the id"
    )]
    fn index(&self, id: &AgentId) -> &Agent {
        self.get(id).expect("an agent of this id")
    }
}

impl Slab {
    /// The agents, to share.
    pub(super) fn view(&self) -> Agents {
        self.agents.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of the agent with this id.
    pub(super) fn find(&self, id: &str) -> Option<Place> {
        self.places.get(id).copied()
    }

    pub(super) fn agent(&self, place: Place) -> &Agent {
        &self.agents.entry(place).agent
    }

    pub(super) fn agent_mut(&mut self, place: Place) -> &mut Agent {
        &mut self.agents.entry_mut(place).agent
    }

    pub(super) fn id(&self, place: Place) -> &AgentId {
        &self.agents.entry(place).id
    }

    /// Adds an agent whose id is not known yet.
    pub(super) fn insert(&mut self, id: AgentId, agent: Agent) -> Place {
        let entry = Entry {
            id: id.clone(),
            agent,
        };
        let place = if let Some(place) = self.free.pop() {
            *self.agents.entry_mut(place) = entry;
            place
        } else {
            self.push(entry)
        };
        let Agents { pieces, order } = &mut self.agents;
        order.insert(place, |other| entry_at(pieces, other).id < id);
        self.places.insert(id, place);
        place
    }

    /// Takes an agent out. What stays in its place until a newcomer has it weighs little and is never due.
    pub(super) fn remove(&mut self, place: Place) {
        let Entry { id, agent } = self.agents.entry_mut(place);
        *agent = Agent::gone();
        let id = id.clone();
        let Agents { pieces, order } = &mut self.agents;
        order.remove(|other| entry_at(pieces, other).id < id);
        self.places.remove(&id);
        self.free.push(place);
    }

    fn push(&mut self, entry: Entry) -> Place {
        let place = Place::of(self.places.len()); // none is free
        if place.within() == 0 {
            self.agents.pieces.push(Arc::default());
        }
        if let Some(piece) = self.agents.pieces.last_mut() {
            Arc::make_mut(piece).push(Arc::new(entry));
        }
        place
    }
}

impl Place {
    pub(super) fn of(number: usize) -> Self {
        Self(u32::try_from(number).unwrap_or(u32::MAX)) // FleetSettings::agents_max is far below
    }

    pub(super) fn number(self) -> usize {
        self.0 as usize
    }

    fn piece(self) -> usize {
        self.number() / PIECE
    }

    fn within(self) -> usize {
        self.number() % PIECE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::moment::Moment;
    use crate::fleet::agent::State;
    use crate::fleet::run::Run;
    use std::time::Duration;

    fn slab_of(count: usize) -> Slab {
        let mut slab = Slab::default();
        for n in 0..count {
            let id = AgentId::parse(&format!("a{}", (n * 7) % count)).unwrap();
            let now = Moment::default();
            slab.insert(
                id,
                Agent::new(Run::begin(1, Duration::from_secs(30), now), now),
            );
        }
        slab
    }

    #[test]
    fn a_snapshot_keeps_what_it_showed_while_agents_change_and_come() {
        let mut slab = slab_of(600);
        let before = slab.view();
        let place = slab.find("a300").unwrap();
        slab.agent_mut(place).state = State::Stopped;
        let newcomer = slab.agent(place).clone();
        slab.insert("new".parse().unwrap(), newcomer);
        let stopped = |agents: &Agents| {
            agents
                .values()
                .filter(|a| a.state == State::Stopped)
                .count()
        };
        assert_eq!((before.len(), stopped(&before)), (600, 0));
        assert_eq!((slab.view().len(), stopped(&slab.view())), (601, 2));
    }

    #[test]
    fn agents_are_listed_by_id_wherever_they_stand() {
        let agents = slab_of(600).view();
        let ids: Vec<&AgentId> = agents.iter().map(|(id, _)| id).collect();
        assert!(ids.is_sorted() && ids.len() == 600);
        let behind = agents.after(Some(ids[597])).map(|(id, _)| id);
        assert!(behind.eq(ids[598..].iter().copied()));
    }

    #[test]
    fn only_what_changes_while_a_snapshot_is_held_is_copied() {
        let mut slab = slab_of(600);
        let before = slab.view();
        let place = slab.find("a0").unwrap();
        slab.agent_mut(place);
        let after = slab.view();
        let same = |number: usize| {
            let place = Place::of(number);
            std::ptr::eq(before.entry(place), after.entry(place))
        };
        let copied: Vec<usize> = (0..600).filter(|number| !same(*number)).collect();
        assert_eq!(copied, [place.number()]);
    }
}
