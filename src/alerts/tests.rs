//! Stories of pages and deliveries: the machine with a store and receivers in virtual time.

mod delivery;
mod figures;
mod paging;

use super::Alerts;
use super::exchange::{AlertsEffect, AlertsInput, Delivered, Now, Outcome, Receiver, Standing};
use super::matter::{Matter, Place};
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::base::patience::Patience;
use crate::wire::activity::Evidence;
use crate::wire::beat::Source;
use crate::wire::incident::{GateKind, Incident, IncidentId, Scope};
use crate::wire::life::Reason;
use crate::wire::notification::{Message, Notification, Occasion, ReceiverName, Severity, Subject};
use std::collections::BTreeMap;
use std::time::Duration;

const WALL_MS: u64 = 1_764_000_000_000;

/// The store, and receivers that answer as they are asked to.
struct Stage {
    alerts: Alerts,
    second: u64,
    patience: Patience,
    receivers: Vec<Receiver>,
    store: BTreeMap<String, Notification>,
    incidents: BTreeMap<IncidentId, Incident>,
    /// What receivers do not take.
    sick: BTreeMap<&'static str, Outcome>,
    /// What receivers took: the receiver, the id, the message.
    got: Vec<(String, String, Message)>,
    batches: Vec<usize>,
    writes: bool,
    renewed: Vec<usize>,
}

fn name(text: &str) -> ReceiverName {
    ReceiverName::parse(text).unwrap()
}

fn receiver(text: &str) -> Receiver {
    Receiver {
        name: name(text),
        severities: vec![Severity::Info, Severity::Warning, Severity::Critical],
        fallback: None,
        tracks: false,
        takes_changes: false,
        digests: false,
        renews: false,
        pace: None,
    }
}

fn agent(text: &str) -> AgentId {
    AgentId::parse(text).unwrap()
}

fn failed() -> Outcome {
    Outcome::Later {
        error: "connection refused".to_owned(),
        after: None,
    }
}

impl Stage {
    fn new(receivers: Vec<Receiver>) -> Self {
        let mut stage = Self {
            alerts: Alerts::new(1),
            second: 100_000,
            patience: Patience::ONE,
            receivers,
            store: BTreeMap::new(),
            incidents: BTreeMap::new(),
            sick: BTreeMap::new(),
            got: Vec::new(),
            batches: Vec::new(),
            writes: true,
            renewed: Vec::new(),
        };
        stage.start();
        stage
    }

    /// A monitor starts and reads the store.
    fn start(&mut self) {
        self.alerts = Alerts::new(self.second).patient(self.patience);
        self.input(AlertsInput::Receivers(self.receivers.clone()));
        self.reads();
        self.input(AlertsInput::LinkUp);
    }

    fn reads(&mut self) {
        let matters = self
            .incidents
            .values()
            .map(|i| Matter::of(i, Severity::Critical, true));
        let (matters, outbox) = (matters.collect(), self.store.values().cloned().collect());
        self.input(AlertsInput::Restored { matters, outbox });
    }

    fn now(&self) -> Now {
        Now {
            at: Moment::from_millis(self.second * 1000),
            wall_ms: WALL_MS + self.second * 1000,
        }
    }

    fn input(&mut self, input: AlertsInput) {
        let now = self.now();
        for effect in self.alerts.handle(input, now) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: AlertsEffect) {
        match effect {
            AlertsEffect::Store(record) if self.writes => {
                let id = record.id.clone();
                self.store.insert(id.clone(), *record);
                self.input(AlertsInput::Stored(id));
            }
            AlertsEffect::Store(_) => {}
            AlertsEffect::Remove(id) => drop(self.store.remove(&id)),
            AlertsEffect::Paged(ids, page) => {
                for id in ids {
                    if let Some(incident) = self.incidents.get_mut(&id) {
                        incident.page = Some(page.clone());
                    }
                }
            }
            AlertsEffect::Notified(ids, notified) => {
                for id in ids {
                    if let Some(incident) = self.incidents.get_mut(&id) {
                        incident.notified.push(notified.clone());
                    }
                }
            }
            AlertsEffect::Deliver(batch) => self.deliver(batch),
            AlertsEffect::Renew(_, messages) => self.renewed.push(messages.len()),
            AlertsEffect::ReceiverChanged(..) => {}
        }
    }

    fn deliver(&mut self, batch: Vec<Notification>) {
        let receiver = batch[0].receiver.clone();
        let outcome = self
            .sick
            .get(receiver.as_str())
            .cloned()
            .unwrap_or(Outcome::Taken);
        if outcome == Outcome::Taken {
            self.batches.push(batch.len());
            for sent in batch {
                assert!(
                    !self.writes || self.store.contains_key(&sent.id),
                    "sent before it is stored"
                );
                self.got.push((receiver.to_string(), sent.id, sent.message));
            }
        }
        self.input(AlertsInput::Delivered(Delivered { receiver, outcome }));
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.input(AlertsInput::Tick);
        }
    }

    /// An incident opens; its number is its name.
    fn opens(&mut self, n: u64, host: &str, reason: Reason, agents: &[&str]) -> IncidentId {
        let id = IncidentId::new(WALL_MS + n, u128::from(n));
        let incident = Incident {
            id: id.clone(),
            agents: agents.iter().map(|text| agent(text)).collect(),
            scope: if agents.len() > 1 {
                Scope::Host
            } else {
                Scope::Agent
            },
            host: Some(host.to_owned()),
            reason,
            sentence: "It exited with code 1.".to_owned(),
            evidence: vec![Evidence {
                signal: "exit.code".to_owned(),
                value: "1".to_owned(),
                source: Source::Observed,
            }],
            opened_at: self.now().wall_ms,
            closed_at: None,
            acked_by: None,
            gate: None,
            rungs: Vec::new(),
            next: None,
            page: None,
            notified: Vec::new(),
            more: serde_json::Map::new(),
        };
        self.incidents.insert(id.clone(), incident);
        self.reports(&id);
        id
    }

    fn reports(&mut self, id: &IncidentId) {
        let matter = Matter::of(&self.incidents[id], Severity::Critical, true);
        self.input(AlertsInput::Matter(Box::new(matter)));
    }

    fn closes(&mut self, id: &IncidentId) {
        let at = self.now().wall_ms;
        let incident = self.incidents.get_mut(id).unwrap();
        incident.closed_at = Some(at);
        let agents = incident.agents.clone();
        for agent in agents {
            self.input(AlertsInput::Agent(agent, Standing::Up));
        }
        self.reports(id);
    }

    fn occasions(&self, receiver: &str) -> Vec<Occasion> {
        let own = self.got.iter().filter(|(name, ..)| name == receiver);
        own.map(|(.., message)| message.occasion).collect()
    }
}
