//! The effects of recovery, and what people ask for.

use super::{Hub, Outputs};
use crate::asks::Asks;
use crate::bus::inbox::Request;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::ladder::policy::Severity;
use heartbeat::fleet::machine::FleetEffect;
use heartbeat::fleet::recovery::{Page, RecoveryEffect, RecoveryInput};
use heartbeat::fleet::watch::{WatchEffect, WatchInput};

impl Hub {
    /// An agent that works shows which container it runs in, while that is there.
    pub(super) fn remember_container(&self, effect: &WatchEffect) {
        if let WatchEffect::Fleet(FleetEffect::Changed(change)) = effect
            && change.to == State::Healthy
            && let Some(runtime) = self.watch.runtime(&change.agent)
        {
            self.outputs.crew.remember(change.agent.clone(), runtime);
        }
    }

    /// Takes what people asked for.
    pub(super) fn take_asks(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        while let Some(asked) = self.asks.take() {
            let asked = WatchInput::Recovery(RecoveryInput::Asked(asked));
            effects.append(&mut self.watch.handle(asked, now));
        }
    }
}

impl Outputs {
    pub(super) fn recover(&self, effect: RecoveryEffect, asks: &mut Asks) {
        match effect {
            RecoveryEffect::Order(agent, order) => {
                let who = order.by.as_deref().unwrap_or("hb");
                tracing::warn!("{who} orders: {} {agent}", order.action.as_str());
                self.request(Request::Order(agent, order));
            }
            RecoveryEffect::Forget(agent) => {
                tracing::warn!("{agent} is forgotten, as a person asked");
                self.request(Request::Forget(agent));
            }
            RecoveryEffect::StoreSilence(silence) => self.request(Request::StoreSilence(silence)),
            RecoveryEffect::RemoveSilence(id) => self.request(Request::RemoveSilence(id)),
            RecoveryEffect::Silences(_) | RecoveryEffect::TroubleAcknowledged(..) => {} // the alerts follow them
            RecoveryEffect::StorePause(pause) => self.request(Request::StorePause(pause)),
            RecoveryEffect::Audit(entry) => self.request(Request::Audit(entry)),
            RecoveryEffect::Answer(number, answer) => asks.answer(number, answer),
            RecoveryEffect::Claim(ticket, value) => self.request(Request::Claim(ticket, value)),
            RecoveryEffect::Begin(ticket, incident) => {
                self.request(Request::Begin(ticket, incident));
            }
            RecoveryEffect::Perform(deed) => {
                let (agent, rung) = (&deed.ticket.agent, deed.ticket.rung);
                tracing::warn!("recovery of {agent}: hb {}", rung.describe());
                self.crew.perform(*deed);
            }
            RecoveryEffect::AskSurroundings(incident, runtime) => {
                self.crew.ask_surroundings(incident, runtime);
            }
            RecoveryEffect::Release(tickets) => self.request(Request::Release(tickets)),
            RecoveryEffect::Page(page) => log_page(&page),
        }
    }
}

fn log_page(page: &Page) {
    let Page {
        agent,
        incident,
        why,
        severity,
    } = page;
    match severity {
        Severity::Critical => tracing::error!("{agent} needs people: {why} (incident {incident})"),
        Severity::Warning => tracing::warn!("{agent} needs people: {why} (incident {incident})"),
        Severity::Info => tracing::info!("{agent} needs people: {why} (incident {incident})"),
    }
}
