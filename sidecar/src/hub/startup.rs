//! How it begins: the id is acquired, then the agent is started or attached to.

use super::agent::AgentProcess;
use super::agent_io::AgentIo;
use super::publisher::Publisher;
use super::sampling::Watch;
use super::{Hub, SEARCH_EVERY};
use crate::clock;
use crate::config::Config;
use crate::log::LogWriter;
use crate::outbox::StoreEvent;
use crate::output_tee::Outputs;
use crate::process::child;
use crate::process::handle::Process;
use crate::process::inherited::Inherited;
use heartbeat::supervise::orders::Orders;
use heartbeat::wire::event::{Detail, EventKind};
use std::time::Duration;

/// How long the agent's start waits for the store: a living holder of its id must be found before, not after.
const STORE_WITHIN: Duration = Duration::from_millis(250);
/// The same where a holder is observed before it counts as dead.
const CONTEST_WITHIN: Duration = Duration::from_secs(4);

impl Hub {
    pub(super) fn new(
        config: Config,
        inherited: Inherited,
        outputs: Option<Outputs>,
        log: LogWriter,
    ) -> Self {
        Self {
            io: AgentIo::open(&config, config.work.starts_agents(), outputs),
            watch: Watch::new(&config, clock::now()),
            publisher: Publisher::open(&config),
            agent: AgentProcess::new(&config, inherited),
            orders: Orders::default(),
            log,
            outcome: None,
            config,
        }
    }

    /// Acquires the id; true when a living sidecar holds it. An unreachable store does not hold up the agent's start.
    pub(super) async fn acquire_id(&mut self) -> bool {
        let mut until = tokio::time::Instant::now() + STORE_WITHIN;
        loop {
            match tokio::time::timeout_at(until, self.publisher.outbox.store_events.recv()).await {
                Ok(Some(StoreEvent::LeaseContested)) => {
                    until = tokio::time::Instant::now() + CONTEST_WITHIN
                }
                Ok(Some(StoreEvent::Connected(epoch))) => {
                    self.connected(epoch);
                    return false;
                }
                Ok(Some(StoreEvent::Unreachable)) => {
                    self.publisher.never_reached = true;
                    return false;
                }
                Ok(Some(StoreEvent::LeaseHeld(lease))) => {
                    tracing::error!(
                        "the id {} is taken by {lease}; stop that one, or use --takeover",
                        self.config.id
                    );
                    self.report_event(
                        EventKind::Duplicate,
                        Detail {
                            message: Some(lease.to_string()),
                            ..Detail::default()
                        },
                    );
                    return true;
                }
                Ok(Some(StoreEvent::Fenced(_) | StoreEvent::Order(_))) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// The first incarnation.
    pub(super) fn start_first(&mut self, found: Option<Process>) -> anyhow::Result<()> {
        match found {
            Some(process) => self.attach(process)?,
            None if self.config.work.starts_agents() => {
                child::adopt_orphans();
                self.start();
            }
            None => {
                tracing::warn!("no command line matches yet; waiting for a process that does");
                self.agent.next_search = Some(clock::now() + SEARCH_EVERY);
                self.report_registration();
                self.beat();
            }
        }
        Ok(())
    }
}
