//! The hub: one loop, one closed set of inputs, the only owner of the agent's state.
//!
//! `select!` picks an [`Input`], [`Hub::handle`] gives it to the owner it concerns: the agent's process (`agent`), the watch
//! over its work (`sampling`), or the publisher. Between them pass values. No arm holds logic, none waits for the store.

mod agent;
mod agent_io;
mod announcer;
mod declared;
mod effects;
mod ends;
mod exclusive;
mod exits;
mod last_words;
mod orders;
mod publish;
mod publisher;
mod sampling;
mod startup;
mod suspension;
mod upward;

use crate::clock;
use crate::config::{Config, INSTANCE};
use crate::log::LogWriter;
use crate::outbox::StoreEvent;
use crate::output_tee::Outputs;
use crate::process::attach::{self, Programs};
use crate::process::guard::Guard;
use crate::process::handle::Process;
use crate::process::inherited::Inherited;
use crate::process::instance::Instance;
use crate::process::orphans::Records;
use crate::process::signals::{Received, Sent, Signals};
use agent::AgentProcess;
use agent_io::{AgentInput, AgentIo};
pub(crate) use exclusive::{Safeguards, safeguards};
use hbshell::runtime;
use heartbeat::base::moment::Moment;
use heartbeat::supervise::exclusive::ExclusiveLease;
use heartbeat::supervise::lifecycle::{self, Forwarded};
use heartbeat::supervise::orders::Orders;
use heartbeat::wire::beat::Exit;
use heartbeat::wire::life::Reason;
use nix::libc;
use publisher::Publisher;
use sampling::Watch;
use std::time::Duration;
use upward::Upward;

/// How often a process is searched for that is not there yet.
const SEARCH_EVERY: Duration = Duration::from_millis(500);
/// The longest wait when nothing is due: the agent has ended and the kernel is about to report it.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// The variables an agent may get.
pub(crate) const VARIABLES: [&str; 7] = [
    "HB_AGENT_ID",
    "HB_AGENT_TYPE",
    "HB_EPOCH",
    INSTANCE,
    "HB_SOCKET",
    "NOTIFY_SOCKET",
    "HB_STATUS_FILE",
];

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The agent exited.
    Ended(Exit),
    /// The agent could not be started; the exit code of hbsidecar.
    NotStarted(u8),
    /// A living sidecar has the id. Nothing was started.
    Taken,
    /// The sidecar of an agent that another program runs was asked to end. The agent runs on, if it runs.
    Detached,
    /// A signal came before the agent was started.
    Interrupted(u8),
    /// The kubelet restarts all containers of the pod, this one too.
    PodRestart,
}

enum Input {
    Tick,
    Signal(Received),
    Store(StoreEvent),
    /// An agent that is not our child has ended.
    AttachedExit,
    Agent(AgentInput),
    /// A beat was stored.
    Stored,
}

/// The loop's state: three owners, and the agent's ways in.
struct Hub {
    config: Config,
    agent: AgentProcess,
    watch: Watch,
    publisher: Publisher,
    io: AgentIo,
    orders: Orders,
    instance: Instance,
    records: Records,
    /// Under `--exclusive`.
    lease: Option<ExclusiveLease>,
    guard: Option<Guard>,
    above: Upward,
    /// A beat soon after a start: the first figures of an incarnation.
    early_beat: Option<Moment>,
    log: LogWriter,
    /// Set when the loop is to end.
    outcome: Option<Outcome>,
}

/// Gives the process that becomes the agent its environment.
pub(crate) type Ready<'a> = &'a mut dyn FnMut(&[(&'static str, std::ffi::OsString)]);

/// Starts or finds the agent and stays until it has ended. `already`: the agent runs and is this process; `ready` is
/// called once before it continues. `outputs`: those of the agent that are read.
pub(crate) async fn supervise(
    config: Config,
    inherited: Inherited,
    already: Option<Process>,
    ready: Ready<'_>,
    outputs: Option<Outputs>,
    log: LogWriter,
    safeguards: Safeguards,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    // The process is searched for before anything is sent to the store: a refusal leaves no trace there.
    let found = match (already, config.work.target()) {
        (None, Some(target)) => match attach::find(&target, &Programs::default()) {
            Err(error) if error.may_pass() => None,
            found => Some(found?),
        },
        (already, _) => already,
    };
    // An agent that is found may run elsewhere than this sidecar: in a container, in a unit of its own.
    let runtime = runtime::detect(&config.host, found.as_ref().map(|process| process.pid));
    if let Some(lines) = runtime::missing_lines(&runtime) {
        tracing::warn!("{lines}");
    }
    let mut hub = Hub::new(config, runtime, inherited, outputs, log, safeguards);
    if let Some(outcome) = hub.acquire_id(&mut signals).await? {
        hub.close_unstarted(outcome).await;
        return Ok(outcome);
    }
    if let Some(outcome) = hub.start_first(found, ready).await? {
        hub.close_unstarted(outcome).await;
        return Ok(outcome);
    }
    let outcome = loop {
        if let Some(outcome) = hub.outcome {
            break outcome;
        }
        let wait = hub.until_due();
        let input = tokio::select! {
            biased;
            received = signals.next() => Input::Signal(received?),
            Some(event) = hub.publisher.outbox.store_events.recv() => Input::Store(event),
            () = hub.agent.body.attached_exit() => Input::AttachedExit,
            input = hub.io.next() => Input::Agent(input),
            Ok(()) = hub.publisher.outbox.stored.changed() => Input::Stored,
            () = tokio::time::sleep(wait) => Input::Tick,
        };
        hub.handle(input).await;
        hub.notify_upwards();
    };
    hub.conclude(outcome).await;
    Ok(outcome)
}

impl Hub {
    async fn handle(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick().await,
            Input::Signal(Received::Child) => self.reap().await,
            Input::Signal(Received::Signal(sent)) => self.signalled(sent),
            Input::Store(event) => {
                self.store_event(event);
                self.answer_health_checks();
            }
            Input::AttachedExit => self.agent.attached_exited(),
            Input::Agent(AgentInput::Line(line)) => self.take_line(*line),
            Input::Agent(AgentInput::Resized) => self.agent.resized(),
            Input::Stored => {
                self.renewed();
                self.answer_health_checks();
                self.suspend_when_stored();
            }
        }
    }

    async fn tick(&mut self) {
        let now = clock::now();
        if let Some(exit) = self.agent.attached_exit(now) {
            self.attached_ended(exit).await;
        }
        if self.agent.life.deadline().is_some_and(|at| at <= now) {
            self.decide(lifecycle::Input::Due);
        }
        if self.agent.next_search.is_some_and(|at| at <= now) {
            self.search();
        }
        self.suspend_when_stored();
        self.check_lease(now);
        // An agent that has ended is reported with its exit: a beat before that would report it as running.
        if self.agent.has_ended() {
            return;
        }
        if self.watch.deadline() <= now {
            self.observe();
        }
        if self.early_beat.take_if(|at| *at <= now).is_some() {
            self.look_after();
            self.beat();
        }
        if self.publisher.slots.deadline() <= now {
            self.look_after();
            self.beat();
            self.answer_health_checks();
        }
    }

    /// What was made or found once and may have been removed by another program.
    fn look_after(&mut self) {
        if let Some(process) = self.agent.body.process() {
            self.agent.programs.note(process);
        }
        self.io.look_after(self.agent.pid());
        self.records.look_after();
        self.agent.facts.look_for_reader();
    }

    fn answer_health_checks(&self) {
        self.io.health(self.publisher.health(clock::now()));
    }

    fn store_event(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Connected(epoch) => {
                self.connected(epoch);
                self.beat();
            }
            StoreEvent::Unreachable => {
                self.publisher.never_reached = self.publisher.epoch.is_none();
            }
            StoreEvent::Fenced(holder) => self.fenced(&format!("epoch {holder}")),
            StoreEvent::LeaseContested | StoreEvent::LeaseAwaited(_) => {}
            // The agent was started before the store answered.
            StoreEvent::LeaseHeld(lease) => self.fenced(&lease.to_string()),
            StoreEvent::Order(order) => self.ordered(order),
        }
    }

    fn connected(&mut self, epoch: u64) {
        if self.publisher.connected(epoch) {
            tracing::info!("the id {} is free again: this agent has it", self.config.id);
            if self.agent.body.process().is_some() {
                self.agent.facts.end = None; // it ended in a time that belongs to no registration
            }
            self.report_registration();
        }
    }

    /// Another sidecar has the id. The agent is not stopped for it, unless its user wants at most one of it.
    fn fenced(&mut self, holder: &str) {
        self.publisher.fenced = true;
        let id = &self.config.id;
        if self.config.exclusive {
            tracing::error!("{holder} has the id {id}: stopping this agent (--exclusive)");
            self.agent.facts.stopped_by = Some(Reason::Fenced);
            self.decide(lifecycle::Input::Stop);
        } else {
            tracing::error!("{holder} has the id {id}: this agent runs on without heartbeats");
        }
    }

    fn signalled(&mut self, sent: Sent) {
        let Sent { number, value } = sent;
        if !self.config.work.starts_agents() {
            return self.signalled_while_attached(number);
        }
        let has_process = self.agent.body.process().is_some();
        match number {
            libc::SIGCONT => self.resume(),
            libc::SIGTERM if self.agent.life.is_running() || !has_process => {
                return self.decide(lifecycle::Input::Stop);
            }
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
                self.decide(lifecycle::Input::SignalForwarded(Forwarded {
                    number: u8::try_from(number).unwrap_or(0),
                    reloads: number == libc::SIGHUP && self.agent.terminal.is_none(),
                }));
                if !has_process {
                    self.decide(lifecycle::Input::Stop);
                }
            }
            _ => {}
        }
        self.forward(number, value);
    }

    fn forward(&self, number: i32, value: Option<u64>) {
        let rewritten = self.config.rewrite.iter().find(|(from, _)| *from == number);
        let number = rewritten.map_or(number, |(_, to)| *to);
        let Some(process) = self.agent.body.process().filter(|_| number != 0) else {
            return;
        };
        if let Err(error) = process.signal_group(number, value) {
            tracing::warn!("cannot send signal {number} to the agent: {error}");
        }
        if matches!(
            number,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP
        ) {
            self.agent.wake_to_end();
        }
    }

    /// Signals for us end the watch of an attached agent, not the agent.
    fn signalled_while_attached(&mut self, number: i32) {
        if matches!(
            number,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP
        ) {
            self.outcome = Some(Outcome::Detached);
        }
    }

    fn until_due(&self) -> Duration {
        let now = clock::now();
        let ended = self.agent.has_ended();
        let sample = (self.agent.life.is_running() && !ended).then(|| self.watch.deadline());
        let beat = (!ended).then(|| self.publisher.slots.deadline());
        let others = [
            self.agent.deadline(),
            self.fence_at(),
            self.above.deadline(),
            self.early_beat.filter(|_| !ended),
        ];
        let next = [sample, beat].into_iter().chain(others).flatten().min();
        next.map_or(IDLE_MAX, |next| next.since(now))
    }
}
