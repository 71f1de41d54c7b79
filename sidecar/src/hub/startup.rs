//! How it begins: the id is asked for, then the agent is started or attached to.

use super::agent_io::AgentIo;
use super::life::Facts;
use super::sampling::Judge;
use super::{About, Body, Hub, SEARCH_EVERY, TYPE_CHARS_MAX};
use crate::clock;
use crate::config::{Config, Work};
use crate::outbox::{Outbox, Registration, StoreEvent};
use crate::process::child;
use crate::process::handle::{self, Process};
use crate::process::inherited::Inherited;
use crate::process::oom::OomKills;
use crate::process::runtime;
use crate::process::terminal::Terminal;
use crate::process::tree::Tree;
use crate::process::usage::Vitals;
use heartbeat::base::moment::millis;
use heartbeat::supervise::lifecycle::Lifecycle;
use heartbeat::wire::beat::cut;
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::roster::RosterEntry;
use std::collections::VecDeque;
use std::time::Duration;
use uuid::Uuid;

/// How long the agent's start may wait for the store: a living holder of its id is to be found before, not after.
const STORE_WITHIN: Duration = Duration::from_millis(250);
/// The same where a holder must be watched for a while to be called dead.
const CONTEST_WITHIN: Duration = Duration::from_secs(4);

impl Hub {
    pub(super) fn new(config: Config, inherited: Inherited) -> Self {
        let started_ms = clock::wall_ms();
        let runtime = runtime::detect(&config.host);
        let about = About {
            entry: RosterEntry {
                agent_type: cut(config.agent_type.clone(), TYPE_CHARS_MAX),
                host: config.host.clone(),
                interval_ms: millis(config.interval),
                epoch: 0,
                started_at: started_ms,
                runtime: Some(runtime.clone()),
                stopped_at: None,
                life: None,
            },
            runtime,
            instance: Uuid::new_v4().to_string(),
            command: config.work.name(),
        };
        let registration = Registration {
            id: config.id.clone(),
            entry: about.entry.clone(),
            registered_ms: started_ms,
            instance: about.instance.clone(),
            holder: handle::myself(&config.host),
            takeover: config.takeover,
        };
        let supervises = matches!(config.work, Work::Supervise(_));
        Self {
            word: AgentIo::open(&config, supervises),
            judge: Judge::new(&config, clock::now()),
            outbox: Outbox::open(config.store.clone(), registration),
            life: Lifecycle::new(config.policy),
            facts: Facts::default(),
            body: Body::Absent,
            tree: Tree::subreaper(),
            terminal: Terminal::find(),
            vitals: Vitals::new(),
            oom: OomKills::watch(),
            about,
            started: clock::now(),
            incarnation_started_ms: started_ms,
            last_slot: 0,
            sequence: 0,
            epoch: None,
            fenced: false,
            never_reached: false,
            last_exit: None,
            next_search: None,
            suspension: None,
            orders_seen: VecDeque::new(),
            order: None,
            outcome: None,
            over: None,
            config,
            inherited,
        }
    }

    /// Gives the store a moment to say whose the id is; true when it is a living other's. With no store the agent is
    /// started all the same.
    pub(super) async fn acquire_id(&mut self) -> bool {
        let mut until = tokio::time::Instant::now() + STORE_WITHIN;
        loop {
            match tokio::time::timeout_at(until, self.outbox.store_events.recv()).await {
                Ok(Some(StoreEvent::LeaseContested)) => {
                    until = tokio::time::Instant::now() + CONTEST_WITHIN
                }
                Ok(Some(StoreEvent::Connected(epoch))) => {
                    self.connected(epoch);
                    return false;
                }
                Ok(Some(StoreEvent::Unreachable)) => {
                    self.never_reached = true;
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
    pub(super) fn begin(&mut self, found: Option<Process>) -> anyhow::Result<()> {
        match found {
            Some(process) => self.attach(process)?,
            None if self.starts_agents() => {
                child::adopt_orphans();
                self.start();
            }
            None => {
                tracing::warn!("no command line matches yet; waiting for one that does");
                self.next_search = Some(clock::now() + SEARCH_EVERY);
                self.report_registration();
                self.beat();
            }
        }
        Ok(())
    }
}
