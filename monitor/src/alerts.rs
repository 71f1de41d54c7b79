//! Brings notifications to their receivers: one file a kind. Decides nothing about who gets what, and when.
//!
//! Each delivery is a task with a deadline; what became of it goes back to the hub. Texts that others wrote are escaped for
//! their receiver, secrets are read from their files for each delivery, and no error repeats one.

mod alertmanager;
mod deadman;
mod email;
mod exec;
mod http;
mod pagerduty;
mod slack;
mod slack_bot;
mod stdout;
mod text;
mod webhook;

use crate::clock;
use crate::config::receivers::{Deadman, Kind, Receiver, Reread};
use crate::wake::Wake;
use deadman::Switch;
use heartbeat::alerts::exchange::{Delivered, Outcome, Receiver as Rule};
use heartbeat::wire::notification::{Message, Notification, ReceiverName};
use http::Http;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use text::Links;
use tokio::sync::mpsc;

/// The longest delivery.
const DELIVER_WITHIN: Duration = Duration::from_secs(20);
/// Deliveries that have ended and wait for the hub: each receiver has one at a time.
const REPORTS_MAX: usize = 4096;

/// The hub's end: what it hands over is delivered.
#[derive(Debug)]
pub(crate) struct Dispatch {
    runtime: tokio::runtime::Handle,
    receivers: BTreeMap<ReceiverName, Arc<Receiver>>,
    tools: Arc<Tools>,
    ended: mpsc::Sender<Delivered>,
    reports: mpsc::Receiver<Delivered>,
    wake: Wake,
    reread: mpsc::Receiver<Reread>,
    switch: Option<Arc<Switch>>,
}

/// What of the configuration notifications need.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) receivers: Vec<Receiver>,
    /// The dead man's switch.
    pub(crate) deadman: Option<Deadman>,
    /// Messages link here.
    pub(crate) public_url: Option<String>,
}

/// What all deliveries share.
#[derive(Debug)]
struct Tools {
    http: Http,
    links: Links,
}

/// Tries receivers with a message that is marked as a test: the error of each that did not take it.
///
/// # Errors
/// TLS cannot be set up.
pub(crate) async fn test(
    receivers: Vec<Receiver>,
    public_url: Option<String>,
) -> anyhow::Result<Vec<(ReceiverName, Option<String>)>> {
    let tools = Tools::new(public_url)?;
    let mut answers = Vec::new();
    for receiver in receivers {
        let name = receiver.rule.name.clone();
        let sent = Notification::test(name.clone(), clock::wall_ms());
        let error = match attempt(&receiver, &[sent], &tools).await {
            Outcome::Taken | Outcome::Posted(_) => None,
            Outcome::Later { error, .. } | Outcome::Refused { error } => Some(error),
        };
        answers.push((name, error));
    }
    Ok(answers)
}

impl Tools {
    fn new(public_url: Option<String>) -> anyhow::Result<Self> {
        Ok(Self {
            http: Http::new()?,
            links: Links::new(public_url),
        })
    }
}

impl Dispatch {
    /// For this configuration; `wake` wakes the hub when a delivery has ended. Called within the runtime.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(
        setup: Setup,
        reread: mpsc::Receiver<Reread>,
        wake: Wake,
    ) -> anyhow::Result<Self> {
        let (ended, reports) = mpsc::channel(REPORTS_MAX);
        Ok(Self {
            runtime: tokio::runtime::Handle::current(),
            receivers: by_name(setup.receivers),
            tools: Arc::new(Tools::new(setup.public_url)?),
            switch: setup.deadman.map(Switch::new).map(Arc::new),
            ended,
            reports,
            wake,
            reread,
        })
    }

    /// Begins a delivery to the receiver of the batch.
    pub(crate) fn deliver(&self, batch: Vec<Notification>) {
        let Some(first) = batch.first() else {
            return;
        };
        let name = first.receiver.clone();
        let receiver = self.receivers.get(&name).map(Arc::clone);
        let (tools, ended, wake) = (
            Arc::clone(&self.tools),
            self.ended.clone(),
            self.wake.clone(),
        );
        self.runtime.spawn(async move {
            let outcome = match receiver {
                Some(receiver) => attempt(&receiver, &batch, &tools).await,
                None => later("the receiver is no longer configured"),
            };
            let delivered = Delivered {
                receiver: name,
                outcome,
            };
            let _ = ended.send(delivered).await; // the hub has ended
            wake.wake();
        });
    }

    /// Repeats all that is open to a receiver that forgets.
    pub(crate) fn renew(&self, name: &ReceiverName, messages: Vec<Message>) {
        let Some(receiver) = self.receivers.get(name).map(Arc::clone) else {
            return;
        };
        let tools = Arc::clone(&self.tools);
        self.runtime.spawn(async move {
            let Kind::Alertmanager { url, token } = &receiver.kind else {
                return;
            };
            let renewal = alertmanager::renew(&receiver, url, token.as_ref(), &messages, &tools);
            if let Ok(Outcome::Later { error, .. } | Outcome::Refused { error }) =
                tokio::time::timeout(DELIVER_WITHIN, renewal).await
            {
                tracing::warn!(
                    "receiver {} did not take what is open: {error}",
                    receiver.rule.name
                );
            }
        });
    }

    /// Whether there is a dead man's switch.
    pub(crate) fn has_switch(&self) -> bool {
        self.switch.is_some()
    }

    /// Pings the dead man's switch.
    pub(crate) fn ping(&self) {
        if let Some(switch) = self.switch.clone() {
            let tools = Arc::clone(&self.tools);
            self.runtime
                .spawn(async move { switch.ping(&tools.http).await });
        }
    }

    /// What the receivers get, and how.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.receivers
            .values()
            .map(|receiver| receiver.rule.clone())
            .collect()
    }

    /// The receivers of a configuration that was read again; one that could not be used leaves those before.
    pub(crate) fn next_configuration(&mut self) -> Option<Result<(), String>> {
        let reread = self.reread.try_recv().ok()?;
        Some(reread.map(|receivers| self.receivers = by_name(receivers)))
    }

    /// A delivery that has ended.
    pub(crate) fn next_report(&mut self) -> Option<Delivered> {
        self.reports.try_recv().ok()
    }
}

fn by_name(receivers: Vec<Receiver>) -> BTreeMap<ReceiverName, Arc<Receiver>> {
    let named = |receiver: Receiver| (receiver.rule.name.clone(), Arc::new(receiver));
    receivers.into_iter().map(named).collect()
}

async fn attempt(receiver: &Receiver, batch: &[Notification], tools: &Tools) -> Outcome {
    let delivery = deliver(receiver, batch, tools);
    match tokio::time::timeout(DELIVER_WITHIN, delivery).await {
        Ok(outcome) => outcome,
        Err(_) => later(&format!("no answer within {DELIVER_WITHIN:?}")),
    }
}

async fn deliver(receiver: &Receiver, batch: &[Notification], tools: &Tools) -> Outcome {
    let [first, rest @ ..] = batch else {
        return Outcome::Taken;
    };
    match &receiver.kind {
        Kind::Slack(target) => slack::deliver(receiver, target, first, rest, tools).await,
        Kind::SlackBot(bot) => slack_bot::deliver(receiver, bot, first, rest, tools).await,
        Kind::PagerDuty { url, routing_key } => {
            pagerduty::deliver(receiver, url, routing_key, first, tools).await
        }
        Kind::Webhook { target, secret } => {
            webhook::deliver(receiver, target, secret.as_ref(), first, tools).await
        }
        Kind::Alertmanager { url, token } => {
            alertmanager::deliver(receiver, url, token.as_ref(), &first.message, tools).await
        }
        Kind::Email(mail) => email::deliver(receiver, mail, first, tools).await,
        Kind::Exec(command) => exec::deliver(receiver, command, first, tools).await,
        Kind::Stdout(form) => stdout::deliver(receiver, *form, first, tools).await,
    }
}

fn later(error: &str) -> Outcome {
    Outcome::Later {
        error: error.to_owned(),
        after: None,
    }
}

fn refused(error: &dyn std::fmt::Display) -> Outcome {
    Outcome::Refused {
        error: error.to_string(),
    }
}
