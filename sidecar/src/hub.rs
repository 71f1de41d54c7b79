//! The hub: one loop, one closed set of inputs, the only owner of the agent's state.
//!
//! `select!` picks an [`Input`], [`Hub::handle`] hands it to the pure `Lifecycle`, its effects are carried out through the
//! rooms. No arm holds logic, none waits for the store.

mod agent_io;
mod effects;
mod ends;
mod life;
mod orders;
mod publish;
mod sampling;
mod startup;

use crate::clock;
use crate::config::{Config, INSTANCE};
use crate::contract::StatusLine;
use crate::outbox::{Outbox, StoreEvent};
use crate::process::attach;
use crate::process::handle::Process;
use crate::process::inherited::Inherited;
use crate::process::oom::OomKills;
use crate::process::signals::{Heard, Sent, Signals};
use crate::process::terminal::Terminal;
use crate::process::tree::Tree;
use crate::process::usage::Vitals;
use agent_io::AgentIo;
use heartbeat::base::moment::Moment;
use heartbeat::supervise::lifecycle::{self, Lifecycle};
use heartbeat::wire::beat::{Exit, OrderOutcome};
use heartbeat::wire::order::Order;
use heartbeat::wire::roster::RosterEntry;
use life::Facts;
use nix::libc;
use sampling::Judge;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How often a process is looked for that is not there yet.
const SEARCH_EVERY: Duration = Duration::from_millis(500);

/// The longest type of an agent that is sent, in characters.
const TYPE_CHARS_MAX: usize = 64;

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

/// What all that led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The agent ended so.
    Ended(Exit),
    /// The agent could not be started; the code says why.
    NotStarted(u8),
    /// A living sidecar has its id. Nothing was started.
    Taken,
    /// The agent runs on, unwatched.
    Detached,
}

enum Input {
    Tick,
    Signal(Heard),
    StoreEvent(StoreEvent),
    /// An agent that is not our child has ended.
    Gone,
    /// The agent has spoken.
    Line(StatusLine),
    /// A beat was stored.
    Stored,
}

/// The agent's process, if there is one now.
#[derive(Debug)]
enum Body {
    Absent,
    Child(Process),
    Attached(AsyncFd<Process>),
}

struct Hub {
    config: Config,
    inherited: Inherited,
    life: Lifecycle,
    facts: Facts,
    body: Body,
    tree: Tree,
    terminal: Option<Terminal>,
    vitals: Vitals,
    oom: OomKills,
    outbox: Outbox,
    word: AgentIo,
    judge: Judge,
    about: About,
    /// When this sidecar started: slots are counted from here.
    started: Moment,
    incarnation_started_ms: u64,
    last_slot: u64,
    sequence: u64,
    epoch: Option<u64>,
    fenced: bool,
    never_reached: bool,
    last_exit: Option<Exit>,
    next_search: Option<Moment>,
    suspension: Option<Suspension>,
    orders_seen: VecDeque<String>,
    order: Option<Order>,
    outcome: Option<OrderOutcome>,
    over: Option<Outcome>,
}

/// A person has put the agent to sleep at its terminal (Ctrl-Z), and us with it. The fleet hears of it first: our silence
/// would look like a death.
#[derive(Clone, Copy, Debug)]
struct Suspension {
    /// The signal to pass on to those around us; none when the terminal did.
    signal: Option<i32>,
    /// The beat that tells of it.
    sequence: u64,
    /// The store may be slow, and a person waits.
    until: Moment,
    /// We have stood still, or do.
    done: bool,
}

/// What never changes.
struct About {
    runtime: heartbeat::wire::beat::Runtime,
    instance: String,
    command: String,
    entry: RosterEntry,
}

/// What the process that becomes the agent has to know of its watcher.
pub(crate) type Ready<'a> = &'a mut dyn FnMut(&[(&'static str, std::ffi::OsString)]);

/// Starts or finds the agent and stays until it is over. `already`: the agent runs and is this process; `ready` is called
/// once before it goes on.
pub(crate) async fn supervise(
    config: Config,
    inherited: Inherited,
    already: Option<Process>,
    ready: Ready<'_>,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    // Whom to attach to is looked for before the store hears of anything: a refusal leaves no trace there.
    let found = match (already, config.work.target()) {
        (None, Some(target)) => match attach::find(&target) {
            Err(error) if error.may_pass() => None,
            found => Some(found?),
        },
        (already, _) => already,
    };
    let mut hub = Hub::new(config, inherited);
    if hub.acquire_id().await {
        hub.leave().await;
        return Ok(Outcome::Taken);
    }
    ready(&hub.environment());
    hub.begin(found)?;
    let outcome = loop {
        if let Some(outcome) = hub.over {
            break outcome;
        }
        let wait = hub.until_due();
        let input = tokio::select! {
            biased;
            heard = signals.next() => Input::Signal(heard?),
            Some(news) = hub.outbox.store_events.recv() => Input::StoreEvent(news),
            () = hub.body.gone() => Input::Gone,
            said = hub.word.next() => Input::Line(said),
            Ok(()) = hub.outbox.stored.changed() => Input::Stored,
            () = tokio::time::sleep(wait) => Input::Tick,
        };
        hub.handle(input).await;
    };
    hub.end(outcome).await;
    Ok(outcome)
}

impl Body {
    fn process(&self) -> Option<&Process> {
        match self {
            Self::Absent => None,
            Self::Child(process) => Some(process),
            Self::Attached(process) => Some(process.get_ref()),
        }
    }

    /// Waits until an agent that is not our child has ended.
    async fn gone(&self) {
        match self {
            Self::Attached(process) => drop(process.readable().await),
            // Children are told by SIGCHLD.
            Self::Absent | Self::Child(_) => std::future::pending().await,
        }
    }
}

impl Hub {
    async fn handle(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Signal(Heard::Child) => self.reap().await,
            Input::Signal(Heard::Signal(sent)) => self.signalled(sent),
            Input::StoreEvent(news) => {
                self.news(news);
                self.word.health(self.health());
            }
            Input::Gone => self.gone().await,
            Input::Line(said) => self.said(said),
            Input::Stored => {
                self.word.health(self.health());
                self.suspend_when_stored();
            }
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        if self.life.deadline().is_some_and(|at| at <= now) {
            self.decide(lifecycle::Input::Due);
        }
        if self.next_search.is_some_and(|at| at <= now) {
            self.look();
        }
        self.suspend_when_stored();
        if self.judge.deadline() <= now {
            self.observe();
        }
        if self.config.exclusive {
            self.check_lease(now);
        }
        // One that has ended is reported as ended, by its signal: a beat before that would call it running.
        let ended = self.body.process().is_some_and(Process::has_ended);
        if self.next_slot() <= now && !ended {
            self.beat();
            self.word.health(self.health());
        }
    }

    fn news(&mut self, news: StoreEvent) {
        match news {
            StoreEvent::Connected(epoch) => {
                self.connected(epoch);
                self.beat();
            }
            StoreEvent::Unreachable => self.never_reached = self.epoch.is_none(),
            StoreEvent::Fenced(holder) => self.fenced(&format!("epoch {holder}")),
            StoreEvent::LeaseContested => {}
            // The agent was started before the store could be asked.
            StoreEvent::LeaseHeld(lease) => self.fenced(&lease.to_string()),
            StoreEvent::Order(order) => self.ordered(order),
        }
    }

    fn connected(&mut self, epoch: u64) {
        let before = self.epoch.replace(epoch);
        self.never_reached = false;
        self.fenced = false;
        if self.facts.registered && before.is_some_and(|before| before != epoch) {
            tracing::info!("the id {} is free again: this agent has it", self.config.id);
            self.report_registration();
        }
    }

    /// Another sidecar has the id. The agent is not ours to end, unless its user wants at most one of it.
    fn fenced(&mut self, holder: &str) {
        self.fenced = true;
        let id = &self.config.id;
        if self.config.exclusive {
            tracing::error!("{holder} has the id {id}: this agent is stopped (--exclusive)");
            self.decide(lifecycle::Input::Stop);
        } else {
            tracing::error!("{holder} has the id {id}: this agent runs on, unwatched");
        }
    }

    /// Under `--exclusive` an agent that the fleet believes dead must be dead.
    fn check_lease(&mut self, now: Moment) {
        let stored = *self.outbox.stored.borrow();
        let stored = stored.map_or(self.started, |stored| stored.at);
        if self.life.is_running()
            && now.since(stored) > heartbeat::wire::keys::time_to_live(self.config.interval)
        {
            tracing::error!(
                "no beat could be stored for four intervals: the agent is stopped (--exclusive)"
            );
            self.decide(lifecycle::Input::Stop);
        }
    }

    fn signalled(&mut self, sent: Sent) {
        let Sent { number, value } = sent;
        if !self.starts_agents() {
            return self.signalled_while_attached(number);
        }
        match number {
            libc::SIGCONT => self.go_on(),
            libc::SIGTERM if self.life.is_running() || self.body.process().is_none() => {
                return self.decide(lifecycle::Input::Stop);
            }
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
                self.decide(lifecycle::Input::SignalForwarded);
                if self.body.process().is_none() {
                    self.decide(lifecycle::Input::Stop);
                }
            }
            _ => {}
        }
        if let Some(process) = self.body.process()
            && let Err(error) = process.signal_group(number, value)
        {
            tracing::warn!("cannot send signal {number} to the agent: {error}");
        }
    }

    /// An agent that others started is left to them: a signal for us ends the watch and nothing else.
    fn signalled_while_attached(&mut self, number: i32) {
        if matches!(
            number,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP
        ) {
            self.over = Some(Outcome::Detached);
        }
    }

    fn until_due(&self) -> Duration {
        let now = clock::now();
        let look = self.life.is_running().then(|| self.judge.deadline());
        let dues = [
            self.life.deadline(),
            self.next_search,
            self.suspension.filter(|s| !s.done).map(|s| s.until),
            look,
            Some(self.next_slot()),
        ];
        let next = dues.into_iter().flatten().min().unwrap_or(now);
        next.since(now)
    }
}
