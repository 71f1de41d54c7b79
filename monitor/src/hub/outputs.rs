//! Where effects go: requests to the store, the log, those who follow.

use super::crew::Crew;
use super::log;
use crate::asks::Asks;
use crate::bus::inbox::{Question, Request};
use crate::events::Events;
use heartbeat::fleet::machine::{Change, FleetEffect};
use heartbeat::fleet::watch::WatchEffect;
use heartbeat::wire::word;
use tokio::sync::{broadcast, mpsc, watch};

/// Where effects go.
pub(super) struct Outputs {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) reconnect: watch::Sender<()>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) crew: Crew,
    pub(super) events: Events,
}

impl Outputs {
    pub(super) fn perform(&self, effect: WatchEffect, asks: &mut Asks) {
        match effect {
            WatchEffect::Fleet(FleetEffect::Verify(id)) => self.ask(Question::Verify(id)),
            WatchEffect::Fleet(FleetEffect::ReadTtl(id)) => self.ask(Question::ReadTtl(id)),
            WatchEffect::Fleet(FleetEffect::ReadEvents) => self.ask(Question::ReadEvents),
            WatchEffect::Fleet(FleetEffect::Changed(change)) => self.announce(change),
            WatchEffect::Fleet(FleetEffect::Turned(turn)) => self.events.notice(&turn),
            WatchEffect::Fleet(FleetEffect::Left(id, _)) => {
                tracing::info!("{id} leaves the fleet: it is over, or the fleet is full");
                self.request(Request::Leave(id));
            }
            WatchEffect::Fleet(FleetEffect::Enlist(id, entry)) => {
                tracing::info!("the store has lost the end of {id}: writing it again");
                self.request(Request::Enlist(id, entry));
            }
            WatchEffect::Fleet(FleetEffect::Refused(count)) => tracing::warn!(
                "the fleet is full, {count} messages of new agents were refused up to now; see hb_fleet_bytes and hb_fleet_agents_max"
            ),
            WatchEffect::SendCanary(number) => {
                self.ask(Question::Canary(number));
                self.request(Request::Count);
            }
            WatchEffect::Reconnect => {
                tracing::error!("the store does not answer; connecting again");
                let _ = self.reconnect.send(()); // no receiver: the inbox has ended, and so does the hub
            }
            WatchEffect::AskForLead => self.ask(Question::Lead),
            WatchEffect::ReadRecords => self.request(Request::ReadRecords),
            WatchEffect::TookOver => tracing::warn!(
                "this monitor leads, and goes on with what the store holds: it acts and alerts"
            ),
            WatchEffect::SteppedDown => {
                tracing::info!("another monitor leads: this one shows, and does not act or alert");
            }
            WatchEffect::StoreIncident(incident) => self.request(Request::StoreIncident(incident)),
            WatchEffect::RemoveIncident(id) => self.request(Request::RemoveIncident(id)),
            WatchEffect::StoreNotice(notice) => self.request(Request::StoreNotice(notice)),
            WatchEffect::RemoveNotice(id) => self.request(Request::RemoveNotice(id)),
            WatchEffect::NoticeChanged(notice) => log::notice(&notice),
            WatchEffect::IncidentChanged(change) => {
                log::incident(&change);
                self.events.incident(&change);
            }
            WatchEffect::GateClosed(gate) => {
                tracing::warn!("gate {} closed: {}", word(&gate.gate), gate.sentence);
                self.events.gate(&gate, true);
            }
            WatchEffect::GateOpened(gate) => {
                tracing::info!("gate {} opened", word(&gate.gate));
                self.events.gate(&gate, false);
            }
            WatchEffect::Recovery(effect) => self.recover(effect, asks),
        }
    }

    /// What is not answered is asked again; a full queue is one of the causes.
    fn ask(&self, question: Question) {
        if let Err(error) = self.questions.try_send(question) {
            tracing::debug!("dropped a question to the store, the queue is full: {error}");
        }
    }

    pub(super) fn request(&self, request: Request) {
        if let Err(error) = self.requests.try_send(request) {
            tracing::debug!("dropped a request to the store, the queue is full: {error}");
        }
    }

    fn announce(&self, change: Change) {
        log::change(&change);
        self.events.state(&change);
        let _ = self.changes.send(change); // no receiver: the change is logged all the same
    }
}
