//! How it begins: the id is acquired, then the agent is started, adopted or attached to.

use super::agent::AgentProcess;
use super::agent_io::AgentIo;
use super::exclusive::{Left, Safeguards, records};
use super::publisher::Publisher;
use super::sampling::Watch;
use super::upward::Upward;
use super::{Hub, Outcome, Ready};
use crate::clock;
use crate::config::{Config, Work};
use crate::log::LogWriter;
use crate::outbox::StoreEvent;
use crate::output_tee::Outputs;
use crate::process::child;
use crate::process::handle::Process;
use crate::process::inherited::Inherited;
use crate::process::signals::{Received, Signals};
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::ladder::exchange::RuntimeKind;
use heartbeat::supervise::exclusive::ExclusiveLease;
use heartbeat::supervise::orders::Orders;
use heartbeat::wire::beat::Runtime;
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::lease::Lease;
use nix::libc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the agent's start waits for the store: a living holder of its id must be found before, not after.
const STORE_WITHIN: Duration = Duration::from_millis(250);
/// The same where a holder is observed before it counts as dead.
const CONTEST_WITHIN: Duration = Duration::from_secs(4);
/// How long an exclusive start waits before it reports that it does.
const SILENT_WAIT: Duration = Duration::from_secs(1);

impl Hub {
    pub(super) fn new(
        config: Config,
        runtime: Runtime,
        inherited: Inherited,
        outputs: Option<Outputs>,
        log: LogWriter,
        safeguards: Safeguards,
    ) -> Self {
        let Safeguards { instance, guard } = safeguards;
        let records = records(&config, &instance);
        Self {
            io: AgentIo::open(&config, config.work.starts_agents(), outputs),
            watch: Watch::new(&config, clock::now()),
            publisher: Publisher::open(&config, &instance, runtime, records.last_instance()),
            agent: AgentProcess::new(&config, inherited),
            orders: Orders::default(),
            lease: config.terms().map(ExclusiveLease::new),
            above: Upward::find(clock::now()),
            early_beat: None,
            log,
            outcome: None,
            guard,
            records,
            instance,
            config,
        }
    }

    /// Acquires the id; an outcome when there is nothing to start. An unreachable store does not hold up the agent's start,
    /// unless at most one may run.
    pub(super) async fn acquire_id(
        &mut self,
        signals: &mut Signals,
    ) -> anyhow::Result<Option<Outcome>> {
        let patient = self.config.exclusive;
        let mut until = Instant::now() + if patient { SILENT_WAIT } else { STORE_WITHIN };
        let mut waits = false;
        child::reap(None); // children that ended before signals were read: a helper's, or of the program that became this one
        while self.records.are_of_another_command() && self.rename("an agent without a sidecar") {}
        loop {
            let event = tokio::select! {
                biased;
                received = signals.next() => {
                    if let Some(outcome) = interrupted(received?) {
                        return Ok(Some(outcome));
                    }
                    continue;
                }
                event = self.publisher.outbox.store_events.recv() => event,
                () = tokio::time::sleep_until(until), if !(patient && waits) => {
                    if !patient {
                        return Ok(None);
                    }
                    waits = true;
                    tracing::warn!("waiting for the store's answer: no start without the lease (--exclusive)");
                    continue;
                }
            };
            match event {
                Some(StoreEvent::LeaseContested) => until = Instant::now() + CONTEST_WITHIN,
                Some(StoreEvent::Connected(epoch)) => {
                    self.connected(epoch);
                    return Ok(None);
                }
                Some(StoreEvent::Unreachable) if patient => {
                    waits = true;
                    tracing::warn!(
                        "waiting for the store: no start without the lease (--exclusive)"
                    );
                }
                Some(StoreEvent::Unreachable) => {
                    self.publisher.never_reached = true;
                    return Ok(None);
                }
                Some(StoreEvent::LeaseAwaited(lease)) => {
                    waits = true;
                    self.waits_for(&lease);
                }
                Some(StoreEvent::LeaseHeld(lease)) => {
                    if !self.rename(&lease.to_string()) {
                        return Ok(Some(self.taken(&lease)));
                    }
                    until = Instant::now() + STORE_WITHIN;
                }
                Some(StoreEvent::Fenced(_) | StoreEvent::Order(_)) => {}
                None => {
                    return Ok(
                        (patient).then_some(Outcome::NotStarted(crate::config::exit::OWN_FAILURE))
                    );
                }
            }
        }
    }

    /// Takes the next default id; false for an id that was chosen.
    fn rename(&mut self, holder: &str) -> bool {
        let Some(next) = self.config.next_default_id() else {
            return false;
        };
        tracing::warn!(
            "the id {} is taken by {holder}; this agent is {next}",
            self.config.id
        );
        self.config.id = next;
        self.instance = self.instance.renamed(&self.config.id);
        self.records = records(&self.config, &self.instance);
        // The session before ends by itself: it holds no lease.
        self.publisher = Publisher::open(
            &self.config,
            &self.instance,
            self.publisher.runtime().clone(),
            self.records.last_instance(),
        );
        true
    }

    fn waits_for(&self, lease: &Lease) {
        let left = lease.exclusive_for.unwrap_or_default();
        tracing::warn!(
            "the id {} is leased to {lease}, which may still run its agent: waiting until that has ended or the lease has run out, in at most {}",
            self.config.id,
            format_duration(left)
        );
    }

    fn taken(&mut self, lease: &Lease) -> Outcome {
        let id = &self.config.id;
        let in_pod = match RuntimeKind::parse(&self.publisher.runtime().kind) {
            RuntimeKind::Kubernetes => {
                "; in a Deployment of one pod say `strategy: {type: Recreate}`, with more give each pod an id of its own"
            }
            RuntimeKind::Docker
            | RuntimeKind::Podman
            | RuntimeKind::Systemd
            | RuntimeKind::Host
            | RuntimeKind::Unknown => "",
        };
        tracing::error!(
            "the id {id} is taken by {lease}; give this agent another --id, stop that one, or take the id with --takeover{in_pod}"
        );
        self.report_event(
            EventKind::Duplicate,
            Detail {
                message: Some(lease.to_string()),
                ..Detail::default()
            },
        );
        Outcome::Taken
    }

    /// The first incarnation; an outcome when another is in its way.
    pub(super) async fn start_first(
        &mut self,
        found: Option<Process>,
        ready: Ready<'_>,
    ) -> anyhow::Result<Option<Outcome>> {
        self.io.open_contract(&self.config);
        let starts = matches!(self.config.work, Work::Supervise(_) | Work::Transparent(_));
        if starts {
            match self.take_over_orphans().await? {
                Left::Nothing => {}
                Left::Adopted => return Ok(None),
                Left::InTheWay(why) => {
                    tracing::error!("{why}");
                    return Ok(Some(Outcome::Taken));
                }
            }
        }
        ready(&self.environment());
        match found {
            Some(process) => self.attach(process)?,
            None if self.config.work.starts_agents() => {
                child::adopt_orphans();
                self.start();
            }
            None => {
                tracing::warn!("no command line matches yet; waiting for a process that does");
                self.search();
                if !self.publisher.registered {
                    self.report_registration();
                    self.beat();
                }
            }
        }
        Ok(None)
    }
}

/// What a signal means before there is an agent.
fn interrupted(received: Received) -> Option<Outcome> {
    match received {
        Received::Child => {
            child::reap(None);
            None
        }
        Received::Signal(sent) => matches!(
            sent.number,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP
        )
        .then(|| Outcome::Interrupted(u8::try_from(sent.number).unwrap_or(0))),
    }
}
