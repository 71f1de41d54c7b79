//! Which inputs of the fleet are inputs of the other machines, too.

use crate::fleet::machine::FleetInput;

/// What of an input of the fleet the other machines follow.
pub(super) enum Follows {
    Nothing,
    LinkUp,
    LinkDown,
    Tick,
}

impl Follows {
    pub(super) fn of(input: &FleetInput) -> Self {
        match input {
            FleetInput::LinkUp => Self::LinkUp,
            FleetInput::LinkDown => Self::LinkDown,
            FleetInput::Tick => Self::Tick,
            FleetInput::Beat(_)
            | FleetInput::AgedBeat(..)
            | FleetInput::Event(_)
            | FleetInput::EventsRead
            | FleetInput::RosterEntry(..)
            | FleetInput::Registered(..)
            | FleetInput::Remembered(_)
            | FleetInput::TtlRead(..)
            | FleetInput::Verified(_)
            | FleetInput::Witnessed(_)
            | FleetInput::Gap(_)
            | FleetInput::Stall(_)
            | FleetInput::Forget(_)
            | FleetInput::StoreReturned
            | FleetInput::StoreStarted
            | FleetInput::StoreMoved
            | FleetInput::StoreClock(_) => Self::Nothing,
        }
    }
}
