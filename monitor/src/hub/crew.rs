//! Rungs that are carried out beside the hub: one task each, whose outcome comes back as an input.

use crate::bus::inbox::Input;
use crate::recovery::{Job, Own, Recovery};
use crate::wake::Wake;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::recovery::{Deed, RecoveryInput};
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::beat::Runtime;
use heartbeat::wire::incident::IncidentId;
use heartbeat::wire::word;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Containers and pods that are inspected at one time; further ones are left out until their agent changes again.
const INSPECTIONS_MAX: usize = 32;

/// What carries rungs out.
#[derive(Debug)]
pub(crate) struct Crew {
    recovery: Arc<Recovery>,
    inspections: Arc<Semaphore>,
    /// The store's URL, for a replacement that does not know it.
    redis_url: String,
    runtime: Handle,
    /// Weak: the hub ends when nothing else sends inputs.
    inputs: mpsc::WeakSender<Input>,
    wake: Wake,
}

impl Crew {
    /// On the present runtime; outcomes are sent to these inputs.
    pub(crate) fn new(redis_url: String, inputs: mpsc::WeakSender<Input>, wake: Wake) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self {
            recovery: Arc::new(Recovery::from_environment(&variable, Own::here())),
            inspections: Arc::new(Semaphore::new(INSPECTIONS_MAX)),
            redis_url,
            runtime: Handle::current(),
            inputs,
            wake,
        }
    }

    /// Carries a rung out.
    pub(super) fn perform(&self, deed: Deed) {
        let (recovery, inputs) = (Arc::clone(&self.recovery), self.inputs.clone());
        let (wake, ticket) = (self.wake.clone(), deed.ticket.clone());
        let job = self.job(deed);
        self.runtime.spawn(async move {
            let performed = recovery.perform(&job).await;
            tracing::warn!("rung {} for {}: {performed}", job.rung.as_str(), job.agent);
            let report = RecoveryInput::Performed(ticket, performed);
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.send(Input::Watch(WatchInput::from(report))).await; // the hub has ended
                wake.wake();
            }
        });
    }

    /// Has the settings of an agent's container remembered, for a replacement after it was removed.
    pub(super) fn remember(&self, agent: AgentId, runtime: Runtime) {
        let Ok(permit) = Arc::clone(&self.inspections).try_acquire_owned() else {
            return;
        };
        let recovery = Arc::clone(&self.recovery);
        self.runtime.spawn(async move {
            recovery.remember(&agent, &runtime).await;
            drop(permit);
        });
    }

    /// Asks what the agent runs in what it knows of its failure: not known at once, and not waited for.
    pub(super) fn ask_surroundings(&self, incident: IncidentId, runtime: Runtime) {
        let Ok(permit) = Arc::clone(&self.inspections).try_acquire_owned() else {
            return;
        };
        let (recovery, inputs) = (Arc::clone(&self.recovery), self.inputs.clone());
        let wake = self.wake.clone();
        self.runtime.spawn(async move {
            let said = recovery.surroundings(&runtime).await;
            drop(permit);
            if let (Some(said), Some(inputs)) = (said, inputs.upgrade()) {
                let report = RecoveryInput::Surroundings(incident, said);
                let _ = inputs.send(Input::Watch(WatchInput::from(report))).await; // the hub has ended
                wake.wake();
            }
        });
    }

    fn job(&self, deed: Deed) -> Job {
        Job {
            rung: deed.ticket.rung,
            agent: deed.ticket.agent,
            agent_type: deed.agent_type,
            host: deed.host,
            epoch: deed.ticket.epoch,
            token: deed.token,
            incident: deed.incident.to_string(),
            reason: word(&deed.reason),
            runtime: deed.runtime,
            exclusive: deed.exclusive,
            exec: deed.exec,
            replace_image: deed.replace_image,
            redis_url: Some(self.redis_url.clone()),
        }
    }
}
